//! Feeds one target, named by `RMAP_FUZZ_TARGET`.
//!
//! Comes in: as built by `cargo xtask fuzz`, the arguments of libFuzzer, which then chooses the
//! inputs; else, files to feed once. Goes out: libFuzzer's words, or a failure.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: std::sync::LazyLock<&rmap_fuzz::Target> = std::sync::LazyLock::new(|| {
        let name = std::env::var("RMAP_FUZZ_TARGET").unwrap_or_default();
        rmap_fuzz::target(&name).expect("RMAP_FUZZ_TARGET must name a target")
    });
    (TARGET.run)(bytes);
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let name = std::env::var("RMAP_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = rmap_fuzz::target(&name) else {
        eprintln!("rmap-fuzz: set RMAP_FUZZ_TARGET to one of these, and name files to feed:");
        for target in rmap_fuzz::TARGETS {
            eprintln!("  {:12} {}", target.name, target.what);
        }
        return std::process::ExitCode::FAILURE;
    };
    for path in std::env::args_os().skip(1) {
        match std::fs::read(&path) {
            Ok(bytes) => (target.run)(&bytes),
            Err(error) => {
                eprintln!("rmap-fuzz: cannot read {}: {error}", path.display());
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

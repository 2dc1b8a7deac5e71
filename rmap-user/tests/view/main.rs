//! What people and programs read, against golden files: the table, the JSON, the help.
//!
//! `cargo xtask golden` writes the golden files anew; read the difference before it is kept.

#![expect(clippy::unwrap_used, reason = "in a test a failed expectation is the message")]

mod cases;
mod diff;
mod documents;
mod explain;
mod export;
mod grouped;
mod groups;
#[cfg(feature = "live")]
mod help;
mod json;
mod pages;
mod perfetto;
mod read;
mod recorded;
mod screen;
mod select;
mod table;
#[cfg(feature = "live")]
mod tui;

/// Compares with a golden file, or writes it if `RMAP_BLESS` is set.
fn assert_golden(name: &str, got: &str) {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/view/golden").join(name);
    if std::env::var_os("RMAP_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; write it with cargo xtask golden", path.display())
    });
    assert!(
        want == got,
        "{name} differs; if that is meant, write it anew with cargo xtask golden\n--- want\n{want}\n--- got\n{got}"
    );
}

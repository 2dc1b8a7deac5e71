//! A machine on which rmap cannot serve: one clear line, and the command is not started.
//!
//! `RMAP_REFUSED`, which the virtual machines of such kernels set, holds words of that line.

use std::path::Path;

use rmap_tests::process::run;
use rmap_tests::rmap::rmap;

#[test]
fn a_machine_that_cannot_serve_is_refused_in_one_line() {
    let words = std::env::var("RMAP_REFUSED").unwrap_or_default();
    if words.is_empty() {
        eprintln!("SKIP a_machine_that_cannot_serve_is_refused_in_one_line: this machine serves");
        return;
    }
    assert!(Path::new("/proc/self/smaps").exists());
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("started");
    let ended = run(rmap(["run", "--", "touch"]).arg(&marker));
    let text = ended.err();
    eprint!("rmap run: {text}");
    assert_eq!((ended.code(), ended.out().as_str()), (1, ""), "{text}");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "not one line: {text:?}");
    assert!(text.contains(&words), "{words:?} is not in {text:?}");
    assert!(!marker.exists(), "the command was started all the same");
    let doctor = run(&mut rmap(["doctor"]));
    let first = doctor.out().lines().next().unwrap_or_default().to_owned();
    assert_eq!(doctor.code(), 1, "{first}");
    assert!(first.contains(&words), "{words:?} is not in the doctor's {first:?}");
    // What needs no probes still works.
    let pmap = run(&mut rmap(["pmap", &std::process::id().to_string()]));
    assert_eq!(pmap.code(), 0, "{}", pmap.err());
}

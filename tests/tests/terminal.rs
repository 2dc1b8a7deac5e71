//! What is printed on a terminal: lines as wide as it is, colours unless they are refused; and
//! neither in a pipe.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};
use rmap_tests::begin;
use rmap_tests::process::run;
use rmap_tests::rmap::rmap;

fn recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings/forked.rmap")
}

/// What `rmap report` prints on a terminal of so many columns, with this in the environment.
fn on_terminal(columns: u16, options: &[&str], environment: &[(&str, &str)]) -> String {
    let size = Winsize { ws_row: 30, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let mut command = rmap(["report"]);
    command
        .args(options)
        .arg(recording())
        .stdin(Stdio::null())
        .stdout(pty.slave)
        .stderr(Stdio::null());
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    let mut child = command.spawn().unwrap();
    // The command holds the terminal's end too: without it here, reading ends with the command.
    drop(command);
    let (mut screen, mut part) = (Vec::new(), [0; 4096]);
    let mut terminal = File::from(pty.master);
    // A terminal whose other end is closed gives EIO.
    while let Ok(got @ 1..) = terminal.read(&mut part) {
        screen.extend(&part[..got]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(screen).unwrap().replace("\r\n", "\n")
}

#[test]
fn lines_are_as_wide_as_the_terminal_and_long_stacks_are_folded() {
    let _machine = begin!();
    for columns in [60, 100, 180] {
        let text = on_terminal(columns, &["--full"], &[("NO_COLOR", "1")]);
        assert!(text.contains("total kB"), "{text}");
        assert!(!text.contains('\x1b'), "NO_COLOR");
        for line in text.lines() {
            assert!(line.chars().count() <= columns.into(), "{columns}: {line}");
        }
        if columns < 180 {
            assert!(text.contains(" ← … ← "), "{text}");
        }
    }
}

#[test]
fn the_first_screen_fits_the_terminal_and_names_the_owner_first() {
    let _machine = begin!();
    for columns in [80, 100, 120] {
        let text = on_terminal(columns, &[], &[("NO_COLOR", "1")]);
        assert!(text.lines().count() < 30, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= columns.into()), "{text}");
        let rows = text.lines().skip_while(|line| !line.contains("Owner")).skip(1);
        assert!(rows.take(2).any(|row| row.contains("fill  forked.c:18")), "{text}");
    }
}

#[test]
fn colours_are_for_terminals_alone() {
    let _machine = begin!();
    assert!(on_terminal(100, &[], &[]).contains("\x1b["));
    assert!(on_terminal(100, &[], &[("NO_COLOR", "")]).contains("\x1b["));
    assert!(!on_terminal(100, &[], &[("TERM", "dumb")]).contains('\x1b'));
    let piped = run(rmap(["report", "--full"]).arg(recording()));
    assert_eq!((piped.code(), piped.err().as_str()), (0, ""));
    assert!(!piped.out().contains('\x1b') && piped.out().lines().any(|line| line.len() > 180));
}

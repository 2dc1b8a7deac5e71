//! Line tables as CPython itself reads them: every instruction of some of its standard library.
//!
//! Comes in: the interpreters of this machine. Goes out: each instruction whose line is another one.

use std::path::PathBuf;
use std::process::Command;

use rmap::runtime::python::line_at;

/// Prints each code object: minor version, first line, table, and line by instruction (-1: none).
const SCRIPT: &str = r#"
import dis, sys, glob, os
minor = sys.version_info[1]
def show(code):
    count = len(code.co_code)
    if minor >= 10:
        table, lines = code.co_linetable, [-1] * count
        for start, end, line in code.co_lines():
            for at in range(start, min(end, count)):
                lines[at] = -1 if line is None else line
    else:
        table, lines, starts = code.co_lnotab, [], dict(dis.findlinestarts(code))
        line = code.co_firstlineno
        for at in range(count):
            line = starts.get(at, line)
            lines.append(line)
    print(minor, code.co_firstlineno, table.hex() or "-", ",".join(map(str, lines[::2])))
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            show(inner)
folder = os.path.dirname(os.__file__)
for path in sorted(glob.glob(folder + "/*.py"))[:30]:
    with open(path, "rb") as file:
        show(compile(file.read(), path, "exec"))
"#;

fn interpreters() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    let pyenv = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let versions = pyenv.and_then(|versions| std::fs::read_dir(versions).ok());
    found.extend(versions.into_iter().flatten().flatten().map(|at| at.path().join("bin/python3")));
    found
}

#[test]
fn lines_are_those_that_cpython_reads() {
    let mut checked = 0_u64;
    for python in interpreters() {
        let Ok(output) = Command::new(&python).args(["-W", "ignore", "-c", SCRIPT]).output() else {
            continue;
        };
        for row in String::from_utf8(output.stdout).unwrap().lines() {
            let [minor, first, table, lines] = row.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{row}");
            };
            let (minor, first): (u8, u32) = (minor.parse().unwrap(), first.parse().unwrap());
            if !(8..=14).contains(&minor) {
                break;
            }
            let table: Vec<u8> = table
                .as_bytes()
                .chunks_exact(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            for (at, line) in (0..).step_by(2).zip(lines.split(',')) {
                let want = line.parse().ok();
                let got = line_at(minor, &table, first, at);
                assert_eq!(got, want, "{}: instruction {at} of {row}", python.display());
                checked += 1;
            }
        }
    }
    if checked == 0 {
        println!("SKIP lines_are_those_that_cpython_reads: no CPython 3.8 to 3.14 here");
    }
    println!("{checked} instructions");
}

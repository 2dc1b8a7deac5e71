//! Names that a recording lacks, found later by build id: `--symbols DIR` of every command that
//! reads recordings.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{Frame, Report, check_identity};
use rmap_tests::process::{Ended, run};
use rmap_tests::rmap::rmap;
use rmap_tests::{begin, facts, workload};

/// What the program writes with.
const FUNCTION: &str = "fill_block";

fn tool(name: &str, arguments: &[&Path]) {
    let done = Command::new(name).args(arguments).output().unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Takes the debug information of `built` to `debug`, and leaves a program without any name.
fn separate(built: &Path, program: &Path, debug: &Path) {
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    tool("objcopy", &[Path::new("--only-keep-debug"), built, debug]);
    tool("strip", &[Path::new("-o"), program, built]);
}

/// Calls a command that reads, with its JSON (or whatever it writes) in `out`.
fn read(words: &[&str], symbols: &[&Path]) -> Ended {
    let mut command = rmap(words);
    for folder in symbols {
        command.arg("--symbols").arg(folder);
    }
    run(&mut command)
}

/// The report of a recording, and what was said on stderr.
fn report(recording: &Path, json: &Path, symbols: &[&Path]) -> (Report, String) {
    let [recording, out] = [recording, json].map(|path| path.to_str().unwrap());
    let ended = read(&["report", "-o", "/dev/null", "--json", out, recording], symbols);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let report: Report = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    check_identity(&report).unwrap();
    facts::assert_sound(&report);
    (report, ended.err())
}

/// The frames of the program itself.
fn frames<'a>(report: &'a Report, program: &Path) -> Vec<&'a Frame> {
    let program = program.to_str().unwrap();
    let frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    frames.filter(|frame| frame.module == program).collect()
}

fn names<'a>(report: &'a Report, program: &Path) -> Vec<&'a str> {
    frames(report, program).iter().filter_map(|frame| frame.function.as_deref()).collect()
}

/// The recording without its names and its end, as when rmap was killed.
fn cut_off(recording: &Path) -> Vec<u8> {
    let file = fs::read(recording).unwrap();
    // Behind the head of 16 bytes each frame has its kind at 0 and its length at 4.
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 16;
    while file[at] != 3 {
        at += 24 + number(at + 4);
    }
    file[..at].to_vec()
}

#[test]
fn a_stripped_programs_names_are_found_later_by_build_id() {
    let machine = begin!();
    let dir = machine.scratch();
    let json = dir.join("report.json");
    // At fixed addresses, where addresses are no offsets, and position independent.
    for (kind, flags) in [("fixed", &["-no-pie"][..]), ("pie", &["-pie"])] {
        let built = workload::build_with("article", flags);
        let program = dir.join(kind);
        let debug = dir.join(format!("{kind}.symbols")).join("named-otherwise");
        separate(&built, &program, &debug);
        let recording = dir.join("recording");
        let live = dir.join("live.json");
        let mut command = rmap(["run", "-o", "/dev/null", "--json"]);
        command.arg(&live).arg("--record").arg(&recording).arg("--").arg(&program).arg("first");
        let ended = run(&mut command);
        assert_eq!(ended.code(), 0, "{}", ended.err());

        let (plain, said) = report(&recording, &json, &[]);
        assert_eq!((names(&plain, &program), said.as_str()), (vec![], ""), "{kind}");
        assert_eq!(fs::read(&json).unwrap(), fs::read(&live).unwrap(), "as it was live");

        let (named, said) = report(&recording, &json, &[debug.parent().unwrap()]);
        assert_eq!(said, "");
        assert!(names(&named, &program).contains(&FUNCTION), "{kind}: {named:?}");
        let lines = frames(&named, &program);
        let fill = lines.iter().find(|f| f.function.as_deref() == Some(FUNCTION)).unwrap();
        assert!(fill.file.as_deref().is_some_and(|file| file.ends_with("article.c")), "{fill:?}");
        assert!(fill.line.is_some_and(|line| line > 10), "{fill:?}");
        // Nothing but names differs.
        let sizes = |report: &Report| {
            report.processes.iter().map(|p| (p.rss_bytes, p.dirty_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&plain), sizes(&named));

        // By the file alone, by a folder of build ids, and by one that holds such a folder.
        let id = fill.build_id.clone().unwrap();
        let ids = dir.join(format!("{kind}.ids"));
        let by_id = ids.join(".build-id").join(&id[..2]);
        fs::create_dir_all(&by_id).unwrap();
        fs::copy(&debug, by_id.join(format!("{}.debug", &id[2..]))).unwrap();
        for symbols in [&debug, &ids, &ids.join(".build-id")] {
            let (again, said) = report(&recording, &json, &[symbols]);
            assert_eq!((&again.stacks, said.as_str()), (&named.stacks, ""), "{symbols:?}");
        }
        // The program itself, as it was before it was stripped, serves as well.
        let whole = dir.join(format!("{kind}.whole"));
        fs::create_dir(&whole).unwrap();
        fs::copy(&built, whole.join("program")).unwrap();
        let (again, _) = report(&recording, &json, &[&whole]);
        assert!(names(&again, &program).contains(&FUNCTION), "{kind}");

        // Where the program is no longer there, and the recording never had a name.
        fs::remove_file(&program).unwrap();
        fs::write(&recording, cut_off(&recording)).unwrap();
        let (cut, said) = report(&recording, &json, &[]);
        assert!(said.contains("before the session did"), "{said}");
        assert_eq!(names(&cut, &program), Vec::<&str>::new(), "{kind}");
        let (cut, _) = report(&recording, &json, &[&ids]);
        assert!(names(&cut, &program).contains(&FUNCTION), "{kind}: {cut:?}");
    }
}

#[test]
fn another_build_id_is_not_used_and_told() {
    let machine = begin!();
    let dir = machine.scratch();
    let json = dir.join("report.json");
    let program = dir.join("article");
    let right = dir.join("right/article.debug");
    separate(&workload::build("article"), &program, &right);
    // Another build of the same program, under the name that one looks for.
    let wrong = dir.join("wrong/article.debug");
    separate(&workload::build_with("article", &workload::BARE), &dir.join("other"), &wrong);
    let recording = dir.join("recording");
    let mut command = rmap(["run", "-o", "/dev/null", "--record"]);
    let ended = run(command.arg(&recording).arg("--").arg(&program).arg("first"));
    assert_eq!(ended.code(), 0, "{}", ended.err());

    let (plain, said) = report(&recording, &json, &[wrong.parent().unwrap()]);
    assert_eq!(names(&plain, &program), Vec::<&str>::new());
    let id = frames(&plain, &program)[0].build_id.clone().unwrap();
    let told = format!("rmap: {} is not used for {}: its", wrong.display(), program.display());
    assert!(said.starts_with(&told) && said.ends_with(&format!("not {id}\n")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // Beside the right one it is no matter.
    let both = [wrong.parent().unwrap(), right.parent().unwrap()];
    let (named, said) = report(&recording, &json, &both);
    assert!(names(&named, &program).contains(&FUNCTION));
    assert_eq!(said, "");
    // A folder that has nothing to do with it is told; one that is not there is an error.
    let none = dir.join("none");
    fs::create_dir(&none).unwrap();
    let (_, said) = report(&recording, &json, &[&none]);
    assert!(said.starts_with(&format!("rmap: nothing in {} is of use", none.display())), "{said}");
    let word = recording.to_str().unwrap();
    let ended = read(&["report", word], &[Path::new("/no/such")]);
    assert_eq!((ended.code(), ended.out().as_str()), (1, ""));
    let told = "rmap: cannot look for symbols in /no/such: No such file or directory";
    assert!(ended.err().starts_with(told) && ended.err().lines().count() == 1, "{}", ended.err());
    // A report that is JSON has the names that it has.
    let ended = read(&["flame", json.to_str().unwrap()], &[right.parent().unwrap()]);
    assert_eq!(ended.code(), 1);
    assert!(ended.err().contains("--symbols needs the recording"), "{}", ended.err());
}

#[test]
fn every_command_that_reads_a_recording_finds_them() {
    let machine = begin!();
    let dir = machine.scratch();
    let program = dir.join("article");
    let debug = dir.join("symbols/article.debug");
    separate(&workload::build("article"), &program, &debug);
    let mut recordings = Vec::new();
    for args in ["first", "second"] {
        let recording: PathBuf = dir.join(args);
        let mut command = rmap(["run", "-o", "/dev/null", "--record"]);
        let ended = run(command.arg(&recording).arg("--").arg(&program).arg(args));
        assert_eq!(ended.code(), 0, "{}", ended.err());
        recordings.push(recording.to_str().unwrap().to_owned());
    }
    let [first, second] = &recordings[..] else { panic!("{recordings:?}") };
    let out = dir.join("out");
    let out = out.to_str().unwrap();
    let export = |format: &'static str| {
        ["export", first.as_str(), "--of", "dirty", "--format", format, "-o", out]
            .map(str::to_owned)
    };
    let mut calls: Vec<Vec<String>> = vec![
        ["report", first, "-o", out].map(str::to_owned).to_vec(),
        ["report", first, "--at", "peak", "-o", out].map(str::to_owned).to_vec(),
        ["explain", first, "[heap]", "-o", out].map(str::to_owned).to_vec(),
        ["diff", first, second, "-o", out].map(str::to_owned).to_vec(),
        ["flame", first, "-o", out].map(str::to_owned).to_vec(),
    ];
    for format in ["json", "folded", "speedscope", "perfetto"] {
        calls.push(export(format).to_vec());
    }
    for call in calls {
        let words: Vec<&str> = call.iter().map(String::as_str).collect();
        let has_name = |symbols: &[&Path]| {
            let ended = read(&words, symbols);
            assert_eq!((ended.code(), ended.err().as_str()), (0, ""), "{words:?}");
            String::from_utf8_lossy(&fs::read(out).unwrap()).contains(FUNCTION)
        };
        assert!(!has_name(&[]), "{words:?}");
        assert!(has_name(&[debug.parent().unwrap()]), "{words:?}");
    }
}

#[test]
fn the_debug_file_of_a_stripped_program_is_advised() {
    let machine = begin!();
    let dir = machine.scratch();
    let (program, debug) = (dir.join("stripped"), dir.join("debug/stripped.debug"));
    separate(&workload::build("rise_and_fall"), &program, &debug);
    let (live, again, recording) = (dir.join("live"), dir.join("again"), dir.join("recording"));
    let mut command = rmap(["run", "-o", "/dev/null", "--json"]);
    command.arg(&live).arg("--record").arg(&recording).arg("--").arg(&program);
    let ended = run(&mut command);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let said = |json: &Path| -> Option<serde_json::Value> {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        let advice = report["advice"].as_array().unwrap();
        advice.iter().find(|advice| advice["rule"] == "no-names").cloned()
    };
    let missing = said(&live).unwrap();
    let file = &missing["modules"][0];
    assert_eq!(file["module"].as_str(), program.to_str(), "{missing}");
    // 8 MiB are left at the end.
    assert!(file["bytes"].as_u64().is_some_and(|bytes| bytes >= 8 << 20), "{missing}");
    let id = file["build_id"].as_str().unwrap();
    let debug_file = format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    assert_eq!(file["debug_file"], debug_file.as_str());
    assert!(file["debug_package"].is_null(), "it is no package's: {missing}");
    report(&recording, &again, &[]);
    assert_eq!(said(&again), Some(missing));
    report(&recording, &again, &[debug.parent().unwrap()]);
    assert_eq!(said(&again), None, "with its names");
}

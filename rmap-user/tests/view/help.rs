//! The help, and what is and is not accepted on the command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser, error::ErrorKind};
use rmap::cli::{Cli, Command, run::RunOptions, select::SelectOptions};

use rmap::view::order::Sort;

use crate::assert_golden;

fn help(name: Option<&str>, long: bool) -> String {
    let mut command = Cli::command().term_width(80);
    command.build();
    let command = match name {
        Some(name) => command.find_subcommand_mut(name).unwrap(),
        None => &mut command,
    };
    let help = if long { command.render_long_help() } else { command.render_help() };
    help.to_string()
}

#[test]
fn help_fits_and_is_as_it_was() {
    for name in [
        None,
        Some("run"),
        Some("attach"),
        Some("report"),
        Some("top"),
        Some("view"),
        Some("explain"),
        Some("diff"),
        Some("flame"),
        Some("export"),
        Some("pmap"),
        Some("doctor"),
    ] {
        let file = name.unwrap_or("rmap");
        let short = help(name, false);
        assert!(short.lines().count() <= 24, "{short}");
        for line in short.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_golden(&format!("help-{file}.txt"), &short);
        assert_golden(&format!("help-{file}.long.txt"), &help(name, true));
    }
}

fn run(words: &[&str]) -> RunOptions {
    let words = ["rmap", "run"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Run(options) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_filters_are_the_same_options_with_the_same_words_everywhere() {
    let commands: [&[&str]; 7] = [
        &["run"],
        &["attach", "-p", "1"],
        &["report"],
        &["explain", "b"],
        &["diff", "b"],
        &["flame"],
        &["export", "--format", "folded"],
    ];
    let asked = ["--top", "3", "--sort", "dirty", "--segment", "[heap]", "--process", "sh"];
    let options = ["top", "sort", "segment", "process"];
    let mut said = Vec::new();
    for words in commands {
        let last: &[&str] = if words[0] == "attach" { &[] } else { &["a"] };
        let all = ["rmap"].iter().chain(words).chain(&asked).chain(last);
        let select: SelectOptions = match Cli::try_parse_from(all).unwrap().command {
            Command::Run(options) => options.watch.output.select,
            Command::Attach(options) => options.watch.output.select,
            Command::Report(options) => options.output.select,
            Command::Explain(options) => options.output.select,
            Command::Diff(options) => options.output.select,
            Command::Flame(options) => options.select,
            Command::Export(options) => options.select,
            other => panic!("{other:?}"),
        };
        assert_eq!((select.rows(Some(15)), select.order()), (Some(3), Sort::Dirty), "{words:?}");
        let selection = select.selection();
        assert_eq!(
            (selection.segments, selection.processes),
            (vec!["[heap]".into()], vec!["sh".into()])
        );
        let command = Cli::command();
        let command = command.find_subcommand(words[0]).unwrap();
        said.push(options.map(|name| {
            let option = command.get_arguments().find(|option| option.get_id() == name).unwrap();
            (
                option.get_help().map(ToString::to_string),
                option.get_long_help().map(ToString::to_string),
            )
        }));
        for wrong in [&["--top", "-1"], &["--sort", "size"]] {
            let all = ["rmap"].iter().chain(words).chain(wrong).chain(last);
            assert_eq!(Cli::try_parse_from(all).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
    assert!(said.iter().all(|words| *words == said[0]), "{said:#?}");
    let select = SelectOptions { top: Some(0), ..SelectOptions::default() };
    assert_eq!((select.rows(Some(15)), SelectOptions::default().rows(Some(15))), (None, Some(15)));
}

#[test]
fn what_follows_the_command_is_the_commands() {
    for words in [&["--", "ls", "-l", "--top", "3"][..], &["ls", "-l", "--top", "3"]] {
        let options = run(words);
        assert_eq!(options.command, ["ls", "-l", "--top", "3"].map(OsString::from), "{words:?}");
        assert_eq!(options.watch.output.select.top, None);
    }
    assert_eq!(run(&["--", "ls", "--", "x"]).command, ["ls", "--", "x"].map(OsString::from));
    assert_eq!(run(&["ls", "--", "x"]).command, ["ls", "--", "x"].map(OsString::from));
    assert_eq!(run(&["--", "-x"]).command, ["-x"].map(OsString::from));
    assert_eq!(run(&["ls", "-h"]).command, ["ls", "-h"].map(OsString::from));
}

#[test]
fn options_are_read() {
    let options = run(&[
        "--json",
        "-",
        "-o",
        "t.txt",
        "--interval",
        "0.25",
        "--top",
        "0",
        "--no-follow",
        "--user",
        "nobody",
        "-vv",
        "true",
    ]);
    assert_eq!(options.watch.output.json.as_deref(), Some("-".as_ref()));
    assert_eq!(options.watch.output.output.as_deref(), Some("t.txt".as_ref()));
    assert_eq!(options.watch.look.interval, Some(Duration::from_millis(250)));
    let output = &options.watch.output;
    assert_eq!((output.select.top, output.verbose), (Some(0), 2));
    assert!(options.watch.no_follow);
    assert_eq!(options.user.as_deref(), Some("nobody"));
}

#[test]
fn processes_are_named_in_one_word_or_several() {
    for words in [&["-p", "7,8", "-d", "1.5"][..], &["-p7", "--pid", "8", "--duration", "1.5"]] {
        let words = ["rmap", "attach"].iter().chain(words);
        let Command::Attach(options) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(options.pids, [7, 8]);
        assert_eq!(options.duration, Some(Duration::from_millis(1500)));
    }
}

#[test]
fn a_story_is_of_a_file_or_of_a_process() {
    let explain = |words: &[&str]| {
        let words = ["rmap", "explain"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Explain(options) => options,
            other => panic!("{other:?}"),
        }
    };
    let file = explain(&["prog.rmap", "[heap]", "--process", "7"]);
    assert_eq!(file.first, "prog.rmap");
    assert_eq!((file.second.as_deref(), file.pid), (Some("[heap]"), None));
    assert_eq!(file.output.select.process, ["7"]);
    for words in [&["-p", "7", "[heap]", "-d", "0.5"][..], &["[heap]", "--pid=7", "-d.5"]] {
        let live = explain(words);
        assert_eq!((live.first.to_str(), live.second, live.pid), (Some("[heap]"), None, Some(7)));
        assert_eq!(live.duration, Some(Duration::from_millis(500)));
    }
}

#[test]
fn wrong_usage_exits_2() {
    for words in [
        &["rmap"][..],
        &["rmap", "run"],
        &["rmap", "run", "--"],
        &["rmap", "run", "--bogus", "true"],
        &["rmap", "run", "--interval", "0", "true"],
        &["rmap", "run", "--interval", "-1", "true"],
        &["rmap", "run", "--interval", "nan", "true"],
        &["rmap", "run", "--interval", "1e-12", "true"],
        &["rmap", "run", "--top", "-1", "true"],
        &["rmap", "attach"],
        &["rmap", "attach", "-p", ""],
        &["rmap", "attach", "-p", "0"],
        &["rmap", "attach", "-p", "1,x"],
        &["rmap", "attach", "-p", "1", "-d", "0"],
        &["rmap", "attach", "1"],
        &["rmap", "report"],
        &["rmap", "report", "--at", "1e300", "FILE"],
        &["rmap", "report", "--window", "1", "FILE"],
        &["rmap", "report", "--budget", "rss", "FILE"],
        &["rmap", "mark", "1.5"],
        &["rmap", "report", "--at", "-1", "FILE"],
        &["rmap", "explain"],
        &["rmap", "explain", "[heap]"],
        &["rmap", "explain", "-p", "7"],
        &["rmap", "explain", "-p", "0", "[heap]"],
        &["rmap", "explain", "-p", "7", "FILE", "[heap]"],
        &["rmap", "explain", "FILE", "[heap]", "-d", "1"],
        &["rmap", "explain", "FILE", "-d", "1"],
        &["rmap", "explain", "FILE", "[heap]", "--record", "x"],
        &["rmap", "top"],
        &["rmap", "top", "-p", "0"],
        &["rmap", "top", "-p", "1", "--tree", "2"],
        &["rmap", "top", "-p", "1", "-o", "FILE"],
        &["rmap", "view"],
        &["rmap", "pmap"],
        &["rmap", "pmap", "0"],
        &["rmap", "pmap", "x"],
        &["rmap", "doctor", "x"],
        &["rmap", "frobnicate"],
    ] {
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}: {error}");
    }
    let version = Cli::try_parse_from(["rmap", "--version"]).unwrap_err();
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    assert_eq!(version.exit_code(), 0);
    assert_eq!(version.to_string(), format!("rmap {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_manual_and_the_completions_know_every_command() {
    let manual = String::from_utf8(rmap::cli::manual::manual().unwrap()).unwrap();
    for name in
        ["run", "attach", "report", "top", "view", "explain", "flame", "export", "pmap", "doctor"]
    {
        assert!(manual.contains(&format!("RMAP {}", name.to_uppercase())), "{name}");
        for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
            let text = String::from_utf8(rmap::cli::manual::completions(*shell)).unwrap();
            assert!(text.contains(name), "{shell} {name}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let options = rmap::cli::manual::ManOptions { to: Some(folder.path().to_owned()) };
    rmap::cli::manual::man(&options).unwrap();
    let shown = Cli::command();
    let shown = shown.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<String> = shown.map(|command| command.get_name().to_owned()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        let page = folder.path().join(format!("rmap-{name}.1"));
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains(".TH rmap-") && page.contains(".SH OPTIONS"), "{name}: {page}");
    }
    let main = std::fs::read_to_string(folder.path().join("rmap.1")).unwrap();
    assert!(names.iter().all(|name| main.contains(&name.replace('-', "\\-"))), "{main}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), names.len() + 1);
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

//! Requests that are done in this process, without a sandbox.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::protocol::{ModuleAnswer, Place, Wanted};
use super::*;
use crate::unwind::cache;

const TIME: Duration = Duration::from_secs(60);

fn here(path: &Path) -> Place {
    Place::Here { path: path.to_str().unwrap().to_owned() }
}

fn module(worker: &mut Worker, place: Place, copy_max: u64) -> (ModuleAnswer, Option<OwnedFd>) {
    let reply = worker.ask(&Request::Module { place, copy_max }, None, TIME).unwrap();
    let Answer::Module(module) = reply.answer else { panic!("{:?}", reply.answer) };
    (*module, reply.copy)
}

#[inline(never)]
fn a_function_of_these_tests() -> u64 {
    std::hint::black_box(11)
}

/// The offset in this program's file of a function of it.
fn offset_of_a_function() -> u64 {
    let address = a_function_of_these_tests as fn() -> u64 as usize as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let offset = rest.split(' ').nth(1).unwrap();
        (hex(start)..hex(end)).contains(&address).then(|| hex(offset) + address - hex(start))
    };
    maps.lines().find_map(line).unwrap()
}

#[test]
fn a_file_gives_its_headers_its_table_and_its_names() {
    a_function_of_these_tests();
    let mut worker = Worker::default();
    let program = std::env::current_exe().unwrap();
    let (module, copy) = module(&mut worker, Place::Exe { pid: std::process::id() }, 1 << 30);
    assert_eq!(Path::new(&module.opened.path), program);
    assert!(module.opened.here && !module.opened.lasting);
    assert!(module.needs.names.iter().any(|name| name.starts_with("libc.so")));
    assert_eq!(module.digest.as_ref().unwrap().len(), 64);
    let table = worker.ask(&Request::Table, None, TIME).unwrap();
    assert!(cache::decode(&table.body).unwrap().row_count() > 1000);
    assert!(worker.ask(&Request::Table, None, TIME).is_err(), "it is made once");

    let copy = copy.unwrap();
    let offset = offset_of_a_function();
    let own = program.to_str().unwrap().to_owned();
    let build_id = module.headers.as_ref().unwrap().build_id.clone();
    let names = |worker: &mut Worker, own: Option<String>, build_id: Option<String>| {
        let stamp = Some(module.opened.stamp);
        let dwarf = true;
        let offsets = vec![offset];
        let wanted = Wanted { own, build_id, stamp, offsets, dwarf, ..Wanted::default() };
        let reply = worker.ask(&Request::Names(wanted), Some(copy.as_fd()), TIME).unwrap();
        let Answer::Names { frames, .. } = reply.answer else { panic!("{:?}", reply.answer) };
        frames[0].1.last().unwrap().clone()
    };
    let frame = names(&mut worker, Some(own), build_id.clone());
    assert!(frame.function.as_deref().unwrap().ends_with("a_function_of_these_tests"));
    assert!(frame.line.is_some());
    // Its path leads to nothing any more: the copy serves.
    let frame = names(&mut worker, Some("/nowhere/at/all".to_owned()), build_id);
    assert!(frame.function.as_deref().unwrap().ends_with("a_function_of_these_tests"));
    // And to another file.
    let frame = names(&mut worker, Some("/bin/sh".to_owned()), Some("00ff".to_owned()));
    assert_eq!(frame.function, None, "of the copy only if it is the one");
}

#[test]
fn a_library_of_the_system_stays_and_is_not_copied() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().find(|line| line.contains("/libc.so")).unwrap();
    let path = libc.split_ascii_whitespace().last().unwrap();
    let (module, copy) = module(&mut Worker::default(), here(Path::new(path)), 1 << 30);
    assert!(module.opened.lasting && module.opened.systems, "{:?}", module.opened);
    assert!(copy.is_none());
    assert!(!module.trampolines.is_empty(), "signal handlers return there");
}

#[test]
fn what_is_no_program_has_no_headers_and_what_is_not_there_is_refused() {
    let mut worker = Worker::default();
    let (module, copy) = module(&mut worker, here(Path::new("/etc/passwd")), 1 << 30);
    assert!(module.headers.is_none() && copy.is_none() && module.digest.is_none());
    let gone = Request::Module { place: here(Path::new("/nowhere")), copy_max: 0 };
    assert!(matches!(worker.ask(&gone, None, TIME), Err(Failure::Refused(_))));
    assert!(matches!(worker.ask(&Request::Table, None, TIME), Err(Failure::Refused(_))));
}

#[test]
fn texts_of_processes_are_read_up_to_a_limit() {
    let mut worker = Worker::default();
    let pid = std::process::id();
    let mut text = |name: &str, most| {
        let request = Request::Text { pid, name: name.to_owned(), most };
        worker.ask(&request, None, TIME).map(|reply| reply.body)
    };
    assert_eq!(text("cmdline", 5).unwrap().len(), 5);
    assert_eq!(text("cmdline", 1 << 20).unwrap(), fs::read("/proc/self/cmdline").unwrap());
    assert!(text("../../etc/passwd", 10).is_err());
}

#[test]
fn libraries_are_looked_for_in_order_and_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(folder.path().join("b")).unwrap();
    fs::create_dir(folder.path().join("c")).unwrap();
    fs::write(folder.path().join("c/lib.so"), "x").unwrap();
    fs::create_dir(folder.path().join("b/lib.so")).unwrap();
    let mut worker = Worker::default();
    let mut find = |lookups| {
        let folders = vec![path("a"), path("b"), path("c")];
        let names = vec![("lib.so".to_owned(), vec![0, 1, 2]), ("none.so".to_owned(), vec![0, 1])];
        let request = Request::Find { pid: std::process::id(), names, folders, lookups };
        match worker.ask(&request, None, TIME).unwrap().answer {
            Answer::Found(found, all) => (found, all),
            answer => panic!("{answer:?}"),
        }
    };
    let (found, all) = find(100);
    assert_eq!(found[0].as_ref().unwrap().0, path("c/lib.so"), "a folder is no library");
    assert!(found[1].is_none() && all);
    let (found, all) = find(4);
    assert!(found[0].is_none() && !all);
}

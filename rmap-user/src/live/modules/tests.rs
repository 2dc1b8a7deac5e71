//! Real processes: this one, and programs that are compiled here.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::live::worker::names::Names;
use crate::report::{Frame, StackId};
use crate::runtime::python::Definitions;
use crate::symbol::{ModuleMap, RawStack, symbolize_keeping};
use crate::trace::StackEnd;

fn frames(map: &ModuleMap, ips: &[u64]) -> Vec<Frame> {
    let raw = RawStack {
        id: StackId(0),
        time_ns: 0,
        end: StackEnd::Complete,
        ips: ips.into(),
        runs: Box::default(),
        cut: false,
    };
    symbolize_keeping([(&raw, map)], &Definitions::default(), &Names::default())
        .0
        .stacks
        .remove(0)
        .frames
        .to_vec()
}

fn map_of(modules: Vec<Module>) -> ModuleMap {
    let mut map = ModuleMap::new();
    map.update(0, modules);
    map
}

#[inline(never)]
fn a_function_of_this_test() -> u64 {
    // A number that no other function gives: the linker keeps one of equal functions, by either name.
    std::hint::black_box(0x7e57_de5c)
}

#[test]
fn this_process_finds_its_own_functions() {
    a_function_of_this_test();
    let map = map_of(Catalogue::default().scan(std::process::id()).unwrap());
    let address = a_function_of_this_test as fn() -> u64 as usize as u64;
    let found = frames(&map, &[address]);
    let frame = found.last().unwrap();
    let function = frame.function.as_deref().unwrap();
    // Line tables alone, of optimized code, name no paths.
    assert!(function.ends_with("a_function_of_this_test"), "{function}");
    assert!(frame.file.as_deref().unwrap().ends_with("live/modules/tests.rs"));
    assert_eq!(frame.module, std::env::current_exe().unwrap().to_str().unwrap());
}

#[test]
fn the_vdso_names_its_functions() {
    let modules = Catalogue::default().scan(std::process::id()).unwrap();
    let vdso = modules.iter().find(|module| module.path == "[vdso]").unwrap();
    let start = vdso.range.start;
    let every_16th: Vec<u64> = vdso.range.clone().step_by(16).collect();
    assert!(vdso.binary.as_ref().unwrap().build_id.is_some());
    let map = map_of(modules);
    let found = frames(&map, &every_16th);
    let named = found.iter().filter_map(|frame| frame.function.as_deref());
    assert!(named.clone().any(|name| name.ends_with("gettimeofday")), "{:?}", found[0]);
    assert!(found.iter().all(|frame| frame.module == "[vdso]"), "{start:x}");
}

/// Compiles a program that prints where its function is, then waits.
fn start(directory: &Path, function: &str) -> (Child, u64) {
    let source = directory.join("p.c");
    let program = directory.join("p");
    let code = format!(
        "#include <stdio.h>\n#include <unistd.h>\nstatic int {function}(void) {{ return 1; }}\n\
         int main(void) {{ printf(\"%p\\n\", (void *)&{function}); fflush(stdout); pause(); }}\n"
    );
    fs::write(&source, code).unwrap();
    fs::remove_file(&program).ok();
    let done = Command::new("cc").arg("-g").arg("-o").args([&program, &source]).status().unwrap();
    assert!(done.success());
    let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
    let address = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
    (child, address)
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn processes_that_ended_with_files_deleted_and_replaced_at_one_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut catalogue = Catalogue::default();
    let (old, old_at) = start(dir.path(), "the_old_one");
    let (new, new_at) = start(dir.path(), "the_new_one");
    let old_modules = catalogue.scan(old.id());
    let new_modules = catalogue.scan(new.id());
    end(old);
    end(new);
    let (old, new) = (map_of(old_modules.unwrap()), map_of(new_modules.unwrap()));
    fs::remove_file(dir.path().join("p")).unwrap();

    let name = |map, at| frames(map, &[at]).pop().unwrap();
    let found = name(&new, new_at);
    assert_eq!((found.function.as_deref(), found.line), (Some("the_new_one"), Some(3)));
    let found = name(&old, old_at);
    assert_eq!(found.module, dir.path().join("p").to_str().unwrap());
    let direct = fs::metadata("/proc/self/map_files").is_ok() && nix::unistd::geteuid().is_root();
    if direct {
        assert_eq!(found.function.as_deref(), Some("the_old_one"));
    } else {
        // Without root the deleted file cannot be had, and the other must not stand for it.
        assert_eq!(found.function, None);
    }
}

#[test]
fn a_file_is_known_once_and_none_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let (child, address) = start(dir.path(), "any");
    let mut catalogue = Catalogue::default();
    let first = catalogue.scan(child.id()).unwrap();
    let count = catalogue.count();
    let own = catalogue.scan(std::process::id()).unwrap();
    let libc = |modules: &[Module]| {
        let module = modules.iter().find(|module| module.path.contains("/libc.so"));
        module.unwrap().binary.clone().unwrap()
    };
    assert!(Arc::ptr_eq(&libc(&first), &libc(&own)), "shared by two processes");
    let before = catalogue.count();
    catalogue.scan(child.id()).unwrap();
    assert_eq!(catalogue.count(), before);
    assert!(before > count, "this process has files of its own");
    end(child);

    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let held = |path: &&PathBuf| path.starts_with(dir.path());
    assert_eq!(open.iter().find(held), None, "{open:?}");
    assert_eq!(frames(&map_of(first), &[address])[0].function.as_deref(), Some("any"));
}

#[test]
fn a_process_that_is_not_there_is_an_error() {
    assert!(Catalogue::default().scan(u32::MAX).is_err());
}

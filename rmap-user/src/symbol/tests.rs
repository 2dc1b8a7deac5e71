//! Programs that are compiled here, and what their addresses become.

use std::fs;
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::report::{Address, Frame, StackId};
use crate::runtime::python::Definitions;
use crate::trace::StackEnd;

/// Line numbers below count from here. `sink` reports where it was called from.
const C: &str = r#"#include <stdio.h>
__attribute__((noinline)) void sink(void) { printf("%p\n", __builtin_return_address(0)); }
static inline __attribute__((always_inline)) void inner(int n) {
    if (n) sink();
    __asm__ volatile("");
}
static inline __attribute__((always_inline)) void middle(int n) {
    inner(n);
    __asm__ volatile("");
}
static __attribute__((noinline)) void outer(int n) {
    middle(n);
    __asm__ volatile("");
}
int main(int argc, char **argv) {
    printf("%p\n", (void *)&outer);
    printf("%p\n", (void *)&main);
    outer(argc);
    return 0;
}
"#;

const CPP: &str = r#"#include <cstdio>
namespace shop {
template <class T> struct Cart {
    __attribute__((noinline)) int add(T item, const char *name) {
        std::printf("%p\n", __builtin_return_address(0));
        return item + (name != nullptr);
    }
};
__attribute__((noinline)) int buy(Cart<int> &cart, int n) { return cart.add(n, "x") + n; }
}
int main(int argc, char **) { shop::Cart<int> cart; return shop::buy(cart, argc) == 0; }
"#;

const RUST: &str = r#"
#[inline(never)]
fn sink() { println!("{:p}", std::hint::black_box(bake::<u8> as fn() -> u8)); }
#[inline(never)]
fn bake<T: Default>() -> T { std::hint::black_box(T::default()) }
fn main() { sink(); bake::<u8>(); }
"#;

fn compile(directory: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let extension = name.rsplit('.').next().unwrap();
    let compiler = match extension {
        "cc" => "c++",
        "rs" => "rustc",
        _ => "cc",
    };
    let file = directory.join(name);
    fs::write(&file, source).unwrap();
    let program = file.with_extension("");
    let done = Command::new(compiler)
        .args(options)
        .arg("-o")
        .args([&program, &file])
        .output()
        .unwrap_or_else(|error| panic!("these tests need {compiler}: {error}"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

/// The addresses that a program prints, a line each. They are the file's own: it is no PIE.
fn printed(program: &Path) -> Vec<u64> {
    let output = Command::new(program).output().unwrap().stdout;
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|l| u64::from_str_radix(l.trim_start_matches("0x"), 16).unwrap()).collect()
}

/// A map with one file from address 0 to `u64::MAX`, mapped so that a program at fixed addresses
/// lies where its file says.
fn mapped(binary: Arc<Binary>, path: &Path) -> ModuleMap {
    let mut map = ModuleMap::new();
    // These linkers give the text of a fixed-address program the offset address − 0x400000.
    let module = Module {
        range: 0x40_0000..0x4000_0000,
        offset: 0,
        path: path.to_str().unwrap().to_owned(),
        device: (0, 0),
        inode: 1,
        binary: Some(binary),
    };
    map.add(0, module);
    map
}

fn keep(path: &Path) -> Arc<Binary> {
    Arc::new(Binary::keep(File::open(path).unwrap()).unwrap())
}

fn named(map: &ModuleMap, ips: &[u64]) -> Symbolized {
    let raw = RawStack {
        id: StackId(5),
        time_ns: 1,
        end: StackEnd::Complete,
        ips: ips.into(),
        runs: Box::default(),
        cut: false,
    };
    symbolize([(&raw, map)])
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|f| f.function.as_deref().unwrap_or("?")).collect()
}

const FIXED: &[&str] = &["-O2", "-g", "-no-pie", "-Wl,--build-id=sha1"];

#[test]
fn inlined_functions_are_frames_with_their_own_lines() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let [_, main, call] = printed(&program)[..] else { panic!() };
    let map = mapped(keep(&program), &program);
    // The innermost frame is the start of main; the call is a return address.
    let found = named(&map, &[main, call]);
    let frames = &found.stacks[0].frames;
    assert!(found.stacks[0].complete);
    assert_eq!(functions(frames), ["main", "inner", "middle", "outer"]);
    let inlined: Vec<_> = frames.iter().map(|f| f.inlined).collect();
    assert_eq!(inlined, [false, true, true, false]);
    let lines: Vec<_> = frames.iter().map(|f| f.line.unwrap()).collect();
    assert_eq!(lines, [15, 4, 8, 12]);
    assert_eq!(frames[1].offset, Address(call - 1), "the address looked up");
    for frame in frames {
        assert!(frame.file.as_deref().unwrap().ends_with("/a.c"));
        assert_eq!(frame.module, program.to_str().unwrap());
        assert_eq!(frame.build_id.as_ref().unwrap().len(), 40);
    }
    assert_eq!(found.stats.named, 2);
    assert!(found.stats.problems.is_empty(), "{:?}", found.stats);
}

#[test]
fn stacks_of_one_program_at_other_addresses_have_the_same_frames() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, &["-O2", "-g", "-pie", "-fPIE"]);
    let binary = keep(&program);
    let loaded = |base: u64| {
        let mut map = ModuleMap::new();
        let size = fs::metadata(&program).unwrap().len();
        let (path, binary) = (program.display().to_string(), Some(Arc::clone(&binary)));
        let range = base..base + size;
        map.add(0, Module { range, offset: 0, path, device: (0, 0), inode: 0, binary });
        map
    };
    let raw = |base: u64, end: StackEnd| RawStack {
        id: StackId(5),
        time_ns: 1,
        end,
        ips: [base + 0x1040, base + 0x1050].into(),
        runs: Box::default(),
        cut: false,
    };
    let (low, high) = (0x10_0000, 0x7f00_0000_0000);
    let (one, other) = (loaded(low), loaded(high));
    let stacks = [
        (&raw(low, StackEnd::Complete), &one),
        (&raw(high, StackEnd::Complete), &other),
        (&raw(high, StackEnd::NoRow), &other),
    ];
    let found = symbolize(stacks).stacks;
    assert_eq!(found[0].frames.address(), found[1].frames.address(), "they are there once");
    assert_ne!(found[1].frames, found[2].frames, "how the walk ended is a part of them");
}

#[test]
fn compressed_debug_information_serves_too() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["-gz=zlib", "-gdwarf-4"] {
        let options = [FIXED, &[kind]].concat();
        let program = compile(dir.path(), "a.c", C, &options);
        let call = printed(&program)[2];
        let found = named(&mapped(keep(&program), &program), &[0x1, call]);
        let frames = &found.stacks[0].frames;
        assert_eq!(functions(frames), ["?", "inner", "middle", "outer"], "{kind}");
        assert_eq!(frames[0].module, "[unknown]");
    }
}

#[test]
fn names_are_demangled() {
    let dir = tempfile::tempdir().unwrap();
    for debug in ["-g", "-g0"] {
        let program = compile(dir.path(), "b.cc", CPP, &["-O2", "-no-pie", debug]);
        let call = printed(&program)[0];
        let found = named(&mapped(keep(&program), &program), &[1, call]);
        assert_eq!(functions(&found.stacks[0].frames)[1], "shop::buy(shop::Cart<int>&, int)");
    }
    let options = ["-Crelocation-model=static", "-g", "--crate-name=baker"];
    // Without the choice it is what the compiler's version makes.
    for (mangling, name) in
        [(&["-Csymbol-mangling-version=v0"][..], "baker::bake::<u8>"), (&[], "")]
    {
        let options = &[&options, mangling].concat();
        let program = compile(dir.path(), "c.rs", RUST, options);
        let bake = printed(&program)[0];
        let binary = keep(&program);
        // rustc's linker may lay the text out at another offset; the headers say which.
        let headers = elf::Headers::read(binary.file.as_ref().unwrap()).unwrap();
        let offset = (0..0x40_0000).find(|at| headers.address_of(*at) == Some(bake)).unwrap();
        let mut map = ModuleMap::new();
        let path = program.to_str().unwrap().to_owned();
        let range = bake..bake + 1;
        map.add(0, Module { range, offset, path, device: (0, 0), inode: 1, binary: Some(binary) });
        let found = named(&map, &[bake]);
        let frame = found.stacks[0].frames.last().unwrap();
        let function = frame.function.as_deref().unwrap();
        assert!(function.starts_with("baker::bake"), "{function}");
        assert!(name.is_empty() || function == name, "{function}");
        assert_eq!(frame.line, Some(5));
    }
}

#[test]
fn static_functions_by_symbols_alone_and_nothing_when_stripped() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, &["-O2", "-no-pie", "-Wl,--build-id=sha1"]);
    let [outer, _, call] = printed(&program)[..] else { panic!() };
    let found = named(&mapped(keep(&program), &program), &[outer, call]);
    assert_eq!(functions(&found.stacks[0].frames), ["outer", "outer"]);
    assert_eq!(found.stacks[0].frames[0].line, None);

    assert!(Command::new("strip").arg(&program).status().unwrap().success());
    let found = named(&mapped(keep(&program), &program), &[outer, call]);
    let frames = &found.stacks[0].frames;
    assert_eq!(functions(frames), ["?", "?"]);
    assert_eq!(frames[0].offset, Address(outer));
    assert_eq!(frames[0].build_id.as_ref().unwrap().len(), 40);
    assert_eq!(found.stats.no_symbol, 2);
}

#[test]
fn a_symbol_without_size_does_not_reach_into_the_next_section() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, &["-O2", "-no-pie"]);
    let plt = Command::new("objdump").args(["-h", "-j", ".plt"]).arg(&program).output().unwrap();
    let plt = String::from_utf8(plt.stdout).unwrap();
    let line = plt.lines().find(|l| l.contains(" .plt ")).unwrap();
    let plt = u64::from_str_radix(line.split_whitespace().nth(3).unwrap(), 16).unwrap();
    let found = named(&mapped(keep(&program), &program), &[plt + 16]);
    assert_eq!(functions(&found.stacks[0].frames), ["?"], "not _init");
}

#[test]
fn separate_debug_files_are_found_by_name_and_believed_by_build_id() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let call = printed(&program)[2];
    let debug = dir.path().join("a.debug");
    let run = |command: &str, arguments: &[&Path]| {
        let done = Command::new(command).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run("objcopy", &[Path::new("--only-keep-debug"), &program, &debug]);
    run("strip", &[&program]);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run("objcopy", &[Path::new(&link), &program]);
    let map = mapped(keep(&program), &program);
    let found = named(&map, &[1, call]);
    let frames = &found.stacks[0].frames;
    assert_eq!(functions(frames), ["?", "inner", "middle", "outer"]);
    assert_eq!(frames[1].line, Some(4));

    let other = compile(dir.path(), "other.c", &C.replace("outer", "wrong"), FIXED);
    run("objcopy", &[Path::new("--only-keep-debug"), &other, &debug]);
    assert_eq!(functions(&named(&map, &[1, call]).stacks[0].frames), ["?", "?"]);

    fs::remove_file(&debug).unwrap();
    run("mkfifo", &[&debug]);
    assert_eq!(functions(&named(&map, &[1, call]).stacks[0].frames), ["?", "?"], "does not wait");
}

/// What a recording knows of a program: no file, and where its bytes lie in memory.
fn of_a_recording(build_id: Option<&str>, bias: Option<i64>, names: Names) -> Arc<Binary> {
    let binary = Binary::without_file(build_id.map(str::to_owned), "it is on another machine");
    let mut names = names;
    if let Some(bias) = bias {
        names.add_bias(0..0x10_0000, bias);
    }
    binary.names.set(names).unwrap();
    Arc::new(binary)
}

fn named_in(map: &ModuleMap, ips: &[u64], folders: &Folders) -> Symbolized {
    let raw = RawStack {
        id: StackId(5),
        time_ns: 1,
        end: StackEnd::Complete,
        ips: ips.into(),
        runs: Box::default(),
        cut: false,
    };
    symbolize_keeping([(&raw, map)], &Definitions::default(), folders).0
}

#[test]
fn root_opens_no_file_that_a_recording_names_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let call = printed(&program)[2];
    let id = keep(&program).build_id.clone().unwrap();
    let binary = of_a_recording(Some(&id), Some(0x40_0000), Names::default());
    let map = mapped(binary, &program);
    let found = |folders: &Folders| {
        let found = named_in(&map, &[1, call], folders);
        let named = functions_owned(&found.stacks[0].frames).iter().any(|name| name == "outer");
        (named, folders.notes(&found.stats.sought))
    };
    assert_eq!(found(&Folders::default()), (true, vec![]), "by its path and build id");
    assert_eq!(found(&Folders::alone()), (false, vec![]));
    let (named, notes) = found(&Folders::unasked());
    assert!(!named && notes.len() == 1 && notes[0].contains("--symbols DIR"), "{notes:?}");
}

#[test]
fn what_a_recording_lacks_is_found_in_folders_by_build_id_alone() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let call = printed(&program)[2];
    let id = keep(&program).build_id.clone().unwrap();
    let folder = dir.path().join("symbols/deep/er");
    fs::create_dir_all(&folder).unwrap();
    let debug = folder.join("a.debug");
    let mut objcopy = Command::new("objcopy");
    objcopy.arg("--only-keep-debug").args([&program, &debug]);
    assert!(objcopy.status().unwrap().success());
    // The program's own path is that of nothing.
    let gone = dir.path().join("gone/a");
    let root = dir.path().join("symbols");
    let folders = || Folders::new(vec![root.clone()]).unwrap();
    let functions_of = |binary: &Arc<Binary>, folders: &Folders| {
        let found = named_in(&mapped(Arc::clone(binary), &gone), &[1, call], folders);
        (functions_owned(&found.stacks[0].frames), found.stats.sought)
    };
    let bias = Some(0x40_0000);
    let binary = of_a_recording(Some(&id), bias, Names::default());
    let named = ["?", "inner", "middle", "outer"].map(str::to_owned).to_vec();
    let unnamed = ["?", "?"].map(str::to_owned).to_vec();
    let (found, sought) = functions_of(&binary, &folders());
    assert_eq!(found, named);
    assert_eq!((sought.files, sought.found, sought.refused.len()), (1, 1, 0));
    assert_eq!(functions_of(&binary, &Folders::default()).0, unnamed);

    // A poor name is made better, a good one is left as it is.
    let offset = call - 1 - 0x40_0000;
    let recorded = |file: Option<&str>| {
        let frame = Frame {
            function: Some("nearest".into()),
            file: file.map(str::to_owned),
            offset: Address(call - 1),
            ..Frame::default()
        };
        Names::of([(offset, vec![frame])].into())
    };
    let binary = of_a_recording(Some(&id), bias, recorded(None));
    assert_eq!(functions_of(&binary, &folders()).0, named);
    assert_eq!(functions_of(&binary, &Folders::alone()).0, ["?", "nearest"]);
    let binary = of_a_recording(Some(&id), bias, recorded(Some("a.c")));
    assert_eq!(functions_of(&binary, &folders()).0, ["?", "nearest"]);
    // Of an older recording the address is known by the names alone.
    let binary = of_a_recording(Some(&id), None, recorded(None));
    assert_eq!(functions_of(&binary, &folders()).0[1..], named[1..]);

    // Another build id, none, and one that would lead out of the folder.
    for (other, why) in [
        (Some("00ff"), "its build id is"),
        (None, "no build id by which it could be known"),
        (Some("../../../etc"), "its build id is"),
    ] {
        let binary = of_a_recording(other, bias, Names::default());
        let (found, sought) = functions_of(&binary, &folders());
        assert_eq!((&found, sought.found), (&unnamed, 0), "{other:?}");
        let [told] = &sought.refused[..] else { panic!("{sought:?}") };
        assert!(told.contains(why) && told.contains("a.debug is not used"), "{told}");
    }
    // What is no regular file is not waited for.
    fs::remove_file(&debug).unwrap();
    assert!(Command::new("mkfifo").arg(&debug).status().unwrap().success());
    let binary = of_a_recording(Some(&id), bias, Names::default());
    let (found, sought) = functions_of(&binary, &folders());
    assert_eq!((found, sought.refused.len()), (unnamed, 0));
    let [told] = &folders().notes(&sought)[..] else { panic!("{sought:?}") };
    assert!(told.starts_with("nothing in ") && told.contains(root.to_str().unwrap()), "{told}");
    assert!(Folders::new(vec![gone]).is_err());
}

fn functions_owned(frames: &[Frame]) -> Vec<String> {
    functions(frames).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_kept_file_serves_after_it_was_deleted_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let call = printed(&program)[2];
    let old = keep(&program);
    fs::remove_file(&program).unwrap();
    let renamed = C.replace("inner", "inside").replace("middle", "between");
    compile(dir.path(), "a.c", &renamed, FIXED);
    let new_call = printed(&program)[2];
    let new = keep(&program);

    let (old, new) = (mapped(old, &program), mapped(new, &program));
    let raw = |ips: &[u64]| RawStack {
        id: StackId(1),
        time_ns: 0,
        end: StackEnd::Complete,
        ips: ips.into(),
        runs: Box::default(),
        cut: false,
    };
    let (first, second) = (raw(&[1, call]), raw(&[1, new_call]));
    let found = symbolize([(&first, &old), (&second, &new)]);
    assert_eq!(functions(&found.stacks[0].frames)[1..], ["inner", "middle", "outer"]);
    assert_eq!(functions(&found.stacks[1].frames)[1..], ["inside", "between", "outer"]);
}

#[test]
fn a_file_written_over_names_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, FIXED);
    let call = printed(&program)[2];
    let map = mapped(keep(&program), &program);
    let other = compile(dir.path(), "other.c", &C.replace("outer", "wrong"), FIXED);
    fs::write(&program, fs::read(other).unwrap()).unwrap();
    let found = named(&map, &[1, call]);
    assert_eq!(functions(&found.stacks[0].frames), ["?", "?"]);
    let problem = &found.stats.problems[program.to_str().unwrap()];
    assert_eq!(problem, "the file changed since it was mapped");
}

#[test]
fn a_signal_frame_is_no_call() {
    let dir = tempfile::tempdir().unwrap();
    // What a handler returns to stands first in its function, so the byte before is another's.
    let source = r#"#include <stdio.h>
__asm__(".text\n.type before,@function\nbefore: nop\nret\n.size before,.-before\n"
        ".type restorer,@function\nrestorer: mov $15,%rax\nsyscall\n.size restorer,.-restorer\n"
        ".type behind,@function\nbehind: nop\nret\n.size behind,.-behind\n");
extern char restorer, behind;
int main(void) { printf("%p\n%p\n", &restorer, &behind); }
"#;
    if cfg!(target_arch = "x86_64") {
        let program = compile(dir.path(), "s.c", source, &["-no-pie"]);
        let [restorer, behind] = printed(&program)[..] else { panic!() };
        let map = mapped(keep(&program), &program);
        let found = named(&map, &[1, restorer, behind, behind]);
        let names = functions(&found.stacks[0].frames).join(" ");
        assert_eq!(names, "? restorer behind restorer", "only the last is a return address");
    }
}

#[test]
fn incomplete_stacks_end_in_a_marker() {
    let raw = RawStack {
        id: StackId(9),
        time_ns: 0,
        end: StackEnd::NoRow,
        ips: vec![0x1000].into(),
        runs: Box::default(),
        cut: false,
    };
    let mut map = ModuleMap::new();
    map.add(
        0,
        Module {
            range: 0x1000..0x2000,
            offset: 0,
            path: String::new(),
            device: (0, 0),
            inode: 0,
            binary: None,
        },
    );
    let found = symbolize([(&raw, &map)]);
    let stack = &found.stacks[0];
    assert_eq!((stack.id, stack.complete), (StackId(9), false));
    let modules: Vec<_> = stack.frames.iter().map(|f| f.module.as_str()).collect();
    assert_eq!(modules, ["[anon]", "[incomplete: no unwind row]"]);
    assert_eq!(stack.frames[0].offset, Address(0x1000));
    assert_eq!((found.stats.places, found.stats.no_file), (1, 1));
}

/// A hostile file: whatever is cut off or flipped, a stack comes back with as many places.
#[test]
fn damaged_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let source = &C.replace("#include <stdio.h>", "int printf(const char *, ...);");
    let mut wholes = Vec::new();
    for options in [FIXED, &[FIXED, &["-gz=zlib"]].concat()] {
        let program = compile(dir.path(), "a.c", source, options);
        wholes.push((printed(&program)[2], fs::read(&program).unwrap()));
    }
    let check = |bytes: &[u8], call: u64| {
        let path = dir.path().join("damaged");
        fs::remove_file(&path).ok();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let found = named(&mapped(keep(&path), &path), &[call, call, 0x40_1000]);
        assert!(found.stacks[0].frames.len() >= 3);
    };
    for (call, whole) in &wholes {
        for cut in (0..whole.len()).step_by(whole.len() / 40) {
            check(&whole[..cut], *call);
        }
    }
    let any = (0..wholes.len(), prop::collection::vec((any::<u16>(), any::<u8>()), 1..40));
    proptest!(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() },
        |((which, flips) in any)| {
        let (call, mut bytes) = wholes[which].clone();
        for (at, value) in flips {
            let size = bytes.len();
            bytes[usize::from(at) % size] = value;
        }
        check(&bytes, call);
    });
}

#[test]
fn sizes_that_lie_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "a.c", C, &[FIXED, &["-gz=zlib"]].concat());
    let call = printed(&program)[2];
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    let bytes = fs::read(&program).unwrap();
    let shoff = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap());
    let count = u16::from_le_bytes(bytes[0x3c..0x3e].try_into().unwrap());
    for section in 1..u64::from(count) {
        let file = File::options().read(true).write(true).open(&program).unwrap();
        // 4 GiB that are not there, then 4 GiB that are a hole.
        file.write_all_at(&(4u64 << 30).to_le_bytes(), shoff + section * 64 + 0x20).unwrap();
        named(&mapped(keep(&program), &program), &[call]);
        file.set_len(8 << 30).unwrap();
        let started = std::time::Instant::now();
        named(&mapped(keep(&program), &program), &[call]);
        assert!(started.elapsed().as_secs() < 20, "section {section}");
        file.set_len(0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
}

#[test]
fn debug_information_that_nests_without_end_is_left_aside() {
    let dir = tempfile::tempdir().unwrap();
    // A unit, a function over main, and in it 8 million inlined functions, each in the other.
    let source = r#"#include <stdio.h>
int main(void) {
    __asm__(".file 1 \"deep.c\"\n.loc 1 2\n");
    printf("%p\n", (void *)&main);
}
__asm__(".section .debug_abbrev,\"\",@progbits\n"
    ".uleb128 1,0x11; .byte 1; .uleb128 0x11,1, 0x12,7, 0x10,0x17, 0,0\n"
    ".uleb128 2,0x2e; .byte 1; .uleb128 0x11,1, 0x12,7, 0,0\n"
    ".uleb128 3,0x1d; .byte 1; .uleb128 0,0\n"
    ".byte 0\n"
    ".section .debug_info,\"\",@progbits\n"
    ".long 2f-1f\n1: .short 4; .long 0; .byte 8\n"
    ".byte 1; .quad main, 64; .long 0; .byte 2; .quad main, 64\n"
    ".fill 8000000,1,3\n"
    "2:\n.text\n");
"#;
    let program = compile(dir.path(), "deep.c", source, &["-no-pie", "-O1"]);
    // Not the system's file, whoever runs this test.
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&program, open).unwrap();
    let main = printed(&program)[0];
    let found = named(&mapped(keep(&program), &program), &[main + 16]);
    assert_eq!(functions(&found.stacks[0].frames), ["main"], "by its symbol");
    let problem = &found.stats.problems[program.to_str().unwrap()];
    assert!(problem.ends_with("it nests too deep"), "{problem}");
}

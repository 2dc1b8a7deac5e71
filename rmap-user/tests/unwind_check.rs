//! The walks of the kernel side against another unwinder (framehop) over copies of registers and
//! stack taken at the same faults, for programs that people use.
//!
//! Comes in: a program that is run under trace. Goes out: how many stacks are identical, longer,
//! shorter or different, and each kind of disagreement with its explanation, on stdout. Needs root
//! and BPF, so it is only run when it is asked for: `cargo xtask unwind-check`. The tests ask for a
//! part of it.

#![cfg(feature = "live")]
#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

#[path = "unwind/other.rs"]
mod other;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use other::{Other, Verdict};
use rmap::live::session::{Checked, RunSettings, Watch, run_checked};
use rmap::symbol::{Module, ModuleMap};
use rmap::trace::StackEnd;
use rmap::unwind::table::Table;
use rmap::unwind::walk::Registers;
use rmap_ebpf::abi::{
    RAW_STACK_ALIGN, REG_SP, ROW_BP, ROW_RULE, ROW_SP, RULE_DEREF, Rule, SPECIAL_END, SPECIAL_NONE,
    SPECIAL_PLT, SPECIAL_SIGNAL,
};
use rmap_ebpf::logic::unwind::pt_regs_slot;
use rmap_ebpf::logic::unwind_row::{payload_special, row_payload, row_type, special_row};

/// At least so many of 1000 stacks are identical or longer, outside of generated code.
const PER_MILLE: usize = 995;

/// A file as both unwinders know it.
struct Known {
    data: Rc<Vec<u8>>,
    table: Option<Table>,
}

#[derive(Default)]
struct Tally {
    files: HashMap<String, Rc<Known>>,
    /// The other unwinder of each process, for the modules that it was made of.
    others: HashMap<u32, (Vec<(u64, u64)>, Other)>,
    counts: BTreeMap<(bool, Verdict), usize>,
    kinds: BTreeMap<String, usize>,
    /// Stacks in which framehop goes on behind a frame whose return address is undefined: the
    /// calls that there are, are the same ones.
    past_the_end: usize,
}

/// The row that holds in a module, in words that explain a disagreement there.
fn explain(row: Option<(u32, Option<Rule>)>) -> &'static str {
    let Some((row, rule)) = row else {
        return "no table: each guesses by frame pointers in its own way";
    };
    match row_type(row) {
        ROW_SP | ROW_BP => "plain row",
        ROW_RULE if rule.is_some_and(|rule| rule.flags & RULE_DEREF != 0) => {
            "over-aligned frame: its CFA is an expression (DRAP), where framehop takes rbp from the \
             wrong place"
        }
        ROW_RULE => {
            "rule that framehop's compressed form has not: a CFA from another register, or rbx, as \
             in _dl_runtime_resolve"
        }
        _ => match payload_special(row_payload(row)) {
            SPECIAL_NONE => {
                "no call frame information: we ask for a call before the return address, framehop \
                 trusts any frame pointer"
            }
            SPECIAL_END => "outermost frame: framehop goes on where the CFI says that it ends",
            SPECIAL_SIGNAL => "signal trampoline, which framehop does not follow",
            SPECIAL_PLT => "PLT slot: framehop takes the wrong one of its two CFAs",
            _ => "rule that we do not support",
        },
    }
}

/// Whether call frame information describes the code at an address before relocation.
fn is_described(data: &[u8], address: u64) -> bool {
    use gimli::UnwindSection;
    use object::{Object, ObjectSection};
    let Ok(file) = object::File::parse(data) else { return false };
    let Some(section) = file.section_by_name(".eh_frame") else { return false };
    let Ok(bytes) = section.data() else { return false };
    let bases = gimli::BaseAddresses::default().set_eh_frame(section.address());
    let frames = gimli::EhFrame::new(bytes, gimli::LittleEndian);
    frames.fde_for_address(&bases, address, gimli::EhFrame::cie_from_offset).is_ok()
}

impl Tally {
    fn known(&mut self, module: &Module) -> Option<Rc<Known>> {
        module.binary.as_ref()?;
        if let Some(known) = self.files.get(&module.path) {
            return Some(Rc::clone(known));
        }
        // No file of a target is kept open; the programs here leave theirs as they are.
        let data = std::fs::read(&module.path).ok()?;
        let table = Table::build(&data).ok();
        let known = Rc::new(Known { data: Rc::new(data), table });
        self.files.insert(module.path.clone(), Rc::clone(&known));
        Some(known)
    }

    /// What relocation added to the module's addresses.
    fn load(known: &Known, module: &Module) -> Option<u64> {
        let at = known.table.as_ref()?.address_of_offset(module.offset)?;
        Some(module.range.start.wrapping_sub(at))
    }

    /// Code that a compiler made at run time, or, in node, when V8 was built: its embedded
    /// builtins are in the program's text, without call frame information.
    fn is_generated(&mut self, module: Option<&Module>, address: u64) -> bool {
        let Some(module) = module else { return false };
        if module.binary.is_none() {
            return true;
        }
        if !module.path.ends_with("/node") {
            return false;
        }
        let row = self.known(module).and_then(|known| {
            let at = address.wrapping_sub(Self::load(&known, module)?);
            known.table.as_ref()?.row_at(at)
        });
        row.is_some_and(|(row, _)| row == special_row(SPECIAL_NONE))
    }

    fn other(&mut self, pid: u32, modules: &ModuleMap) {
        // Only files count for it: code made at run time comes and goes.
        let files = modules.living().filter(|module| module.binary.is_some());
        let key: Vec<_> = files.map(|m| (m.range.start, m.range.end)).collect();
        if self.others.get(&pid).is_some_and(|(known, _)| *known == key) {
            return;
        }
        let mut other = Other::default();
        for module in modules.living() {
            let Some(known) = self.known(module) else { continue };
            let Some(load) = Self::load(&known, module) else { continue };
            other.share(&module.path, Rc::clone(&known.data));
            other.add(&module.path, module.range.clone(), load);
        }
        self.others.insert(pid, (key, other));
    }

    fn check(&mut self, checked: &Checked<'_>) {
        let raw = checked.raw;
        let mut registers = Registers { ip: raw.registers[16], ..Registers::default() };
        for (number, value) in registers.general.iter_mut().enumerate() {
            let slot = if number == usize::from(REG_SP) { 19 } else { pt_regs_slot(number as u32) };
            *value = raw.registers[slot as usize];
        }
        self.other(checked.pid, checked.modules);
        let base = registers.sp() & !(RAW_STACK_ALIGN as u64 - 1);
        let read = |address: u64| {
            let at = usize::try_from(address.checked_sub(base)?).ok()?;
            let bytes = raw.memory.get(at..at.checked_add(8)?)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let theirs = self.others[&checked.pid].1.walk(&registers, read);
        let ours = &checked.walked.ips;
        let verdict = Verdict::of(ours, &theirs);
        let module = |ip: u64| checked.modules.living().find(|m| m.range.contains(&ip));
        let jit = ours
            .iter()
            .enumerate()
            .any(|(n, &ip)| self.is_generated(module(ip), ip.wrapping_sub(u64::from(n > 0))));
        *self.counts.entry((jit, verdict)).or_default() += 1;
        if verdict == Verdict::Same {
            return;
        }
        let common = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        // The last frame that both have is the one from which they went different ways.
        let last = common.saturating_sub(1);
        let address = ours[last] - u64::from(last > 0);
        let at = module(address);
        let known = at.and_then(|at| self.known(at));
        let row = at.zip(known.as_ref()).and_then(|(at, known)| {
            let load = Self::load(known, at)?;
            known.table.as_ref()?.row_at(address.wrapping_sub(load))
        });
        // A search from end to end, which takes long in a large file.
        let described = || {
            at.zip(known.as_ref()).is_none_or(|(at, known)| {
                Self::load(known, at)
                    .is_none_or(|load| is_described(&known.data, address.wrapping_sub(load)))
            })
        };
        let missing = read(registers.sp()).is_none() || raw.memory.len() >= 31 * RAW_STACK_ALIGN;
        let mut why = explain(row);
        let ended = row.is_some_and(|(row, _)| row == special_row(SPECIAL_END));
        if ended && !jit && verdict == Verdict::Shorter && checked.walked.end == StackEnd::Complete
        {
            self.past_the_end += 1;
        }
        if why == "plain row" && verdict == Verdict::Longer {
            why = if missing {
                "the copy of the stack (31 KiB) ends there"
            } else {
                "framehop ends, we go on to the outermost frame"
            };
        } else if why == "plain row" && verdict == Verdict::Shorter {
            why = match checked.walked.end {
                StackEnd::Unreadable => "the kernel side could not read the stack's page",
                _ => "UNEXPLAINED: we end",
            };
        } else if why == "plain row" && !described() {
            why = "start code of the C runtime, which we know by its bytes and framehop does not";
        } else if why == "plain row" {
            why = "UNEXPLAINED: different callers by a plain row";
        }
        let module = at.map_or("?", |at| at.path.rsplit('/').next().unwrap_or("?"));
        let jit = if jit { "generated code: " } else { "" };
        let kind = format!("{jit}{verdict:?} in {module} ({:?}): {why}", checked.walked.end);
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn report(&self, name: &str) {
        let of = |jit, verdict| self.counts.get(&(jit, verdict)).copied().unwrap_or(0);
        for jit in [false, true] {
            let all: usize = Verdict::ALL.iter().map(|&verdict| of(jit, verdict)).sum();
            let words = Verdict::ALL.map(|verdict| format!("{verdict:?} {}", of(jit, verdict)));
            let what = if jit { "with generated code" } else { "without generated code" };
            println!("{name}: {all} stacks {what}: {}", words.join(", "));
        }
        for (kind, count) in &self.kinds {
            println!("    {count} × {kind}");
        }
        let good = of(false, Verdict::Same) + of(false, Verdict::Longer) + self.past_the_end;
        let all: usize = Verdict::ALL.iter().map(|&verdict| of(false, verdict)).sum();
        assert!(all > 100, "{name}: only {all} stacks were compared");
        assert!(good * 1000 >= all * PER_MILLE, "{name}: {good} of {all}");
    }
}

fn compare(name: &str, program: &str, args: &[&str]) {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP {name}: not root");
        return;
    }
    if Command::new(program).arg("--version").output().is_err() {
        println!("SKIP {name}: no {program} here");
        return;
    }
    let settings = RunSettings {
        command: [program].iter().chain(args).map(|&part| part.into()).collect(),
        credentials: None,
        watch: Watch { follow: true, ..Watch::default() },
        output: None,
    };
    let tally = Rc::new(RefCell::new(Tally::default()));
    let shared = Rc::clone(&tally);
    let outcome =
        run_checked(&settings, Box::new(move |checked| shared.borrow_mut().check(checked)));
    outcome.unwrap();
    tally.borrow().report(name);
}

fn source(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn a_cpp_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let text = "#include <map>\n#include <regex>\n#include <string>\nint main() {\n\
                std::map<std::string, int> m;\nm[\"x\"] = std::regex_match(\"aa\", \
                std::regex(\"a+\"));\nreturn m.size(); }\n";
    let file = source(dir.path(), "a.cc", text);
    let object = dir.path().join("a.o");
    compare("cc1plus", "g++", &["-O2", "-c", &file, "-o", object.to_str().unwrap()]);
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn python() {
    let program = "print(sum(map(len, [list(range(n)) for n in range(1500)])))";
    compare("python3", "python3", &["-c", program]);
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn a_rust_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let text = "fn main() { println!(\"{:?}\", (0..9).map(|n| n * n).collect::<Vec<_>>()); }\n";
    let file = source(dir.path(), "a.rs", text);
    let binary = dir.path().join("a");
    compare("rustc", "rustc", &[&file, "-o", binary.to_str().unwrap()]);
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn node() {
    let program = "let a = []; for (let i = 0; i < 1e5; i++) a.push({ i }); console.log(a.length)";
    compare("node", "node", &["-e", program]);
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn java() {
    compare("java", "java", &["-Xshare:auto", "-version"]);
}

#[test]
#[ignore = "needs root and BPF, and some minutes"]
fn sqlite() {
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); WITH RECURSIVE c(x) AS (SELECT 1 \
               UNION ALL SELECT x + 1 FROM c WHERE x < 50000) INSERT INTO t SELECT x, 'n' || x FROM \
               c; CREATE INDEX i ON t(v); SELECT count(*) FROM t;";
    compare("sqlite3", "sqlite3", &[":memory:", sql]);
}

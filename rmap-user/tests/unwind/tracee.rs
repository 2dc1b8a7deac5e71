//! A traced child: stops, registers, memory, and a walk of its stack.

use crate::other::Other;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rmap::unwind::layout::{Placed, Slabs};
use rmap::unwind::table::Table;
use rmap::unwind::walk::{Registers, Space, Walk, walk};
use rmap_ebpf::abi::{Mapping, SLAB_JIT};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of the stack is copied at once, in bytes.
const WINDOW: usize = 1 << 13;

/// An executable mapping of the child.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

struct Module {
    table: Table,
    placed: Placed,
    symbols: Vec<(u64, u64, String)>,
}

pub struct Tracee {
    child: Child,
    /// The thread that stopped last.
    pub tid: Pid,
    memory: File,
    mapped: Vec<Mapped>,
    mappings: Vec<Mapping>,
    modules: HashMap<String, Module>,
    slabs: Slabs,
    pub other: Other,
    window: RefCell<(u64, Vec<u8>)>,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Its other threads are ours to wait for too, and it stays until they are gone.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while let Ok(status) = waitpid(None, Some(flags)) {
            if status.pid().is_some_and(|pid| pid.as_raw().cast_unsigned() == self.child.id())
                && matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))
            {
                break;
            }
        }
    }
}

impl Tracee {
    /// Starts a program; it stands before its first instruction.
    pub fn start(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied()).stdout(Stdio::null());
        // SAFETY: ptrace(2) is one system call, which may be made between fork and exec.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let child = command.spawn().expect("start the program");
        let pid = Pid::from_raw(child.id().cast_signed());
        waitpid(pid, None).expect("wait for the program to stand at its start");
        let options = ptrace::Options::PTRACE_O_TRACECLONE | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).expect("ask for new threads");
        let memory = File::open(format!("/proc/{pid}/mem")).expect("open its memory");
        Self {
            child,
            tid: pid,
            memory,
            mapped: Vec::new(),
            mappings: Vec::new(),
            modules: HashMap::new(),
            slabs: Slabs::default(),
            other: Other::default(),
            window: RefCell::default(),
        }
    }

    /// Lets it run to a signal; others are handed to it. False if it ended first.
    pub fn run_to(&mut self, stop: Signal) -> bool {
        self.run_past(stop, None)
    }

    /// The same, handing `first` to the stopped thread.
    pub fn run_past(&mut self, stop: Signal, first: Option<Signal>) -> bool {
        ptrace::cont(self.tid, first).expect("go on");
        loop {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let (tid, signal) = match waitpid(None, Some(flags)).expect("wait") {
                WaitStatus::Stopped(tid, signal) if signal == stop => {
                    self.tid = tid;
                    return true;
                }
                // A new thread starts with SIGSTOP, which is the tracer's.
                WaitStatus::Stopped(tid, Signal::SIGSTOP) | WaitStatus::PtraceEvent(tid, ..) => {
                    (tid, None)
                }
                WaitStatus::Stopped(tid, signal) => (tid, Some(signal)),
                WaitStatus::Exited(tid, _) | WaitStatus::Signaled(tid, ..)
                    if tid.as_raw().cast_unsigned() == self.child.id() =>
                {
                    return false;
                }
                _ => continue,
            };
            ptrace::cont(tid, signal).expect("go on");
        }
    }

    /// One instruction of the thread that stopped last, which gets `signal` first. What it
    /// stopped with, `None` if it ended.
    pub fn step(&mut self, signal: Option<Signal>) -> Option<Signal> {
        self.window.borrow_mut().1.clear();
        ptrace::step(self.tid, signal).expect("step");
        match waitpid(self.tid, Some(WaitPidFlag::__WALL)).expect("wait") {
            WaitStatus::Stopped(_, signal) => Some(signal),
            WaitStatus::PtraceEvent(..) => Some(Signal::SIGTRAP),
            _ => None,
        }
    }

    pub fn registers(&self) -> Registers {
        let r = ptrace::getregs(self.tid).expect("read registers");
        Registers {
            ip: r.rip,
            general: [
                r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx,
                r.rdx, r.rax, r.rcx, r.rsp,
            ],
        }
    }

    /// Eight bytes of its memory, from a copy of the stack where they are in it.
    pub fn read(&self, address: u64) -> Option<u64> {
        let (start, window) = &*self.window.borrow();
        if let Some(at) = address.checked_sub(*start)
            && let Some(bytes) = window.get(at as usize..(at as usize).checked_add(8)?)
        {
            return bytes.try_into().ok().map(u64::from_le_bytes);
        }
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn fill_window(&self, sp: u64) {
        let (start, bytes) = &mut *self.window.borrow_mut();
        *start = sp.saturating_sub(256);
        bytes.resize(WINDOW, 0);
        let read = self.memory.read_at(bytes, *start).unwrap_or(0);
        bytes.truncate(read);
    }

    /// Reads which code is mapped, and builds tables for what is new.
    pub fn refresh(&mut self) {
        let text = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id()));
        let mapped: Vec<Mapped> =
            text.expect("read its maps").lines().filter_map(executable).collect();
        if mapped == self.mapped {
            return;
        }
        self.mapped = mapped;
        self.mappings.clear();
        self.other = Other::default();
        for mapped in &self.mapped {
            let size = (mapped.end - mapped.start) as usize;
            if mapped.path == "[vdso]" || mapped.path.starts_with('/') {
                if !self.modules.contains_key(&mapped.path) {
                    let data = if mapped.path == "[vdso]" {
                        let mut data = vec![0; size];
                        self.memory.read_exact_at(&mut data, mapped.start).expect("read the vdso");
                        data
                    } else {
                        std::fs::read(&mapped.path).expect("read a module")
                    };
                    let table = Table::build(&data).expect("build a table");
                    let placed = self.slabs.place(&table).expect("place a table");
                    let symbols = symbols(&data);
                    self.other.read(&mapped.path, data);
                    self.modules.insert(mapped.path.clone(), Module { table, placed, symbols });
                } else if mapped.path != "[vdso]" {
                    self.other.read(&mapped.path, std::fs::read(&mapped.path).expect("a module"));
                }
                let module = &self.modules[&mapped.path];
                let address = module.table.address_of_offset(mapped.offset).expect("an address");
                self.mappings.extend(module.placed.mappings(address, mapped.start..mapped.end));
                self.other.add(&mapped.path, mapped.start..mapped.end, mapped.start - address);
            } else {
                self.mappings.push(Mapping {
                    start: mapped.start,
                    end: mapped.end,
                    slab: SLAB_JIT,
                    ..Mapping::default()
                });
            }
        }
    }

    /// Walks the stopped thread's stack.
    pub fn walk(&self, registers: &Registers) -> Walk {
        self.fill_window(registers.sp());
        let space = Space::new(&self.slabs, self.mappings.clone());
        walk(registers, &space, |address| self.read(address))
    }

    /// How often the rows of each module were built from which source.
    pub fn table(&self, name: &str) -> &Table {
        let found = self.modules.iter().find(|(path, _)| path.ends_with(name));
        &found.expect("a module of that name").1.table
    }

    /// The function and the module in which an address lies.
    pub fn symbol(&self, address: u64) -> (Option<&str>, PathBuf) {
        let Some(mapped) = self.mapped.iter().find(|m| m.start <= address && address < m.end)
        else {
            return (None, PathBuf::new());
        };
        let path = PathBuf::from(&mapped.path);
        let Some(module) = self.modules.get(&mapped.path) else { return (None, path) };
        let at = module.table.address_of_offset(mapped.offset + (address - mapped.start));
        let name = at.and_then(|at| {
            let above = module.symbols.partition_point(|(start, ..)| *start <= at);
            let (start, size, name) = module.symbols.get(above.checked_sub(1)?)?;
            (at < start + size.max(&1)).then_some(name.as_str())
        });
        (name, path)
    }

    /// The functions of the program itself and of libraries beside it, innermost first.
    pub fn names(&self, walk: &Walk, program: &Path) -> Vec<String> {
        let here = program.parent().expect("a directory");
        walk.ips
            .iter()
            .enumerate()
            .filter_map(|(n, ip)| {
                let (name, path) = self.symbol(ip - u64::from(n > 0));
                (path.parent() == Some(here)).then(|| name.unwrap_or("?").to_owned())
            })
            .collect()
    }

    /// An address with its function, for messages.
    pub fn describe(&self, ip: u64) -> String {
        let (name, path) = self.symbol(ip);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let at = self.mapped.iter().find(|m| m.start <= ip && ip < m.end);
        let offset = at.map_or(ip, |m| ip - m.start + m.offset);
        format!("{} {file}+{offset:#x}", name.unwrap_or("?"))
    }
}

fn executable(line: &str) -> Option<Mapped> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let perms = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let path = fields.nth(2).unwrap_or_default().to_owned();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let mapped = Mapped { start: hex(start)?, end: hex(end)?, offset, path };
    (perms.as_bytes().get(2) == Some(&b'x') && mapped.path != "[vsyscall]").then_some(mapped)
}

fn symbols(data: &[u8]) -> Vec<(u64, u64, String)> {
    use object::{Object, ObjectSymbol, SymbolKind};
    let Ok(file) = object::File::parse(data) else { return Vec::new() };
    let mut all: Vec<_> = file
        .symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() != 0)
        .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?.to_owned())))
        .collect();
    all.sort();
    all.dedup_by_key(|(address, ..)| *address);
    all
}

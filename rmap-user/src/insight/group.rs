//! The bytes of a report in groups, by any key and by keys inside of keys.
//!
//! Comes in: parts, and keys. Goes out: groups in the order of their size, each with its bytes
//! and the groups inside of it. Groups of one level share no byte and add up to the parts that
//! they were made of; residuals are groups too. Only a group by function has a second figure, what
//! the function and all that it called hold together.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::report::{Address, Frame, Kind, StackId};

use super::kind;
use super::names;
use super::owner::{self, Owner};
use super::part::{Bytes, Part, Parts};
use super::rules::Class;

/// What the rows of a view are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// Owner frames.
    Owner,
    /// Call paths.
    Path,
    /// Functions, inclusive.
    Function,
    /// The owner frame's place in the source.
    Line,
    /// The owner frame's module.
    Module,
    /// Segments.
    Segment,
    /// Kinds of segments.
    Kind,
    /// Causes.
    Cause,
    /// Threads.
    Thread,
    /// Processes.
    Process,
    /// Programs.
    Program,
}

/// Every key with its name.
pub const KEYS: &[(By, &str)] = &[
    (By::Owner, "owner"),
    (By::Path, "path"),
    (By::Function, "function"),
    (By::Line, "line"),
    (By::Module, "module"),
    (By::Segment, "segment"),
    (By::Kind, "kind"),
    (By::Cause, "cause"),
    (By::Thread, "thread"),
    (By::Process, "process"),
    (By::Program, "program"),
];

impl By {
    /// Its name, as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        KEYS.iter().find(|(by, _)| *by == self).map_or("owner", |(_, name)| name)
    }

    /// The key of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        KEYS.iter().find(|(_, known)| *known == name).map(|(by, _)| *by)
    }
}

/// Parts that have a key in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub label: Label,
    /// What they are together; by function, what the function touched itself.
    pub bytes: Bytes,
    /// By function, what it touched with all that it called; else the same as `bytes`.
    pub inclusive: Bytes,
    /// The parts that `inclusive` counts, by their places in [`Parts::all`].
    pub parts: Vec<usize>,
    /// The parts of `inclusive` in groups by the next key.
    pub groups: Vec<Self>,
}

/// What the parts of a group have in common, in words. The strings come from the traced machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The name.
    pub name: String,
    /// The place in the source: a file's name and lines.
    pub place: Option<String>,
    /// What tells it from other groups of that name, the shortest first: a module, a whole path.
    pub apart: Vec<String>,
    /// No call path explains it.
    pub residual: bool,
    /// What every program has: its files, the loader's work, its start.
    pub background: bool,
}

impl Label {
    fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn apart(name: impl Into<String>, apart: impl Into<String>) -> Self {
        Self { name: name.into(), apart: vec![apart.into()], ..Self::default() }
    }
}

/// What makes two parts fall into one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key<'a> {
    Function(u32),
    Chain(u32),
    Place(&'a str, u32),
    Module(&'a str),
    Plain(Owner),
    Kernel(&'a str),
    Missing(StackId),
    Named(&'a str, &'a str),
    /// A segment's name by what it is, and whether that is inferred.
    Labelled(&'a str, bool),
    Kind(Kind, bool),
    At(Address, usize),
    Word(&'a str),
    Threads(&'a [u32]),
    Process(usize),
    Residual(&'a str),
}

impl<'a> Parts<'a> {
    /// All parts in groups.
    #[must_use]
    pub fn by(&self, keys: &[By]) -> Vec<Group> {
        self.group((0..self.all.len()).collect(), keys)
    }

    /// Some parts in groups.
    #[must_use]
    pub fn group(&self, parts: Vec<usize>, keys: &[By]) -> Vec<Group> {
        let Some((by, inner)) = keys.split_first() else { return Vec::new() };
        let mut groups = match by {
            By::Function => self.functions(&parts),
            by => self.split(*by, &parts),
        };
        for group in &mut groups {
            group.groups = self.group(group.parts.clone(), inner);
        }
        groups
    }

    fn split(&self, by: By, parts: &[usize]) -> Vec<Group> {
        let mut found: FxHashMap<Key<'a>, Vec<usize>> = FxHashMap::default();
        for (at, part) in parts.iter().filter_map(|at| Some((*at, self.all.get(*at)?))) {
            found.entry(self.key(by, part)).or_default().push(at);
        }
        let mut groups: Vec<(Key<'a>, Group)> = found
            .into_iter()
            .map(|(key, parts)| {
                let bytes = self.sum(&parts);
                let label = self.label(by, key, &parts);
                (key, Group { label, bytes, inclusive: bytes, parts, groups: Vec::new() })
            })
            .collect();
        sort(&mut groups);
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Groups by function: a part counts once in each function of its stack.
    fn functions(&self, parts: &[usize]) -> Vec<Group> {
        let mut own: FxHashMap<Key<'a>, Bytes> = FxHashMap::default();
        let mut found: FxHashMap<Key<'a>, Vec<usize>> = FxHashMap::default();
        for (at, part) in parts.iter().filter_map(|at| Some((*at, self.all.get(*at)?))) {
            let functions = part.stack.map_or(&[][..], |stack| self.owners.functions(stack));
            let frames = functions.iter().filter(|number| {
                self.owners.function(**number).is_some_and(|frame| !owner::is_marker(frame))
            });
            let distinct: BTreeSet<u32> = frames.clone().copied().collect();
            let leaf = match frames.clone().next() {
                Some(leaf) => Key::Function(*leaf),
                None => self.key(By::Function, part),
            };
            *own.entry(leaf).or_default() += part.bytes;
            if distinct.is_empty() {
                found.entry(leaf).or_default().push(at);
            }
            for function in distinct {
                found.entry(Key::Function(function)).or_default().push(at);
            }
        }
        let mut groups: Vec<(Key<'a>, Group)> = found
            .into_iter()
            .map(|(key, parts)| {
                let bytes = own.get(&key).copied().unwrap_or_default();
                let inclusive = self.sum(&parts);
                let label = self.label(By::Function, key, &parts);
                (key, Group { label, bytes, inclusive, parts, groups: Vec::new() })
            })
            .collect();
        sort(&mut groups);
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn key(&self, by: By, part: &Part<'a>) -> Key<'a> {
        let segment = part.segment;
        match by {
            By::Segment if kind::is_file(segment) => Key::Named(&segment.name, &segment.perms),
            By::Segment => match &segment.label {
                Some(label) => Key::Labelled(label, segment.inferred),
                None if segment.name.is_empty() => Key::At(segment.start, part.process),
                None => Key::Named(&segment.name, ""),
            },
            By::Kind => Key::Kind(segment.kind.unwrap_or(Kind::Anonymous), segment.inferred),
            By::Process => Key::Process(part.process),
            By::Program => Key::Word(self.process(part).map_or("", |process| process.exe.as_str())),
            _ if !part.attributed => Key::Residual(part.why),
            By::Cause => Key::Word(part.why),
            By::Thread => Key::Threads(part.tids),
            By::Owner | By::Path | By::Function | By::Line | By::Module => {
                self.key_of_stack(by, part)
            }
        }
    }

    fn key_of_stack(&self, by: By, part: &Part<'a>) -> Key<'a> {
        let Some(stack) = part.stack else { return Key::Kernel(part.why) };
        let Some(found) = self.owners.owner(stack) else { return Key::Missing(stack) };
        if part.code && matches!(by, By::Owner | By::Line) {
            return Key::Plain(Owner::Code);
        }
        if part.code && by == By::Module {
            return Key::Module(&part.segment.name);
        }
        if by == By::Path {
            return self.owners.chain(stack).map_or(Key::Missing(stack), Key::Chain);
        }
        let Some((function, frame)) = self.owners.owner_frame(stack) else {
            return Key::Plain(found);
        };
        match (by, &frame.file) {
            (By::Line, Some(file)) => Key::Place(file, frame.line.unwrap_or(0)),
            (By::Module, _) => Key::Module(&frame.module),
            _ => Key::Function(function),
        }
    }

    fn label(&self, by: By, key: Key<'a>, parts: &[usize]) -> Label {
        match key {
            Key::Function(number) => self.label_of_function(by, number, parts),
            Key::Chain(_) => self.label_of_path(parts),
            Key::Place(file, line) => {
                Label::apart(format!("{}:{line}", names::base(file)), format!("{file}:{line}"))
            }
            Key::Module(module) => Label::apart(names::base(module), module),
            Key::Plain(owner) => self.label_of_plain(owner, parts),
            Key::Kernel(cause) => Label {
                background: matches!(cause, "exec" | "fork-copy"),
                ..Label::plain(of_kernel(cause))
            },
            Key::Missing(stack) => Label::plain(format!("[stack {stack} is not in the report]")),
            Key::Named(name, "") => Label::apart(names::base(name), name),
            Key::Named(name, perms) => {
                Label::apart(format!("{} {perms}", names::base(name)), format!("{name} {perms}"))
            }
            Key::Kind(kind, false) => Label::plain(kind.as_str()),
            Key::Kind(kind, true) => Label::plain(format!("{}?", kind.as_str())),
            Key::Labelled(label, false) => Label::plain(label),
            Key::Labelled(label, true) => Label::plain(format!("{label}?")),
            Key::At(start, process) => {
                let pid = self.report.processes.get(process).map_or(0, |process| process.pid);
                Label::apart(format!("[anon] {start}"), format!("[anon] {start} of {pid}"))
            }
            Key::Word(word) if by == By::Program => Label::apart(names::base(word), word),
            Key::Word(word) => Label::plain(word),
            Key::Threads(tids) => Label::plain(of_threads(tids)),
            Key::Process(at) => match self.report.processes.get(at) {
                Some(process) => Label::plain(format!("{} {}", process.pid, process.command)),
                None => Label::default(),
            },
            Key::Residual(reason) => {
                Label { residual: true, ..Label::plain(format!("unattributed: {reason}")) }
            }
        }
    }

    fn label_of_function(&self, by: By, number: u32, parts: &[usize]) -> Label {
        let Some(frame) = self.owners.function(number) else { return Label::default() };
        let name = owner::display(frame);
        let apart = apart(frame);
        let lines: BTreeSet<u32> = parts
            .iter()
            .filter_map(|at| self.all.get(*at)?.stack)
            .flat_map(|stack| self.lines(by, stack, number))
            .collect();
        let place = frame.file.as_deref().map(|file| names::place(file, &lines));
        Label { name, place, apart, ..Label::default() }
    }

    /// The lines at which a function stands in a stack: of an owner, that of the owner frame.
    fn lines(&self, by: By, stack: StackId, function: u32) -> Vec<u32> {
        if by == By::Function {
            let numbers = self.owners.functions(stack).iter().zip(self.owners.frames(stack));
            return numbers.filter(|(n, _)| **n == function).filter_map(|(_, f)| f.line).collect();
        }
        self.owners.owner_frame(stack).and_then(|(_, frame)| frame.line).into_iter().collect()
    }

    fn label_of_path(&self, parts: &[usize]) -> Label {
        let stack = parts.iter().find_map(|at| self.all.get(*at)?.stack);
        let Some(stack) = stack else { return Label::default() };
        let frames = self.owners.frames(stack);
        let mut all: Vec<String> = frames.iter().map(owner::display).collect();
        if !self.owners.is_complete(stack) && !frames.last().is_some_and(owner::is_marker) {
            all.push("?".to_owned());
        }
        let whole = if all.is_empty() { "[empty stack]".to_owned() } else { all.join(CALLER) };
        // What every call path of a program begins with tells nothing.
        let start = (1..all.len())
            .rev()
            .take_while(|at| self.owners.class(stack, *at) == Some(Class::StartUp));
        let kept = all.len() - start.count();
        all.truncate(kept);
        all.dedup();
        Label {
            apart: vec![whole],
            ..Label::plain(if all.is_empty() {
                "[empty stack]".to_owned()
            } else {
                all.join(CALLER)
            })
        }
    }

    fn label_of_plain(&self, owner: Owner, parts: &[usize]) -> Label {
        let segments = parts.iter().filter_map(|at| Some(self.all.get(*at)?.segment));
        let files: BTreeSet<&str> =
            segments.filter(|segment| kind::is_file(segment)).map(|s| s.name.as_str()).collect();
        let plural = if owner == Owner::Code { "files" } else { "libraries" };
        let of_files = |what: &str| match (files.len(), files.first()) {
            (0, _) | (_, None) => format!("{what} of {plural}"),
            (1, Some(file)) => format!("{what} of {}", names::base(file)),
            (many, _) => format!("{what} of {many} {plural}"),
        };
        let name = match owner {
            Owner::Code => of_files("clean code"),
            Owner::Relocations => of_files("relocations"),
            Owner::Loading => of_files("loading"),
            Owner::StartUp => "program start-up".to_owned(),
            Owner::Unknown | Owner::Frame(_) => "[stack without a function]".to_owned(),
        };
        let background = !matches!(owner, Owner::Unknown | Owner::Frame(_));
        Label { background, ..Label::plain(name) }
    }
}

/// What may tell a function from others of its name.
pub fn apart(frame: &Frame) -> Vec<String> {
    let mut apart = vec![names::base(&frame.module).to_owned()];
    apart.extend(frame.file.clone());
    apart.extend(frame.function.clone());
    apart.push(frame.module.clone());
    apart
}

/// What joins the frames of a call path, the innermost first.
pub const CALLER: &str = " ← ";

/// What the kernel did with no code of the process to name.
fn of_kernel(cause: &str) -> String {
    match cause {
        "exec" => "[kernel] program loading (exec)".to_owned(),
        "fork-copy" => "[kernel] page-table copies of fork".to_owned(),
        "collapse" => "[kernel] huge pages made by khugepaged".to_owned(),
        "swap-in" => "[kernel] pages back from swap".to_owned(),
        "remote-write" => "[kernel] writes by another process".to_owned(),
        other => format!("[kernel] {other}"),
    }
}

fn of_threads(tids: &[u32]) -> String {
    match tids {
        [] => "[no thread]".to_owned(),
        [one] => format!("thread {one}"),
        [first, rest @ ..] => {
            let named: Vec<String> =
                rest.iter().take(THREADS_NAMED - 1).map(|tid| format!(", {tid}")).collect();
            let more = rest.len() + 1 - named.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("threads {first}{}{more}", named.concat())
        }
    }
}

/// Most threads that a label names.
const THREADS_NAMED: usize = 6;

/// The largest first; what is equal in the order of its label, so that the order is always one.
fn sort(groups: &mut [(Key<'_>, Group)]) {
    groups.sort_by(|(a_key, a), (b_key, b)| {
        (b.inclusive.weight(), b.bytes.weight(), &a.label, a_key).cmp(&(
            a.inclusive.weight(),
            a.bytes.weight(),
            &b.label,
            b_key,
        ))
    });
}

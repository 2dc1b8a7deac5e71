//! Stacks as chains of functions, merged and shown in one line or in many.
//!
//! Comes in: the report's stacks and paths. Goes out: [`Share`]s, one for each cause and chain of
//! functions, and their text. Two stacks that differ only in lines or addresses are one chain;
//! where lines differ, all of them are named.

use std::collections::{BTreeSet, HashMap};

use rustc_hash::FxHashMap;

pub use crate::insight::names::base as base_name;
use crate::insight::names::common;
use crate::insight::owner::is_marker;
use crate::report::{Address, Cause, Frame, Named, Path, Stack, StackId};

use super::paint::{Line, Paint};
use super::text;

/// Most stacks of one chain of which the lines are looked at.
const LOOKED_AT: usize = 256;
/// Most lines that are named for one frame.
const LINES_NAMED: usize = 3;
/// Most frames in one line, the others are folded.
const IN_ONE_LINE: usize = 24;

/// What stands for the stack where the kernel acted with no code of the process to name.
const NO_CODE: &str = "[no code of the process]";

/// What two stacks have in common if they are one code path to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// No code of the process.
    None,
    /// Named, but not in the report.
    Missing(StackId),
    /// A chain of functions, by its number.
    Chain(usize),
}

/// The report's stacks by id, with the number of the chain of functions of each.
pub struct Stacks<'a> {
    by_id: FxHashMap<StackId, (&'a Stack, usize)>,
}

/// One code path with one cause: what it did, over all the paths that were merged.
pub struct Share<'a> {
    /// Why the pages became resident or dirty.
    pub cause: &'a Named<Cause>,
    /// Resident bytes.
    pub rss: u128,
    /// Dirty bytes.
    pub dirty: u128,
    /// Bytes touched in all.
    pub touched: u128,
    /// Faults.
    pub faults: u128,
    /// When it began.
    pub first_ns: u64,
    /// When it ended.
    pub last_ns: u64,
    /// The threads.
    pub tids: BTreeSet<u32>,
    /// The stacks, as in the report.
    pub stacks: Vec<Option<StackId>>,
}

impl<'a> Stacks<'a> {
    /// Numbers the chains of a report.
    pub fn new(stacks: &'a [Stack]) -> Self {
        let mut names: HashMap<(&str, Option<Address>), u32> = HashMap::new();
        let mut chains: FxHashMap<(Vec<u32>, bool), usize> = FxHashMap::default();
        let mut by_id = FxHashMap::default();
        for stack in stacks {
            let mut chain = Vec::with_capacity(stack.frames.len());
            for frame in &stack.frames {
                let name = match &frame.function {
                    Some(function) => (function.as_str(), None),
                    None => (frame.module.as_str(), Some(frame.offset)),
                };
                let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
                chain.push(*names.entry(name).or_insert(next));
            }
            let next = chains.len();
            let number = *chains.entry((chain, stack.complete)).or_insert(next);
            by_id.insert(stack.id, (stack, number));
        }
        Self { by_id }
    }

    /// What is equal for two stacks that a reader takes for one.
    pub fn key(&self, stack: Option<StackId>) -> Key {
        match stack {
            None => Key::None,
            Some(id) => self.by_id.get(&id).map_or(Key::Missing(id), |found| Key::Chain(found.1)),
        }
    }

    /// Merges paths by cause and chain: the largest by RSS and Dirty first.
    pub fn merge(&self, paths: impl IntoIterator<Item = &'a Path>) -> Vec<Share<'a>> {
        let mut shares: Vec<Share<'a>> = Vec::new();
        let mut at: FxHashMap<(&Named<Cause>, Key), usize> = FxHashMap::default();
        for path in paths {
            let next = shares.len();
            let index = *at.entry((&path.cause, self.key(path.stack))).or_insert(next);
            if index == next {
                shares.push(Share {
                    cause: &path.cause,
                    rss: 0,
                    dirty: 0,
                    touched: 0,
                    faults: 0,
                    first_ns: u64::MAX,
                    last_ns: 0,
                    tids: BTreeSet::new(),
                    stacks: Vec::new(),
                });
            }
            let share = &mut shares[index];
            share.rss += u128::from(path.rss_bytes);
            share.dirty += u128::from(path.dirty_bytes);
            share.touched += u128::from(path.touched_bytes);
            share.faults += u128::from(path.faults);
            share.first_ns = share.first_ns.min(path.first_ns);
            share.last_ns = share.last_ns.max(path.last_ns);
            share.tids.extend(&path.tids);
            share.stacks.push(path.stack);
        }
        shares.sort_by_key(|s| std::cmp::Reverse((s.rss + s.dirty, s.dirty, s.touched)));
        shares
    }

    /// The chain of functions that these stacks have in common.
    pub fn chain(&self, stacks: &[Option<StackId>]) -> Chain {
        let mut found =
            stacks.iter().filter_map(|id| self.by_id.get(&(*id)?)).map(|&(stack, _)| stack);
        let Some(first) = found.next() else {
            let name = match stacks.first() {
                Some(Some(id)) => format!("[stack {id} is not in the report]"),
                _ => NO_CODE.to_owned(),
            };
            return Chain { links: vec![Link::bare(name)], marked: true, complete: true };
        };
        let mut links: Vec<Link> = first.frames.iter().map(Link::new).collect();
        for other in found.take(LOOKED_AT) {
            links.iter_mut().zip(&other.frames).for_each(|(link, frame)| link.join(frame));
        }
        let marked = first.complete || first.frames.last().is_some_and(is_marker);
        Chain { links, marked, complete: first.complete }
    }
}

/// One function of a chain.
struct Link {
    /// Clean.
    name: String,
    /// The name is a function's, not a place in a module.
    has_function: bool,
    /// The module's path, clean.
    module: String,
    /// `None`: several.
    offset: Option<Address>,
    /// The source file, clean; `None`: not known, or several.
    file: Option<String>,
    lines: BTreeSet<u32>,
    inlined: bool,
}

impl Link {
    fn bare(name: String) -> Self {
        Self {
            name,
            has_function: false,
            module: String::new(),
            offset: None,
            file: None,
            lines: BTreeSet::new(),
            inlined: false,
        }
    }

    fn new(frame: &Frame) -> Self {
        let module = text::clean(&frame.module);
        let offset = frame.offset;
        if is_marker(frame) {
            return Self::bare(module);
        }
        Self {
            name: match &frame.function {
                Some(function) => text::clean(function),
                None if module.is_empty() => format!("[{offset}]"),
                None => format!("{}+{offset}", base_name(&module)),
            },
            has_function: frame.function.is_some(),
            offset: Some(offset),
            file: frame.file.as_deref().map(text::clean),
            lines: frame.line.into_iter().collect(),
            inlined: frame.inlined,
            module,
        }
    }

    /// The same function in another stack.
    fn join(&mut self, frame: &Frame) {
        if self.offset.is_some_and(|offset| offset != frame.offset) {
            self.offset = None;
        }
        if self.file != frame.file.as_deref().map(text::clean) {
            self.file = None;
        }
        self.lines.extend(frame.line);
        self.inlined &= frame.inlined;
    }

    /// `demo.c:12`, or `demo.c:12,14`.
    fn place(&self, whole_path: bool) -> Option<String> {
        let file = self.file.as_deref()?;
        let mut place = if whole_path { file } else { base_name(file) }.to_owned();
        for (n, line) in self.lines.iter().take(LINES_NAMED).enumerate() {
            place.push(if n == 0 { ':' } else { ',' });
            place.push_str(&line.to_string());
        }
        if self.lines.len() > LINES_NAMED {
            place.push_str(",…");
        }
        Some(place)
    }

    /// Whether every program starts with it, below `main` or a thread's function.
    fn is_start_up(&self) -> bool {
        let name = self.name.split('@').next().unwrap_or_default();
        let start = ["_start", "start_thread", "clone", "clone3", "__clone", "__clone3"];
        start.contains(&name) || name.starts_with("__libc_start")
    }
}

/// A chain of functions, the innermost first.
pub struct Chain {
    links: Vec<Link>,
    complete: bool,
    /// It is complete, or its last link says why not.
    marked: bool,
}

impl Chain {
    /// In one line: innermost first, callers behind `←`. Where there is not room for all, the
    /// middle is folded into `…`, after the places in the source and the start-up code outside
    /// `main` were left out. An incomplete stack ends with why it is so, or with `?`.
    pub fn line(&self, room: Option<usize>) -> Line {
        let Some(room) = room else {
            return Self::joined(&fold(self.names(&self.links, true, false), IN_ONE_LINE));
        };
        let links = self.without_start_up();
        for places in [true, false] {
            let line = Self::joined(&fold(self.names(links, places, true), IN_ONE_LINE));
            if line.width() <= room {
                return line;
            }
        }
        // Long names first give what is more than their share.
        let longest = (room / 2).max(12);
        let names: Vec<String> =
            self.names(links, false, true).iter().map(|n| text::cut_middle(n, longest)).collect();
        for keep in (3..=names.len().min(IN_ONE_LINE)).rev() {
            let line = Self::joined(&fold(names.clone(), keep));
            if line.width() <= room {
                return line;
            }
        }
        let first = names.first().cloned().unwrap_or_default();
        if names.len() == 1 {
            return Line::of(text::cut_middle(&first, room), Paint::Plain);
        }
        let first = text::cut_middle(&first, room.saturating_sub(4));
        Line::of(first, Paint::Plain).and(" ← …", Paint::Dim)
    }

    /// The same as plain text, to be ordered by.
    pub fn text(&self) -> String {
        self.names(&self.links, false, false).join(" ← ")
    }

    /// The innermost functions as far as the first one of `program`'s own source, with its place:
    /// `memset ← fill (demo.c:7)`. Without such a one, the innermost three.
    pub fn up_to(&self, program: &str) -> String {
        let program = text::clean(program);
        let own = self
            .links
            .iter()
            .position(|link| link.file.is_some() && link.module == program)
            .or_else(|| self.links.iter().position(|link| link.file.is_some()));
        let all = self.without_start_up();
        let upto = own.map_or(all.len().min(3), |own| own + 1);
        let mut names = self.names(&self.links[..upto.min(self.links.len())], false, true);
        if upto < self.links.len() && !self.marked {
            // The mark of an incomplete stack belongs to its outer end, which is not shown.
            names.pop();
        }
        let place = own.and_then(|own| self.links[own].place(false));
        let names: Vec<String> =
            fold(names, 4).iter().map(|name| text::cut_middle(name, 60)).collect();
        let chain = names.join(" ← ");
        place.map_or(chain.clone(), |place| format!("{chain} ({place})"))
    }

    /// Whether there is no code of the process to name.
    pub fn is_no_code(&self) -> bool {
        matches!(&self.links[..], [link] if link.name == NO_CODE && link.offset.is_none())
    }

    /// A line for each frame, with its place in the source and in its module.
    pub fn frames(&self, most: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for (at, link) in self.links.iter().enumerate().take(most) {
            let mut line = Line::new();
            if link.offset.is_some() || !link.module.is_empty() {
                line.push(format!("#{at:<2} "), Paint::Dim);
            }
            line.push(link.name.clone(), Paint::Plain);
            if link.inlined {
                line.push(" (inlined)", Paint::Dim);
            }
            if let Some(place) = link.place(true) {
                line.push(format!("  {place}"), Paint::Plain);
            }
            if link.has_function && !link.module.is_empty() {
                let offset =
                    link.offset.map_or_else(|| "…".to_owned(), |offset| offset.to_string());
                line.push(format!("  {}+{offset}", base_name(&link.module)), Paint::Dim);
            }
            lines.push(line);
        }
        if self.links.len() > most {
            let more = self.links.len() - most;
            lines.push(Line::of(format!("… {more} more frames"), Paint::Dim));
        }
        if !self.marked {
            lines.push(Line::of("?   the stack could not be walked further", Paint::Dim));
        }
        lines
    }

    /// The links without the start-up code at the outer end of a complete stack.
    fn without_start_up(&self) -> &[Link] {
        let all = &self.links[..];
        let kept = all.iter().rposition(|link| !link.is_start_up()).map_or(all.len(), |at| at + 1);
        if self.complete { &all[..kept] } else { all }
    }

    /// The names of some links (`short`: as [`common`] has them), neighbours of one name counted, the mark of an incomplete stack
    /// at the end.
    fn names(&self, links: &[Link], places: bool, short: bool) -> Vec<String> {
        let mut names: Vec<(String, usize)> = Vec::new();
        for link in links {
            let name = if short { common(&link.name) } else { &link.name };
            let mut name = name.to_owned();
            if let Some(place) = link.place(false).filter(|_| places) {
                name = format!("{name} ({place})");
            }
            match names.last_mut() {
                Some((last, times)) if *last == name => *times += 1,
                _ => names.push((name, 1)),
            }
        }
        let mut names: Vec<String> = names
            .into_iter()
            .map(|(name, times)| if times > 1 { format!("{name} ×{times}") } else { name })
            .collect();
        if !self.marked {
            names.push("?".to_owned());
        } else if names.is_empty() {
            names.push("[empty stack]".to_owned());
        }
        names
    }

    fn joined(names: &[String]) -> Line {
        let mut line = Line::new();
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                line.push(" ← ", Paint::Dim);
            }
            line.push(name.clone(), Paint::Plain);
        }
        line
    }
}

/// At most `keep` names (three at least): the innermost ones, `…`, and the outermost one.
fn fold(names: Vec<String>, keep: usize) -> Vec<String> {
    let keep = keep.max(3);
    if names.len() <= keep {
        return names;
    }
    let mut kept = names[..keep - 2].to_vec();
    kept.push("…".to_owned());
    kept.extend(names.last().cloned());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str], complete: bool) -> Stack {
        let frame = |name: &&str| Frame { function: Some((*name).to_owned()), ..Frame::default() };
        Stack { id: StackId(1), complete, frames: names.iter().map(frame).collect() }
    }

    fn line(stack: &Stack, room: Option<usize>) -> String {
        let line = Stacks::new(std::slice::from_ref(stack)).chain(&[Some(StackId(1))]).line(room);
        let mut out = Vec::new();
        super::super::paint::Page::new(&mut out, super::super::Style::default())
            .line(&line)
            .unwrap();
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    #[test]
    fn the_middle_is_folded_before_the_ends() {
        let deep = stack(&["memset", "fill", "a", "b", "c", "main", "_start"], true);
        assert_eq!(line(&deep, None), "memset ← fill ← a ← b ← c ← main ← _start");
        assert_eq!(line(&deep, Some(40)), "memset ← fill ← a ← b ← c ← main");
        assert_eq!(line(&deep, Some(30)), "memset ← fill ← a ← … ← main");
        assert_eq!(line(&deep, Some(20)), "memset ← … ← main");
        assert_eq!(line(&deep, Some(11)), "memset ← …");
        assert_eq!(line(&deep, Some(8)), "m…et ← …");
    }

    #[test]
    fn recursion_is_counted_and_an_incomplete_end_is_marked() {
        let deep = stack(&["leaf", "fib", "fib", "fib", "_start"], false);
        assert_eq!(line(&deep, None), "leaf ← fib ×3 ← _start ← ?");
        assert_eq!(line(&deep, Some(80)), "leaf ← fib ×3 ← _start ← ?");
        assert_eq!(line(&stack(&[], false), Some(80)), "?");
        assert_eq!(line(&stack(&[], true), Some(80)), "[empty stack]");
    }

    #[test]
    fn a_marker_of_an_incomplete_stack_stands_alone() {
        let mut marked = stack(&["leaf", "main"], false);
        let module = "[incomplete: no unwind row]".to_owned();
        let frames = [marked.frames.to_vec(), vec![Frame { module, ..Frame::default() }]].concat();
        marked.frames = frames.into();
        assert_eq!(line(&marked, None), "leaf ← main ← [incomplete: no unwind row]");
        let chain = Stacks::new(std::slice::from_ref(&marked)).chain(&[Some(StackId(1))]);
        assert_eq!(chain.up_to(""), "leaf ← main ← [incomplete: no unwind row]");
        assert_eq!(chain.frames(9).len(), 3);
    }
}

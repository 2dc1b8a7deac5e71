//! The code paths of a segment as a tree with bytes: the outermost function first, its callees
//! below it, the largest first. A function's bytes are its own and those of all below it.

use std::io;

use crate::report::{Frame, Path, Segment, Stack, StackId};
use crate::view::grid::{Cell, Column, Grid, Row};
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::samples::frame_name;
use crate::view::text;

/// Deeper than this the indent grows no further.
const DEEPEST: usize = 24;

/// A function, or a cause at the end of a path.
#[derive(Default)]
struct Node {
    name: String,
    /// What stands behind a cause.
    note: String,
    rss: u128,
    dirty: u128,
    touched: u128,
    children: Vec<Self>,
}

impl Node {
    /// The child of that name, made if it is not there.
    fn child(&mut self, name: &str) -> &mut Self {
        let at = self.children.iter().position(|child| child.name == name);
        let at = at.unwrap_or_else(|| {
            self.children.push(Self { name: name.to_owned(), ..Self::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
    }

    fn add(&mut self, path: &Path) {
        self.rss += u128::from(path.rss_bytes);
        self.dirty += u128::from(path.dirty_bytes);
        self.touched += u128::from(path.touched_bytes);
    }

    fn is_cause(&self) -> bool {
        self.children.is_empty()
    }
}

/// Writes the tree, and what no path explains.
pub fn write(segment: &Segment, stacks: &[Stack], page: &mut Page<'_>) -> io::Result<()> {
    page.heading("Code paths as a tree, callers above callees (KiB)")?;
    let mut root = grow(segment, stacks);
    sort(&mut root);
    let mut grid = Grid {
        columns: vec![
            Column::figures("RSS", 7),
            Column::figures("Dirty", 7),
            Column::figures("Touched", 7),
        ],
        tail_head: "Function",
        rows: Vec::new(),
    };
    let top = page.style.top.unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for child in shown(&root, top) {
        lay(child, "", "", top, &mut rows);
    }
    for rest in &segment.unexplained {
        let bytes = [rest.rss_bytes, rest.dirty_bytes].map(|b| number::kib_signed(b.into()));
        let [rss, dirty] = bytes;
        let names = format!("not explained: {}", text::clean(rest.reason.as_str()));
        rows.push(Laid { rss, dirty, names, explained: false, ..Laid::default() });
    }
    if rows.is_empty() {
        return page.line(&Line::of("  Nothing was touched.", Paint::Plain));
    }
    for row in rows {
        grid.rows.push(Row {
            cells: [&row.rss, &row.dirty, &row.touched].map(Cell::plain).into(),
            tail: Some(Box::new(move |room| row.line(room))),
            below: None,
        });
    }
    grid.print(page)
}

/// A row.
#[derive(Default)]
struct Laid {
    rss: String,
    dirty: String,
    touched: String,
    branch: String,
    names: String,
    cause: String,
    note: String,
    explained: bool,
}

impl Laid {
    /// Where there is not room for all, the note goes first, then the middle of the names.
    fn line(&self, room: Option<usize>) -> Line {
        let room = room.unwrap_or(usize::MAX);
        let beside = text::width(&self.branch) + text::width(&self.cause);
        let names = text::cut_middle(&self.names, room.saturating_sub(beside).max(8));
        let used = beside + text::width(&names);
        let paint = if self.explained { Paint::Plain } else { Paint::Bad };
        let mut line = Line::of(self.branch.clone(), Paint::Dim).and(names, paint);
        line.push(self.cause.clone(), Paint::Cause);
        if used.saturating_add(text::width(&self.note)) <= room {
            line.push(self.note.clone(), Paint::Dim);
        }
        line
    }
}

fn grow(segment: &Segment, stacks: &[Stack]) -> Node {
    let by_id: std::collections::HashMap<StackId, &[Frame]> =
        stacks.iter().map(|stack| (stack.id, &stack.frames[..])).collect();
    let mut root = Node::default();
    for path in &segment.paths {
        let frames = path.stack.and_then(|id| by_id.get(&id).copied());
        let mut node = &mut root;
        match frames {
            Some(frames) => {
                for frame in frames.iter().rev() {
                    node = node.child(&frame_name(frame));
                    node.add(path);
                }
            }
            None => {
                node = node.child("[no code of the process]");
                node.add(path);
            }
        }
        // Causes stand in brackets, where no function's name does.
        let cause = node.child(&format!("[{}]", text::clean(path.cause.as_str())));
        cause.add(path);
        let faults = number::count(path.faults, "fault", "faults");
        let threads = number::count(path.tids.len() as u64, "thread", "threads");
        let times = [path.first_ns, path.last_ns].map(number::duration);
        // Stacks of one chain that differ in lines alone are told by the first of them.
        if cause.note.is_empty() {
            let [first, last] = times;
            let times = if first == last { first } else { format!("{first}–{last}") };
            cause.note = format!("  {faults}, {threads}, {times}");
        } else {
            cause.note = "  at several lines".to_owned();
        }
    }
    root
}

fn sort(node: &mut Node) {
    node.children.sort_by_key(|n| std::cmp::Reverse((n.rss + n.dirty, n.dirty, n.touched)));
    node.children.iter_mut().for_each(sort);
}

/// The largest children; one more stands for the others.
fn shown(node: &Node, top: usize) -> Vec<Node> {
    let mut shown: Vec<Node> = node.children.iter().take(top).map(Node::copy).collect();
    if node.children.len() > top {
        let rest = &node.children[top..];
        let mut more = Node {
            name: format!("… {} more (--top 0 shows all)", rest.len()),
            ..Node::default()
        };
        for node in rest {
            more.rss += node.rss;
            more.dirty += node.dirty;
            more.touched += node.touched;
        }
        shown.push(more);
    }
    shown
}

impl Node {
    fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            note: self.note.clone(),
            rss: self.rss,
            dirty: self.dirty,
            touched: self.touched,
            children: self.children.iter().map(Self::copy).collect(),
        }
    }
}

/// One node and all below it. Functions that call one other alone stand in one line.
fn lay(node: Node, branch: &str, indent: &str, top: usize, rows: &mut Vec<Laid>) {
    let mut names = vec![node.name.clone()];
    let mut end = &node;
    while let [only] = &end.children[..]
        && !only.is_cause()
    {
        names.push(only.name.clone());
        end = only;
    }
    // A cause that is alone needs no line of its own either.
    let alone = match &end.children[..] {
        [cause] if cause.is_cause() => Some(cause),
        _ => None,
    };
    let (cause, note) = match alone {
        Some(cause) => (format!(" {}", cause.name), cause.note.clone()),
        None => (String::new(), node.note.clone()),
    };
    let kib = |bytes: u128| number::kib(u64::try_from(bytes).unwrap_or(u64::MAX));
    rows.push(Laid {
        rss: kib(node.rss),
        dirty: kib(node.dirty),
        touched: kib(node.touched),
        branch: branch.to_owned(),
        names: counted(&names).join(" → "),
        cause,
        note,
        explained: true,
    });
    if alone.is_some() {
        return;
    }
    let children = shown(end, top);
    let many = children.len();
    for (at, child) in children.into_iter().enumerate() {
        let last = at + 1 == many;
        let deep = text::width(indent) / 2 >= DEEPEST;
        let branch = format!("{indent}{}", if last { "└ " } else { "├ " });
        let below = match (deep, last) {
            (true, _) => indent.to_owned(),
            (false, true) => format!("{indent}  "),
            (false, false) => format!("{indent}│ "),
        };
        lay(child, &branch, &below, top, rows);
    }
}

/// Neighbours of one name counted.
fn counted(names: &[String]) -> Vec<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counted.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => counted.push((name, 1)),
        }
    }
    let text = |(name, times): (&str, usize)| {
        if times > 1 { format!("{name} ×{times}") } else { name.to_owned() }
    };
    counted.into_iter().map(text).collect()
}

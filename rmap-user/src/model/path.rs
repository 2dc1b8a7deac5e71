//! Code paths: a stack and a cause, interned per address space so that a page's owner is four
//! bytes.

use rustc_hash::FxHashMap;

use super::cause::Cause;

/// Names one stack among all that a session meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackRef(pub u32);

/// Names a code path within one address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(u32);

impl PathId {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Not a path: the page was there before tracing began.
    pub const BEFORE: Self = Self(1);
    /// Not a path: a process that is not traced wrote the file's page.
    pub const STRANGER: Self = Self(2);
    /// Not a path: events that came later than the last known claim were lost.
    pub const LOST: Self = Self(3);
    const FIRST: u32 = 4;

    /// Whether it is not [`PathId::NONE`].
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Whether it is [`PathId::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// A position for arrays by path.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a [`PathId`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The code; `None` where the kernel acted with no code of the process to name.
    pub stack: Option<StackRef>,
    /// Why.
    pub cause: Cause,
}

/// The code paths of one address space.
#[derive(Clone, Debug, Default)]
pub struct PathTable {
    ids: FxHashMap<Path, PathId>,
    paths: Vec<Path>,
    /// The path that was asked for last: faults come in runs of the same.
    last: Option<(Path, PathId)>,
    /// The last ids from before the window.
    older: FxHashMap<Path, PathId>,
    /// Ids below this one are older than the window that is asked for.
    window: u32,
}

impl PathTable {
    /// The id of a path, the same for the same path.
    pub fn intern(&mut self, stack: Option<StackRef>, cause: Cause) -> PathId {
        let path = Path { stack, cause };
        if let Some((_, id)) = self.last.filter(|(last, _)| *last == path) {
            return id;
        }
        let paths = &mut self.paths;
        let id = *self.ids.entry(path).or_insert_with(|| {
            paths.push(path);
            let last = u32::try_from(paths.len() - 1).unwrap_or(u32::MAX - PathId::FIRST);
            PathId(last + PathId::FIRST)
        });
        self.last = Some((path, id));
        id
    }

    /// The id of a path that was interned.
    #[must_use]
    pub fn find(&self, stack: Option<StackRef>, cause: Cause) -> Option<PathId> {
        let path = Path { stack, cause };
        self.ids.get(&path).or_else(|| self.older.get(&path)).copied()
    }

    /// From now on every path has a new id, so that what it brings is apart from what it brought before.
    pub(super) fn begin_window(&mut self) {
        self.older.extend(self.ids.drain());
        self.last = None;
        self.window = u32::try_from(self.index_end()).unwrap_or(u32::MAX);
    }

    /// Whether what a path with this id brought came in the window that is asked for. Without one
    /// everything did.
    #[must_use]
    pub const fn in_window(&self, id: PathId) -> bool {
        id.0 >= self.window
    }

    /// What an id stands for; `None` for [`PathId::NONE`], [`PathId::BEFORE`],
    /// [`PathId::STRANGER`] and [`PathId::LOST`].
    #[must_use]
    pub fn get(&self, id: PathId) -> Option<Path> {
        self.paths.get(id.0.checked_sub(PathId::FIRST)? as usize).copied()
    }

    /// One more than the highest [`PathId::index`].
    #[must_use]
    pub fn index_end(&self) -> usize {
        self.paths.len() + PathId::FIRST as usize
    }
}

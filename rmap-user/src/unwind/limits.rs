//! How much a table may take to build, and what was met while one was built.

/// Longest span of executable segments that is taken, in bytes (32 MiB of index).
pub const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Longest call frame information that is taken, in bytes.
pub const MAX_FRAME_BYTES: usize = 256 << 20;
/// Most functions (FDEs) that are taken.
pub const MAX_FUNCTIONS: usize = 1 << 22;
/// Most rows of a table (64 MiB).
pub const MAX_ROWS: usize = (1 << 24) - 1;
/// Most rules of a table that do not fit a row.
pub const MAX_RULES: usize = 4096;
/// Most CIEs that are kept while a table is built.
pub const MAX_CIES: usize = 1 << 16;
/// Most bytes of instructions of a CIE; they are run once for each CIE.
pub const MAX_CIE_BYTES: usize = 4096;
/// A gap between two functions of up to so many bytes is taken for padding and gets no row.
pub const MAX_PADDING: u32 = 15;

/// Most bytes of uncovered code that are searched for signal trampolines.
pub const MAX_SEARCH_BYTES: usize = 256 << 20;

/// What was met while a table was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Functions (FDEs) that made it into the table.
    pub functions: u32,
    /// Entries that could not be parsed, or whose program could not be followed to its end.
    pub bad_entries: u32,
    /// Functions of no length.
    pub empty: u32,
    /// Functions outside the executable segments.
    pub outside: u32,
    /// Functions that overlap the next one; they were cut where it begins.
    pub overlapping: u32,
    /// Rows whose rule is not supported.
    pub unsupported: u32,
    /// Rows of which the rule found no room among [`MAX_RULES`].
    pub rules_full: u32,
    /// 1 if a limit on functions, rows, CIEs, work or the section's length was reached, so that
    /// the table is not whole.
    pub limited: u32,
    /// Functions of `.debug_frame` that `.eh_frame` does not cover.
    pub debug_frame: u32,
    /// Signal trampolines, entry stubs and stretches of one row that were found by their code,
    /// since nothing describes them.
    pub by_code: u32,
}

//! The layout of the unwind tables that user space fills and the kernel side walks.
//!
//! A module's text is cut into buckets of [`BUCKET_BYTES`]. An *index* has one word a bucket,
//! and names the *rows* of that bucket; a row says from which byte on which rule holds. Index
//! and rows lie in *slabs* of 4 MiB (`ArrayOfMaps` of mmapable arrays with one element each), as
//! plain `u32` words. What does not fit a row is a [`Rule`] in one array shared by all modules.
//! A process has a sorted list of [`Mapping`]s, which say where in which slab a part of its code
//! has its index.
//!
//! ```text
//! row word    31 .......... 11 | 10 .. 8 | 7 ............... 0
//!             payload          | type    | byte within bucket
//! index word  31 ........................ 8 | 7 ............ 0
//!             slab word of the bucket's     | how many rows
//!             first row                     | begin in it
//! ```
//! The word before a bucket's first row is always a row too: the one that still holds at the
//! bucket's first byte.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Places where stacks are looked at that never run at once on one CPU, in the order of `state::Place`.
pub const PLACES: u32 = 17;
/// How many of them, the first ones, are such that stacks are walked there.
pub const PLACES_WALKED: u32 = 9;
/// How many serve where programs are not preempted (before Linux 7.0).
pub const PLACES_UNDISTURBED: u32 = 5;
/// The same where the allocator's shim is traced.
pub const PLACES_WITH_MALLOC: u32 = PLACES_UNDISTURBED + 1;

/// log2 of [`BUCKET_BYTES`].
pub const BUCKET_SHIFT: u32 = 7;
/// Bytes of text that one index word stands for.
pub const BUCKET_BYTES: u64 = 1 << BUCKET_SHIFT;
/// Most rows that can begin in one bucket.
pub const BUCKET_ROWS: u32 = BUCKET_BYTES as u32;

/// Words of one slab (4 MiB).
pub const SLAB_WORDS: usize = 1 << 20;
/// Mask that brings any number into a slab.
pub const SLAB_MASK: u32 = SLAB_WORDS as u32 - 1;
/// Most slabs.
pub const SLABS: u32 = 240;

/// [`Mapping::slab`]: the file is known, but its table is not loaded (yet).
pub const SLAB_PENDING: u32 = 253;
/// [`Mapping::slab`]: a file without unwind information.
pub const SLAB_UNCOVERED: u32 = 254;
/// [`Mapping::slab`]: code without a file, as a JIT compiler makes it.
pub const SLAB_JIT: u32 = 255;

/// Entries of the array of [`Rule`]s.
pub const RULES: usize = 1 << 14;
/// Mask that brings any number into the array of rules.
pub const RULES_MASK: u32 = RULES as u32 - 1;

/// Most mappings of one process.
pub const MAPPINGS: usize = 1 << MAPPINGS_SHIFT;
/// log2 of [`MAPPINGS`].
pub const MAPPINGS_SHIFT: u32 = 9;

/// Row type: CFA = rsp + 8a; payload as in [`ROW_BP`].
pub const ROW_SP: u32 = 0;
/// Row type: CFA = rbp + 8a. The payload is `a` (15 bits), then `b` and `c` (3 bits each): rbp
/// is saved at CFA − 8(b + 1) and rbx at CFA − 8(c + 1), or still in its register where the
/// number is 0. The return address is at CFA − 8.
pub const ROW_BP: u32 = 1;
/// Row type: one of the `SPECIAL_` kinds, in the low 8 bits of the payload.
pub const ROW_SPECIAL: u32 = 2;
/// Row type: the payload is the index of a [`Rule`].
pub const ROW_RULE: u32 = 3;

/// No unwind information covers this code.
pub const SPECIAL_NONE: u32 = 0;
/// The outermost frame: its return address is undefined.
pub const SPECIAL_END: u32 = 1;
/// There is a rule, but none that a row or a [`Rule`] can hold.
pub const SPECIAL_UNSUPPORTED: u32 = 2;
/// The return trampoline of a signal handler: the registers lie in the `rt_sigframe`.
pub const SPECIAL_SIGNAL: u32 = 3;
/// A PLT slot: CFA = rsp + 8, and 8 more if `rip & 15` has reached the number in the upper bits
/// of the payload.
pub const SPECIAL_PLT: u32 = 4;
/// Not in a table: the address is in a [`SLAB_JIT`] mapping.
pub const SPECIAL_JIT: u32 = 5;
/// Not in a table: the address is in no mapping, or in one whose table is not loaded.
pub const SPECIAL_NO_MAPPING: u32 = 6;

/// Where a rule finds a saved register: still in it.
pub const SAVED_SAME: u8 = 0;
/// Where a rule finds a saved register: in memory at CFA + offset.
pub const SAVED_AT_CFA: u8 = 1;
/// Where a rule finds a saved register: in memory at (this frame's rbp) + offset.
pub const SAVED_AT_BP: u8 = 2;
/// The caller's value cannot be had.
pub const SAVED_LOST: u8 = 3;

/// [`Rule::flags`]: the CFA is the word at register + `cfa_off`, plus `cfa_add`.
pub const RULE_DEREF: u8 = 1 << 0;
/// [`Rule::flags`]: the return address is in the register [`Rule::ra`], not in memory.
pub const RULE_RA_REGISTER: u8 = 1 << 1;

/// [`Rule::flags`]: the caller is on another stack, which may lie anywhere.
pub const RULE_OTHER_STACK: u8 = 1 << 2;
/// [`Rule::flags`]: the frame pointer is the caller's own and not this frame's, so that the caller
/// itself is left out.
pub const RULE_APPROXIMATE: u8 = 1 << 3;
/// [`Rule::flags`]: the thread works on its own stack for a task with another one. `cfa_reg`, a
/// register of the thread, leads to the task that is its own; the word at `cfa_off` from there to
/// what is known of the thread, whose first word leads back; the word at `bp_off` from there to the
/// task, and the word at `cfa_add` from there is its stack pointer, `bx_slot` below the CFA. Where
/// that register has been given to something else, frame pointers serve as under
/// [`RULE_APPROXIMATE`].
pub const RULE_THREADED: u8 = 1 << 4;

/// Numbers of registers: those of `gregs` in the x86-64 `struct sigcontext`
/// (`arch/x86/include/uapi/asm/sigcontext.h`), which starts at r8.
pub const REG_BP: u8 = 10;
/// The number of rbx.
pub const REG_BX: u8 = 11;
/// The number of rsp.
pub const REG_SP: u8 = 15;
/// How many registers have a number.
pub const REGISTERS: u8 = 16;

/// A rule that does not fit a row.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rule {
    /// The register from which the CFA is computed. Others than rsp, rbp and rbx are known only
    /// in the innermost frame and in one that a signal interrupted.
    pub cfa_reg: u8,
    /// The `RULE_` bits.
    pub flags: u8,
    /// Where the return address is: in units of 8 bytes from the CFA as an `i8`, or the number
    /// of a register under [`RULE_RA_REGISTER`].
    pub ra: u8,
    /// How rbp (low 4 bits) and rbx (high 4 bits) are saved: `SAVED_` constants.
    pub saved: u8,
    /// Added to the register, in bytes.
    pub cfa_off: i32,
    /// Offset of the saved rbp, in bytes.
    pub bp_off: i32,
    /// Added to the word that was read under [`RULE_DEREF`], in bytes.
    pub cfa_add: i16,
    /// Offset of the saved rbx, in units of 8 bytes.
    pub bx_slot: i16,
}

/// A piece of executable memory of a process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Mapping {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// The address, in the process, of the first byte of the bucket at `idx_base`.
    pub bias: u64,
    /// Word of the slab where the index of this piece begins.
    pub idx_base: u32,
    /// The slab, or one of the `SLAB_` constants above [`SLABS`].
    pub slab: u32,
}

/// How many [`Mappings`] there are. Processes that have the same mappings may share one.
pub const MAPPING_SLOTS: u32 = 512;
/// The place of a process that has no [`Mappings`] (yet): it is outside of the array.
pub const NO_SLOT: u32 = u32::MAX;

/// The executable mappings of one process, sorted by address, none overlapping another.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mappings {
    /// How many are set.
    pub count: u32,
    /// Raised by user space with every change.
    pub generation: u32,
    /// Those behind `count` have `start` = `end` = `u64::MAX >> 1`, so that a search needs no
    /// count.
    pub list: [Mapping; MAPPINGS],
}

/// A mapping that the kernel side has learned of by itself.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Learned {
    /// The mapping.
    pub mapping: Mapping,
    /// As `logic::learned::check` says, else nobody has written it, or two at once.
    pub check: u64,
}

/// How many the processes that share [`Mappings`] may have since those were set.
pub const LEARNED: usize = 16;
/// Most files whose tables the kernel side finds by itself.
pub const FILE_TABLES: u32 = 8192;

/// Where the table of a file lies that has one executable segment, and its table in one piece.
/// Offsets are bytes of the file; before its first byte is above all.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileTable {
    /// `st_ctim` of the file of which it was made: seconds.
    pub changed_s: u64,
    /// Nanoseconds.
    pub changed_ns: u64,
    /// Where the pages of its executable segment begin.
    pub from: u64,
    /// And end.
    pub to: u64,
    /// The byte of the bucket at `idx_base`.
    pub first: u64,
    /// Behind the last byte that the table is of.
    pub behind: u64,
    /// As of [`Mapping`].
    pub idx_base: u32,
    /// As of [`Mapping`].
    pub slab: u32,
}

const _: () = assert!(LEARNED.is_power_of_two());
const _: () = assert!(size_of::<Rule>() == 16);
const _: () = assert!(size_of::<Mapping>() == 32);
const _: () = assert!(size_of::<Mappings>() == 8 + 32 * MAPPINGS);
const _: () = assert!(SLAB_WORDS <= 1 << 24, "an index word has 24 bits for a row's place");
const _: () = assert!(BUCKET_BYTES <= 256, "a row has 8 bits for the byte within its bucket");
const _: () = assert!(BUCKET_ROWS < 256, "an index word has 8 bits for the number of rows");
const _: () = assert!(SLABS <= SLAB_PENDING);

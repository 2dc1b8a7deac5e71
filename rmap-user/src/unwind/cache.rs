//! Tables on disk, by build id: building one takes up to a tenth of a second, reading it back a
//! few milliseconds.
//!
//! Comes in: a [`Table`] to keep, or a build id. Goes out: the table, if a file of the right
//! version with the right checksum is there. The format is [`encode`] and [`decode`]; the
//! directory is [`Cache`].
//!
//! The directory has mode 0700 and its files 0600, and a directory that belongs to another user
//! or that others may write to is not used. Files are written beside and renamed, so that a
//! reader finds a whole one or none. When the files together are larger than a limit
//! ([`DEFAULT_LIMIT`]), those go first that were used longest ago.

use super::elf::{MAX_BUILD_ID, Segment};
use super::table::{MAX_ROWS, MAX_RULES, MAX_TEXT_BYTES, Stats, Table};
use rmap_ebpf::abi::{BUCKET_SHIFT, ROW_RULE, Rule};
use rmap_ebpf::logic::unwind_row::{index_count, index_first, row_payload, row_type};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes that the files of a cache may take together.
pub const DEFAULT_LIMIT: u64 = 256 << 20;

/// With what a file begins; the last byte is the version, raised with every change of the format,
/// of the row encoding, or of the rules by which tables are built.
const MAGIC: [u8; 8] = *b"rmapuw\0\x05";
/// Magic and checksum.
const HEADER: usize = 16;
/// Largest file that is read: the largest table there can be.
const MAX_FILE: u64 = 4 * (MAX_ROWS as u64 + (MAX_TEXT_BYTES >> BUCKET_SHIFT))
    + (MAX_RULES * size_of::<Rule>()) as u64
    + (1 << 16);
/// Most segments of a file.
const MAX_SEGMENTS: usize = 64;
const SUFFIX: &str = "unwind";

/// Writes a table as the bytes of a cache file: magic, checksum of the rest, then counts and
/// arrays in little-endian order.
#[must_use]
pub fn encode(table: &Table) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 1024 + table.bytes());
    out.extend(MAGIC);
    out.extend([0; 8]);
    let s = &table.stats;
    let counts = [
        table.build_id.len(),
        table.segments.len(),
        table.rules.len(),
        table.rows.len(),
        table.index.len(),
    ];
    let stats = [
        s.functions,
        s.bad_entries,
        s.empty,
        s.outside,
        s.overlapping,
        s.unsupported,
        s.rules_full,
        s.limited,
        s.debug_frame,
        s.by_code,
    ];
    for count in counts.map(|count| count as u32).iter().chain(&stats) {
        out.extend(count.to_le_bytes());
    }
    out.extend(table.base.to_le_bytes());
    for segment in &table.segments {
        for number in [segment.offset, segment.address, segment.file_size] {
            out.extend(number.to_le_bytes());
        }
    }
    out.extend(table.rules.as_bytes());
    out.extend(table.rows.as_bytes());
    out.extend(table.index.as_bytes());
    out.extend(&table.build_id);
    let sum = checksum(out.get(HEADER..).unwrap_or_default());
    if let Some(place) = out.get_mut(8..HEADER) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    out
}

/// Reads what [`encode`] wrote. `None` if it is of another version, was damaged, or holds numbers
/// that lead outside the table.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Table> {
    let (magic, rest) = bytes.split_at_checked(8)?;
    let (sum, rest) = rest.split_at_checked(8)?;
    if magic != MAGIC || sum != checksum(rest).to_le_bytes() {
        return None;
    }
    let mut input = Input(rest);
    let counts: Vec<u32> = (0..15).map(|_| input.u32()).collect::<Option<_>>()?;
    let [build_id, segments, rules, rows, index, stats @ ..] = counts.as_slice() else {
        return None;
    };
    let count = |number: &u32, most: usize| Some(*number as usize).filter(|&n| n <= most);
    let build_id = count(build_id, MAX_BUILD_ID)?;
    let segments = count(segments, MAX_SEGMENTS)?;
    let rules = count(rules, MAX_RULES)?;
    let rows = count(rows, MAX_ROWS + 1)?;
    let index = count(index, (MAX_TEXT_BYTES >> BUCKET_SHIFT) as usize)?;
    let &[functions, bad_entries, empty, outside, overlapping, ref stats @ ..] = stats else {
        return None;
    };
    let &[unsupported, rules_full, limited, debug_frame, by_code] = stats else { return None };
    let base = input.u64()?;
    let segments = (0..segments)
        .map(|_| {
            let (offset, address, file_size) = (input.u64()?, input.u64()?, input.u64()?);
            Some(Segment { offset, address, file_size, executable: true })
        })
        .collect::<Option<_>>()?;
    let table = Table {
        segments,
        base,
        rules: input.array(rules)?,
        rows: input.array(rows)?,
        index: input.array(index)?,
        build_id: input.take(build_id)?.to_vec(),
        stats: Stats {
            functions,
            bad_entries,
            empty,
            outside,
            overlapping,
            unsupported,
            rules_full,
            limited,
            debug_frame,
            by_code,
        },
    };
    (input.0.is_empty() && is_sound(&table)).then_some(table)
}

/// Takes any bytes as what follows the checksum of a cache file. For fuzzing: what is accepted
/// must be what [`encode`] writes, and must lead nowhere outside of the table.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut file = MAGIC.to_vec();
    file.extend(checksum(bytes).to_le_bytes());
    file.extend(bytes);
    let Some(table) = decode(&file) else { return };
    assert!(encode(&table) == file, "a table is not written as it was read");
    for address in (table.base()..table.end()).step_by(1 << BUCKET_SHIFT).take(1000) {
        assert!(table.row_at(address).is_some(), "no row at {address:#x}");
    }
}

/// Whether every index word leads to rows and every row to a rule, as one that was built does.
fn is_sound(table: &Table) -> bool {
    let mut next = 1;
    let in_order = table.index.iter().all(|&word| {
        let in_order = index_first(word) == next;
        next = index_first(word).saturating_add(index_count(word));
        in_order
    });
    let rules_exist = table
        .rows
        .iter()
        .all(|&row| row_type(row) != ROW_RULE || (row_payload(row) as usize) < table.rules.len());
    let span = (table.index.len() as u64) << BUCKET_SHIFT;
    in_order
        && next as usize == table.rows.len()
        && rules_exist
        && table.base.checked_add(span).is_some()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn array<T: FromBytes>(&mut self, count: usize) -> Option<Vec<T>> {
        let bytes = self.take(count.checked_mul(size_of::<T>())?)?;
        bytes.chunks_exact(size_of::<T>()).map(|item| T::read_from_bytes(item).ok()).collect()
    }
}

/// Tells accidents, not forgery: whoever may write to the directory may run code as its owner.
/// Multiplies and folds words of eight bytes, in four lanes.
fn checksum(bytes: &[u8]) -> u64 {
    const MULTIPLY: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(MULTIPLY);
        (product as u64) ^ (product >> 64) as u64 ^ word.rotate_left(23)
    };
    let mut lanes = [1, 2, 3, bytes.len() as u64];
    let mut chunks = bytes.chunks_exact(32);
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    };
    for chunk in &mut chunks {
        for (lane, bytes) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            *lane = mix(*lane, word(bytes));
        }
    }
    for (lane, bytes) in lanes.iter_mut().zip(chunks.remainder().chunks(8)) {
        *lane = mix(*lane, word(bytes) ^ 0x80);
    }
    lanes.into_iter().fold(0, mix)
}

/// Why a directory is no cache, or a table was not kept.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
    #[error("no place for a cache of unwind tables: set XDG_CACHE_HOME or HOME")]
    NoPlace,
    /// Another user owns the directory, or may write to it.
    #[error(
        "the cache directory {path} is not ours alone (owner {owner}, mode {mode:o}): \
         remove it, or set XDG_CACHE_HOME to another"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// The table has no build id, or one that makes no file name.
    #[error("the module has no build id by which its table could be kept")]
    NoBuildId,
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came.
        source: io::Error,
    },
}

/// A directory of tables.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    limit: u64,
}

/// Tells the files apart that are being written by one process.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

impl Cache {
    /// Where the cache of a user is: `/var/cache/rmap` for root, else `$XDG_CACHE_HOME/rmap` or
    /// `~/.cache/rmap`. The arguments are the effective user id and the two variables.
    ///
    /// # Errors
    /// There is no such place.
    pub fn place(
        user: u32,
        xdg_cache_home: Option<&Path>,
        home: Option<&Path>,
    ) -> Result<PathBuf, CacheError> {
        if user == 0 {
            return Ok(PathBuf::from("/var/cache/rmap"));
        }
        let absolute = |path: &&Path| path.is_absolute();
        xdg_cache_home
            .filter(absolute)
            .map(|path| path.join("rmap"))
            .or_else(|| home.filter(absolute).map(|path| path.join(".cache/rmap")))
            .ok_or(CacheError::NoPlace)
    }

    /// Opens the cache in a directory, which is made if it is not there. `user` is the effective
    /// user id, `limit` the bytes that its files may take together.
    ///
    /// # Errors
    /// The directory cannot be made, or is not this user's alone.
    pub fn open(directory: &Path, user: u32, limit: u64) -> Result<Self, CacheError> {
        let io =
            |action| move |source| CacheError::Io { action, path: directory.to_path_buf(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io("make the cache directory"))?;
        // A link is not followed: it may lead to where another user writes.
        let found = fs::symlink_metadata(directory).map_err(io("look at the cache directory"))?;
        let mode = found.mode() & 0o7777;
        if !found.is_dir() || found.uid() != user || mode & 0o022 != 0 {
            let path = directory.to_path_buf();
            return Err(CacheError::NotOurs { path, owner: found.uid(), mode });
        }
        Ok(Self { directory: directory.to_path_buf(), limit })
    }

    /// The table of a build id, if it is there and sound. It counts as used now.
    #[must_use]
    pub fn get(&self, build_id: &[u8]) -> Option<Table> {
        let path = self.path(build_id)?;
        let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path).ok()?;
        let found = file.metadata().ok()?;
        if !found.is_file() || found.len() > MAX_FILE {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).ok()?);
        Read::by_ref(&mut file).take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        let table = decode(&bytes).filter(|table| table.build_id == build_id)?;
        // The owner may set times on a file that is open for reading; if not, it ages sooner.
        let _ = file.set_modified(SystemTime::now());
        Some(table)
    }

    /// Keeps a table, and makes room if the files have grown over the limit.
    ///
    /// # Errors
    /// The table has no build id, or the file cannot be written.
    pub fn put(&self, table: &Table) -> Result<(), CacheError> {
        let path = self.path(&table.build_id).ok_or(CacheError::NoBuildId)?;
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.new", std::process::id()));
        let written =
            write_new(&temporary, &encode(table)).and_then(|()| fs::rename(&temporary, &path));
        if let Err(source) = written {
            let _ = fs::remove_file(&temporary);
            return Err(CacheError::Io { action: "write the unwind table", path, source });
        }
        self.trim();
        Ok(())
    }

    /// Removes the files that were used longest ago until the rest is within the limit, and what
    /// writers left behind that did not live to rename it. What cannot be removed stays.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let extension = path.extension()?;
                let found = entry.metadata().ok().filter(|found| found.is_file())?;
                let ours = extension == SUFFIX || extension == "new";
                ours.then(|| Some((found.modified().ok()?, found.len(), path)))?
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= self.limit {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }

    /// The file of a build id, which stands in its name in hexadecimal.
    fn path(&self, build_id: &[u8]) -> Option<PathBuf> {
        if build_id.is_empty() || build_id.len() > MAX_BUILD_ID {
            return None;
        }
        let name: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.directory.join(format!("{name}.{SUFFIX}")))
    }
}

/// `O_NOFOLLOW` of Linux on x86-64 (`asm-generic/fcntl.h`).
const O_NOFOLLOW: i32 = 0o400_000;

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

//! The functions of allocators in an ELF file: by their names, whichever allocator has them.
//!
//! Comes in: an open file that nobody vouches for. Goes out: where in it each function can be probed, and how
//! it takes its arguments. Names of the C library count where they are the file's own for all others (global
//! or weak); names with an allocator's prefix also where only the file itself uses them. C++ operators are
//! not looked for: those of the usual libraries call `malloc`, and a probe at the return of one that
//! throws would end the program.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::elf::{ElfError, Headers, SYMBOLS_MAX, Shdr, c_string, ehdr, read_at};
use super::probe_place::{self, LOOKED_AT};

/// Functions of one file at most.
pub const FUNCTIONS_MAX: usize = 256;

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;
const STB_LOCAL: u8 = 0;

/// How a function of an allocator takes its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Shape {
    /// `f(size, …)`.
    First,
    /// `f(_, size)`.
    Second,
    /// `f(members, size)`.
    Product,
    /// `f(out, alignment, size)`, which returns an error.
    Out,
    /// `f(old, size, …)`.
    Again,
    /// `f(old, members, size)`.
    AgainProduct,
    /// `f(block, …)`, which frees it.
    Free,
}

/// Prefixes that allocators give to all of their names: jemalloc (also Rust's), mimalloc, tcmalloc.
const PREFIXES: [&[u8]; 4] = [b"je_", b"_rjem_", b"mi_", b"tc_"];

/// Names without a prefix.
const NAMES: [(&[u8], Shape); 32] = [
    (b"malloc", Shape::First),
    (b"valloc", Shape::First),
    (b"pvalloc", Shape::First),
    (b"calloc", Shape::Product),
    (b"realloc", Shape::Again),
    (b"reallocarray", Shape::AgainProduct),
    (b"memalign", Shape::Second),
    (b"aligned_alloc", Shape::Second),
    (b"posix_memalign", Shape::Out),
    (b"free", Shape::Free),
    (b"cfree", Shape::Free),
    (b"free_sized", Shape::Free),
    (b"free_aligned_sized", Shape::Free),
    // jemalloc.
    (b"mallocx", Shape::First),
    (b"rallocx", Shape::Again),
    (b"dallocx", Shape::Free),
    (b"sdallocx", Shape::Free),
    // mimalloc.
    (b"zalloc", Shape::First),
    (b"mallocn", Shape::Product),
    (b"malloc_small", Shape::First),
    (b"zalloc_small", Shape::First),
    (b"malloc_aligned", Shape::First),
    (b"zalloc_aligned", Shape::First),
    (b"calloc_aligned", Shape::Product),
    (b"heap_malloc", Shape::Second),
    (b"heap_zalloc", Shape::Second),
    (b"rezalloc", Shape::Again),
    (b"reallocn", Shape::AgainProduct),
    (b"realloc_aligned", Shape::Again),
    (b"rezalloc_aligned", Shape::Again),
    (b"free_size", Shape::Free),
    (b"free_aligned", Shape::Free),
];

/// How many of them, the first ones, mean the same without a prefix.
const UNPREFIXED: usize = 17;

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Sym {
    name: U32,
    info: u8,
    other: u8,
    section: U16,
    value: U64,
    size: U64,
}

/// The functions of an allocator in a file, each once, in the order of their offsets.
///
/// # Errors
/// Not such an ELF file, or it is more than is read.
pub fn find(file: &File) -> Result<Vec<(Shape, u64)>, ElfError> {
    let headers = Headers::read(file)?;
    let ehdr = ehdr(file)?;
    let count = usize::from(ehdr.shnum.get());
    if count == 0 || ehdr.shoff == 0 {
        return Err(ElfError::NoSections);
    }
    if usize::from(ehdr.shentsize.get()) != size_of::<Shdr>() {
        return Err(ElfError::Malformed("size of a section header"));
    }
    let bytes = read_at(file, ehdr.shoff.get(), count * size_of::<Shdr>())?;
    let shdrs =
        <[Shdr]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("section headers"))?;
    let mut found = BTreeMap::new();
    for table in shdrs.iter().filter(|shdr| [SHT_SYMTAB, SHT_DYNSYM].contains(&shdr.kind.get())) {
        let Some(names) = shdrs.get(table.link.get() as usize) else { continue };
        if table.size > SYMBOLS_MAX || names.size > SYMBOLS_MAX {
            return Err(ElfError::Limit("the symbol table"));
        }
        let names = read_at(file, names.offset.get(), names.size.get() as usize)?;
        let mut bytes = read_at(file, table.offset.get(), table.size.get() as usize)?;
        bytes.truncate(bytes.len() / size_of::<Sym>() * size_of::<Sym>());
        let symbols =
            <[Sym]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("symbol table"))?;
        for symbol in symbols {
            if symbol.info & 15 != STT_FUNC || symbol.section == 0 {
                continue;
            }
            let name = c_string(&names, symbol.name.get() as usize);
            let local = symbol.info >> 4 == STB_LOCAL;
            if let Some(shape) = shape(name, local)
                && let Some(offset) = headers.offset_of_code(symbol.value.get())
                && found.len() < FUNCTIONS_MAX
            {
                found.entry(offset).or_insert(shape);
            }
        }
    }
    let placed = |(offset, shape)| {
        let mut code = [0; LOOKED_AT];
        // A function at the end of a file is none.
        let read = file.read_at(&mut code, offset).unwrap_or(0);
        (shape, offset + place(&code[..read]))
    };
    Ok(found.into_iter().map(placed).collect())
}

/// How many bytes behind its beginning a function is probed best, by its first bytes.
#[must_use]
pub fn place(code: &[u8]) -> u64 {
    probe_place::behind(code)
}

/// How the function of a name takes its arguments, if it is an allocator's.
fn shape(name: &[u8], local: bool) -> Option<Shape> {
    let of = |name: &[u8], names: &[(&[u8], Shape)]| {
        names.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
    };
    let plain = || of(name, &NAMES[..UNPREFIXED]).filter(|_| !local);
    PREFIXES.iter().find_map(|prefix| of(name.strip_prefix(*prefix)?, &NAMES)).or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_allocators_are_known() {
        for (name, local, expected) in [
            ("malloc", false, Some(Shape::First)),
            ("malloc", true, None),
            ("je_malloc", true, Some(Shape::First)),
            ("_rjem_sdallocx", true, Some(Shape::Free)),
            ("mi_zalloc", false, Some(Shape::First)),
            ("zalloc", false, None),
            ("posix_memalign", false, Some(Shape::Out)),
            ("sdallocx", false, Some(Shape::Free)),
            ("je_malloc_usable_size", false, None),
            ("", false, None),
            ("je_", false, None),
        ] {
            assert_eq!(shape(name.as_bytes(), local), expected, "{name}");
        }
    }

    #[test]
    fn the_c_library_has_the_usual_ones_where_they_are() {
        // SAFETY: only its address is taken.
        let malloc = libc::malloc as *const () as usize as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (line, start) = maps
            .lines()
            .filter_map(|line| {
                let (range, _) = line.split_once(' ')?;
                let (start, end) = range.split_once('-')?;
                let start = u64::from_str_radix(start, 16).ok()?;
                let end = u64::from_str_radix(end, 16).ok()?;
                (start..end).contains(&malloc).then_some((line, start))
            })
            .next()
            .unwrap();
        let path = line.split_whitespace().nth(5).unwrap();
        let offset = u64::from_str_radix(line.split_whitespace().nth(2).unwrap(), 16).unwrap();
        let found = find(&File::open(path).unwrap()).unwrap();
        let begins = malloc - start + offset;
        let at = found.iter().find(|(_, at)| (begins..begins + 32).contains(at));
        assert!(at.is_some_and(|(shape, _)| *shape == Shape::First), "{found:x?}");
        for shape in [Shape::Product, Shape::Again, Shape::Out, Shape::Free] {
            assert!(found.iter().any(|(known, _)| *known == shape), "{shape:?}: {found:x?}");
        }
    }

    #[test]
    fn what_is_no_elf_file_has_none() {
        assert!(find(&File::open("/etc/passwd").unwrap()).is_err());
        assert!(find(&File::open("/dev/null").unwrap()).is_err());
    }
}

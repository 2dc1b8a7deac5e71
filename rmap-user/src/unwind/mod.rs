//! From the unwind information in ELF files to the tables by which user stacks are walked without
//! frame pointers, in the kernel and here.
//!
//! Comes in: the bytes of ELF files ([`table`]), then registers and a way to read a thread's
//! memory ([`walk`]). Goes out: a [`table::Table`] a module, its words laid out in slabs
//! ([`layout`]) as `rmap_ebpf::abi` describes them, files of a [`cache`], and walked stacks.
//! Nothing here touches a process; `live` loads the tables and reads the memory.
//!
//! The files belong to whoever is traced, so every size is bounded (see the constants of
//! [`table`]), and what is wrong in them is counted in [`table::Stats`].

pub mod cache;
mod cfi;
mod code;
mod context;
mod crt;
pub mod elf;
mod functions;
mod go;
pub mod layout;
mod limits;
pub mod table;
mod uncovered;
pub mod walk;

/// Takes any bytes as an ELF file and as a cached table, builds, lays out and walks. For fuzzing:
/// it must return in time bounded by the input's length and must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let _ = cache::decode(bytes);
    let Ok(table) = table::Table::build(bytes) else { return };
    let mut slabs = layout::Slabs::default();
    let Ok(placed) = slabs.place(&table) else { return };
    let mappings = placed.mappings(table.base(), table.base()..table.end());
    let space = walk::Space::new(&slabs, mappings);
    for word in bytes.chunks_exact(8).take(64) {
        let word = word.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        let ip = table.base() + word % (table.end() - table.base()).max(1);
        let registers = walk::Registers { ip, general: [word; 16] };
        let _ = walk::walk(&registers, &space, |address| Some(address ^ word));
    }
}

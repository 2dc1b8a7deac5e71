//! The machine: its registers, its system calls' numbers, what an error code of a page fault means,
//! and its page tables. Everything else of the probes asks here, so another machine is another
//! module with the same items:
//!
//! * [`UserRegisters`]: the registers at the entry to the kernel;
//! * [`NOT_YET`]: what their result of a system call is while it runs;
//! * [`call`]: numbers of system calls, and [`told_otherwise`];
//! * [`access`]: a fault's error code as `abi::ERROR_` bits;
//! * [`page_table`]: the walk to the entry of an address.
//!
//! Where stacks are walked, [`rmap_ebpf::logic::unwind`] has the rules of x86-64 too; its tables come
//! from user space. Machines without `exceptions:page_fault_user` (64-bit ARM) have no entry of a
//! fault: its end then says `abi::FAULT_NO_ENTRY`, by which user space knows that the kind of access
//! is not known.

mod x86_64;

pub use x86_64::*;

//! Page faults, bracketed per thread: entry by `exceptions:page_fault_user` and `_kernel` (raw;
//! args: address, regs, error code; x86), end by the perf software events minor-faults and
//! major-faults (kernel `mm_account_fault`), which run after every counter has moved.

use aya_ebpf::{
    bindings::task_struct,
    macros::{perf_event, raw_tracepoint},
    programs::{PerfEventContext, RawTracePointContext},
};
use rmap_ebpf::{abi, logic::fault};

use crate::{
    arch::{
        self, UserRegisters, call,
        page_table::{self, Leaf},
    },
    batch, config, emit, kernel, loss, noted, stack,
    state::{Bracket, FAULT_END, FAULTS, Traced, is_busy, traced},
};

/// `exceptions:page_fault_user`.
#[raw_tracepoint]
pub fn page_fault_user(ctx: RawTracePointContext) -> i32 {
    open(&ctx, 0)
}

/// `exceptions:page_fault_kernel`.
#[raw_tracepoint]
pub fn page_fault_kernel(ctx: RawTracePointContext) -> i32 {
    open(&ctx, Bracket::KERNEL)
}

/// `PERF_COUNT_SW_PAGE_FAULTS_MIN`.
#[perf_event]
pub fn minor_fault(ctx: PerfEventContext) -> u32 {
    close(&ctx)
}

/// `PERF_COUNT_SW_PAGE_FAULTS_MAJ`: marks the fault and goes on as [`minor_fault`], so that the
/// kernel verifies the walk of stacks once.
#[perf_event]
pub fn major_fault(ctx: PerfEventContext) -> u32 {
    match traced(kernel::current()) {
        Traced::Yes(thread) => thread.bracket.flags |= Bracket::MAJOR,
        Traced::No => return 0,
        // The other program counts it.
        Traced::Unkept => {}
    }
    // SAFETY: what is in the table is a program of the same kind, for the same context.
    unsafe { FAULT_END.tail_call(&ctx, 0) };
    // Comes back only if it could not go there.
    emit::count(abi::COUNT_LOST_EVENTS, 1);
    0
}

/// A fault starts: its thread's bracket opens.
#[inline(always)]
fn open(ctx: &RawTracePointContext, kind: u32) -> i32 {
    let address: u64 = ctx.arg(0);
    // Addresses of the kernel's own half are not the process's.
    if (address as i64) < 0 {
        return 0;
    }
    let task = kernel::current();
    let Traced::Yes(thread) = traced(task) else { return 0 };
    if kind == Bracket::KERNEL && is_busy(kernel::tid(task)) {
        emit::count(abi::COUNT_FAULTS_NESTED, 1);
        return 0;
    }
    let error_code = arch::access(ctx.arg(2));
    thread.bracket = Bracket {
        mm: kernel::mm(task),
        address,
        error_code,
        members: 0,
        flags: Bracket::OPEN | kind,
        reserved: 0,
        frame: 0,
        regs: 0,
        mark: 0,
    };
    if kind == Bracket::KERNEL {
        thread.bracket.regs = ctx.arg(1);
        thread.bracket.mark = Bracket::mark_of(thread.bracket.regs);
    }
    const WRITES_PRESENT: u32 = abi::ERROR_PRESENT | abi::ERROR_WRITE;
    if error_code & WRITES_PRESENT == WRITES_PRESENT {
        thread.bracket.frame = frame(task, address);
    }
    batch::open(kernel::tid(task));
    0
}

/// A fault is done: if it changed anything, user space is told.
#[inline(always)]
fn close(ctx: &PerfEventContext) -> u32 {
    let task = kernel::current();
    let thread = match traced(task) {
        Traced::Yes(thread) => thread,
        Traced::No => return 0,
        Traced::Unkept => {
            emit::count(abi::COUNT_BRACKETS_FULL, 1);
            return 0;
        }
    };
    emit::count(abi::COUNT_FAULTS, 1);
    // SAFETY: the kernel gives a perf event program this context, and the verifier checks the
    // offset.
    let address = unsafe { (*ctx.ctx).addr };
    let mut bracket = thread.bracket;
    thread.bracket.flags = 0;
    let mut flags = if bracket.flags & Bracket::MAJOR != 0 { abi::FAULT_MAJOR } else { 0 };
    if bracket.flags & Bracket::OPEN == 0 || (bracket.address ^ address) >> 12 != 0 {
        flags |= abi::FAULT_NO_ENTRY;
        bracket = Bracket {
            mm: kernel::mm(task),
            address,
            error_code: 0,
            members: 0,
            flags: 0,
            reserved: 0,
            frame: 0,
            regs: 0,
            mark: 0,
        };
        emit::count(abi::COUNT_FAULTS_NO_ENTRY, 1);
    } else {
        bracket.members |= batch::moved(kernel::tid(task));
    }
    if flags & abi::FAULT_NO_ENTRY == 0 && !fault::changed(bracket.error_code, bracket.members) {
        // Where programs are preempted, the one of the counters may have been left out.
        if config::PREEMPTED.load() == 0
            || bracket.error_code & abi::ERROR_PRESENT != 0
            || !has_page(task, bracket.address)
        {
            emit::count(abi::COUNT_FAULTS_UNCHANGED, 1);
            return 0;
        }
        flags |= abi::FAULT_DELTA_INEXACT;
    }
    if bracket.flags & Bracket::KERNEL != 0 {
        flags |= abi::FAULT_KERNEL;
    }
    // A copy of an anonymous page moves no counter, and neither does its reuse.
    if bracket.frame != 0 && bracket.members == 0 {
        let now = frame(task, bracket.address) & page_table::FRAME;
        if now != 0 {
            flags |= abi::FAULT_COMPARED;
        }
        if now == bracket.frame & page_table::FRAME {
            flags |= abi::FAULT_SAME_PAGE;
        }
    }
    if bracket.frame & page_table::UFFD_WP != 0 {
        flags |= abi::FAULT_REWRITE;
        if bracket.frame & page_table::DIRTY != 0 {
            flags |= abi::FAULT_WAS_DIRTY;
        }
    }
    if config::PREEMPTED.load() != 0 {
        noted::catch_up(thread);
    }
    let Some(registers) = UserRegisters::current() else { return 0 };
    let Some(record) = FAULTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own slot; a fault of a probe's own ends at the busy mark.
    let record = unsafe { &mut *record };
    let table = look(task, &bracket, flags & (abi::FAULT_NO_ENTRY | abi::FAULT_DELTA_INEXACT) != 0);
    let (delta, inexact) = fault::delta(bracket.error_code, bracket.members, table.huge());
    if inexact {
        flags |= abi::FAULT_DELTA_INEXACT;
    }
    record.header = emit::header(abi::KIND_FAULT, flags | table.flags, bracket.mm);
    record.address = bracket.address;
    record.ip = registers.ip();
    record.error_code = bracket.error_code;
    record.members = bracket.members;
    record.delta = delta;
    record.syscall = registers.syscall();
    record.window = table.window;
    record.entry = table.entry;
    record.reserved = 0;
    // All that is known of the fault lies in the map now, so the verifier looks at the walk once.
    // The address space must come from there too: in a register it is a pointer in one case, which
    // the verifier knows as such, and a number in the other.
    // SAFETY: a plain field.
    let mm = unsafe { (&raw const record.header.mm).read_volatile() };
    record.stack = match record.syscall {
        // The program that is being loaded has no code of its own to name yet.
        call::EXECVE | call::EXECVEAT => 0,
        _ => stack::capture_again(registers, mm, thread.slot),
    };
    if !emit::put(record) {
        loss::fault(record);
        emit::count(abi::COUNT_LOST_EVENTS, 1);
    }
    0
}

/// What the page table shows at a fault's end.
#[derive(Clone, Copy, Default)]
struct Table {
    /// `abi::FAULT_ENTRY`, `abi::FAULT_WINDOW`.
    flags: u16,
    entry: u16,
    window: u32,
}

impl Table {
    #[inline(always)]
    fn huge(self) -> bool {
        self.flags & abi::FAULT_ENTRY != 0 && self.entry & abi::ENTRY_HUGE != 0
    }
}

/// The physical address of the page that an address has, with two bits of the entry that maps it
/// ([`page_table::mapped`]); 0 if it is not known.
#[inline(always)]
fn frame(task: *mut task_struct, address: u64) -> u64 {
    let Some(late) = page_table::late() else { return 0 };
    match page_table::leaf(late, kernel::top_table(task), address) {
        Some(leaf) => page_table::mapped(leaf, address),
        None => 0,
    }
}

/// Whether an address is mapped by a page of its own, which the zero page is not.
#[inline(always)]
fn has_page(task: *mut task_struct, address: u64) -> bool {
    let Some(late) = page_table::late() else { return false };
    match page_table::leaf(late, kernel::top_table(task), address) {
        Some(Leaf::Huge(_)) => true,
        Some(Leaf::Table(table)) => page_table::entry(table, address).is_some_and(page_table::own),
        None => false,
    }
}

/// Looks at the page table where the counters alone do not tell which pages were mapped. `unsure`:
/// not even which of them moved is known.
#[inline(always)]
fn look(task: *mut task_struct, bracket: &Bracket, unsure: bool) -> Table {
    let mut table = Table::default();
    let cached = bracket.members & (1 << abi::MEMBER_FILE | 1 << abi::MEMBER_SHMEM) != 0;
    if !cached && !unsure && config::HUGE_PAGES.load() == 0 {
        return table;
    }
    let Some(late) = page_table::late() else { return table };
    match page_table::leaf(late, kernel::top_table(task), bracket.address) {
        Some(Leaf::Huge(entry)) => {
            table.entry = entry as u16;
            table.flags = abi::FAULT_ENTRY;
        }
        Some(Leaf::Table(address)) => {
            let block = cached
                || config::MULTI_SIZE_PAGES.load() != 0
                || unsure && config::PREEMPTED.load() != 0;
            if block {
                let Some(block) = page_table::block(address, bracket.address) else {
                    return table;
                };
                let own = (bracket.address >> 12) as usize & 15;
                let anonymous = bracket.members & (1 << abi::MEMBER_ANON) != 0;
                table.window = page_table::window(block, bracket.address, anonymous.then_some(own));
                table.entry = block[own] as u16;
                table.flags = abi::FAULT_ENTRY | abi::FAULT_WINDOW;
            } else if unsure && let Some(entry) = page_table::entry(address, bracket.address) {
                // Bit 7 is the PAT bit here, not the mark of a huge page.
                table.entry = entry as u16 & !abi::ENTRY_HUGE;
                table.flags = abi::FAULT_ENTRY;
            }
        }
        None => {}
    }
    table
}

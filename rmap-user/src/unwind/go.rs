//! Rows of Go's code, from Go's own table of functions: it tells of every instruction how far the
//! stack pointer has moved, and which functions nobody called.
//!
//! Comes in: a file. Goes out: pieces of code and what holds there. Where rbp is saved, and how a
//! function goes over to another stack, is read from its first instructions.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::LittleEndian as Endian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use rmap_ebpf::abi::{
    REG_BP, RULE_APPROXIMATE, RULE_OTHER_STACK, RULE_THREADED, Rule, SAVED_AT_CFA, SAVED_LOST,
    SPECIAL_END,
};
use rmap_ebpf::logic::unwind_row::{simple_row, special_row};

use super::elf::Elf;
use crate::pclntab::{Function, Table};

/// The register that holds the running goroutine's `g` (Go's ABIInternal): r14.
const REG_G: u8 = 6;
/// A frame pointer is saved within so many instructions, or not at all.
const PROLOGUE: usize = 16;
/// Most instructions of a function that goes over to another stack.
const MAX_SWITCH: usize = 512;
/// The return address lies right below the CFA.
const RA: u8 = -1_i8 as u8;
/// rbp lies where frame pointers do.
const BP: i32 = -16;

/// What holds in a stretch of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A row, without its byte.
    Row(u32),
    /// A rule that fits no row.
    Rule(Rule),
}

/// A stretch of code, its addresses before relocation, and what holds there.
pub type Piece = (Range<u64>, Holds);

/// The pieces of all functions of the table, in order; none if the file has no table.
pub fn find(elf: &Elf<'_>) -> Vec<Piece> {
    let Some(table) = table(elf) else { return Vec::new() };
    let link = table.functions().find_map(|f| link(elf, &f));
    let mut pieces = Vec::new();
    let mut at = 0;
    for function in table.functions() {
        // A table that lies may name the same code again and again.
        if function.start < at {
            continue;
        }
        at = function.end;
        let Some(function) = trimmed(elf, function) else { continue };
        if is_outermost(&function) {
            pieces.push((function.start..function.end, Holds::Row(special_row(SPECIAL_END))));
        } else {
            of_function(elf, &function, link, &mut pieces);
        }
    }
    pieces
}

/// The file's table.
fn table<'a>(elf: &Elf<'a>) -> Option<Table<'a>> {
    let header = FileHeader64::<Endian>::parse(elf.data()).ok()?;
    let sections = header.sections(Endian, elf.data()).ok()?;
    let (_, text) = sections.section_by_name(Endian, b".text")?;
    let names = [&b".gopclntab"[..], b".data.rel.ro.gopclntab"];
    let (_, section) = names.iter().find_map(|name| sections.section_by_name(Endian, name))?;
    let bytes = section.data(Endian, elf.data()).ok()?;
    let code = |address: u64| {
        let segment = elf.segments.iter().find(|segment| {
            let within = address.checked_sub(segment.address);
            segment.executable && within.is_some_and(|at| at < segment.file_size)
        });
        elf.bytes_from(segment.map(|_| address)?)?.get(..2)?.try_into().ok()
    };
    Table::parse(bytes, text.sh_addr.get(Endian), code)
}

/// A signal handler is called by the kernel, through a trampoline that leads to what the signal
/// interrupted, though Go says of it that nobody calls it. `mcall` goes over to the scheduler's
/// stack for good: what runs there has nothing to do with who slept.
fn is_outermost(function: &Function<'_>) -> bool {
    let is_entry = function.name.starts_with("_rt0_");
    let is_handler = function.name.contains("sigtramp");
    is_entry || function.is_named("runtime.mcall") || function.is_outermost && !is_handler
}

/// Without the filling behind it, which is not its own.
fn trimmed<'a>(elf: &Elf<'_>, function: Function<'a>) -> Option<Function<'a>> {
    let code = code(elf, &function)?;
    let filling = code.iter().rev().take_while(|&&byte| byte == 0xcc).count();
    let end = function.start + (code.len() - filling) as u64;
    (end > function.start).then_some(function.until(end))
}

fn code<'a>(elf: &Elf<'a>, function: &Function<'_>) -> Option<&'a [u8]> {
    let bytes = elf.bytes_from(function.start)?;
    bytes.get(..usize::try_from(function.end - function.start).ok()?)
}

fn decode<'a>(elf: &Elf<'a>, function: &Function<'_>) -> Decoder<'a> {
    let code = code(elf, function).unwrap_or_default();
    Decoder::with_ip(64, code, function.start, DecoderOptions::NONE)
}

fn of_function(
    elf: &Elf<'_>,
    function: &Function<'_>,
    link: Option<Link>,
    pieces: &mut Vec<Piece>,
) {
    let Some(depths) = function.depths() else { return };
    let depth_at =
        |at: u64| depths.iter().find(|(range, _)| range.contains(&at)).map(|(_, depth)| *depth);
    let deep = depths.iter().any(|(_, depth)| *depth >= 8);
    let saved = if deep { saved_from(elf, function, depth_at) } else { None };
    let switch =
        if function.leaves_its_stack { switch(elf, function, depth_at, link) } else { None };
    // What is not understood has no rows from where it may be elsewhere.
    let own = match &switch {
        Some((at, _)) => *at,
        None if function.leaves_its_stack => function.start,
        None => function.end,
    };
    let mut add = |range: Range<u64>, depth: i64| {
        let cut = range.start..range.end.min(own);
        if cut.start >= cut.end || depth < 0 || depth % 8 != 0 {
            return;
        }
        let split = saved.unwrap_or(u64::MAX).clamp(cut.start, cut.end);
        for (part, bp) in [(cut.start..split, None), (split..cut.end, Some(-16))] {
            let bp = bp.filter(|_| depth >= 8);
            if let Some(row) = simple_row(false, depth + 8, bp, None).filter(|_| !part.is_empty()) {
                pieces.push((part, Holds::Row(row)));
            }
        }
    };
    for (range, depth) in &depths {
        add(range.clone(), *depth);
    }
    if let Some((at, rule)) = switch {
        pieces.push((at..function.end, Holds::Rule(rule)));
    }
}

/// Behind which instruction rbp is saved at CFA − 16, as it is in every frame that has room for
/// it.
fn saved_from(
    elf: &Elf<'_>,
    function: &Function<'_>,
    depth_at: impl Fn(u64) -> Option<i64>,
) -> Option<u64> {
    decode(elf, function).into_iter().take(PROLOGUE).find_map(|i| {
        let depth = depth_at(i.ip())?;
        let stored = i.mnemonic() == Mnemonic::Mov
            && i.op0_kind() == OpKind::Memory
            && i.op1_kind() == OpKind::Register
            && i.op1_register() == Register::RBP
            && i.memory_base() == Register::RSP
            && i.memory_index() == Register::None
            && i.memory_displacement64().cast_signed() == depth - 8;
        let pushed = i.mnemonic() == Mnemonic::Push
            && i.op0_kind() == OpKind::Register
            && i.op0_register() == Register::RBP
            && depth == 0;
        (stored || pushed).then(|| i.next_ip())
    })
}

/// From where on a function is on another stack, and how its caller is found from there.
fn switch(
    elf: &Elf<'_>,
    function: &Function<'_>,
    depth_at: impl Fn(u64) -> Option<i64>,
    link: Option<Link>,
) -> Option<(u64, Rule)> {
    let mut has_frame_pointer = false;
    for i in decode(elf, function).into_iter().take(MAX_SWITCH) {
        let to = i.op0_kind() == OpKind::Register && i.op0_register() == Register::RBP;
        let from_sp = i.mnemonic() == Mnemonic::Mov
            && i.op1_kind() == OpKind::Register
            && i.op1_register() == Register::RSP
            || i.mnemonic() == Mnemonic::Lea && i.memory_base() == Register::RSP;
        has_frame_pointer |= to && from_sp;
        if !writes_sp(&i) {
            continue;
        }
        let pointers = Rule { cfa_reg: REG_BP, cfa_off: 16, ra: RA, bp_off: BP, ..Rule::default() };
        let kept = SAVED_AT_CFA | SAVED_LOST << 4;
        let rule = if has_frame_pointer {
            Rule { flags: RULE_OTHER_STACK, saved: kept, ..pointers }
        } else {
            // rbp is its caller's: the frame pointers lead past that one. But the runtime keeps
            // where the goroutine stood.
            let stood = match function.name.strip_suffix(".abi0").unwrap_or(function.name) {
                "runtime.systemstack" | "runtime.asmcgocall" => Some(depth_at(function.start)? + 8),
                // It was called by the function that needs more stack, and says that it stands
                // there.
                "runtime.morestack" => Some(0),
                _ => None,
            };
            let flags = RULE_OTHER_STACK | RULE_APPROXIMATE;
            match (stood, link) {
                (Some(stood), Some(link)) => Rule {
                    cfa_reg: REG_G,
                    flags: flags | RULE_THREADED,
                    ra: RA,
                    saved: SAVED_LOST << 4,
                    cfa_off: link.machine,
                    bp_off: link.goroutine,
                    cfa_add: link.stack,
                    bx_slot: i16::try_from(stood / 8).ok()?,
                },
                _ => Rule { flags, saved: kept, ..pointers },
            }
        };
        return Some((i.next_ip(), rule));
    }
    None
}

/// Whether an instruction sets rsp to something else than itself and a constant.
fn writes_sp(i: &Instruction) -> bool {
    let to = i.op0_kind() == OpKind::Register && i.op0_register() == Register::RSP;
    match i.mnemonic() {
        Mnemonic::Mov | Mnemonic::Xchg | Mnemonic::Pop => to,
        Mnemonic::And => to,
        Mnemonic::Add | Mnemonic::Sub => to && i.op1_kind() == OpKind::Register,
        Mnemonic::Lea => to && i.memory_base() != Register::RSP,
        _ => false,
    }
}

/// Where the runtime keeps the stack of the goroutine for which a thread works on its own one:
/// the way from the `g` of that one, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    /// `g.m`.
    machine: i32,
    /// `m.curg`.
    goroutine: i32,
    /// `g.sched.sp`.
    stack: i16,
}

/// `systemstack` itself goes that way when what it called has returned: three loads, each from
/// where the one before led to, the last one into rsp.
fn link(elf: &Elf<'_>, function: &Function<'_>) -> Option<Link> {
    if !function.is_named("runtime.systemstack") {
        return None;
    }
    let behind = decode(elf, function)
        .into_iter()
        .take(MAX_SWITCH)
        .skip_while(|i| i.flow_control() != FlowControl::IndirectCall);
    let loads: Vec<Instruction> = behind
        .take_while(|i| !matches!(i.flow_control(), FlowControl::Return))
        .filter(|i| {
            i.mnemonic() == Mnemonic::Mov
                && i.op0_kind() == OpKind::Register
                && i.op1_kind() == OpKind::Memory
                && i.segment_prefix() == Register::None
                && i.memory_index() == Register::None
        })
        .collect();
    let end = loads.iter().position(|i| i.op0_register() == Register::RSP)?;
    let [machine, goroutine, stack] = loads.get(end.checked_sub(2)?..=end)? else { return None };
    let follows = |one: &Instruction, next: &Instruction| one.op0_register() == next.memory_base();
    if !follows(machine, goroutine) || !follows(goroutine, stack) {
        return None;
    }
    let offset = |i: &Instruction| i.memory_displacement64();
    Some(Link {
        machine: i32::try_from(offset(machine)).ok()?,
        goroutine: i32::try_from(offset(goroutine)).ok()?,
        stack: i16::try_from(offset(stack)).ok()?,
    })
}

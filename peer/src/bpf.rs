//! The kernel's own account of BPF programs, and the peer that rmap is measured against.
//!
//! Comes in: a process id. Goes out: run time and count by program, and a loaded peer: one
//! `bpf_get_stack` at each user fault of that process, as any frame-pointer profiler pays it.
//!
//! The peer is eighteen instructions, written here so that the object that rmap ships holds
//! nothing that only a measurement needs. Numbers are those of `include/uapi/linux/bpf.h`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

const MAP_CREATE: i32 = 0;
const PROG_LOAD: i32 = 5;
const PROG_GET_NEXT_ID: i32 = 11;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const RAW_TRACEPOINT_OPEN: i32 = 17;
const ENABLE_STATS: i32 = 32;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const PERCPU_ARRAY: u32 = 6;
/// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
const RAW_TRACEPOINT: u32 = 17;
/// `BPF_F_USER_STACK`.
const USER_STACK: i32 = 1 << 8;
/// Bytes of a stack of 127 frames.
const STACK_BYTES: i32 = 127 * 8;
/// The name that the peer has in the kernel.
pub const PEER: &str = "rmap_peer";

/// One bpf(2) call over an attribute of 64-bit words.
fn bpf(command: i32, attribute: &mut [u64]) -> io::Result<i64> {
    // SAFETY: the attribute lives over the call and its length is told; what it points to is kept
    // by the callers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), size_of_val(attribute))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(command: i32, attribute: &mut [u64]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attribute)?;
    // SAFETY: the kernel gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Turns the statistics on until it is dropped.
///
/// # Errors
/// The kernel refuses (`BPF_ENABLE_STATS`, Linux 5.8).
pub fn enable_stats() -> Result<OwnedFd> {
    descriptor(ENABLE_STATS, &mut [0]).context("cannot turn the kernel's BPF statistics on")
}

/// Run time in ns and count of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Nanoseconds, the kernel's two clock reads of each run among them.
    pub ns: u64,
    /// Runs.
    pub count: u64,
}

/// What all loaded programs took so far, by id, with their names.
///
/// # Errors
/// The kernel does not tell.
pub fn runs() -> Result<BTreeMap<u32, (String, Runs)>> {
    let mut all = BTreeMap::new();
    let mut id = 0u32;
    loop {
        let mut next = [u64::from(id), 0];
        if bpf(PROG_GET_NEXT_ID, &mut next).is_err() {
            return Ok(all);
        }
        id = (next[0] >> 32) as u32;
        // A program may go away between the two calls.
        let Ok(fd) = descriptor(PROG_GET_FD_BY_ID, &mut [u64::from(id), 0]) else { continue };
        // struct bpf_prog_info: the name is at byte 64, run_time_ns at 192, run_cnt at 200.
        let mut info = [0u64; 26];
        let mut ask =
            [fd.as_raw_fd() as u64 | (size_of_val(&info) as u64) << 32, info.as_mut_ptr() as u64];
        bpf(OBJ_GET_INFO_BY_FD, &mut ask).context("cannot read a BPF program's statistics")?;
        let name: Vec<u8> = info
            .iter()
            .skip(8)
            .take(2)
            .flat_map(|word| word.to_le_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        all.insert(id, (name, Runs { ns: info[24], count: info[25] }));
    }
}

/// The peer while it is attached.
#[derive(Debug)]
pub struct Peer {
    _link: OwnedFd,
}

impl Peer {
    /// Loads and attaches it to the user faults of process `pid`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn attach(pid: u32) -> Result<Self> {
        // Key 4 bytes, value of one stack, one element.
        let kind = u64::from(PERCPU_ARRAY) | 4 << 32;
        let map = descriptor(MAP_CREATE, &mut [kind, (STACK_BYTES as u64 + 8) | 1 << 32, 0, 0, 0])
            .context("cannot make the peer's map")?;
        Self::load(&program(pid, map.as_raw_fd()))
    }

    /// Loads and attaches a program that does nothing, to every process's user faults: what the
    /// statistics themselves cost.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn nothing() -> Result<Self> {
        Self::load(&[op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)])
    }

    fn load(code: &[u64]) -> Result<Self> {
        let mut log = vec![0u8; 1 << 16];
        let licence = c"GPL";
        let mut name = [0u8; 16];
        name[..PEER.len()].copy_from_slice(PEER.as_bytes());
        let word = |at: usize| {
            name.iter().skip(at).take(8).rev().fold(0, |all, &b| all << 8 | u64::from(b))
        };
        let mut attribute = [
            u64::from(RAW_TRACEPOINT) | (code.len() as u64) << 32,
            code.as_ptr() as u64,
            licence.as_ptr() as u64,
            1 | (log.len() as u64) << 32,
            log.as_mut_ptr() as u64,
            0,
            word(0),
            word(8),
        ];
        let program = descriptor(PROG_LOAD, &mut attribute).with_context(|| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            format!("cannot load the peer: {}", String::from_utf8_lossy(&log[..end]))
        })?;
        let tracepoint = c"page_fault_user";
        let link = descriptor(
            RAW_TRACEPOINT_OPEN,
            &mut [tracepoint.as_ptr() as u64, program.as_raw_fd() as u64],
        )
        .context("cannot attach the peer to page_fault_user")?;
        Ok(Self { _link: link })
    }
}

/// One instruction: its code, registers, offset and number.
fn op(code: u8, dst: u8, src: u8, offset: i16, value: i32) -> u64 {
    u64::from(code)
        | u64::from(dst | src << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(value as u32) << 32
}

/// `if pid is ours { bpf_get_stack(ctx, &map[0], STACK_BYTES, USER_STACK) }`.
fn program(pid: u32, map: i32) -> Vec<u64> {
    vec![
        op(0xbf, 6, 1, 0, 0),           // r6 = ctx
        op(0x85, 0, 0, 0, 14),          // r0 = bpf_get_current_pid_tgid()
        op(0x77, 0, 0, 0, 32),          // r0 >>= 32
        op(0x56, 0, 0, 12, pid as i32), // if w0 != pid goto end
        op(0x62, 10, 0, -4, 0),         // *(u32 *)(r10 - 4) = 0
        op(0xbf, 2, 10, 0, 0),          // r2 = r10
        op(0x07, 2, 0, 0, -4),          // r2 += -4
        op(0x18, 1, 1, 0, map),         // r1 = map
        0,                              //
        op(0x85, 0, 0, 0, 1),           // r0 = bpf_map_lookup_elem(r1, r2)
        op(0x15, 0, 0, 5, 0),           // if r0 == 0 goto end
        op(0xbf, 1, 6, 0, 0),           // r1 = ctx
        op(0xbf, 2, 0, 0, 0),           // r2 = r0
        op(0xb7, 3, 0, 0, STACK_BYTES), // r3 = size
        op(0xb7, 4, 0, 0, USER_STACK),  // r4 = flags
        op(0x85, 0, 0, 0, 67),          // r0 = bpf_get_stack(r1, r2, r3, r4)
        op(0xb7, 0, 0, 0, 0),           // end: r0 = 0
        op(0x95, 0, 0, 0, 0),           // exit
    ]
}

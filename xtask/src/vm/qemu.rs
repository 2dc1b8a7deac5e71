//! Runs one virtual machine under QEMU and follows its serial line.
//!
//! Comes in: a kernel, an initramfs, the disks. Goes out: the machine's lines as they come, and
//! how it ended. Hardware virtualisation is used where a machine really starts with it, which is
//! found out by starting one; otherwise the processor is emulated.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::guest::Disks;
use crate::steps::say;
use crate::test::watch;

/// The longest time without a line: emulated, a long test can take minutes. The machine itself ends
/// one that takes 20.
const SILENCE: Duration = Duration::from_secs(25 * 60);
/// So soon a machine says its first line where hardware virtualisation works: it takes 2.
const START: Duration = Duration::from_secs(30);

/// Two processors with all that QEMU can do, but for page tables of five levels: four are what
/// most machines have.
const PROCESSORS: [&str; 4] = ["-cpu", "max,la57=off", "-smp", "2"];

/// What every kernel is told. From the second line on it takes no behaviour away that a test could
/// look at, but time (waiting for grace periods, clearing memory that is overwritten), and doubts
/// about the clock, on which a kernel does not start where the machine below is busy.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic random.trust_cpu=on \
                            rcupdate.rcu_expedited=1 init_on_alloc=0 mitigations=off \
                            tsc=reliable no_timer_check nowatchdog";

/// How processors are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accelerator {
    /// The host's own.
    Kvm,
    /// Emulated, 10 to 20 times slower.
    Tcg,
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It said that it was done, with this status.
    Said(i32),
    /// It was silent for too long and was killed.
    Silent,
    /// It ended without a word.
    Mute,
}

/// What to start.
pub struct Machine<'a> {
    /// The kernel.
    pub image: &'a Path,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// The disks.
    pub disks: &'a Disks,
    /// Added to the kernel's command line.
    pub command_line: &'a str,
    /// QEMU's options that stand for [`PROCESSORS`].
    pub options: &'a [&'a str],
}

/// What works here: hardware virtualisation if a machine starts with it.
pub fn accelerator(machine: &Machine<'_>) -> Accelerator {
    static FOUND: OnceLock<Accelerator> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            say("no /dev/kvm: the processors are emulated");
            return Accelerator::Tcg;
        }
        let mut started = false;
        let first = |line: &str| {
            started |= line.starts_with("rmap-vm: started");
            Ok(())
        };
        let ended = run(machine, Accelerator::Kvm, START, first);
        if started && ended.is_ok() {
            return Accelerator::Kvm;
        }
        say("/dev/kvm is there, but no machine starts with it: the processors are emulated");
        Accelerator::Tcg
    })
}

/// Runs the machine to its end and gives each of its lines to `line`.
pub fn machine(
    machine: &Machine<'_>,
    accelerator: Accelerator,
    line: impl FnMut(&str) -> Result<()>,
) -> Result<End> {
    run(machine, accelerator, SILENCE, line)
}

fn run(
    machine: &Machine<'_>,
    accelerator: Accelerator,
    silence: Duration,
    mut line: impl FnMut(&str) -> Result<()>,
) -> Result<End> {
    let mut qemu = Command::new("nice");
    qemu.args(["-n", "10", "qemu-system-x86_64"]);
    match accelerator {
        Accelerator::Kvm => qemu.args(["-accel", "kvm"]),
        // With a thread for each processor a kernel that patches its code (static keys, ftrace)
        // now and then runs into a breakpoint that is gone already.
        Accelerator::Tcg => qemu.args(["-accel", "tcg,thread=single,tb-size=512"]),
    };
    if machine.options.is_empty() {
        qemu.args(PROCESSORS);
    }
    qemu.args(machine.options);
    qemu.args(["-m", "3072", "-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.args(["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line"]);
    qemu.args(["-device", "virtio-rng-pci"]);
    for disk in [&machine.disks.system, &machine.disks.tests] {
        let disk = disk.display();
        qemu.arg("-drive").arg(format!("file={disk},format=raw,if=virtio,snapshot=on"));
    }
    qemu.arg("-kernel").arg(machine.image).arg("-initrd").arg(machine.initramfs);
    qemu.arg("-append").arg(format!("{COMMAND_LINE} {}", machine.command_line));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = qemu.spawn().context("cannot start QEMU (nice qemu-system-x86_64)")?;
    let mut said = None;
    let spoke = watch::lines(&mut child, silence, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        if let Some(status) = text.strip_prefix("rmap-vm: ended ") {
            said = Some(status.parse().unwrap_or(1));
        }
        line(text)
    })?;
    child.wait().context("cannot wait for QEMU")?;
    Ok(match (said, spoke) {
        (Some(status), _) => End::Said(status),
        (None, true) => End::Mute,
        (None, false) => End::Silent,
    })
}

/// A time as people say it.
pub fn since(start: Instant) -> String {
    format!("{:.0} s", start.elapsed().as_secs_f64())
}

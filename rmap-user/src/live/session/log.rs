//! The probes' own messages (`-vv`).
//!
//! Comes in: the loaded object. Goes out: lines on stderr.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::live::probes::Probes;

/// The reader of the probes' own messages, if they are wanted.
pub(super) fn logger(probes: &mut Probes, wanted: bool) -> io::Result<Option<Logger>> {
    if !wanted {
        return Ok(None);
    }
    let object: &mut Ebpf = probes.object();
    let logger = EbpfLogger::init_with_logger(object, Stderr).map_err(io::Error::other)?;
    // SAFETY: the logger keeps its own descriptor open as long as it lives.
    unsafe { AsyncFd::register(logger) }.map(Some).map_err(|error| error.into_parts().1)
}

/// The probes' messages while they are read.
pub(super) type Logger = AsyncFd<EbpfLogger<Stderr>>;

/// Waits for messages of the probes and prints them.
pub(super) async fn flush(logger: &mut Option<Logger>) {
    let Some(logger) = logger else { return std::future::pending().await };
    if let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// Prints the probes' messages on stderr.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

impl ::log::Log for Stderr {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        eprintln!("rmap probe: {}", record.args());
    }

    fn flush(&self) {}
}

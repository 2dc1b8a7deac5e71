//! Stops that were taken and are still to be answered.
//!
//! Comes in: what waitid(2) shows. Goes out: the event with what the kernel says of it.

use super::sys::{self, Stop};

/// An event that was taken; its thread stands until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) tid: u32,
    pub(super) stop: Stop,
    /// What the event is about. Read at once: a thread that is killed meanwhile has another message.
    pub(super) message: Option<u64>,
}

impl Taken {
    /// Takes the event that a thread shows. A kill may have brought it to its exit since it was
    /// shown, so what is taken counts.
    pub(super) fn take(tid: u32) -> Option<Self> {
        let stop = sys::take_stop(tid)?;
        let message = if stop.has_message() { sys::event_message(tid) } else { None };
        Some(Self { tid, stop, message })
    }

    /// The tid that the event is about.
    pub(super) fn message_tid(&self) -> Option<u32> {
        self.message.and_then(|message| u32::try_from(message).ok())
    }
}

/// A thread that stands until somebody is let go of; its stop was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) tid: u32,
    pub(super) wanted: u32,
    pub(super) why: &'static str,
}

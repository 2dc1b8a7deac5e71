//! Calls that give memory back and may still fail, and what a failure leaves open.

use super::call::Advice;
use super::cause::How;
use super::path::StackRef;
use super::taken::Taken;

/// A call that may still turn out to have failed.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) taken: Taken,
    pub(super) how: How,
    pub(super) stack: Option<StackRef>,
    pub(super) advice: Option<Advice>,
}

/// What a call may have given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// By which call.
    pub how: How,
    /// Who called.
    pub stack: Option<StackRef>,
}

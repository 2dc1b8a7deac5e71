//! The frames of a report's stacks.
//!
//! Comes in: [`Findings`], and the code that was mapped. Goes out: the report with its frames, and what
//! was found for which file, so that a recording can keep it.

use std::sync::Arc;

use super::modules::Modules;
use super::{Findings, RawStack};
use crate::report::Report;
use crate::symbol::{self, Binary, ModuleMap, Resolver};

/// A report with names.
pub struct Named {
    /// The report.
    pub report: Report,
    /// What was found for which file, under which name.
    pub names: Vec<(Arc<Binary>, String, symbol::Names)>,
    /// What a person should know of how symbols were looked for.
    pub notes: Vec<String>,
}

/// Gives the stacks of a report their frames. `more`: stacks that the report does not name and of which
/// the names are wanted too.
#[must_use]
pub fn name(
    findings: Findings,
    more: &[RawStack],
    modules: &Modules,
    resolver: &impl Resolver,
) -> Named {
    let mut report = findings.report;
    let none = ModuleMap::new();
    let raw = |stack: &RawStack| {
        let raw = symbol::RawStack {
            id: stack.id,
            time_ns: stack.first_ns,
            end: stack.end,
            ips: stack.ips.clone(),
            runs: stack.runs.clone(),
            cut: stack.cut,
        };
        (raw, stack.instance)
    };
    let stacks: Vec<_> = findings.stacks.iter().chain(more).map(raw).collect();
    let (mut named, names) = symbol::symbolize_keeping(
        stacks.iter().map(|(raw, instance)| (raw, modules.of(*instance).unwrap_or(&none))),
        &findings.definitions,
        resolver,
    );
    named.stacks.truncate(findings.stacks.len());
    report.stacks = named.stacks;
    Named { report, names, notes: resolver.notes(&named.stats.sought) }
}

//! The frames of a report's stacks.
//!
//! Comes in: [`Findings`], and the code that was mapped. Goes out: the report with its frames, and what
//! was found for which file, so that a recording can keep it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::modules::Modules;
use super::{Findings, RawStack};
use crate::report::{Report, Stack};
use crate::runtime::python::Definitions;
use crate::symbol::{self, Binary, ModuleMap, Resolver};
use crate::trace::MmKey;

/// Reports with names.
pub struct Named {
    /// The report.
    pub report: Report,
    /// The report of another moment of the same session.
    pub peak: Option<Report>,
    /// What was found for which file, under which name.
    pub names: Vec<(Arc<Binary>, String, symbol::Names)>,
    /// What a person should know of how symbols were looked for.
    pub notes: Vec<String>,
}

/// Gives some stacks their frames, by the code of the address spaces that they are in.
#[must_use]
pub fn name_stacks<S: BuildHasher>(
    stacks: &[&RawStack],
    modules: &HashMap<MmKey, ModuleMap, S>,
    definitions: &Definitions,
    resolver: &impl Resolver,
) -> Vec<Stack> {
    let none = ModuleMap::new();
    let all: Vec<_> = stacks.iter().map(|stack| raw(stack)).collect();
    let all = all.iter().map(|(raw, key)| (raw, modules.get(key).unwrap_or(&none)));
    symbol::symbolize_keeping(all, definitions, resolver).0.stacks
}

fn raw(stack: &RawStack) -> (symbol::RawStack, MmKey) {
    let raw = symbol::RawStack {
        id: stack.id,
        time_ns: stack.first_ns,
        end: stack.end,
        ips: Arc::clone(&stack.ips),
        runs: stack.runs.clone(),
        cut: stack.cut,
    };
    (raw, stack.instance)
}

/// Gives the stacks of a report their frames, and those of another moment of the same session. `more`:
/// stacks that neither names and of which the names are wanted too.
#[must_use]
pub fn name(
    findings: Findings,
    peak: Option<Findings>,
    more: &[RawStack],
    modules: &Modules,
    resolver: &impl Resolver,
) -> Named {
    let none = ModuleMap::new();
    let of_peak = peak.as_ref().map_or(&[][..], |peak| &peak.stacks);
    let all: Vec<_> = findings.stacks.iter().chain(of_peak).chain(more).map(raw).collect();
    let (named, names) = symbol::symbolize_keeping(
        all.iter().map(|(raw, instance)| (raw, modules.of(*instance).unwrap_or(&none))),
        &findings.definitions,
        resolver,
    );
    let notes = resolver.notes(&named.stats.sought);
    let mut stacks = named.stacks.into_iter();
    let mut with_frames = |findings: Findings| {
        let mut stacks: Vec<Stack> = stacks.by_ref().take(findings.stacks.len()).collect();
        stacks.iter_mut().for_each(begin_with_the_program);
        Report { stacks, ..findings.report }
    };
    let report = with_frames(findings);
    let peak = peak.map(with_frames);
    Named { report, peak, names, notes }
}

/// The function of the allocator's shim that has rmap's uprobe.
const PROBE: &str = "rmap_malloc_report";
/// What the names of those of its functions begin with that are a part of the allocator's own.
const PART: &str = "rmap_picked_";

/// A stack that was walked at rmap's own uprobe begins with the allocator's function.
fn begin_with_the_program(stack: &mut Stack) {
    if stack.frames.first().is_some_and(|frame| frame.function.as_deref() == Some(PROBE)) {
        let mut frames = stack.frames.without_first();
        let first = frames.first_mut().and_then(|frame| frame.function.as_mut());
        if let Some(name) = first
            && let Some(public) = name.strip_prefix(PART)
        {
            *name = public.to_owned();
        }
        stack.frames = frames.into();
    }
}

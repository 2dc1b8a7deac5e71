//! The JSON of a report with its answers: classes of frames, owners of stacks, groups of
//! processes, advice.
//!
//! Comes in: a report and rules. Goes out: what `rmap.report/1` has as JSON, with fields added;
//! or `rmap.report/2`, in which like processes are stated once.

use serde::Serialize;

use crate::report::grouped::{self, Grouped, SCHEMA_2};
use crate::report::{
    Cgroup, Coverage, Frame, Host, Oom, Process, Report, Session, Stack, StackId, Totals,
};

use super::advice::{self, Advice};
use super::owner::{Owner, Owners};
use super::part::Parts;
use super::processes::{self, Spread};
use super::rules::Rules;

/// Which form is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// The second where it spares at least [`WORTH`] processes, else the first.
    #[default]
    Fitting,
    /// `rmap.report/1`.
    First,
    /// `rmap.report/2`.
    Second,
}

/// From so many like processes on they are stated once.
pub const WORTH: usize = 32;

/// A report with its answers, to be written.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'a str,
    rmap_version: &'a str,
    host: &'a Host,
    session: &'a Session,
    coverage: &'a Coverage,
    totals: &'a Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a Cgroup>,
    #[serde(skip_serializing_if = "<[Oom]>::is_empty")]
    oom: &'a [Oom],
    #[serde(flatten)]
    processes: Processes<'a>,
    stacks: Vec<AnsweredStack<'a>>,
    groups: Vec<Group>,
    advice: Vec<Advice>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Processes<'a> {
    All { processes: &'a [Process] },
    Grouped(Grouped),
}

#[derive(Serialize)]
struct AnsweredStack<'a> {
    id: StackId,
    complete: bool,
    owner: Option<usize>,
    frames: Vec<AnsweredFrame<'a>>,
}

#[derive(Serialize)]
struct AnsweredFrame<'a> {
    #[serde(flatten)]
    frame: &'a Frame,
    /// `None` for what is no frame, but says why the stack ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
}

/// A group of processes.
#[derive(Serialize)]
struct Group {
    program: String,
    role: String,
    pids: Vec<u32>,
    rss_bytes: Spread,
    dirty_bytes: Spread,
    peak_rss_bytes: Spread,
}

impl<'a> Document<'a> {
    /// A report with its answers.
    #[must_use]
    pub fn of(report: &'a Report, rules: &Rules, schema: Schema) -> Self {
        // Without `..`: a field that is added to the report is written too.
        let Report {
            schema: first,
            rmap_version,
            host,
            session,
            coverage,
            totals,
            cgroup,
            oom,
            processes,
            stacks,
        } = report;
        let parts = Parts::of(report, rules);
        let grouped = match schema {
            Schema::First => None,
            Schema::Second => Some(grouped::fold(processes)),
            Schema::Fitting if processes.len() <= WORTH => None,
            Schema::Fitting => {
                Some(grouped::fold(processes)).filter(|found| found.others.len() >= WORTH)
            }
        };
        Self {
            schema: if grouped.is_some() { SCHEMA_2 } else { first },
            rmap_version,
            host,
            session,
            coverage,
            totals,
            cgroup: cgroup.as_deref(),
            oom,
            processes: match grouped {
                Some(grouped) => Processes::Grouped(grouped),
                None => Processes::All { processes },
            },
            stacks: stacks.iter().map(|stack| answered(stack, &parts.owners)).collect(),
            groups: groups(report),
            advice: advice::advice(&parts),
        }
    }

    /// Without its stacks, for who has their frames in another form.
    #[must_use]
    pub fn without_stacks(self) -> Self {
        Self { stacks: Vec::new(), ..self }
    }

    /// Whether it is of the second schema.
    #[must_use]
    pub const fn is_second(&self) -> bool {
        matches!(self.processes, Processes::Grouped(_))
    }
}

fn answered<'a>(stack: &'a Stack, owners: &Owners<'_>) -> AnsweredStack<'a> {
    let class = |at| owners.class(stack.id, at).map(super::rules::Class::name);
    let frames = stack.frames.iter().enumerate();
    AnsweredStack {
        id: stack.id,
        complete: stack.complete,
        owner: match owners.owner(stack.id) {
            Some(Owner::Frame(at)) => Some(at),
            _ => None,
        },
        frames: frames.map(|(at, frame)| AnsweredFrame { frame, class: class(at) }).collect(),
    }
}

fn groups(report: &Report) -> Vec<Group> {
    let pid = |at: &usize| report.processes.get(*at).map_or(0, |process| process.pid);
    processes::groups(report)
        .into_iter()
        .map(|group| Group {
            pids: group.members.iter().map(pid).collect(),
            program: group.exe,
            role: group.role,
            rss_bytes: group.rss,
            dirty_bytes: group.dirty,
            peak_rss_bytes: group.peak,
        })
        .collect()
}

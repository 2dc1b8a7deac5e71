//! What stands beside a report in the page, so that the page has the same words as the terminal.
//!
//! Comes in: a report, rules for frames. Goes out: the group by owner of each part of the report, the
//! readable name of each function, and what was skipped between owner and page. No figures.

use serde::Serialize;

use crate::insight::group::By;
use crate::insight::part::Parts;
use crate::insight::{Rules, kind, owner, rules};
use crate::report::{Report, StackId};

/// The answers of a report. Strings come from the traced machine.
#[derive(Debug, Default, Serialize)]
pub struct Answers {
    /// Groups by owner.
    owners: Vec<OwnerRow>,
    /// The group of each part, by its place in `owners`. Parts are in the order of the report: for
    /// each segment its paths, then its residuals, those of no resident and no dirty bytes left out.
    owner_of_part: Vec<u32>,
    /// The functions of all stacks.
    functions: Vec<FunctionRow>,
    /// The ids of the report's stacks.
    stacks: Vec<StackId>,
    /// The functions of each, in the same order, the innermost first.
    chains: Vec<Vec<u32>>,
    /// What was skipped from the owner to the page, likewise.
    via: Vec<Vec<String>>,
    /// The short name of each segment, in the order of the report.
    segments: Vec<String>,
}

/// A group by owner.
#[derive(Debug, Serialize)]
struct OwnerRow {
    name: String,
    /// What tells it from others of that name, in every moment.
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    residual: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    background: bool,
}

/// A function.
#[derive(Debug, Serialize)]
struct FunctionRow {
    name: String,
    module: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// `None` for what is no frame, but says why the stack ends.
    class: Option<&'static str>,
}

impl Answers {
    /// The answers of a report.
    pub fn of(report: &Report, rules: &Rules) -> Self {
        let parts = Parts::of(report, rules);
        let mut answers = Self { owner_of_part: vec![0; parts.all.len()], ..Self::default() };
        for (group, number) in parts.by(&[By::Owner]).into_iter().zip(0..) {
            for part in &group.parts {
                if let Some(place) = answers.owner_of_part.get_mut(*part) {
                    *place = number;
                }
            }
            let label = group.label;
            answers.owners.push(OwnerRow {
                name: label.name,
                key: label.apart.join("\n"),
                place: label.place,
                residual: label.residual,
                background: label.background,
            });
        }
        for stack in &report.stacks {
            let chain = parts.owners.functions(stack.id);
            for (at, number) in chain.iter().enumerate() {
                answers.function(&parts, stack.id, at, *number);
            }
            answers.stacks.push(stack.id);
            answers.chains.push(chain.to_vec());
            answers.via.push(parts.owners.via(stack.id));
        }
        let segments = report.processes.iter().flat_map(|process| &process.segments);
        answers.segments = segments.map(|segment| kind::short_name(segment).into_owned()).collect();
        answers
    }

    /// Adds the function with a number, if it is the next that was not seen before.
    fn function(&mut self, parts: &Parts<'_>, stack: StackId, at: usize, number: u32) {
        if number as usize != self.functions.len() {
            return;
        }
        let Some(frame) = parts.owners.function(number) else { return };
        self.functions.push(FunctionRow {
            name: owner::display(frame),
            module: frame.module.clone(),
            file: frame.file.clone(),
            class: parts.owners.class(stack, at).map(rules::Class::name),
        });
    }
}

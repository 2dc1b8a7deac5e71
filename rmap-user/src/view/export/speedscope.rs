//! The file format of speedscope (<https://www.speedscope.app/file-format-schema.json>): one
//! sampled profile for each of resident, dirty and touched, in bytes. Negative parts are left out,
//! as the format has none.

use std::collections::HashMap;
use std::io;

use serde_json::{Value, json};

use crate::report::Report;
use crate::view::order::Listing;
use crate::view::samples::{KINDS, Of, Stacks};

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, listing: Listing, out: &mut dyn io::Write) -> io::Result<()> {
    let mut frames: Vec<Value> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut stacks = Vec::new();
    let all = Stacks::of(report, listing, None);
    let rest = all.rest.map(|(many, bytes)| (vec![Stacks::rest_name(many)], bytes));
    let rows = all.rows.into_iter().map(|row| (row.bytes(), row.names));
    for (bytes, names) in rows.chain(rest.map(|(names, bytes)| (bytes, names))) {
        let stack: Vec<usize> = names
            .into_iter()
            .map(|name| {
                *at.entry(name.clone()).or_insert_with(|| {
                    frames.push(json!({ "name": name }));
                    frames.len() - 1
                })
            })
            .collect();
        stacks.push((stack, bytes));
    }
    let kinds = [("resident", Of::Resident), ("dirty", Of::Dirty), ("touched", Of::Touched)];
    let profiles: Vec<Value> = kinds
        .into_iter()
        .map(|(name, of)| {
            let weigh =
                |bytes: &[i128; KINDS]| i64::try_from(bytes[of.index()]).unwrap_or(i64::MAX);
            let kept: Vec<_> = stacks.iter().filter(|(_, bytes)| weigh(bytes) > 0).collect();
            let weights: Vec<i64> = kept.iter().map(|(_, bytes)| weigh(bytes)).collect();
            json!({
                "type": "sampled",
                "name": format!("{name} bytes"),
                "unit": "bytes",
                "startValue": 0,
                "endValue": weights.iter().fold(0_i64, |sum, bytes| sum.saturating_add(*bytes)),
                "samples": kept.iter().map(|(stack, _)| stack).collect::<Vec<_>>(),
                "weights": weights,
            })
        })
        .collect();
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": format!("rmap {}", report.rmap_version),
        "shared": { "frames": frames },
        "profiles": profiles,
    });
    serde_json::to_writer(&mut *out, &file)?;
    out.write_all(b"\n")
}

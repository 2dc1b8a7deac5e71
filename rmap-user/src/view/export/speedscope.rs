//! The file format of speedscope (<https://www.speedscope.app/file-format-schema.json>): one
//! sampled profile for each of resident, dirty and touched, in bytes. Negative parts are left out,
//! as the format has none.

use std::collections::HashMap;
use std::io;

use serde_json::{Value, json};

use crate::report::Report;
use crate::view::samples::{Of, samples};

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut frames: Vec<Value> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut stacks = Vec::new();
    let samples = samples(report);
    for sample in &samples {
        let stack: Vec<usize> = sample
            .names()
            .into_iter()
            .map(|name| {
                *at.entry(name.clone()).or_insert_with(|| {
                    frames.push(json!({ "name": name }));
                    frames.len() - 1
                })
            })
            .collect();
        stacks.push(stack);
    }
    let kinds = [("resident", Of::Resident), ("dirty", Of::Dirty), ("touched", Of::Touched)];
    let profiles: Vec<Value> = kinds
        .into_iter()
        .map(|(name, of)| {
            let kept: Vec<_> =
                samples.iter().zip(&stacks).filter(|(s, _)| s.value(of) > 0).collect();
            let weights: Vec<i64> = kept.iter().map(|(sample, _)| sample.value(of)).collect();
            json!({
                "type": "sampled",
                "name": format!("{name} bytes"),
                "unit": "bytes",
                "startValue": 0,
                "endValue": weights.iter().fold(0_i64, |sum, bytes| sum.saturating_add(*bytes)),
                "samples": kept.iter().map(|(_, stack)| stack).collect::<Vec<_>>(),
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

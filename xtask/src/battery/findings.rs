//! What a report says of itself: whether it adds up, what it does not explain, what was lost.
//!
//! Comes in: `rmap.report/1` as JSON. Goes out: [`Findings`]. The sums are made anew here.

use serde_json::Value;

/// What a report says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub processes: usize,
    pub segments: usize,
    /// Segments of which the parts are not the whole.
    pub broken: usize,
    /// Segments with anything `unknown`.
    pub unknown: usize,
    /// The most that is `unknown` in one, in bytes.
    pub most_unknown: u64,
    /// Events, stacks and snapshots.
    pub lost: u64,
    /// Processes with no snapshot.
    pub unseen: usize,
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn sum(parts: &Value, list_name: &str, name: &str) -> i64 {
    list(parts, list_name).filter_map(|part| part.get(name)?.as_i64()).sum()
}

impl Findings {
    /// Of a report.
    pub fn of(report: &Value) -> Self {
        let mut findings = Self::default();
        for process in list(report, "processes") {
            findings.processes += 1;
            findings.unseen += usize::from(process.get("snapshot") == Some(&Value::from("none")));
            list(process, "segments").for_each(|segment| findings.add(segment));
        }
        let lost = report.pointer("/coverage/lost").and_then(Value::as_object);
        findings.lost =
            lost.into_iter().flat_map(|lost| lost.values()).filter_map(Value::as_u64).sum();
        findings
    }

    fn add(&mut self, segment: &Value) {
        self.segments += 1;
        let whole = |name: &str| {
            let parts = sum(segment, "paths", name) + sum(segment, "unexplained", name);
            segment.pointer(&format!("/{name}/after")).and_then(Value::as_i64) == Some(parts)
        };
        self.broken += usize::from(!(whole("rss_bytes") && whole("dirty_bytes")));
        let unknown = list(segment, "unexplained")
            .filter(|rest| rest.get("reason") == Some(&Value::from("unknown")))
            .flat_map(|rest| ["rss_bytes", "dirty_bytes"].map(|name| rest.get(name)))
            .filter_map(|bytes| Some(bytes?.as_i64()?.unsigned_abs()))
            .max()
            .unwrap_or(0);
        self.unknown += usize::from(unknown > 0);
        self.most_unknown = self.most_unknown.max(unknown);
    }

    /// What must not be.
    pub fn complaints(&self) -> Vec<String> {
        /// The most that may be `unknown` anywhere, in bytes.
        const UNKNOWN: u64 = 4096;
        let mut complaints = Vec::new();
        if self.broken > 0 {
            complaints.push(format!("{} segments do not add up", self.broken));
        }
        if self.most_unknown > UNKNOWN || self.unknown * 100 > self.segments {
            complaints.push(format!(
                "unknown in {} of {} segments, up to {} KiB",
                self.unknown,
                self.segments,
                self.most_unknown / 1024
            ));
        }
        if self.lost > 0 {
            complaints.push(format!("{} lost", self.lost));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_added_up_anew() {
        let part = |bytes: i64, reason: &str| serde_json::json!({"rss_bytes": bytes, "dirty_bytes": 0, "reason": reason});
        let segment = |after: i64, rest: Value| {
            serde_json::json!({"rss_bytes": {"after": after}, "dirty_bytes": {"after": 0},
                "paths": [part(4096, "")], "unexplained": [rest]})
        };
        let report = serde_json::json!({
            "coverage": {"lost": {"events": 1, "stacks": 2, "snapshots": 0}},
            "processes": [{"snapshot": "none", "segments": [
                segment(0, part(-4096, "unknown")), segment(4096, part(8, "remote"))]}],
        });
        let expected = Findings {
            processes: 1,
            segments: 2,
            broken: 1,
            unknown: 1,
            most_unknown: 4096,
            lost: 3,
            unseen: 1,
        };
        assert_eq!(Findings::of(&report), expected);
        assert_eq!(expected.complaints().len(), 3);
    }
}

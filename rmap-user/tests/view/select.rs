//! Which part of a report, in what order, and how much of each list: the same in every view.

use std::io::Read as _;

use prost::Message as _;
use rmap::report::{Report, check_identity};
use rmap::view::diff::{self, Difference};
use rmap::view::export::folded::Folded;
use rmap::view::export::{pprof, speedscope};
use rmap::view::order::{Listing, Sort};
use rmap::view::samples::Of;
use rmap::view::select::Selection;
use rmap::view::{Style, flame, table};

use crate::export::proto::Profile;
use crate::{assert_golden, cases};

const OFS: [Of; 2] = [Of::Resident, Of::Dirty];

fn profile(report: &Report, listing: Listing) -> Profile {
    let (mut packed, mut bytes) = (Vec::new(), Vec::new());
    pprof::write(report, listing, &mut packed).unwrap();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    Profile::decode(&bytes[..]).unwrap()
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn speedscope_weights(report: &Report, listing: Listing) -> [i128; 2] {
    let text = text(|out| speedscope::write(report, listing, out));
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    [0, 1].map(|at| file["profiles"][at]["endValue"].as_i64().unwrap().into())
}

/// Resident and dirty bytes of a report as each view has them.
fn sums(report: &Report, listing: Listing) -> Vec<(&'static str, [i128; 2])> {
    let empty = Report { processes: Vec::new(), ..report.clone() };
    let difference = Difference::of(&empty, report);
    let all = [difference.rss_bytes.b, difference.dirty_bytes.b].map(i128::from);
    let folded = OFS.map(|of| Folded::of(report, of, listing));
    let pprof = profile(report, listing).sample.iter().fold([0, 0], |sums, sample| {
        [sums[0] + i128::from(sample.value[0]), sums[1] + i128::from(sample.value[1])]
    });
    let whole = |folded: &Folded| {
        folded.left_out + folded.stacks.iter().map(|(_, bytes)| bytes).sum::<i128>()
    };
    let speedscope = speedscope_weights(report, listing);
    let left_out = [0, 1].map(|at| folded[at].left_out);
    vec![
        ("diff", all),
        ("folded", [whole(&folded[0]), whole(&folded[1])]),
        ("pprof", pprof),
        ("speedscope", [speedscope[0] + left_out[0], speedscope[1] + left_out[1]]),
    ]
}

fn kernel_sizes(report: &Report) -> [i128; 2] {
    let segments = report.processes.iter().flat_map(|process| &process.segments);
    segments.fold([0, 0], |sums, segment| {
        let sizes = [segment.rss_bytes.after, segment.dirty_bytes.after].map(i128::from);
        [sums[0] + sizes[0], sums[1] + sizes[1]]
    })
}

#[test]
fn a_part_has_the_same_sizes_in_every_view() {
    let whole = cases::pipeline();
    for (processes, segments) in [
        (vec!["sort"], vec![]),
        (vec!["4713"], vec![]),
        (vec![], vec!["[heap]"]),
        (vec!["sort", "mawk"], vec!["libc.so.6", "[stack]"]),
        (vec![], vec!["0x7fffffffe000"]),
    ] {
        let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let selection = Selection { processes: own(processes), segments: own(segments) };
        let part = selection.of(whole.clone()).unwrap();
        assert_eq!(check_identity(&part), Ok(()), "{selection:?}");
        let sizes = kernel_sizes(&part);
        assert!(sizes[0] > 0 && sizes[0] < kernel_sizes(&whole)[0], "{selection:?}");
        for listing in [Listing::default(), Listing { top: Some(1), sort: None }] {
            for (view, sums) in sums(&part, listing) {
                // What is left over may hide what is negative, so the whole is compared.
                assert_eq!(sums, sizes, "{view} of {selection:?} with {listing:?}");
            }
        }
        let table = text(|out| table::write(&part, Style::default(), out));
        for process in &part.processes {
            let total = format!(" {}", process.rss_bytes.after / 1024);
            let totals = table.lines().filter(|line| line.starts_with("total kB"));
            assert!(totals.clone().any(|line| line.contains(&total)), "{total}:\n{table}");
        }
    }
}

#[test]
fn a_part_keeps_the_stacks_that_it_names_alone() {
    let whole = cases::pipeline();
    let selection = Selection { processes: vec!["mawk".into()], ..Selection::default() };
    let part = selection.of(whole.clone()).unwrap();
    assert!(!part.stacks.is_empty() && part.stacks.len() < whole.stacks.len());
    let text = serde_json::to_vec(&part).unwrap();
    assert_eq!(rmap::input::parse(&text).unwrap(), part);
}

#[test]
fn the_first_ones_and_the_rest_are_the_same_stacks_in_every_export() {
    let report = cases::pipeline();
    let sizes = kernel_sizes(&report);
    let all = Folded::of(&report, Of::Resident, Listing::default());
    assert!(all.stacks.len() > 3);
    for sort in [Sort::Total, Sort::Rss, Sort::Dirty, Sort::Growth, Sort::Address, Sort::Name] {
        let listing = Listing { sort: Some(sort), top: Some(2) };
        for (view, sums) in sums(&report, listing) {
            assert_eq!(sums, sizes, "{view} {sort:?}");
        }
        let folded = Folded::of(&report, Of::Resident, listing);
        assert_eq!(folded.stacks.len(), 3, "{sort:?}");
        let (rest, _) = &folded.stacks[2];
        assert_eq!(*rest, [format!("[{} more]", all.stacks.len() - 2)], "{sort:?}");
        // A stack may hold nothing of what speedscope weighs first, so it may have fewer.
        let scope = text(|out| speedscope::write(&report, listing, out));
        let scope: serde_json::Value = serde_json::from_str(&scope).unwrap();
        assert!(scope["profiles"][0]["samples"].as_array().unwrap().len() <= 3, "{sort:?}");
        let svg = text(|out| flame::write(&report, Of::Resident, listing, out));
        assert!(svg.contains(&format!("{} (", rest[0])), "{sort:?}");
    }
    let by =
        |sort| Folded::of(&report, Of::Resident, Listing { sort: Some(sort), top: None }).stacks;
    assert!(by(Sort::Rss).windows(2).all(|pair| pair[0].1 >= pair[1].1));
    assert!(by(Sort::Name).windows(2).all(|pair| pair[0].0.join(";") <= pair[1].0.join(";")));
}

#[test]
fn lists_of_the_table_and_of_the_difference_are_in_the_order_asked_for() {
    let report = cases::pipeline();
    for (name, sort) in [
        ("total", Sort::Total),
        ("rss", Sort::Rss),
        ("dirty", Sort::Dirty),
        ("growth", Sort::Growth),
        ("address", Sort::Address),
        ("name", Sort::Name),
    ] {
        let style =
            Style { width: Some(100), sort, top: Some(3), short: Some(3), ..Style::default() };
        let table = text(|out| table::write(&report, style, out));
        assert_golden(&format!("pipeline.sort-{name}.txt"), &table);
        let difference = Difference::of(&cases::article(), &report);
        let diff = text(|out| diff::write(&difference, style, out));
        assert_golden(&format!("pipeline.diff.sort-{name}.txt"), &diff);
    }
}

#[test]
fn a_table_of_a_part_says_so() {
    let selection =
        Selection { processes: vec!["a\nb".into()], segments: vec!["[heap]".into(), "x".into()] };
    let note = text(|out| selection.write_note(Style::default(), out));
    assert!(note.ends_with(": --process a\\nb --segment [heap] --segment x\n"), "{note}");
}

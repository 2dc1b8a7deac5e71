//! Stories of segments, told of programs of which the truth is known.

use proptest::prelude::*;

use super::sim::{A, ANON, Memory, P, PROTECTED, Played, Sim, Who, segment};
use super::tests::nonsense;
use super::*;
use crate::report::{self, Segment as ReportSegment, SnapshotKind, Story};

const HEAP: u64 = 0x5555_0000_0000;
const MAP: u64 = 0x7000_0000_0000;
const ANONYMOUS: u64 = 0x22;
const FIXED: u64 = 0x32;

fn pages(from: u64, count: u64) -> std::ops::Range<u64> {
    from..from + count * P
}

fn piece(range: std::ops::Range<u64>) -> Piece {
    Piece { range, from_ns: 0, until_ns: u64::MAX }
}

/// Plays the same session twice, the second time with the stories of all its segments, or of
/// `pieces` under a name.
fn explained(play: impl Fn(&mut Sim), pieces: Option<(Vec<Piece>, &str)>) -> Played {
    let mut sim = Sim::new();
    play(&mut sim);
    let first = sim.finish();
    let mut targets = Vec::new();
    let spaces = first.findings.spaces.iter().enumerate();
    for (process, space) in spaces.filter_map(|(at, space)| Some((at, (*space)?))) {
        let mut add = |pieces, name: &str| {
            let name = name.to_owned();
            targets.push(Target { space, process, pieces, name, gone_after_ns: None });
        };
        match &pieces {
            Some((pieces, name)) => add(pieces.clone(), name),
            None => {
                for segment in &first.findings.report.processes[process].segments {
                    let range = segment.start.0..segment.end.0;
                    add(vec![piece(range)], &segment.name);
                }
            }
        }
    }
    let mut sim = Sim::asking(targets);
    play(&mut sim);
    let second = sim.finish();
    let same = first.findings.report.processes == second.findings.report.processes;
    assert!(same, "a story changes nothing of a report but that more stacks are in it");
    second.findings.stories.iter().for_each(check);
    second
}

/// What the code paths of a segment hold, and what was there before tracing began.
fn held(segment: &ReportSegment) -> (i64, i64) {
    let paths = segment.paths.iter().map(|path| (path.rss_bytes as i64, path.dirty_bytes as i64));
    let before =
        segment.unexplained.iter().filter(|rest| rest.reason == report::Reason::BeforeAttach);
    let before = before.map(|rest| (rest.rss_bytes.max(0), rest.dirty_bytes.max(0)));
    paths.chain(before).fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
}

/// What came less what went is what is there, to the byte.
fn check(story: &Story) {
    let events = story.events.iter();
    let sum = events.fold((0, 0), |sum, e| (sum.0 + e.rss_bytes, sum.1 + e.dirty_bytes));
    let sum = (sum.0 - story.since.rss_bytes, sum.1 - story.since.dirty_bytes);
    let Some(segment) = &story.segment else {
        assert_eq!(sum, (0, 0), "{story:?}");
        return;
    };
    assert_eq!(sum, held(segment), "{story:?}");
    let last = story.states.last().expect("the state at the last snapshot");
    assert_eq!(
        (last.rss_bytes, last.dirty_bytes),
        (segment.rss_bytes.after, segment.dirty_bytes.after)
    );
    assert_eq!((last.explained.rss_bytes, last.explained.dirty_bytes), held(segment));
    // The map shows the same pages.
    for (place, path) in segment.paths.iter().enumerate() {
        let place = Some(place as u32);
        let size = |pages: &report::story::Pages| pages.end.0 - pages.start.0;
        let of = story.pages.iter().filter(|pages| pages.resident == place);
        assert_eq!(of.map(size).sum::<u64>(), path.rss_bytes, "{place:?} of {story:?}");
    }
    assert!(story.pages.is_sorted_by_key(|pages| pages.start));
    assert!(story.events.is_sorted_by_key(|event| event.first_ns));
}

/// A story in short: what, name, stack, pages of RSS, of Dirty, mapped.
fn short(played: &Played, story: &Story) -> Vec<(String, u64, i64, i64, i64)> {
    let p = P as i64;
    let line = |event: &report::story::Happening| {
        (
            format!("{} {}", event.what, event.name),
            played.number(event.stack),
            event.rss_bytes / p,
            event.dirty_bytes / p,
            event.mapped_bytes / p,
        )
    };
    story.events.iter().map(line).collect()
}

fn told(what: &str, stack: u64, rss: i64, dirty: i64, mapped: i64) -> (String, u64, i64, i64, i64) {
    (what.to_owned(), stack, rss, dirty, mapped)
}

/// The break of the program is set.
fn brk(sim: &mut Sim, to: u64, stack: u64) {
    sim.call(A, true, 12, &[to], 0, stack);
    sim.call(A, false, 12, &[to], to as i64, stack);
    // So that what follows is told apart.
    sim.time += 100_000;
}

#[test]
fn a_heap_is_mapped_touched_grown_cleaned_and_cut() {
    let play = |sim: &mut Sim| {
        let mut memory = Memory::default();
        sim.exec(A, &memory);
        sim.call(A, false, 12, &[0], HEAP as i64, 1);
        brk(sim, HEAP + 8 * P, 1);
        sim.fill(A, pages(HEAP, 6), 2, &mut memory);
        sim.time += 100_000;
        brk(sim, HEAP + 16 * P, 3);
        sim.fill(A, pages(HEAP + 8 * P, 8), 4, &mut memory);
        sim.time += 100_000;
        sim.madvise(A, pages(HEAP, 2), 8, 5);
        memory.set(pages(HEAP, 2), sim::Page { dirty: false, ..ANON });
        sim.time += 100_000;
        sim.madvise(A, pages(HEAP + 2 * P, 2), 4, 6);
        memory.clear(pages(HEAP + 2 * P, 2));
        sim.time += 100_000;
        brk(sim, HEAP + 12 * P, 7);
        memory.clear(pages(HEAP + 12 * P, 4));
        memory.segments.push(segment(pages(HEAP, 12), "rw-p", "[heap]"));
        sim.exit(A, &memory);
    };
    let played = explained(play, Some((vec![piece(pages(HEAP, 16))], "[heap]")));
    let story = &played.findings.stories[0];
    assert_eq!(
        short(&played, story),
        [
            told("map brk", 1, 0, 0, 8),
            told("fault first-write", 2, 6, 6, 0),
            told("grow brk", 3, 0, 0, 8),
            told("fault first-write", 4, 8, 8, 0),
            told("clean madv-free", 5, 0, -2, 0),
            told("free dontneed", 6, -2, -2, 0),
            told("free brk", 7, -4, -4, 0),
            told("unmap brk", 7, 0, 0, -4),
        ]
    );
    assert_eq!(story.states.len(), 1, "before there was a heap it had no state");
    assert_eq!(story.states[0].rss_bytes, 8 * P);
    assert_eq!(story.snapshot, SnapshotKind::AtExit);
    let shown: Vec<_> = story.pages.iter().map(|p| (p.start.0, p.end.0)).collect();
    assert_eq!(shown.len(), 3, "clean, dirty, and by another path: {:?}", story.pages);
    assert_eq!(shown[0], (HEAP, HEAP + 2 * P));
}

#[test]
fn a_mapping_is_followed_through_its_moves() {
    let (old, new) = (pages(MAP, 4), pages(MAP + 64 * P, 8));
    let times = std::cell::Cell::new(0);
    let play = |sim: &mut Sim| {
        let mut memory = Memory::default();
        sim.exec(A, &memory);
        sim.mmap(A, old.clone(), ANONYMOUS, 1);
        sim.fill(A, old.clone(), 2, &mut memory);
        // What was in the way has its own story.
        sim.mmap(A, pages(MAP + 64 * P, 2), ANONYMOUS, 9);
        sim.fill(A, pages(MAP + 64 * P, 2), 9, &mut memory);
        sim.time += 100_000;
        sim.mremap(A, old.clone(), 8 * P, 3, new.start as i64, 3);
        times.set(sim.time);
        sim.time += 100_000;
        memory.clear(pages(MAP, 4));
        memory.set(pages(MAP + 64 * P, 4), ANON);
        sim.fill(A, pages(MAP + 68 * P, 4), 4, &mut memory);
        // And so does what is there now.
        sim.mmap(A, old.clone(), ANONYMOUS, 9);
        sim.fill(A, old.clone(), 9, &mut memory);
        memory.segments.push(segment(old.clone(), "rw-p", ""));
        memory.segments.push(segment(new.clone(), "rw-p", ""));
        sim.exit(A, &memory);
    };
    explained(play, None);
    let moved = times.get();
    let pieces = vec![
        Piece { range: new.clone(), from_ns: moved, until_ns: u64::MAX },
        Piece { range: old.clone(), from_ns: 0, until_ns: moved },
    ];
    let played = explained(play, Some((pieces, "")));
    let story = &played.findings.stories[0];
    let lines = short(&played, story);
    assert_eq!(lines[..2], [told("map mmap", 1, 0, 0, 4), told("fault first-write", 2, 4, 4, 0)]);
    let moved = lines.iter().filter(|line| line.0 == "move mremap");
    assert_eq!(
        moved.map(|line| (line.2, line.3)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (0, 0)
    );
    assert!(lines.contains(&told("grow mremap", 3, 0, 0, 4)), "{lines:?}");
    assert_eq!(lines.last(), Some(&told("fault first-write", 4, 4, 4, 0)));
    assert_eq!(story.moved_from.len(), 1);
    assert!(!lines.iter().any(|line| line.1 == 9), "{lines:?}");
}

#[test]
fn what_was_at_the_same_addresses_before_is_another_story() {
    let play = |sim: &mut Sim| {
        let mut memory = Memory::default();
        sim.exec(A, &memory);
        for _ in 0..3 {
            sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
            sim.fill(A, pages(MAP, 4), 2, &mut memory);
            sim.munmap(A, pages(MAP, 4), 3);
        }
        sim.time += 100_000;
        sim.mmap(A, pages(MAP, 4), ANONYMOUS, 4);
        sim.fill(A, pages(MAP, 2), 5, &mut memory);
        sim.call(A, false, 10, &[MAP, 4 * P, 1], 0, 6);
        memory.clear(pages(MAP + 2 * P, 2));
        memory.segments.push(segment(pages(MAP, 4), "r--p", ""));
        sim.exit(A, &memory);
    };
    let played = explained(play, None);
    let story = &played.findings.stories[0];
    assert_eq!(story.earlier_mappings, 3);
    assert_eq!(
        short(&played, story),
        [
            told("map mmap", 4, 0, 0, 4),
            told("fault first-write", 5, 2, 2, 0),
            told("protect r--", 6, 0, 0, 0),
        ]
    );
}

#[test]
fn a_child_has_its_parents_pages_and_copies_what_it_writes() {
    let child = Who { pid: 200, tid: 200, mm: 0xb };
    let play = |sim: &mut Sim| {
        let mut memory = Memory::default();
        sim.exec(A, &memory);
        sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
        sim.fill(A, pages(MAP, 4), 2, &mut memory);
        memory.segments.push(segment(pages(MAP, 4), "rw-p", ""));
        sim.time += 100_000;
        sim.fork(A, child, 3, false);
        sim.snapshot(child, Moment::Forked, &memory);
        sim.time += 100_000;
        sim.fault(child, MAP, PROTECTED, [0; 4], 4);
        sim.exit(child, &memory);
        sim.exit(A, &memory);
    };
    let played = explained(play, None);
    let [parent, child] = &played.findings.stories[..] else { panic!("two stories") };
    assert_eq!(short(&played, parent)[2], told("fork fork", 3, 0, 0, 0));
    let lines = short(&played, child);
    assert_eq!(lines[0].0, "map fork");
    assert!(lines.iter().any(|line| line.0 == "found fork-copy" && line.2 == 4), "{lines:?}");
    assert!(lines.contains(&told("fault fork-cow", 4, 0, 0, 0)), "{lines:?}");
}

#[test]
fn what_is_gone_is_told_to_its_end() {
    let play = |sim: &mut Sim| {
        let mut memory = Memory::default();
        sim.exec(A, &memory);
        sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
        sim.fill(A, pages(MAP, 4), 2, &mut memory);
        sim.time += 100_000;
        sim.munmap(A, pages(MAP, 4), 3);
        sim.mmap(A, pages(MAP, 4), FIXED, 9);
        sim.fill(A, pages(MAP, 4), 9, &mut memory);
        memory.segments.push(segment(pages(MAP, 4), "rw-p", ""));
        sim.exit(A, &memory);
    };
    let mut sim = Sim::new();
    let space = {
        play(&mut sim);
        sim.finish().findings.spaces[0].unwrap()
    };
    let mut sim = Sim::asking(vec![Target {
        space,
        process: 0,
        pieces: vec![piece(pages(MAP, 4))],
        name: "data".to_owned(),
        gone_after_ns: Some(1000),
    }]);
    play(&mut sim);
    let played = sim.finish();
    let story = &played.findings.stories[0];
    check(story);
    assert_eq!(story.segment, None);
    let lines = short(&played, story);
    assert_eq!(lines[2..], [told("free munmap", 3, -4, -4, 0), told("unmap munmap", 3, 0, 0, -4)]);
}

proptest! {
    /// Whatever comes: what a story tells adds up to what code paths hold.
    #[test]
    fn every_story_adds_up(
        steps in proptest::collection::vec((0u8..14, 0u64..40, 0u64..20, any::<u8>(), -3i32..20), 0..60),
        shown in proptest::collection::vec((0u64..48, 0u8..10), 0..40),
    ) {
        let play = |sim: &mut Sim| nonsense(sim, &steps, &shown, false, &[]);
        explained(play, None);
    }
}

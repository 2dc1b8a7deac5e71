//! Perfetto traces, read by a parser made from Perfetto's own message definitions.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use rmap::report::Report;
use rmap::report::course::Course;
use rmap::view::export::perfetto;
use rmap::view::order::{Listing, Sort};
use rmap::view::select::Selection;

use crate::recorded;

/// The messages of `protos/perfetto/trace`, as far as they are used.
pub mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Trace {
        #[prost(message, repeated, tag = "1")]
        pub packet: Vec<TracePacket>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TracePacket {
        #[prost(uint64, optional, tag = "8")]
        pub timestamp: Option<u64>,
        #[prost(uint32, optional, tag = "10")]
        pub trusted_packet_sequence_id: Option<u32>,
        #[prost(message, optional, tag = "11")]
        pub track_event: Option<TrackEvent>,
        #[prost(uint32, optional, tag = "13")]
        pub sequence_flags: Option<u32>,
        #[prost(message, optional, tag = "60")]
        pub track_descriptor: Option<TrackDescriptor>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TrackDescriptor {
        #[prost(uint64, optional, tag = "1")]
        pub uuid: Option<u64>,
        #[prost(string, optional, tag = "2")]
        pub name: Option<String>,
        #[prost(message, optional, tag = "3")]
        pub process: Option<ProcessDescriptor>,
        #[prost(uint64, optional, tag = "5")]
        pub parent_uuid: Option<u64>,
        #[prost(message, optional, tag = "8")]
        pub counter: Option<CounterDescriptor>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ProcessDescriptor {
        #[prost(int32, optional, tag = "1")]
        pub pid: Option<i32>,
        #[prost(string, repeated, tag = "2")]
        pub cmdline: Vec<String>,
        #[prost(string, optional, tag = "6")]
        pub process_name: Option<String>,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct CounterDescriptor {
        #[prost(int32, optional, tag = "3")]
        pub unit: Option<i32>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TrackEvent {
        #[prost(message, repeated, tag = "4")]
        pub debug_annotations: Vec<DebugAnnotation>,
        #[prost(int32, optional, tag = "9")]
        pub kind: Option<i32>,
        #[prost(uint64, optional, tag = "11")]
        pub track_uuid: Option<u64>,
        #[prost(string, repeated, tag = "22")]
        pub categories: Vec<String>,
        #[prost(string, optional, tag = "23")]
        pub name: Option<String>,
        #[prost(int64, optional, tag = "30")]
        pub counter_value: Option<i64>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DebugAnnotation {
        #[prost(uint64, optional, tag = "3")]
        pub uint_value: Option<u64>,
        #[prost(int64, optional, tag = "4")]
        pub int_value: Option<i64>,
        #[prost(string, optional, tag = "6")]
        pub string_value: Option<String>,
        #[prost(uint64, optional, tag = "7")]
        pub pointer_value: Option<u64>,
        #[prost(string, optional, tag = "10")]
        pub name: Option<String>,
    }
}

const BEGIN: i32 = 1;
const END: i32 = 2;
const COUNTER: i32 = 4;
const BYTES: i32 = 3;

/// A track with its events.
pub struct Track {
    pub descriptor: proto::TrackDescriptor,
    pub events: Vec<(u64, proto::TrackEvent)>,
}

/// The tracks of a trace in their order, with what must hold of every trace checked.
pub fn tracks(bytes: &[u8]) -> Vec<Track> {
    let trace = proto::Trace::decode(bytes).unwrap();
    let mut tracks: Vec<Track> = Vec::new();
    let mut at: HashMap<u64, usize> = HashMap::new();
    for (number, packet) in trace.packet.into_iter().enumerate() {
        assert_eq!(packet.trusted_packet_sequence_id, Some(1));
        assert_eq!(packet.sequence_flags, (number == 0).then_some(1));
        match (packet.track_descriptor, packet.track_event) {
            (Some(descriptor), None) => {
                let id = descriptor.uuid.unwrap();
                assert!(id > 0 && at.insert(id, tracks.len()).is_none(), "{descriptor:?}");
                if let Some(parent) = descriptor.parent_uuid {
                    assert!(at.contains_key(&parent), "{descriptor:?}");
                }
                tracks.push(Track { descriptor, events: Vec::new() });
            }
            (None, Some(event)) => {
                let track = &mut tracks[at[&event.track_uuid.unwrap()]];
                let time = packet.timestamp.unwrap();
                assert!(track.events.last().is_none_or(|(last, _)| *last <= time), "{event:?}");
                track.events.push((time, event));
            }
            other => panic!("{other:?}"),
        }
    }
    for track in &tracks {
        let kinds: Vec<i32> = track.events.iter().map(|(_, event)| event.kind.unwrap()).collect();
        match track.descriptor.counter {
            Some(counter) => {
                assert_eq!(counter.unit, Some(BYTES));
                assert!(kinds.iter().all(|kind| *kind == COUNTER));
                assert!(track.events.iter().all(|(_, e)| e.counter_value.unwrap() >= 0));
            }
            // Slices beside each other: what overlaps would be drawn as a call.
            None => assert!(kinds.chunks(2).all(|pair| pair == [BEGIN, END]), "{kinds:?}"),
        }
    }
    tracks
}

pub fn written(report: &Report, course: &Course, listing: Listing) -> Vec<u8> {
    let mut out = Vec::new();
    perfetto::write(report, course, listing, &mut out).unwrap();
    out
}

fn annotation(event: &proto::TrackEvent, name: &str) -> u64 {
    let found = event.debug_annotations.iter().find(|a| a.name.as_deref() == Some(name)).unwrap();
    found.uint_value.unwrap()
}

fn faults(tracks: &[Track]) -> u64 {
    let events = tracks.iter().flat_map(|track| &track.events);
    events.filter(|(_, e)| e.kind == Some(BEGIN)).map(|(_, e)| annotation(e, "faults")).sum()
}

#[test]
fn counters_end_at_the_sizes_and_every_fault_is_in_a_slice() {
    for name in recorded::NAMES {
        let (report, course) = recorded::load(name);
        let tracks = tracks(&written(&report, &course, Listing::default()));
        let processes: Vec<&Track> =
            tracks.iter().filter(|track| track.descriptor.process.is_some()).collect();
        assert_eq!(processes.len(), report.processes.len());
        let mut rss = BTreeMap::new();
        for track in tracks.iter().filter(|t| t.descriptor.name.as_deref() == Some("RSS")) {
            let last = track.events.last().unwrap().1.counter_value.unwrap();
            rss.insert(track.descriptor.parent_uuid.unwrap(), last);
        }
        for ((track, process), course) in
            processes.iter().zip(&report.processes).zip(&course.processes)
        {
            let descriptor = &track.descriptor;
            let told = descriptor.process.as_ref().unwrap();
            assert_eq!(told.pid.unwrap().unsigned_abs(), process.pid);
            assert_eq!(told.cmdline, [process.command.as_str()]);
            let last = rss[&descriptor.uuid.unwrap()];
            assert_eq!(last.unsigned_abs(), process.rss_bytes.after, "{name} {}", process.pid);
            // What was reckoned up to the last snapshot is near to what it shows.
            let at = course.sizes.iter().rposition(|sizes| sizes.dirty.is_some()).unwrap();
            let [before, after] =
                [at - 1, at].map(|at| course.sizes[at]).map(|s| s.anon + s.file + s.shmem);
            assert!(before.abs_diff(after) * 20 <= after, "{name}: {before} and then {after}");
        }
        let all: usize = course.processes.iter().map(|process| process.faults.len()).sum();
        assert_eq!(faults(&tracks), all as u64, "{name}");
        let names: Vec<_> = tracks.iter().filter_map(|t| t.descriptor.name.as_deref()).collect();
        assert!(names.iter().any(|name| name.starts_with("[anon] rw-p 0x")), "{names:?}");
    }
}

#[test]
fn slices_have_the_functions_causes_and_bytes() {
    let (report, course) = recorded::load("plain");
    let tracks = tracks(&written(&report, &course, Listing::default()));
    let events: Vec<_> = tracks.iter().flat_map(|track| &track.events).collect();
    let slice = |function: &str, cause: &str| {
        events
            .iter()
            .filter(|(_, e)| e.name.as_deref().is_some_and(|name| name.contains(function)))
            .filter(|(_, e)| e.categories == [cause])
            .map(|(_, event)| (annotation(event, "faults"), annotation(event, "touched_bytes")))
            .fold((0, 0), |sums, slice| (sums.0 + slice.0, sums.1 + slice.1))
    };
    // Each page of the table, of which the first holds malloc's own words too, and of the buffer
    // that was given back.
    assert_eq!(slice("fill_rows", "first-write"), (12, 12 * 4096));
    let (faults, bytes) = slice("sum_file", "file-read");
    assert!(faults == 1 && bytes >= 4096 && bytes % 4096 == 0, "{bytes}");
}

#[test]
fn a_part_of_a_trace_is_of_what_was_chosen() {
    let (report, course) = recorded::load("forked");
    let all = faults(&tracks(&written(&report, &course, Listing::default())));
    let child = report.processes[1].pid;
    let selection = Selection { processes: vec![child.to_string()], ..Selection::default() };
    let (part, its) = perfetto::part(report.clone(), course.clone(), &selection).unwrap();
    assert_eq!((part.processes.len(), its.processes.len()), (1, 1));
    assert_eq!(its.processes[0], course.processes[1]);
    let selection = Selection { segments: vec!["[anon]".into()], ..Selection::default() };
    let (part, its) = perfetto::part(report.clone(), course.clone(), &selection).unwrap();
    let some = faults(&tracks(&written(&part, &its, Listing::default())));
    assert!(some > 0 && some < all, "{some} of {all}");
    for sort in [None, Some(Sort::Name)] {
        let tracks = tracks(&written(&report, &course, Listing { sort, top: Some(1) }));
        assert_eq!(faults(&tracks), all, "what is left over is in one track");
        let names: Vec<_> = tracks.iter().filter_map(|t| t.descriptor.name.as_deref()).collect();
        assert!(names.iter().any(|name| name.contains(" more]")), "{names:?}");
    }
    let none = Selection { segments: vec!["nothing".into()], ..Selection::default() };
    assert!(perfetto::part(report, course, &none).is_err());
}

//! Somebody looks on while a session runs: its report, again and again, and what is wished.
//!
//! Comes in: the session at ticks of the clock; wishes from another thread. Goes out: reports. Their
//! stacks are given names on a thread of their own, so that no process waits while files are read.
//! Looks cost a hundredth of the time at most, snapshots for them half of that: between two snapshots
//! sizes are what the events add up to.

use std::{
    future, io,
    sync::{Arc, Mutex, PoisonError, mpsc as sync},
    thread,
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

use super::{Watch, collector::Collector};
use crate::{
    live::worker::names::Names,
    report::{Frame, Report, Stack},
    runtime::python::Definitions,
    session::{Findings, RawStack, names},
    symbol::ModuleMap,
    trace::{MmKey, StackEnd, StackHash},
};

/// The rest between two looks, at least, and how many times what the last one took.
const REST: Duration = Duration::from_secs(1);
const TIMES: u32 = 100;
/// The same for snapshots.
const SNAPSHOT_REST: Duration = Duration::from_secs(5);
const SNAPSHOT_TIMES: u32 = 200;

/// A report waits so long for names that are still being read.
const NAMES: Duration = Duration::from_millis(700);
/// What stands for frames until they have names.
const UNNAMED: &str = "[names are being read]";

/// What is wished of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// This moment is to have a name.
    Mark(String),
    /// Let go of what is traced.
    LetGo,
}

/// The session's end of it.
#[derive(Debug)]
pub struct Onlooker {
    reports: sync::Sender<Report>,
    wishes: Mutex<Option<UnboundedReceiver<Wish>>>,
}

/// The other end.
#[derive(Clone, Debug)]
pub struct Wishes(UnboundedSender<Wish>);

impl Onlooker {
    /// Both ends, and where reports come out. Their stacks are not merged, and their segments have no
    /// names beside the kernel's.
    #[must_use]
    pub fn new() -> (Arc<Self>, Wishes, sync::Receiver<Report>) {
        let (sender, wishes) = unbounded_channel();
        let (reports, shown) = sync::channel();
        (Arc::new(Self { reports, wishes: Mutex::new(Some(wishes)) }), Wishes(sender), shown)
    }
}

impl Wishes {
    /// Gives the present moment a name. A session that is over has no more moments.
    pub fn mark(&self, name: String) {
        let _ = self.0.send(Wish::Mark(name));
    }

    /// Ends the session: what is traced goes on untraced.
    pub fn let_go(&self) {
        let _ = self.0.send(Wish::LetGo);
    }
}

/// A report whose stacks have no frames yet.
struct Seen {
    findings: Findings,
    /// The places of stacks that nobody has given names yet.
    new: Vec<usize>,
    /// The code of their address spaces.
    modules: FxHashMap<MmKey, ModuleMap>,
}

/// What a stack is called in a session.
type Name = (MmKey, StackHash);

const fn name_of(stack: &RawStack) -> Name {
    (stack.instance, stack.hash)
}

/// Looks again and again.
pub(super) struct Gaze {
    wishes: Option<UnboundedReceiver<Wish>>,
    reporter: sync::SyncSender<Seen>,
    /// Stacks whose frames are known, or asked for.
    named: FxHashSet<Name>,
    next: Instant,
    next_snapshot: Option<Instant>,
}

impl Gaze {
    /// For the onlooker of a session, if it has one.
    pub(super) fn of(watch: &Watch, collector: &mut Collector) -> io::Result<Option<Self>> {
        let Some(onlooker) = &watch.onlooker else { return Ok(None) };
        collector.looked_on();
        Self::begin(onlooker, watch.interval.is_none()).map(Some)
    }

    /// Looks at once, and from then on. `snapshots`: takes them too.
    fn begin(onlooker: &Onlooker, snapshots: bool) -> io::Result<Self> {
        let (reporter, seen) = sync::sync_channel(1);
        let reports = onlooker.reports.clone();
        thread::Builder::new().name("rmap-reporter".into()).spawn(move || {
            // Without a thread for names there are no reports, and the screen says that it waits.
            let _ = report(&seen, &reports);
        })?;
        let wishes = onlooker.wishes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let now = Instant::now();
        let next_snapshot = snapshots.then(|| now + SNAPSHOT_REST);
        Ok(Self { wishes, reporter, named: FxHashSet::default(), next: now, next_snapshot })
    }

    /// What is wished next. Whoever has gone wishes nothing.
    pub(super) async fn wish(gaze: &mut Option<Self>) -> Wish {
        let wishes = gaze.as_mut().and_then(|gaze| gaze.wishes.as_mut());
        let wish = match wishes {
            Some(wishes) => wishes.recv().await,
            None => None,
        };
        match wish {
            Some(wish) => wish,
            None => future::pending().await,
        }
    }

    /// When to look next.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Looks. `command` and `pids` are as in the report at the end.
    pub(super) fn look(
        &mut self,
        collector: &mut Collector,
        command: Option<&[String]>,
        pids: &[u32],
    ) {
        let begun = Instant::now();
        if self.next_snapshot.is_some_and(|next| next <= begun) {
            collector.periodic();
            let rest = SNAPSHOT_REST.max(begun.elapsed() * SNAPSHOT_TIMES);
            self.next_snapshot = Some(Instant::now() + rest);
        }
        let looked = Instant::now();
        let findings = collector.glimpse(command.map(<[String]>::to_vec), pids.to_vec());
        let stacks = findings.stacks.iter().enumerate();
        let new: Vec<usize> = stacks
            .filter(|(_, stack)| !self.named.contains(&name_of(stack)))
            .map(|(at, _)| at)
            .collect();
        let known = new.iter().filter_map(|at| findings.stacks.get(*at));
        // A stack that was lost may still come.
        let sent: Vec<Name> =
            known.clone().filter(|stack| stack.end != StackEnd::Unknown).map(name_of).collect();
        let spaces: FxHashSet<MmKey> = known.map(|stack| stack.instance).collect();
        let modules = collector.modules_of(&spaces);
        // If the last report is still being made, the next look will do.
        if self.reporter.try_send(Seen { findings, new, modules }).is_ok() {
            self.named.extend(sent);
        }
        self.next = Instant::now() + REST.max(looked.elapsed() * TIMES);
    }
}

/// Makes reports of what was seen. Names that take long come with a later one.
fn report(seen: &sync::Receiver<Seen>, reports: &sync::Sender<Report>) -> io::Result<()> {
    let (wanted, jobs) = sync::channel();
    let (named, names) = sync::channel();
    thread::Builder::new().name("rmap-namer".into()).spawn(move || give_names(&jobs, &named))?;
    let mut known: FxHashMap<Name, Stack> = FxHashMap::default();
    let mut waiting = 0_u64;
    while let Ok(Seen { findings, new, modules }) = seen.recv() {
        let Findings { mut report, stacks, definitions, .. } = findings;
        let fresh: Vec<RawStack> = new.iter().filter_map(|at| stacks.get(*at)).cloned().collect();
        if !fresh.is_empty() && wanted.send(Unnamed { stacks: fresh, modules, definitions }).is_ok()
        {
            waiting += 1;
        }
        let end = Instant::now() + NAMES;
        while waiting > 0 {
            let Ok(found) = names.recv_timeout(end.saturating_duration_since(Instant::now()))
            else {
                break;
            };
            known.extend::<Vec<(Name, Stack)>>(found);
            waiting -= 1;
        }
        let named = |stack: &RawStack| match known.get(&name_of(stack)) {
            Some(known) => Stack { id: stack.id, ..known.clone() },
            None => {
                Stack { id: stack.id, complete: false, frames: vec![Frame::at(UNNAMED, 0)].into() }
            }
        };
        report.stacks = stacks.iter().map(named).collect();
        if reports.send(report).is_err() {
            break;
        }
    }
    Ok(())
}

/// Stacks that are to have frames.
struct Unnamed {
    stacks: Vec<RawStack>,
    modules: FxHashMap<MmKey, ModuleMap>,
    definitions: Arc<Definitions>,
}

/// Gives stacks their frames.
fn give_names(jobs: &sync::Receiver<Unnamed>, named: &sync::Sender<Vec<(Name, Stack)>>) {
    while let Ok(Unnamed { stacks, modules, definitions }) = jobs.recv() {
        let all: Vec<&RawStack> = stacks.iter().collect();
        let found = names::name_stacks(&all, &modules, &definitions, &Names::default());
        if named.send(stacks.iter().map(name_of).zip(found).collect()).is_err() {
            return;
        }
    }
}

//! The session's thread: takes messages of the tracer, records of the ring, the ticks of the clock
//! and signals, each as it comes, until there is nobody left or nobody wants more.
//!
//! Comes in: what to trace. Goes out: the outcome.

use std::{
    ffi::OsString, future, io, ops::RangeInclusive, sync::mpsc as sync, thread, time::Duration,
};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use aya::maps::{MapData, RingBuf};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot},
    time,
};

use super::{
    Check, Error, GoesOn, Outcome, Watch,
    collector::{Collector, Drained},
    facts,
    feed::Found,
    ledger::Ledger,
    load, log,
    marks::Marks,
    members::Members,
    observer::{Forwarder, Message},
    onlooker::{Gaze, Wish as Wished},
    pulse::Pulse,
    signals::{self, First, Signals, Wish},
    stream::Stream,
    until,
};
use crate::{
    live::{
        cgroup::Group,
        malloc::Shim,
        privileges,
        probes::{Cost, Picking, Probes, Settings},
        procfs,
        ptrace::{self, Launch, Observer, Status, Tracer},
        release,
        terminal::Terminal,
    },
    output,
    recording::{Opening, Recorder},
    report::{Exit, Mode},
};

/// How long one processor at its full fault rate takes to fill about a quarter of the ring. For so
/// long the ring may be left alone: as long as records wait in it the kernel wakes nobody, and a
/// wake-up (which is an interrupt for another processor, and on a virtual machine more than that)
/// costs the command ten times what the probes of a fault do.
const QUARTER: Duration = Duration::from_millis(40);
/// The bounds of what is left of that where there are more processors.
const REST: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(20);

/// How long the ring is left unread at most on kernels that put programs aside: there whoever would
/// have woken rmap may have been left out.
const UNREAD: Duration = Duration::from_millis(50);

/// How often a process that cannot be stopped is looked at, where nobody has asked for more: the
/// last look is all that is left of it when it has ended.
const UNSTOPPED_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether processes have joined a control group.
const JOINING: Duration = Duration::from_millis(50);

/// What is traced.
pub(super) enum Subject {
    /// A command that is to be started, the terminal that it has to itself, and what it preloads.
    Command(Launch, Option<Terminal>, Option<Shim>),
    /// Processes that run.
    Processes {
        /// Their ids.
        pids: Vec<u32>,
        /// How others that belong to them are found.
        members: Option<Members>,
        /// The control group that they are in.
        group: Option<Group>,
        /// For how long.
        duration: Option<Duration>,
    },
}

impl Subject {
    const fn mode(&self) -> Mode {
        match self {
            Self::Command(..) => Mode::Run,
            Self::Processes { .. } => Mode::Attach,
        }
    }

    /// The command's words as the report has them.
    fn words(&self) -> Option<Vec<String>> {
        let Self::Command(launch, ..) = self else { return None };
        let words = std::iter::once(&launch.program).chain(&launch.args);
        Some(words.map(|word: &OsString| word.to_string_lossy().into_owned()).collect())
    }

    /// For whom the first signal to rmap is.
    const fn first_signal(&self) -> First {
        match self {
            Self::Command(launch, ..) if launch.own_session => First::OtherSession,
            Self::Command(..) => First::Command,
            Self::Processes { .. } => First::Session,
        }
    }

    fn take_terminal(&mut self) -> Option<Terminal> {
        if let Self::Command(_, terminal, _) = self { terminal.take() } else { None }
    }

    fn take_shim(&mut self) -> Option<Shim> {
        if let Self::Command(.., shim) = self { shim.take() } else { None }
    }

    fn take_group(&mut self) -> Option<Group> {
        if let Self::Processes { group, .. } = self { group.take() } else { None }
    }

    /// Whether processes may join that are no children of those that are followed.
    fn may_grow(&self) -> bool {
        matches!(self, Self::Processes { members: Some(members), .. } if members.may_join())
    }

    fn pids(&self) -> &[u32] {
        match self {
            Self::Command(..) => &[],
            Self::Processes { pids, .. } => pids,
        }
    }
}

/// Loads the probes and traces.
pub(super) fn start(
    subject: Subject,
    watch: &Watch,
    traced: impl FnOnce(),
    check: Option<Check>,
) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the event loop"))?;
    let mut subject = subject;
    let shim = subject.take_shim();
    let mut probes = load(Settings {
        choice: watch.probes,
        malloc: match (&shim, watch.malloc) {
            (Some(_), _) => Picking::Shim,
            (None, Some(mean)) => Picking::Functions(mean),
            (None, None) => Picking::Nothing,
        },
        follow: watch.follow,
        verbose: watch.verbose,
        check_unwind: check.is_some(),
        python: watch.python,
    })?;
    if let Some(shim) = &shim {
        probes.trace_malloc(shim)?;
    } else if watch.malloc.is_some() {
        probes.load_allocators()?;
        if let Some(announce) = watch.announce {
            announce(&words_of_cost(probes.allocator_cost()));
        }
    }
    runtime.block_on(trace(subject, shim, watch, probes, traced, check))
}

/// What probes at allocators' functions cost, in one line.
fn words_of_cost(cost: Result<Cost, String>) -> String {
    match cost {
        Ok(Cost { allocate_ns, free_ns }) => {
            let [allocate, free] = [allocate_ns, free_ns].map(|ns| ns as f64 / 1000.0);
            format!(
                "while rmap is attached, each call of malloc takes about {allocate:.1} µs more, and \
                 each of free {free:.1} µs (measured just now)"
            )
        }
        Err(why) => format!(
            "while rmap is attached, each call of malloc and free takes some microseconds more (not \
             measured here: {why})"
        ),
    }
}

async fn trace(
    mut subject: Subject,
    shim: Option<Shim>,
    watch: &Watch,
    mut probes: Probes,
    traced: impl FnOnce(),
    check: Option<Check>,
) -> Result<Outcome, Error> {
    let starter = Starter::new().map_err(system("start a thread"))?;
    // Threads that are made from now on have no more than this one.
    let limited = match watch.malloc {
        Some(_) if subject.mode() == Mode::Attach => privileges::limit_but_perfmon(),
        _ => privileges::limit(),
    };
    let started_ns = procfs::monotonic_ns();
    let ring: RingBuf<MapData> = probes.ring()?;
    // SAFETY: the ring keeps its own descriptor open as long as it lives.
    let ring = unsafe { AsyncFd::register(ring) }
        .map_err(|error| system("watch the ring buffer")(error.into_parts().1))?;
    let mut signals =
        Signals::listen(subject.first_signal()).map_err(system("listen for signals"))?;
    let mut logs = log::logger(&mut probes, watch.verbose)
        .map_err(system("read the messages of the probes"))?;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let started_at = OffsetDateTime::now_utc();
    let opening = || Opening {
        rmap_version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: subject.mode(),
        host: facts::host(),
        started_ns,
        started_at: started_at.format(&Rfc3339).unwrap_or_default(),
        command: subject.words(),
        pids: subject.pids().to_vec(),
    };
    let recorder = watch
        .record
        .as_deref()
        .map(|path| {
            let file = output::keep(path).map_err(|error| Error::Obstacle(error.to_string()))?;
            Recorder::begin(file, &opening()).map_err(|error| {
                Error::Obstacle(format!("cannot write {}: {error}", path.display()))
            })
        })
        .transpose()?;
    let mode = subject.mode();
    let stream = Stream::new(&mut probes, ring)?;
    let mut collector =
        Collector::new(mode, started_ns, probes, stream, started_at, recorder, watch.asked.clone());
    collector.check_with(check);
    collector.read_heaps(watch.heap);
    if mode == Mode::Attach {
        collector.watch_allocators(watch.malloc);
    }
    if let Err(error) = limited {
        collector.note("privileges", format!("capabilities could not be dropped: {error}"));
    }
    let (words, named) = (subject.words(), subject.pids().to_vec());
    let duration = match &subject {
        Subject::Command(..) => None,
        Subject::Processes { duration, .. } => *duration,
    };
    let (mut marks, listens) = Marks::listen(watch.marker);
    if let Err(error) = listens {
        collector.note("marks", format!("rmap mark does not reach this session: {error}"));
    }
    let mut gaze = Gaze::of(watch, &mut collector).map_err(system("start a thread"))?;
    let may_grow = subject.may_grow();
    let mut ledger = subject.take_group().map(|group| Ledger::open(group, started_ns));
    let pulse = Pulse::start().map_err(system("start a thread"))?;
    let mut terminal = subject.take_terminal();
    let tracer =
        starter.begin(subject, watch.follow, &mut collector, &mut messages, sender).await?;
    if let Some(terminal) = &mut terminal {
        terminal.connect().map_err(system("start a thread"))?;
    }
    if mode == Mode::Attach && !collector.met() {
        while let Ok(message) = messages.try_recv() {
            collector.handle(message);
        }
        // Nobody is traced, so the tracer has ended, or is about to.
        tracer.detach_all();
        tracer.join()?;
        let why = collector.troubles();
        return Err(Error::Obstacle(format!("cannot attach to any of the processes: {why}")));
    }
    let mut interval = watch.interval.map(every);
    let mut rewrites = collector.watch_with(watch.rewrites).map(at_once);
    let mut joining = ledger.as_ref().map(|_| every(JOINING));
    let traced_pid =
        if mode == Mode::Run { tracer.pid() } else { named.first().copied().unwrap_or(0) };
    let mut until = match watch.until.map(|until| until::Watch::of(until, traced_pid)).transpose() {
        Ok(until) => until,
        Err(error) => {
            tracer.detach_all();
            while let Some(message) = messages.recv().await {
                collector.handle(message);
            }
            tracer.join()?;
            return Err(error);
        }
    };
    let (mut reached, mut left) = (None, false);
    let of_report = if mode == Mode::Run { vec![tracer.pid()] } else { named.clone() };
    let end = duration.and_then(|duration| time::Instant::now().checked_add(duration));
    let may_be_left_out = release::may_be_preempted();
    let (mut stops, mut let_go) = (true, false);
    let processors = aya::util::online_cpus().map_or(usize::MAX, |processors| processors.len());
    let rest = rest(processors, may_be_left_out);
    // Until when the ring is left alone, and whether records are waited for that must not wait.
    let (mut resting, mut urgent) = (None, false);
    while stops || collector.watches_unstopped() && !let_go {
        if interval.is_none() && collector.watches_unstopped() {
            interval = Some(every(UNSTOPPED_INTERVAL));
        }
        tokio::select! {
            message = messages.recv(), if stops => match message {
                Some(message) => collector.handle(message),
                // The engine's thread has ended, and its end of the channel with it.
                None => stops = false,
            },
            ready = collector.ring().readable() => {
                ready.map_err(system("wait for the ring buffer"))?.clear_ready();
                // Where records wait already, only one that must not wait wakes anybody: a raw
                // stack. Its process lacks tables, and a thousand of them fill the ring.
                if urgent || resting.is_some() {
                    (urgent, resting) = next(collector.drain());
                    collector.look_if_risen();
                } else {
                    resting = Some(time::Instant::now() + rest);
                }
            }
            () = sleep_until(resting) => {
                (urgent, resting) = next(collector.drain());
                collector.look_if_risen();
            }
            () = time::sleep(UNREAD), if may_be_left_out => {
                collector.drain();
            }
            () = tick(&mut interval) => collector.periodic(),
            () = tick(&mut rewrites), if !let_go => {
                collector.watch().into_iter().for_each(|pid| tracer.request_descriptor(pid));
            }
            () = tick(&mut joining), if !let_go => {
                if may_grow {
                    tracer.look();
                }
                if let Some(ledger) = &mut ledger {
                    ledger.look();
                }
            }
            () = sleep_until(end), if !let_go => {
                let_go = true;
                close(&mut ledger, &collector);
                tracer.detach_all();
            }
            wish = signals.next() => match wish {
                Wish::Forward(signal) => tracer.forward_signal(signal),
                Wish::ForwardToGroup(signal) => tracer.forward_to_group(signal),
                Wish::LetGo => {
                    if !let_go {
                        close(&mut ledger, &collector);
                    }
                    let_go = true;
                    tracer.detach_all();
                }
                Wish::Nothing => {}
            },
            () = sleep_until(until.as_ref().map(until::Watch::next)), if !let_go => {
                if let Some(until) = &mut until
                    && let Some(held) = collector.look_until(until)
                {
                    reached = Some(until.words(held));
                    let_go = true;
                    tracer.detach_all();
                }
            }
            mark = marks.next() => {
                let at_ns = collector.mark(mark.name);
                mark.done.answer(at_ns.saturating_sub(started_ns));
            }
            () = sleep_until(gaze.as_ref().map(Gaze::next)), if !let_go => {
                if let Some(gaze) = &mut gaze {
                    gaze.look(&mut collector, words.as_deref(), &of_report);
                }
            }
            wished = Gaze::wish(&mut gaze) => match wished {
                Wished::Mark(name) => {
                    collector.mark(name);
                }
                Wished::LetGo => {
                    if !let_go {
                        close(&mut ledger, &collector);
                    }
                    (let_go, left) = (true, true);
                    tracer.detach_all();
                }
            },
            () = log::flush(&mut logs) => {}
        }
    }
    let pid = tracer.pid();
    let status = tracer.join()?;
    // A command that goes on has its terminal as long as it does.
    let goes_on = mode == Mode::Run && status.is_none() && (reached.is_some() || left);
    let goes_on = goes_on.then(|| GoesOn { pid, _terminal: terminal.take(), _shim: shim });
    drop(terminal);
    traced();
    collector.drain();
    if let Some(why) = pulse.trouble() {
        collector.note("rmap", why);
    }
    if let Some(why) = collector.standing().trouble() {
        collector.note("stops", why);
    }
    let exit = status.map(exit_of);
    let pids = if mode == Mode::Run { vec![pid] } else { named };
    let found = collector.finish(words, pids, exit, ledger.map(Ledger::end));
    let Found { mut report, mut peak, record_error, not_there } = found;
    if let Some(reached) = reached {
        peak.iter_mut().for_each(|peak| peak.session.notes.push(reached.clone()));
        report.session.notes.push(reached);
    }
    Ok(Outcome { report, peak, record_error, not_there, status, goes_on })
}

/// Reads the last books, while the processes are there.
fn close(ledger: &mut Option<Ledger>, collector: &Collector) {
    if let Some(ledger) = ledger {
        ledger.close(&collector.running());
    }
}

/// What follows a drain: whether records are waited for that must not wait, and until when the ring is
/// left alone although nobody will be woken.
fn next(drained: Drained) -> (bool, Option<time::Instant>) {
    (drained.raw, drained.behind.then(time::Instant::now))
}

/// How long the ring is left alone when the first record has come, on so many processors (all of
/// them: who is traced may run on others than rmap). Where programs are put aside for rmap, and others
/// are left out meanwhile, it reads little at a time.
fn rest(processors: usize, may_be_left_out: bool) -> Duration {
    if may_be_left_out {
        return *REST.start();
    }
    let share = QUARTER / u32::try_from(processors.max(1)).unwrap_or(u32::MAX);
    share.clamp(*REST.start(), *REST.end())
}

/// Ticks, the first one after a whole period.
fn every(period: Duration) -> time::Interval {
    let mut interval = time::interval_at(time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    interval
}

/// The same, the first one at once.
fn at_once(period: Duration) -> time::Interval {
    let mut interval = time::interval(period);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => future::pending().await,
    }
}

async fn sleep_until(end: Option<time::Instant>) {
    match end {
        Some(end) => time::sleep_until(end).await,
        None => future::pending().await,
    }
}

fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(signal) => Exit::Signal(signals::name(signal)),
    }
}

/// Finds the members for the tracer. A group that is gone has none.
fn find(mut members: Members) -> ptrace::Find {
    Box::new(move || members.find().unwrap_or_default())
}

/// A thread that starts the command, or attaches. It is made before the session's thread drops the
/// capabilities by which a command becomes another user, and ends when the tracer has begun.
struct Starter {
    order: sync::Sender<(Subject, bool, Box<dyn Observer>)>,
    begun: oneshot::Receiver<Result<Tracer, ptrace::Error>>,
}

impl Starter {
    fn new() -> io::Result<Self> {
        let (order, orders) = sync::channel::<(Subject, bool, Box<dyn Observer>)>();
        let (done, begun) = oneshot::channel();
        thread::Builder::new().name("rmap-start".into()).spawn(move || {
            // A session that failed before has no order.
            let Ok((subject, follow, observer)) = orders.recv() else { return };
            let tracer = match subject {
                Subject::Command(launch, ..) => ptrace::spawn(launch, observer),
                Subject::Processes { pids, members, .. } => {
                    ptrace::attach(pids, members.map(find), follow, observer)
                }
            };
            let _ = done.send(tracer);
        })?;
        Ok(Self { order, begun })
    }

    /// The engine stops for the probes meanwhile, so the session's thread has to be at its service.
    async fn begin(
        mut self,
        subject: Subject,
        follow: bool,
        collector: &mut Collector,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        sender: mpsc::UnboundedSender<Message>,
    ) -> Result<Tracer, Error> {
        let observer = Box::new(Forwarder::new(sender, collector.standing()));
        let _ = self.order.send((subject, follow, observer));
        loop {
            tokio::select! {
                tracer = &mut self.begun => {
                    return Ok(tracer.map_err(|_| Error::Tracer(ptrace::Error::Panicked))??);
                }
                Some(message) = messages.recv() => collector.handle(message),
            }
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_processors_leave_the_ring_alone_for_less() {
        let millis = |processors| rest(processors, false).as_millis();
        assert_eq!([1, 2, 4, 40, 128, usize::MAX].map(millis), [20, 20, 10, 1, 1, 1]);
        assert_eq!(millis(0), 20, "a number that cannot be");
        assert_eq!(rest(2, true).as_millis(), 1, "programs are put aside for the reader");
    }
}

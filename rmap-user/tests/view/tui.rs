//! Pictures of `rmap view` and `rmap top`, against golden files: `tui/*.txt`, one character a cell.

use std::fmt::Write as _;
use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use rmap::insight::{Rules, naming};
use rmap::report::Report;
use rmap::tui::course::{Course, Point};
use rmap::tui::{Ask, Mode, Moment, State, Update, draw};

use crate::{assert_golden, cases};

const MIB: u64 = 1 << 20;

fn case(name: &str) -> Report {
    let (_, mut report) = cases::all().into_iter().find(|(case, _)| *case == name).unwrap();
    naming::name_segments(&mut report);
    report
}

/// The same of processes that go on.
fn living(name: &str) -> Report {
    let mut report = case(name);
    report.processes.iter_mut().for_each(|process| process.ended_ns = None);
    report
}

fn state(mode: Mode, report: Report) -> State {
    let mut state = State::new(mode, false, Rules::built_in());
    state.take(Update::Report(Arc::new(report)));
    state
}

/// A session of ten seconds that was marked.
fn of_file(report: Report) -> State {
    let mut state = State::new(Mode::File, false, Rules::built_in());
    let mut course = Course::default();
    for second in 0_u64..=10 {
        let (at_ns, rss) = (second * 1_000_000_000, (10 - second.abs_diff(6)) * MIB);
        course.push(Point { at_ns, rss, dirty: second * MIB / 2 });
    }
    let name = |at| match at {
        0 => "start",
        4 => "served \x1b[31m",
        6 => "peak",
        10 => "end",
        _ => "",
    };
    let moments = course.points().iter().zip(0..);
    let moments = moments.map(|(p, at)| Moment { at_ns: p.at_ns, name: name(at).to_owned() });
    state.take(Update::Moments(moments.collect(), 10, course));
    state.take(Update::Report(Arc::new(report)));
    state
}

fn press(state: &mut State, keys: &str) -> Option<Ask> {
    let mut last = None;
    for word in keys.split(' ') {
        let code = match word {
            "Enter" => KeyCode::Enter,
            "Down" => KeyCode::Down,
            "Up" => KeyCode::Up,
            "Left" => KeyCode::Left,
            "Right" => KeyCode::Right,
            "Tab" => KeyCode::Tab,
            "Esc" => KeyCode::Esc,
            "Backspace" => KeyCode::Backspace,
            "C-c" => {
                last = state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
                continue;
            }
            text => {
                for c in text.chars() {
                    last = state.press(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
                }
                continue;
            }
        };
        last = state.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    last
}

fn buffer(state: &mut State, columns: u16, rows: u16) -> Buffer {
    state.resize(columns, rows);
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(state, frame)).unwrap();
    terminal.backend().buffer().clone()
}

/// What a person sees. A line that is chosen has a `>` in front.
fn picture(state: &mut State, columns: u16, rows: u16) -> String {
    let buffer = buffer(state, columns, rows);
    let mut text = String::new();
    for y in 0..rows {
        let (mut line, mut x) = (String::new(), 0);
        while x < columns {
            let symbol = buffer[(x, y)].symbol();
            assert!(!symbol.contains(char::is_control), "{symbol:?}");
            line.push_str(symbol);
            // A wide character takes the cell behind it.
            x += u16::try_from(rmap::view::text::width(symbol)).unwrap().max(1);
        }
        let chosen = buffer[(columns - 1, y)].modifier.contains(Modifier::REVERSED);
        writeln!(text, "{}{}", if chosen { ">" } else { " " }, line.trim_end()).unwrap();
    }
    text
}

fn golden(name: &str, state: &mut State, columns: u16, rows: u16) {
    assert_golden(&format!("tui/{name}.{columns}x{rows}.txt"), &picture(state, columns, rows));
}

#[test]
fn every_case_has_its_picture() {
    for name in ["article", "pipeline", "hostile", "residuals", "empty"] {
        let mut state = of_file(case(name));
        golden(name, &mut state, 80, 24);
        golden(name, &mut state, 120, 40);
        press(&mut state, "2");
        golden(&format!("{name}.segments"), &mut state, 80, 24);
        golden(&format!("{name}.segments"), &mut state, 120, 40);
    }
}

#[test]
fn keys_unfold_sort_filter_and_turn() {
    let mut state = of_file(case("article"));
    press(&mut state, "Enter Down Down");
    golden("keys.unfolded", &mut state, 80, 24);
    press(&mut state, "Esc /");
    press(&mut state, "fir[");
    golden("keys.typing", &mut state, 80, 24);
    press(&mut state, "Enter");
    golden("keys.no-expression", &mut state, 80, 24);
    press(&mut state, "/ Backspace first Enter s");
    golden("keys.filtered", &mut state, 80, 24);
    press(&mut state, "Esc 4");
    golden("keys.tree", &mut state, 120, 40);
    press(&mut state, "3 Enter");
    golden("keys.processes", &mut state, 80, 24);
    press(&mut state, "?");
    golden("keys.help", &mut state, 80, 24);
    assert_eq!(press(&mut state, "q"), None, "q closes the help");
    assert_eq!(press(&mut state, "q"), Some(Ask::Quit));
    assert_eq!(press(&mut state, "C-c"), Some(Ask::Quit));
}

#[test]
fn the_whole_help_is_on_the_smallest_screen() {
    for mode in [Mode::Live, Mode::File] {
        let mut state = state(mode, case("article"));
        press(&mut state, "?");
        let picture = picture(&mut state, 80, 24);
        for (keys, what) in rmap::tui::keys::help(mode == Mode::Live) {
            assert!(picture.contains(keys) && picture.contains(what), "{what}\n{picture}");
        }
    }
}

#[test]
fn moments_are_gone_to_one_by_one_and_by_name() {
    let mut state = of_file(case("article"));
    assert_eq!(press(&mut state, "Right"), None, "nothing is behind the end");
    assert_eq!(press(&mut state, "Left"), Some(Ask::Moment(9)));
    assert!(picture(&mut state, 80, 24).contains("reading 9.00 s of 10.0 s"));
    assert_eq!(press(&mut state, "["), Some(Ask::Moment(6)));
    assert_eq!(press(&mut state, "["), Some(Ask::Moment(4)));
    assert!(picture(&mut state, 80, 24).contains("reading 4.00 s served \\x1b[31m of 10.0 s"));
    state.take(Update::Failed("no process lived at that moment\n".to_owned()));
    assert!(picture(&mut state, 80, 24).contains("no process lived at that moment\\n"));
    assert_eq!(press(&mut state, "]"), Some(Ask::Moment(6)));
}

#[test]
fn growth_since_a_mark_has_a_column_and_what_has_gone_stays_with_its_loss() {
    let mut more = living("article");
    let mut state = state(Mode::Live, living("article"));
    assert_eq!(press(&mut state, "m"), Some(Ask::Mark("top-1".to_owned())));
    more.session.duration_ns += 2_000_000_000;
    for segment in more.processes.iter_mut().flat_map(|process| &mut process.segments) {
        match &segment.name[..] {
            "[heap]" => {
                segment.rss_bytes.after += MIB;
                segment.paths[0].rss_bytes += MIB;
            }
            "" => {
                segment.rss_bytes.after = 0;
                segment.dirty_bytes.after = 0;
                segment.paths.clear();
                segment.unexplained.clear();
            }
            _ => {}
        }
    }
    more.sum_up();
    state.take(Update::Report(Arc::new(more)));
    golden("since", &mut state, 80, 24);
    press(&mut state, "2");
    golden("since.segments", &mut state, 120, 40);
    press(&mut state, "M");
    assert!(!picture(&mut state, 80, 24).contains("Since"));
}

#[test]
fn a_pause_keeps_the_picture_and_shows_the_latest_afterwards() {
    let mut state = state(Mode::Live, case("article"));
    press(&mut state, "p");
    let stopped = picture(&mut state, 80, 24);
    assert!(stopped.contains("PAUSED"));
    state.take(Update::Report(Arc::new(case("pipeline"))));
    assert!(!picture(&mut state, 80, 24).contains("big.txt"), "the picture stands");
    press(&mut state, "p");
    let shown = picture(&mut state, 80, 24);
    assert!(!shown.contains("PAUSED") && shown != stopped);
    state.take(Update::Cost(17));
    state.take(Update::Output("ready\x07".to_owned()));
    let shown = picture(&mut state, 120, 24);
    assert!(shown.contains("rmap 1.7 % CPU") && shown.contains("> ready\\x07"), "{shown}");
    state.take(Update::Ended("exited with 0".to_owned()));
    assert!(picture(&mut state, 80, 24).contains("exited with 0"));
}

#[test]
fn the_cursor_follows_its_row_and_the_first_row_stays_the_first() {
    let mut state = of_file(case("article"));
    press(&mut state, "Down Down");
    let chosen = |text: &str| text.lines().find(|line| line.starts_with('>')).map(str::to_owned);
    let before = chosen(&picture(&mut state, 80, 24)).unwrap();
    press(&mut state, "r");
    assert_eq!(chosen(&picture(&mut state, 80, 24)).unwrap(), before);
    press(&mut state, "g");
    let first = chosen(&picture(&mut state, 80, 24));
    press(&mut state, "r");
    assert_ne!(chosen(&picture(&mut state, 80, 24)), first);
}

#[test]
fn histories_are_of_segments() {
    let mut state = of_file(case("article"));
    assert_eq!(press(&mut state, "e"), None);
    assert!(picture(&mut state, 80, 24).contains("choose a segment first"));
    assert!(matches!(press(&mut state, "2 e"), Some(Ask::Explain { .. })));
    let lines = (0..50).map(|n| format!("line {n}\x1b[2J")).collect();
    state.take(Update::Text("History".to_owned(), lines));
    assert!(picture(&mut state, 80, 24).contains("line 0\\x1b[2J"));
    press(&mut state, "G");
    assert!(picture(&mut state, 80, 24).contains("line 49"));
    press(&mut state, "q");
    assert!(!picture(&mut state, 80, 24).contains("line 49"));
}

#[test]
fn any_size_is_drawn_and_no_colour_is_used_unless_asked_for() {
    for (columns, rows) in [(1, 1), (20, 5), (39, 30), (40, 12), (80, 24), (300, 90)] {
        for keys in ["1", "2", "4", "?"] {
            let mut state = of_file(case("hostile"));
            press(&mut state, keys);
            let buffer = buffer(&mut state, columns, rows);
            assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset));
        }
    }
    let mut colours = State::new(Mode::File, true, Rules::built_in());
    colours.take(Update::Report(Arc::new(case("article"))));
    let buffer = buffer(&mut colours, 80, 24);
    assert!(buffer.content().iter().any(|cell| cell.fg == Color::Yellow));
}

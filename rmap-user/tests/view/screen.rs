//! The first screen at several widths, with names that try to fool it.

use rmap::insight::tree::Direction;
use rmap::insight::{By, Rules};
use rmap::report::Report;
use rmap::view::screen::{self, Ask};
use rmap::view::{Style, text};

use crate::{assert_golden, cases};

fn render(report: &Report, ask: &Ask, style: Style) -> String {
    let mut out = Vec::new();
    screen::write(report, &Rules::built_in(), ask, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn first_screens_are_as_they_were_read_and_found_good() {
    for (name, report) in cases::all() {
        for width in [80, 100, 120, 160] {
            let style = Style { width: Some(width), ..Style::default() };
            let shown = render(&report, &Ask::default(), style);
            assert!(shown.lines().count() <= screen::USUAL_HEIGHT, "{shown}");
            assert!(shown.lines().all(|line| text::width(line) <= width), "{shown}");
            assert_golden(&format!("screen/{name}.{width}.txt"), &shown);
        }
    }
}

#[test]
fn other_views_are_as_they_were_read_and_found_good() {
    let style = Style { width: Some(100), ..Style::default() };
    let by = |keys: &[By]| Ask { by: keys.to_vec(), ..Ask::default() };
    let tree = |direction| Ask { tree: Some(direction), ..Ask::default() };
    for (name, report, ask) in [
        ("pipeline.by-program-owner", cases::pipeline(), by(&[By::Program, By::Owner])),
        ("pipeline.by-function", cases::pipeline(), by(&[By::Function])),
        ("residuals.by-segment", cases::residuals(), by(&[By::Segment])),
        ("residuals.by-cause", cases::residuals(), by(&[By::Cause])),
        ("residuals.tree", cases::residuals(), tree(Direction::FromRoot)),
        ("residuals.reverse", cases::residuals(), tree(Direction::FromLeaf)),
        ("hostile.by-path", cases::hostile(), by(&[By::Path])),
    ] {
        assert_golden(&format!("screen/{name}.txt"), &render(&report, &ask, style));
    }
}

#[test]
fn a_low_terminal_has_fewer_rows_that_add_up_all_the_same() {
    let style = Style { width: Some(100), ..Style::default() };
    let low = render(&cases::article(), &Ask { height: Some(18), ..Ask::default() }, style);
    assert!(low.lines().count() <= 18, "{low}");
    let total = |text: &str| text.lines().find(|line| line.ends_with("total")).map(str::to_owned);
    assert_eq!(total(&low), total(&render(&cases::article(), &Ask::default(), style)));
}

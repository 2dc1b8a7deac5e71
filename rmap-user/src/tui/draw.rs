//! The picture.
//!
//! Comes in: a [`State`]. Goes out: cells of a frame.

use ratatui::Frame;

use crate::view::text;

use super::canvas::{Canvas, Ink};
use super::state::{Mode, State};
use super::{head, table};

/// In less there is no picture.
const LEAST: (u16, u16) = (40, 12);

/// Draws what is to be seen.
pub fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut canvas = Canvas::new(frame.buffer_mut(), state.colour);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        canvas.put(0, 0, "rmap: too small; 80x24 is enough", Ink::Plain, area.width);
        return;
    }
    head::draw(state, &mut canvas);
    match &state.overlay {
        Some(overlay) => {
            canvas.put(0, 4, &overlay.title, Ink::Strong, area.width);
            let lines = overlay.lines.iter().skip(overlay.top);
            for (line, y) in lines.zip(5..area.height.saturating_sub(1)) {
                canvas.put(0, y, line, Ink::Plain, area.width);
            }
        }
        None => table::draw(state, &mut canvas),
    }
    foot(state, &mut canvas);
}

/// The last line: what is typed, what happened, else the most useful keys.
fn foot(state: &State, canvas: &mut Canvas<'_>) {
    let (y, width) = (canvas.height - 1, canvas.width);
    canvas.clear(y);
    if let Some(typed) = &state.typing {
        let x = canvas.put(0, y, "/", Ink::Strong, 1);
        let x = canvas.put(x, y, &text::clean(typed), Ink::Plain, width.saturating_sub(2));
        canvas.put(x, y, " ", Ink::Here, 1);
        return;
    }
    if let Some((message, bad)) = &state.message {
        canvas.put(0, y, message, if *bad { Ink::Bad } else { Ink::Strong }, width);
        return;
    }
    let keys = match (&state.overlay, state.mode) {
        (Some(_), _) => "Up Down  q close",
        (None, Mode::Live) => {
            "? help  1-4 Tab rows  Enter unfold  s sort  / filter  m mark  p pause  q end"
        }
        (None, Mode::File) => {
            "? help  Left Right moments  1-4 Tab rows  Enter unfold  / filter  m mark  q end"
        }
    };
    let x = canvas.put(0, y, keys, Ink::Dim, width);
    if !state.output.is_empty() && state.overlay.is_none() {
        canvas.put(x + 2, y, &format!("> {}", state.output), Ink::Plain, width);
    }
}

//! Text in a picture's cells.
//!
//! Comes in: clean text, and what it means. Goes out: cells with a style. Without colour nothing but bold,
//! dim and reverse is used.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::view::text;

/// What a text means; the style follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Strong,
    Dim,
    Cause,
    Dirty,
    Bad,
    /// What is chosen, or where one is.
    Here,
}

/// A buffer to write lines into.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    colour: bool,
    pub(super) width: u16,
    pub(super) height: u16,
}

impl<'a> Canvas<'a> {
    /// All of a buffer.
    pub(super) fn new(buffer: &'a mut Buffer, colour: bool) -> Self {
        let (width, height) = (buffer.area.width, buffer.area.height);
        Self { buffer, colour, width, height }
    }

    fn style(&self, ink: Ink) -> Style {
        let colour = |colour, otherwise: Modifier| match self.colour {
            true => Style::new().fg(colour),
            false => Style::new().add_modifier(otherwise),
        };
        match ink {
            Ink::Plain => Style::new(),
            Ink::Strong => Style::new().add_modifier(Modifier::BOLD),
            Ink::Dim => Style::new().add_modifier(Modifier::DIM),
            Ink::Cause => colour(Color::Cyan, Modifier::empty()),
            Ink::Dirty => colour(Color::Yellow, Modifier::empty()),
            Ink::Bad => colour(Color::Red, Modifier::BOLD),
            Ink::Here => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Writes clean text, in at most so many columns. Gives the column behind it.
    pub(super) fn put(&mut self, x: u16, y: u16, text: &str, ink: Ink, room: u16) -> u16 {
        let room = room.min(self.width.saturating_sub(x));
        if room == 0 || y >= self.height {
            return x;
        }
        let style = self.style(ink);
        self.buffer.set_stringn(x, y, text, room.into(), style).0
    }

    /// Writes clean text that ends at the right edge. Gives its first column.
    pub(super) fn put_right(&mut self, y: u16, text: &str, ink: Ink) -> u16 {
        let width = u16::try_from(text::width(text)).unwrap_or(u16::MAX);
        let x = self.width.saturating_sub(width);
        self.put(x, y, text, ink, width);
        x
    }

    /// Makes a line stand out.
    pub(super) fn choose(&mut self, y: u16) {
        self.buffer.set_style(Rect::new(0, y, self.width, 1), self.style(Ink::Here));
    }

    /// Makes a line empty.
    pub(super) fn clear(&mut self, y: u16) {
        self.put(0, y, &" ".repeat(self.width.into()), Ink::Plain, self.width);
    }
}

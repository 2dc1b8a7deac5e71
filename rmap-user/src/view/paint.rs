//! Lines of painted text: the one place that writes to the output.
//!
//! Comes in: spans of clean text, each with its paint. Goes out: lines no longer than the width,
//! with or without colour. Without colour the text is the same to the byte.

use std::io;

use super::{Style, text};

/// What a span means; the colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Body text.
    Plain,
    /// A heading, or a figure that matters most.
    Strong,
    /// What can be skipped.
    Dim,
    /// A cause.
    Cause,
    /// Memory that is dirty.
    Dirty,
    /// What is missing: lost, not explained, not attached.
    Bad,
}

impl Paint {
    /// The parameters of its SGR sequence (ECMA-48 8.3.117).
    const fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Dim => Some("2"),
            Self::Cause => Some("36"),
            Self::Dirty => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// One line, or a part of one.
#[derive(Clone, Debug, Default)]
pub struct Line(Vec<(String, Paint)>);

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A line of one span.
    pub fn of(text: impl Into<String>, paint: Paint) -> Self {
        Self::new().and(text, paint)
    }

    /// With one more span.
    pub fn and(mut self, text: impl Into<String>, paint: Paint) -> Self {
        self.push(text, paint);
        self
    }

    /// One more span.
    pub fn push(&mut self, text: impl Into<String>, paint: Paint) {
        let text = text.into();
        match self.0.last_mut() {
            Some((last, same)) if *same == paint => last.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.0.push((text, paint)),
        }
    }

    /// Everything of another line.
    pub fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|(text, paint)| self.push(text, paint));
    }

    /// Without blanks at its end.
    fn trim(&mut self) {
        while let Some((last, _)) = self.0.last_mut() {
            last.truncate(last.trim_end_matches(' ').len());
            if !last.is_empty() {
                break;
            }
            self.0.pop();
        }
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text::width(text)).sum()
    }
}

/// Writes lines in a style.
pub struct Page<'a> {
    out: &'a mut dyn io::Write,
    /// The style that was asked for.
    pub style: Style,
}

impl<'a> Page<'a> {
    /// A page in `style`.
    pub const fn new(out: &'a mut dyn io::Write, style: Style) -> Self {
        Self { out, style }
    }

    /// Writes one line, without blanks at its end, cut to the width.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut line = line.clone();
        line.trim();
        let mut spans = Line::new();
        let mut room = self.style.width.unwrap_or(usize::MAX);
        let fits = line.width() <= room;
        for (text, paint) in line.0 {
            let columns = text::width(&text);
            if !fits && columns >= room {
                spans.push(format!("{}…", text::head(&text, room.saturating_sub(1))), paint);
                break;
            }
            room -= columns;
            spans.push(text, paint);
        }
        let Line(spans) = spans;
        for (text, paint) in &spans {
            debug_assert!(!text.contains(char::is_control), "text was not cleaned: {text:?}");
            match paint.sgr().filter(|_| self.style.colour) {
                Some(sgr) => write!(self.out, "\x1b[{sgr}m{text}\x1b[0m")?,
                None => self.out.write_all(text.as_bytes())?,
            }
        }
        self.out.write_all(b"\n")
    }

    /// Writes an empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Writes a heading.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.line(&Line::of(text, Paint::Strong))
    }

    /// Writes a sentence of clean text, on several lines where it is too long for one; all but
    /// the first start `indent` columns to the right.
    pub fn prose(&mut self, line: &Line, indent: usize) -> io::Result<()> {
        let Some(width) = self.style.width.filter(|&width| line.width() > width) else {
            return self.line(line);
        };
        let mut current = Line::new();
        let mut used = 0;
        for (text, paint) in &line.0 {
            for word in words(text) {
                let columns = text::width(word.trim_end_matches(' '));
                if used > indent && used + columns > width {
                    self.line(&current)?;
                    current = Line::of(" ".repeat(indent), Paint::Plain);
                    used = indent;
                }
                used += text::width(word);
                current.push(word, *paint);
            }
        }
        self.line(&current)
    }
}

/// The words of a text with the blanks behind them; a figure and its unit stay together.
fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(' ') {
        let next = text[at + 1..].split(' ').next().unwrap_or_default();
        let unit = next.trim_end_matches(['.', ',', ';', ')']);
        if !["KiB", "MiB", "GiB", "TiB", "%", "s", "ms", "µs"].contains(&unit) {
            words.push(&text[from..=at]);
            from = at + 1;
        }
    }
    words.push(&text[from..]);
    words
}

//! A confusion matrix: what a workload did to pages against what the report says of them.
//!
//! Comes in: the parts of one region, as the truth has them and as the report has them. Goes out: a
//! [`Matrix`], in pages; its diagonal is what was told rightly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Pages of one owner: a function and a cause, or the reason of what no path explains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The innermost function; empty for what has none, or where any will do.
    pub function: String,
    /// The cause, or `not explained: ` and the reason.
    pub cause: String,
    /// Pages, of RSS and of Dirty.
    pub pages: [u64; 2],
}

/// Stands for the cause of pages that are there on one side only.
const NOTHING: &str = "(nothing)";

/// Pages of RSS and of Dirty by what they are and what is said of them.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    cells: BTreeMap<(String, String), [u64; 2]>,
}

impl Matrix {
    /// Adds a region. What function and cause agree on lies on the diagonal; what is left over of
    /// the truth is then found among what is left over of the report, in order.
    pub fn add(&mut self, truth: &[Part], said: &[Part]) {
        for of in 0..2 {
            let amounts = |parts: &[Part]| -> Vec<(String, String, u64)> {
                parts.iter().map(|p| (p.function.clone(), p.cause.clone(), p.pages[of])).collect()
            };
            let (mut truth, mut said) = (amounts(truth), amounts(said));
            let named = |a: &str, b: &str| a == b || a.is_empty() || b.is_empty();
            self.pair(of, &mut truth, &mut said, |t, s| named(&t.0, &s.0) && t.1 == s.1);
            self.pair(of, &mut truth, &mut said, |t, s| t.0 == s.0);
            self.pair(of, &mut truth, &mut said, |_, _| true);
            for (_, cause, pages) in truth {
                self.cell(&cause, NOTHING)[of] += pages;
            }
            for (_, cause, pages) in said {
                self.cell(NOTHING, &cause)[of] += pages;
            }
        }
        self.cells.retain(|_, pages| *pages != [0, 0]);
    }

    fn pair(
        &mut self,
        of: usize,
        truth: &mut [(String, String, u64)],
        said: &mut [(String, String, u64)],
        agree: impl Fn(&(String, String, u64), &(String, String, u64)) -> bool,
    ) {
        for truth in truth {
            for said in &mut *said {
                if agree(truth, said) {
                    let pages = truth.2.min(said.2);
                    truth.2 -= pages;
                    said.2 -= pages;
                    // The same cause of another function is no agreement.
                    let right = truth.1 == said.1
                        && (truth.0 == said.0 || truth.0.is_empty() || said.0.is_empty());
                    let cause = if right || truth.1 != said.1 {
                        said.1.clone()
                    } else {
                        format!("{} of another function", said.1)
                    };
                    self.cell(&truth.1, &cause)[of] += pages;
                }
            }
        }
    }

    fn cell(&mut self, truth: &str, said: &str) -> &mut [u64; 2] {
        self.cells.entry((truth.to_owned(), said.to_owned())).or_default()
    }

    /// Pages of RSS and of Dirty on the diagonal, and off it.
    #[must_use]
    pub fn sums(&self) -> ([u64; 2], [u64; 2]) {
        let mut sums = ([0; 2], [0; 2]);
        for ((truth, said), pages) in &self.cells {
            let sum = if truth == said { &mut sums.0 } else { &mut sums.1 };
            sum[0] += pages[0];
            sum[1] += pages[1];
        }
        sums
    }
}

impl fmt::Display for Matrix {
    /// Rows are what was done, columns what was said, both in the same order; a cell is pages of
    /// RSS, `/`, pages of Dirty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: BTreeSet<&str> =
            self.cells.keys().flat_map(|(truth, said)| [truth.as_str(), said.as_str()]).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let said: Vec<usize> = (0..names.len())
            .filter(|at| self.cells.keys().any(|(_, said)| said == names[*at]))
            .collect();
        let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let cell = |truth: &str, said: &str| {
            let pages = self.cells.get(&(truth.to_owned(), said.to_owned()));
            pages.map_or_else(|| ".".to_owned(), |pages| format!("{}/{}", pages[0], pages[1]))
        };
        let widths: Vec<usize> = said
            .iter()
            .map(|at| {
                names.iter().map(|name| cell(name, names[*at]).len()).max().unwrap_or(0).max(2)
            })
            .collect();
        write!(f, "{:wide$}    ", "pages: RSS/Dirty")?;
        for (at, width) in said.iter().zip(&widths) {
            write!(f, " {:>width$}", at + 1)?;
        }
        writeln!(f)?;
        for (number, name) in names.iter().enumerate() {
            write!(f, "{name:wide$} {:>3}", number + 1)?;
            for (at, width) in said.iter().zip(&widths) {
                write!(f, " {:>width$}", cell(name, names[*at]))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(function: &str, cause: &str, rss: u64, dirty: u64) -> Part {
        Part { function: function.to_owned(), cause: cause.to_owned(), pages: [rss, dirty] }
    }

    #[test]
    fn what_agrees_is_on_the_diagonal() {
        let mut matrix = Matrix::default();
        let truth = [part("f", "first-write", 4, 4), part("", "fork-copy", 2, 2)];
        let said = [part("fork", "fork-copy", 2, 2), part("f", "first-write", 4, 4)];
        matrix.add(&truth, &said);
        assert_eq!(matrix.sums(), ([6, 6], [0, 0]));
    }

    #[test]
    fn another_cause_another_function_or_nothing_is_off_it() {
        let mut matrix = Matrix::default();
        matrix.add(&[part("f", "first-write", 4, 4)], &[part("f", "huge-page", 4, 4)]);
        matrix.add(&[part("f", "populate", 3, 3)], &[part("g", "populate", 3, 3)]);
        matrix.add(&[part("f", "pinned", 2, 2)], &[]);
        matrix.add(&[], &[part("", "not explained: unknown", 1, 0)]);
        assert_eq!(matrix.sums(), ([0, 0], [10, 9]));
        let text = matrix.to_string();
        assert!(text.contains("populate of another function"), "{text}");
        assert!(text.contains("(nothing)"), "{text}");
    }

    #[test]
    fn a_row_and_a_column_have_the_same_number() {
        let mut matrix = Matrix::default();
        matrix.add(&[part("f", "pinned", 2, 1)], &[part("f", "pinned", 2, 1)]);
        let text = matrix.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("  1"), "{text}");
        assert_eq!(lines[1], "pinned   1 2/1");
    }
}

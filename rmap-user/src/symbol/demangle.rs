//! Mangled names of Rust and C++ → what a person wrote.
//!
//! A short mangled name can stand for an endless one (substitutions double it), so the output has
//! a limit; beyond it the name stays as the file has it, cut to that limit.

use std::fmt::{self, Write};

/// Longest name that is demangled, and longest result, in bytes.
const LIMIT: usize = 64 << 10;

/// The demangled name, or the name itself.
pub(super) fn demangle(name: &str) -> String {
    if name.len() <= LIMIT {
        if let Ok(rust) = rustc_demangle::try_demangle(name) {
            let mut out = Bounded(String::new());
            if write!(out, "{rust:#}").is_ok() {
                return out.0;
            }
        } else if name.starts_with("_Z") || name.starts_with("__Z") {
            let mut out = Bounded(String::new());
            if let Ok(symbol) = cpp_demangle::BorrowedSymbol::new(name.as_bytes())
                && symbol.structured_demangle(&mut out, &Default::default()).is_ok()
            {
                return out.0;
            }
        }
    }
    cut(name).to_owned()
}

/// The text as far as it is within the limit.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=LIMIT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// Refuses to grow beyond [`LIMIT`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > LIMIT {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_three_languages() {
        assert_eq!(demangle("_ZN3foo3barEiPKc"), "foo::bar(int, char const*)");
        assert_eq!(demangle("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(demangle("_RNvCs1234_7mycrate3foo"), "mycrate::foo");
        assert_eq!(demangle("main"), "main");
        assert_eq!(demangle("_Z"), "_Z");
    }

    #[test]
    fn a_name_that_would_double_without_end_stays_as_it_is() {
        // Each pair type holds the one before it twice.
        let mut name = "_Z1f4pairIiiE".to_owned();
        let seq = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for letter in seq.chars().take(30) {
            name.push_str(&format!("S_IS{letter}_S{letter}_E"));
        }
        assert!(demangle(&name).len() <= LIMIT);
    }

    #[test]
    fn a_name_of_a_hundred_megabytes_is_cut() {
        let name = "_Zä".repeat(30 << 20);
        assert!(demangle(&name).len() <= LIMIT);
    }

    proptest! {
        #[test]
        fn anything_is_taken(name in "_(Z|R)?[0-9A-Za-z_.$]{0,60}") {
            prop_assert!(demangle(&name).len() <= LIMIT);
        }
    }
}

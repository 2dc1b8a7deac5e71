//! The names of the contract that model, attribution, report and view share: one row a name.
//!
//! Comes in: nothing. Goes out: for each list an enum; for every variant its name in JSON, what it
//! means and what follows, in words. The views' words, the tables of docs/report.md and the JSON
//! Schema are made from these rows. Matches on these enums have no `_`, so that the compiler shows
//! every rule that a new row concerns.

mod calls;
mod causes;
mod heap_states;
mod kinds;
mod patterns;
mod reasons;
mod releases;

pub use calls::MapCallKind;
pub use causes::Cause;
pub use heap_states::HeapState;
pub use kinds::Kind;
pub use patterns::Pattern;
pub use reasons::Reason;
pub use releases::ReleaseKind;

/// A closed list of names.
pub trait Term: Copy + Eq + 'static {
    /// What the list is of, in one or two words, for example `cause`.
    const KIND: &'static str;

    /// Every row, in the order of the list.
    const ALL: &'static [Self];

    /// The name in JSON.
    fn name(self) -> &'static str;

    /// What it means, in words for a person: a clause without a full stop.
    fn meaning(self) -> &'static str;

    /// What follows from it, or what to do: a clause without a full stop; empty if nothing does.
    fn follows(self) -> &'static str;

    /// The row of a name in JSON; `None` for a name of another version.
    fn of_name(name: &str) -> Option<Self>;
}

/// Makes an enum and its [`Term`] from rows `Variant: "name", "meaning", "what follows";`.
macro_rules! terms {
    (
        $(#[$attribute:meta])*
        pub enum $Type:ident: $kind:literal {
            $($Variant:ident: $name:literal, $meaning:literal, $follows:literal;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Type {
            $(#[doc = $meaning] $Variant,)*
        }

        impl $Type {
            /// The name in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)*
                }
            }
        }

        impl crate::terms::Term for $Type {
            const KIND: &'static str = $kind;

            const ALL: &'static [Self] = &[$(Self::$Variant,)*];

            fn name(self) -> &'static str {
                self.as_str()
            }

            fn meaning(self) -> &'static str {
                match self {
                    $(Self::$Variant => $meaning,)*
                }
            }

            fn follows(self) -> &'static str {
                match self {
                    $(Self::$Variant => $follows,)*
                }
            }

            fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$Variant),)*
                    _ => None,
                }
            }
        }
    };
}
use terms;

#[cfg(test)]
mod tests {
    use super::*;

    fn names_are_unique_and_found_again<T: Term + std::fmt::Debug>() {
        let mut seen = std::collections::BTreeSet::new();
        for term in T::ALL {
            let name = term.name();
            assert!(seen.insert(name), "{} {name} stands twice", T::KIND);
            assert_eq!(T::of_name(name), Some(*term));
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || "0123456789- ".contains(c)));
            assert!(!term.meaning().is_empty(), "{name}");
            assert!([term.meaning(), term.follows()].iter().all(|t| !t.ends_with('.')), "{name}");
        }
        assert_eq!(T::of_name("no-such-name"), None);
    }

    #[test]
    fn every_name_is_unique_and_leads_back_to_its_row() {
        names_are_unique_and_found_again::<Cause>();
        names_are_unique_and_found_again::<Reason>();
        names_are_unique_and_found_again::<ReleaseKind>();
        names_are_unique_and_found_again::<MapCallKind>();
        names_are_unique_and_found_again::<Pattern>();
        names_are_unique_and_found_again::<Kind>();
    }
}

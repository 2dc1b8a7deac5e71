//! The tables of docs/report.md that are made from the names of the contract.

use std::fs;
use std::path::Path;

use rmap::terms::{Cause, Kind, Reason, ReleaseKind, Term};

/// A table of all rows of a list.
fn table<T: Term>(what: &str) -> String {
    let mut table = format!("| {what} | | what follows |\n|---|---|---|\n");
    for term in T::ALL {
        let (meaning, follows) = (term.meaning(), term.follows());
        table.push_str(&format!("| `{}` | {meaning} | {follows} |\n", term.name()));
    }
    table
}

/// The document with a table between the mark of its list and the next end.
fn with_table<T: Term>(document: &str, what: &str) -> String {
    let mark = format!("<!-- {}: written by cargo xtask golden -->\n", T::KIND);
    let (before, rest) = document.split_once(&mark).unwrap_or_else(|| panic!("no {mark}"));
    let (_, after) = rest.split_once("<!-- end -->").expect("the end of a table");
    format!("{before}{mark}{}<!-- end -->{after}", table::<T>(what))
}

#[test]
fn tables_of_the_documents_are_those_of_the_terms() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/report.md");
    let is = fs::read_to_string(&path).unwrap();
    let with = with_table::<ReleaseKind>(&is, "how");
    let with = with_table::<Cause>(&with, "cause");
    let with = with_table::<Reason>(&with, "reason");
    let with = with_table::<Kind>(&with, "kind");
    if std::env::var_os("RMAP_BLESS").is_some() {
        return fs::write(&path, with).unwrap();
    }
    assert!(is == with, "docs/report.md is out of date; cargo xtask golden writes its tables");
}

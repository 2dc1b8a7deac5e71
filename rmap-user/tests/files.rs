//! The shape of the source files: no circle of imports.
//!
//! Comes in: the sources of `rmap-user`. Goes out: every circle of modules that stand side by side in
//! one folder. A folder and
//! what is in it are one thing here: the folder's own file may hold what its files share.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

mod sources;
use sources::files;

/// The crates that are looked at, from this one's folder.
const CRATES: [&str; 1] = ["src"];

/// A module by its path from the crate's root.
type Module = Vec<String>;

#[test]
fn no_modules_side_by_side_import_each_other_in_a_circle() {
    let mut circles = String::new();
    for folder in CRATES {
        let modules = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(modules.len() > 20, "{folder} has too few modules: {}", modules.len());
        for (place, edges) in neighbours(&imports(&modules)) {
            for circle in circles_of(&edges) {
                let place = if place.is_empty() { "." } else { &place.join("/") };
                writeln!(circles, "{folder}/{place}: {circle:?}").unwrap();
            }
        }
    }
    assert!(circles.is_empty(), "these import each other in a circle:\n{circles}");
}

#[test]
fn circles_are_found_through_groups_folders_and_names_that_are_handed_on() {
    let of = |files: &[(&str, &str)]| {
        let module = |path: &str| -> Module {
            path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let modules = files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
        neighbours(&imports(&modules)).values().flat_map(circles_of).collect::<Vec<_>>()
    };
    let circle = |names: &[&str]| vec![names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()];
    let none: Vec<Vec<String>> = Vec::new();
    assert_eq!(of(&[("a", "use crate::b::X;"), ("b", "use crate::c;"), ("c", "")]), none);
    assert_eq!(of(&[("a", "use super::b::X;"), ("b", "crate::a::f()")]), circle(&["a", "b"]));
    let grouped = "use crate::{\n    c::Y,\n    b::{self, X},\n};";
    assert_eq!(of(&[("a", grouped), ("b", "use super::a;"), ("c", "")]), circle(&["a", "b"]));
    let folders =
        [("a", ""), ("a/x", "use crate::b::y::Z;"), ("b", ""), ("b/y", "use crate::a::x;")];
    assert_eq!(of(&folders), circle(&["a", "b"]));
    let handed = [("m", "pub use b::X;"), ("m/a", "use super::X;"), ("m/b", "use super::a::f;")];
    assert_eq!(of(&handed), circle(&["a", "b"]));
    let in_tests =
        [("a", "#[cfg(test)]\nmod tests {\n    use crate::b;\n}"), ("b", "use crate::a;")];
    assert_eq!(of(&in_tests), none);
}

/// Every module of a crate with its code, without tests and comments.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in files(root) {
        let place = file.strip_prefix(root).unwrap().with_extension("");
        let mut module: Module =
            place.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if is_test(file.to_str().unwrap()) {
            continue;
        }
        match module.last().map(String::as_str) {
            Some("mod") => drop(module.pop()),
            Some("lib" | "main") if module.len() == 1 => continue,
            _ => {}
        }
        modules.insert(module, fs::read_to_string(&file).unwrap());
    }
    modules
}

/// Which module names which, by any path in its code.
fn imports(modules: &BTreeMap<Module, String>) -> BTreeSet<(Module, Module)> {
    let code: BTreeMap<&Module, String> =
        modules.iter().map(|(module, text)| (module, without_tests(text))).collect();
    // Names that a folder's file hands on from one of its own files.
    let mut handed: BTreeMap<(Module, String), Module> = BTreeMap::new();
    for (module, text) in &code {
        for statement in text.split("pub use ").skip(1) {
            let Some((path, _)) = statement.split_once(';') else { continue };
            let mut paths = Vec::new();
            parse(path, &mut Vec::new(), &mut paths);
            for path in paths.iter().filter(|path| path.len() > 1) {
                let child: Module = module.iter().chain([&path[0]]).cloned().collect();
                if code.contains_key(&child) {
                    handed.insert(((*module).clone(), path[path.len() - 1].clone()), child);
                }
            }
        }
    }
    let mut imports = BTreeSet::new();
    for (module, text) in &code {
        for path in paths(text) {
            let mut names = path.iter().peekable();
            let mut at: Module = match names.peek().map(|name| name.as_str()) {
                Some("crate") => Vec::new(),
                _ => (*module).clone(),
            };
            while let Some(name) =
                names.next_if(|name| ["crate", "self", "super"].contains(&name.as_str()))
            {
                if name == "super" {
                    at.pop();
                }
            }
            for name in names {
                let child: Module = at.iter().chain([name]).cloned().collect();
                if code.contains_key(&child) {
                    at = child;
                } else if let Some(child) = handed.get(&(at.clone(), name.clone())) {
                    at.clone_from(child);
                } else {
                    break;
                }
            }
            imports.insert(((*module).clone(), at));
        }
    }
    imports
}

/// Edges between what stands side by side in a folder.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Folder by folder: which of its files and folders import which.
fn neighbours(imports: &BTreeSet<(Module, Module)>) -> BTreeMap<Module, Edges> {
    let mut folders: BTreeMap<Module, Edges> = BTreeMap::new();
    for (from, to) in imports {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
            let edges = folders.entry(from[..common].to_vec()).or_default();
            edges.entry(a.clone()).or_default().insert(b.clone());
        }
    }
    folders
}

/// The groups of which each member reaches each other one.
fn circles_of(edges: &Edges) -> Vec<Vec<String>> {
    let reached = |from: &String| {
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut open: Vec<&String> = edges.get(from).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(edges.get(next).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        edges.keys().map(|from| (from, reached(from))).collect();
    let mut circles = BTreeSet::new();
    for (name, seen) in &reach {
        let back = |other: &&String| reach.get(*other).is_some_and(|seen| seen.contains(name));
        let circle: Vec<String> = seen.iter().copied().filter(back).cloned().collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// Every path in the code that begins with `crate`, `self` or `super`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let head = code[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        let before = &code[..at - head.len()];
        if ["crate", "self", "super"].contains(&head) && !before.ends_with("::") {
            parse(&code[at - head.len()..], &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path with its groups; gives back what stands behind it.
fn parse<'a>(text: &'a str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            let depth = before.len();
            let left = parse(rest, before, found);
            before.truncate(depth);
            if left.len() == rest.len() {
                return left;
            }
            rest = left;
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        found.push(before.clone());
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    before.push(name.to_owned());
    if let Some(inner) = rest.strip_prefix("::") {
        return parse(inner, before, found);
    }
    found.push(before.clone());
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        let end = renamed.find(|c: char| !c.is_alphanumeric() && c != '_');
        rest = &renamed[end.unwrap_or(renamed.len())..];
    }
    rest
}

/// The code before the tests at the end of a file, without comments.
fn without_tests(text: &str) -> String {
    let code = text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at]);
    code.lines().flat_map(|line| [line.split("//").next().unwrap(), "\n"]).collect()
}

/// Tests and what is for tests alone.
fn is_test(name: &str) -> bool {
    let name = name.trim_end_matches(".rs");
    name.contains("/tests/")
        || name.ends_with("tests")
        || ["/sim", "/samples"].iter().any(|end| name.ends_with(end))
}

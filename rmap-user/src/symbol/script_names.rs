//! Names that V8 writes for functions of JavaScript.
//!
//! Comes in: the name of a perf map's entry, `JS:^remember /srv/app.js:6:18`. Goes out: the function, the
//! script and the line where the function begins. The sign before the name says which of V8's compilers
//! made the code (V8 `src/logging/log.cc`, `ComputeMarker`): the same function has an entry for each, and is
//! one to a reader. Older versions write other words for `JS`, and no column.

/// What stands in front of V8's names of functions.
const KINDS: &[&str] = &["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"];
/// The compilers' signs.
const MARKS: &[char] = &['*', '~', '^', '+', '-'];
/// How a script's name begins, where the function's name may have blanks (`get size`).
const SCRIPTS: &[&str] = &[" /", " node:", " file:"];
/// A function without a name, as a reader sees it.
const ANONYMOUS: &str = "<anonymous>";

/// A function of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// The script's path or name.
    pub script: &'a str,
    /// The line where it begins.
    pub line: u32,
}

/// Reads a name; `None` if it is none of a function of JavaScript.
#[must_use]
pub fn parse(text: &str) -> Option<Function<'_>> {
    let rest = KINDS.iter().find_map(|kind| text.strip_prefix(kind))?;
    let rest = rest.strip_prefix(MARKS).unwrap_or(rest);
    let at =
        SCRIPTS.iter().filter_map(|begin| rest.find(begin)).min().or_else(|| rest.rfind(' '))?;
    let (name, place) = (rest.get(..at)?, rest.get(at + 1..)?);
    let (before, last) = place.rsplit_once(':')?;
    let last = number(last)?;
    let (script, line) = match before.rsplit_once(':') {
        Some((script, line)) if number(line).is_some() => (script, number(line)?),
        _ => (before, last),
    };
    let name = if name.is_empty() { ANONYMOUS } else { name };
    (!script.is_empty()).then_some(Function { name, script, line })
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn functions_of_every_compiler_are_one() {
        for text in [
            "JS:~remember /srv/app.js:6:18",
            "JS:^remember /srv/app.js:6:18",
            "JS:*remember /srv/app.js:6:18",
            "LazyCompile:*remember /srv/app.js:6",
            "Function:remember /srv/app.js:6:18",
        ] {
            let is = Function { name: "remember", script: "/srv/app.js", line: 6 };
            assert_eq!(parse(text), Some(is), "{text}");
        }
    }

    #[test]
    fn scripts_and_functions_of_all_kinds() {
        let all = |text| parse(text).map(|f| (f.name, f.script, f.line));
        assert_eq!(all("JS:^get size /srv/my app.js:3:1"), Some(("get size", "/srv/my app.js", 3)));
        assert_eq!(
            all("JS:^alloc node:buffer:391:30"),
            Some(("alloc", "node:buffer", 391)),
            "one of node's own"
        );
        assert_eq!(
            all("JS:* file:///srv/app.mjs:1:9"),
            Some((ANONYMOUS, "file:///srv/app.mjs", 1))
        );
        for other in
            ["Builtin:ArrayMap", "JS:", "JS:^f", "JS:^f ", "JS:^f x", "JS:f :1", "py::f:/a.py"]
        {
            assert_eq!(all(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_name_breaks_anything(text in "(JS:|Eval:)?[*^]?[a-z /:0-9é]{0,24}|\\PC{0,30}") {
            if let Some(function) = parse(&text) {
                prop_assert!(!function.name.is_empty() && text.contains(function.script));
            }
        }
    }
}

//! Which frames a person would hold responsible: rules that give every frame a class.
//!
//! Comes in: a frame, and rules in the plain format below (the built-in ones are `rules.txt`, a
//! user's own stand before them). Goes out: a [`Class`].
//!
//! A line is `CLASS MODULE FUNCTION…`, parted by blanks. `MODULE` is one or more patterns joined
//! by `|`, of the module's file name, or of its whole path if the pattern has a `/`. `FUNCTION`
//! patterns are of the function's qualified name. In patterns `*` stands for any characters and
//! `?` for any one, a blank too. `#` begins a comment. The first rule that fits holds; a frame
//! that no rule fits is the application's.

use std::collections::HashMap;

use crate::report::Frame;

use super::names;

/// What a frame is to a person who looks for the responsible one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// malloc and its like, in any language.
    Allocator,
    /// memset, strcpy and the like.
    String,
    /// A system call's wrapper.
    Syscall,
    /// The dynamic loader.
    Loader,
    /// What runs before `main`, or before a thread's function.
    StartUp,
    /// An interpreter's loop, and how it calls.
    Interpreter,
    /// A language's library or runtime.
    Runtime,
    /// Anything else: the code that people answer for.
    Application,
}

/// Every class with its name, as in rules and in the JSON.
const CLASSES: &[(Class, &str)] = &[
    (Class::Allocator, "allocator"),
    (Class::String, "string"),
    (Class::Syscall, "syscall"),
    (Class::Loader, "loader"),
    (Class::StartUp, "start-up"),
    (Class::Interpreter, "interpreter"),
    (Class::Runtime, "runtime"),
    (Class::Application, "application"),
];

impl Class {
    /// Its name, as in rules and in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        CLASSES.iter().find(|(class, _)| *class == self).map_or("application", |(_, name)| name)
    }

    /// The class of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }
}

/// What is wrong with a file of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The line names no known class.
    #[error(
        "line {line}: {found:?} is no class of frames; use one of allocator, string, syscall, \
         loader, start-up, interpreter, runtime, application"
    )]
    Class {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// The line ends before its first function.
    #[error("line {line}: expected `CLASS MODULE FUNCTION…`, such as `allocator * my_alloc*`")]
    Short {
        /// Counted from 1.
        line: usize,
    },
    /// There are more rules than anyone writes.
    #[error("more than {MOST} function patterns")]
    TooMany,
}

/// Function patterns in all rules together.
const MOST: usize = 100_000;

/// One function pattern with its module patterns.
#[derive(Clone, Debug)]
struct Rule {
    class: Class,
    modules: Vec<String>,
    function: String,
}

/// The rules, in their order.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Rules whose function pattern is a plain name.
    plain: HashMap<String, Vec<usize>>,
    /// The others, by the first byte of the pattern; those that begin with a wildcard are under 0.
    patterns: HashMap<u8, Vec<usize>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::built_in()
    }
}

impl Rules {
    /// The rules that rmap brings along.
    #[must_use]
    pub fn built_in() -> Self {
        // A test reads the file; should it ever be wrong, every frame is the application's.
        Self::indexed(parse(include_str!("rules.txt")).unwrap_or_default())
    }

    /// A user's rules, and behind them those that rmap brings along.
    ///
    /// # Errors
    /// What is wrong with the text, and in which line.
    pub fn with_own(text: &str) -> Result<Self, RuleError> {
        let mut rules = parse(text)?;
        rules.extend(Self::built_in().rules);
        Ok(Self::indexed(rules))
    }

    fn indexed(rules: Vec<Rule>) -> Self {
        let mut plain: HashMap<String, Vec<usize>> = HashMap::new();
        let mut patterns: HashMap<u8, Vec<usize>> = HashMap::new();
        for (at, rule) in rules.iter().enumerate() {
            if rule.function.contains(['*', '?']) {
                let first = rule.function.bytes().next().filter(|c| !b"*?".contains(c));
                patterns.entry(first.unwrap_or(0)).or_default().push(at);
            } else {
                plain.entry(rule.function.clone()).or_default().push(at);
            }
        }
        Self { rules, plain, patterns }
    }

    /// The class of a frame.
    #[must_use]
    pub fn class(&self, frame: &Frame) -> Class {
        // What an interpreter runs is what people wrote, whatever its functions are called; but who
        // imports is the line that says so, and not the importer.
        if frame.language.is_some() {
            return if frame.module.starts_with("<frozen importlib") {
                Class::Loader
            } else if frame.module.starts_with("node:") {
                Class::Runtime
            } else {
                Class::Application
            };
        }
        self.class_of(&frame.module, frame.function.as_deref().unwrap_or_default())
    }

    /// The class of a function in a module; the function is empty where it is not known.
    #[must_use]
    pub fn class_of(&self, module: &str, function: &str) -> Class {
        let bare = names::bare(function);
        let mut found = usize::MAX;
        for name in [bare, names::common(bare)] {
            let first = name.bytes().next();
            let plain = self.plain.get(name).into_iter().flatten();
            let lead = first.and_then(|first| self.patterns.get(&first)).into_iter().flatten();
            let wild = self.patterns.get(&0).into_iter().flatten();
            for &at in plain.chain(lead).chain(wild) {
                let Some(rule) = self.rules.get(at).filter(|_| at < found) else { continue };
                if fits(&rule.function, name) && rule.is_of(module) {
                    found = at;
                }
            }
        }
        self.rules.get(found).map_or(Class::Application, |rule| rule.class)
    }
}

impl Rule {
    fn is_of(&self, module: &str) -> bool {
        let base = names::base(module);
        self.modules.iter().any(|pattern| {
            pattern == "*" || fits(pattern, if pattern.contains('/') { module } else { base })
        })
    }
}

fn parse(text: &str) -> Result<Vec<Rule>, RuleError> {
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(class) = words.next() else { continue };
        let class = Class::of_name(class)
            .ok_or_else(|| RuleError::Class { line: line_number, found: class.to_owned() })?;
        let short = RuleError::Short { line: line_number };
        let modules: Vec<String> =
            words.next().ok_or_else(|| short.clone())?.split('|').map(str::to_owned).collect();
        let before = rules.len();
        rules.extend(words.map(|function| Rule {
            class,
            modules: modules.clone(),
            function: function.to_owned(),
        }));
        if rules.len() == before {
            return Err(short);
        }
        if rules.len() > MOST {
            return Err(RuleError::TooMany);
        }
    }
    Ok(rules)
}

/// Whether a text fits a pattern of `*` and `?`. Takes time in proportion to both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how far it reached.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == c => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    p = at + 1;
                    t = reached + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rules_that_come_along_can_be_read() {
        let rules = parse(include_str!("rules.txt")).unwrap();
        assert!(rules.len() > 200);
        for (class, name) in CLASSES {
            let has_rule = rules.iter().any(|rule| rule.class == *class);
            assert!(has_rule, "no rule is of the class {name}");
        }
    }

    #[test]
    fn what_an_interpreter_runs_is_the_applications() {
        let rules = Rules::built_in();
        let class = |module: &str, function: &str| {
            rules.class(&Frame {
                module: module.to_owned(),
                function: Some(function.to_owned()),
                language: Some("python".to_owned()),
                ..Frame::default()
            })
        };
        assert_eq!(class("/srv/app.py", "malloc"), Class::Application);
        assert_eq!(class("<frozen importlib._bootstrap>", "_load_unlocked"), Class::Loader);
        assert_eq!(class("/srv/app.js", "remember"), Class::Application);
        assert_eq!(class("node:buffer", "alloc"), Class::Runtime);
    }

    #[test]
    fn frames_of_every_language_have_their_class() {
        use Class as C;
        let rules = Rules::built_in();
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        for (module, function, class) in [
            (libc, "malloc", C::Allocator),
            (libc, "_int_malloc", C::Allocator),
            ("/opt/static", "sysmalloc_mmap.isra.0", C::Allocator),
            ("/lib/ld-musl-x86_64.so.1", "__libc_malloc_impl", C::Allocator),
            ("/usr/lib/libjemalloc.so.2", "anything", C::Allocator),
            ("/usr/bin/redis-server", "je_arena_malloc_hard", C::Allocator),
            ("/usr/lib/libtcmalloc.so.4", "tc_malloc", C::Allocator),
            ("/opt/app", "mi_heap_malloc_zero", C::Allocator),
            ("/usr/lib/libstdc++.so.6", "operator new(unsigned long)", C::Allocator),
            (
                "/opt/app",
                "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
                C::Allocator,
            ),
            ("/opt/app", "alloc::raw_vec::RawVec<T,A>::grow_one", C::Allocator),
            ("/opt/app", "__rust_alloc", C::Allocator),
            ("/usr/lib/libglib-2.0.so.0", "g_malloc0", C::Allocator),
            (libc, "__memset_avx2_unaligned_erms", C::String),
            (libc, "__strdup", C::String),
            (libc, "read", C::Syscall),
            (libc, "__mmap64", C::Syscall),
            ("/usr/lib64/ld-linux-x86-64.so.2", "_dl_relocate_object", C::Loader),
            ("/usr/lib64/ld-linux-x86-64.so.2", "_start", C::Loader),
            ("/opt/app", "_start", C::StartUp),
            (libc, "__libc_start_main_impl", C::StartUp),
            (libc, "start_thread", C::StartUp),
            ("/usr/bin/python3.11", "_PyEval_EvalFrameDefault", C::Interpreter),
            ("/usr/bin/python3.11", "PyByteArray_Resize", C::Runtime),
            ("/usr/lib/libpython3.13.so.1.0", "_PyObject_Malloc", C::Allocator),
            ("[perf map]", "py::load:/srv/app.py", C::Application),
            ("[perf map]", "LazyCompile:~fill /srv/app.js:3", C::Application),
            ("[perf map]", "Interpreter", C::Interpreter),
            ("/usr/bin/node", "Builtins_InterpreterEntryTrampoline", C::Interpreter),
            ("/opt/app", "runtime.mallocgc", C::Allocator),
            ("/opt/app", "runtime.main", C::StartUp),
            ("/opt/app", "main.fill", C::Application),
            (
                "/opt/app",
                "std::vector<int, std::allocator<int> >::resize(unsigned long)",
                C::Runtime,
            ),
            ("/opt/app", "void std::__fill<int>(int*, int)", C::Runtime),
            ("/opt/app", "load(std::vector<int>&, std::string)", C::Application),
            ("/opt/app", "<app::Table as core::clone::Clone>::clone", C::Application),
            (libc, "qsort", C::Runtime),
            (libc, "", C::Runtime),
            ("/opt/app", "", C::Application),
            ("/opt/app", "main", C::Application),
            ("/opt/app", "sort", C::Application),
        ] {
            assert_eq!(rules.class_of(module, function), class, "{function} of {module}");
        }
    }

    #[test]
    fn own_rules_stand_before_the_others() {
        let own =
            "# ours\nallocator libpool.so*|/opt/app/* pool_* Pool::take\napplication * malloc\n";
        let rules = Rules::with_own(own).unwrap();
        assert_eq!(rules.class_of("/usr/lib/libpool.so.1", "pool_get"), Class::Allocator);
        assert_eq!(rules.class_of("/opt/app/server", "Pool::take(int)"), Class::Allocator);
        assert_eq!(rules.class_of("/opt/other", "pool_get"), Class::Application);
        assert_eq!(rules.class_of("/usr/lib/libc.so.6", "malloc"), Class::Application);
        assert_eq!(rules.class_of("/usr/lib/libc.so.6", "calloc"), Class::Allocator);
    }

    #[test]
    fn what_is_wrong_with_rules_is_said_with_its_line() {
        let wrong = |text| Rules::with_own(text).unwrap_err().to_string();
        assert!(wrong("\nmalloc * f\n").starts_with("line 2: \"malloc\" is no class of frames"));
        assert!(wrong("allocator libc*\n").starts_with("line 1: expected `CLASS MODULE"));
    }

    proptest! {
        #[test]
        fn patterns_fit_as_their_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn slow(p: &[u8], t: &[u8]) -> bool {
                match (p.split_first(), t.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        slow(rest, t) || t.split_first().is_some_and(|(_, t)| slow(p, t))
                    }
                    (Some((&c, p)), Some((&d, t))) => (c == b'?' || c == d) && slow(p, t),
                    _ => false,
                }
            }
            prop_assert_eq!(fits(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}

//! The owner of each call path: the innermost frame that a person would hold responsible.
//!
//! Comes in: stacks, and rules for frames. Goes out: for each stack its owner and the frames that
//! were skipped to find it. Where no frame is the application's, the owner is the innermost frame
//! of a library or an interpreter, or a plain name: relocations, program start-up, the kernel.

use rustc_hash::FxHashMap;

use crate::report::{Address, Frame, Stack, StackId};

use super::names;
use super::rules::{Class, Rules};

/// Who is responsible for a call path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The frame at this place, counted from the innermost.
    Frame(usize),
    /// The loader, which adapts libraries to where they are mapped.
    Relocations,
    /// The loader, with anything else.
    Loading,
    /// The files of programs and libraries, whose clean pages are shared with all that run them.
    Code,
    /// Code that runs before `main`, or before a thread's function.
    StartUp,
    /// The stack has no frame that says who it was.
    Unknown,
}

/// What is known of one stack.
#[derive(Debug)]
struct Known<'a> {
    stack: &'a Stack,
    owner: Owner,
    /// The functions of its frames, from the innermost, see [`Owners::function`].
    functions: Vec<u32>,
    /// Its chain of functions: equal for stacks that differ in lines or addresses only.
    chain: u32,
}

/// The owners of a report's stacks.
#[derive(Debug, Default)]
pub struct Owners<'a> {
    by_id: FxHashMap<StackId, Known<'a>>,
    /// A frame of each function, and its class.
    functions: Vec<(&'a Frame, Class)>,
}

impl<'a> Owners<'a> {
    /// Finds the owner of each stack.
    #[must_use]
    pub fn of(stacks: &'a [Stack], rules: &Rules) -> Self {
        let mut found = Self::default();
        let mut numbers: FxHashMap<(&str, &str, &str, Address), u32> = FxHashMap::default();
        let mut chains: FxHashMap<(Vec<u32>, bool), u32> = FxHashMap::default();
        for stack in stacks {
            let mut functions = Vec::with_capacity(stack.frames.len());
            for frame in &stack.frames {
                let number = *numbers.entry(identity(frame)).or_insert_with(|| {
                    found.functions.push((frame, rules.class(frame)));
                    as_number(found.functions.len() - 1)
                });
                functions.push(number);
            }
            let next = as_number(chains.len());
            let chain = *chains.entry((functions.clone(), stack.complete)).or_insert(next);
            let classes: Vec<Option<Class>> =
                functions.iter().map(|number| found.class_of(*number)).collect();
            let owner = owner(&stack.frames, &classes);
            found.by_id.insert(stack.id, Known { stack, owner, functions, chain });
        }
        found
    }

    /// The owner of a stack; `None` if the report lacks the stack.
    #[must_use]
    pub fn owner(&self, stack: StackId) -> Option<Owner> {
        self.by_id.get(&stack).map(|known| known.owner)
    }

    /// The frames of a stack, the innermost first; empty if the report lacks it.
    #[must_use]
    pub fn frames(&self, stack: StackId) -> &'a [Frame] {
        self.by_id.get(&stack).map_or(&[], |known| &known.stack.frames)
    }

    /// Whether a stack was walked to its outermost frame.
    #[must_use]
    pub fn is_complete(&self, stack: StackId) -> bool {
        self.by_id.get(&stack).is_none_or(|known| known.stack.complete)
    }

    /// The numbers of a stack's functions, the innermost first.
    #[must_use]
    pub fn functions(&self, stack: StackId) -> &[u32] {
        self.by_id.get(&stack).map_or(&[], |known| &known.functions)
    }

    /// The number of a stack's chain of functions.
    #[must_use]
    pub fn chain(&self, stack: StackId) -> Option<u32> {
        self.by_id.get(&stack).map(|known| known.chain)
    }

    /// A frame of the function with this number.
    #[must_use]
    pub fn function(&self, number: u32) -> Option<&'a Frame> {
        self.functions.get(number as usize).map(|(frame, _)| *frame)
    }

    /// The number of the owner frame's function and the frame, where the owner is a frame.
    #[must_use]
    pub fn owner_frame(&self, stack: StackId) -> Option<(u32, &'a Frame)> {
        let known = self.by_id.get(&stack)?;
        let Owner::Frame(at) = known.owner else { return None };
        Some((*known.functions.get(at)?, known.stack.frames.get(at)?))
    }

    /// The class of the frame at a place of a stack; `None` for what is no frame.
    #[must_use]
    pub fn class(&self, stack: StackId, at: usize) -> Option<Class> {
        self.class_of(*self.by_id.get(&stack)?.functions.get(at)?)
    }

    fn class_of(&self, function: u32) -> Option<Class> {
        let (frame, class) = self.functions.get(function as usize)?;
        (!is_marker(frame)).then_some(*class)
    }

    /// What was skipped between the owner and the page, the outermost first: of neighbours of one
    /// class the outermost, which is the call that people know. `["calloc", "memset"]`.
    #[must_use]
    pub fn via(&self, stack: StackId) -> Vec<String> {
        let Some(known @ Known { owner: Owner::Frame(owner), .. }) = self.by_id.get(&stack) else {
            return Vec::new();
        };
        let mut via: Vec<String> = Vec::new();
        let mut last = None;
        for (frame, function) in known.stack.frames.iter().zip(&known.functions).take(*owner).rev()
        {
            let class = self.class_of(*function);
            let silent = matches!(class, None | Some(Class::Interpreter));
            if !silent && class != last {
                via.push(match &frame.function {
                    Some(_) => display(frame),
                    None => names::base(&frame.module).to_owned(),
                });
            }
            last = class;
        }
        via.dedup();
        via
    }
}

/// A name for a frame: the function's readable one, or the module and the offset in it.
#[must_use]
pub fn display(frame: &Frame) -> String {
    match &frame.function {
        Some(function) => names::readable(function),
        None if frame.module.is_empty() => format!("[{}]", frame.offset),
        None if frame.module.starts_with('[') => frame.module.clone(),
        None => format!("{}+{}", names::base(&frame.module), frame.offset),
    }
}

/// The place in the source, `app.py:41`, by the file's name alone.
#[must_use]
pub fn place(frame: &Frame) -> Option<(&str, u32)> {
    Some((names::base(frame.file.as_deref()?), frame.line.unwrap_or(0)))
}

/// Whether a frame is none, but says at the outer end of a stack why it is not complete.
#[must_use]
pub fn is_marker(frame: &Frame) -> bool {
    frame.function.is_none()
        && ["[incomplete", "[approximate"].iter().any(|start| frame.module.starts_with(start))
}

/// What two frames have in common if they are one function to a reader. The file counts too,
/// since programs have many functions named `main` or `init`.
fn identity(frame: &Frame) -> (&str, &str, &str, Address) {
    match &frame.function {
        Some(function) => {
            let file = frame.file.as_deref().unwrap_or_default();
            (function, &frame.module, file, Address::default())
        }
        None => ("", &frame.module, "", frame.offset),
    }
}

/// Functions by which the loader adapts a library to its place.
const RELOCATING: &[&str] = &[
    "_dl_relocate",
    "elf_dynamic_do_",
    "elf_machine_rel",
    "_dl_protect_relro",
    "do_relocs",
    "reloc_all",
    "elf_get_dynamic_info",
];

fn owner(frames: &[Frame], classes: &[Option<Class>]) -> Owner {
    let first = |wanted: &[Class]| {
        classes.iter().position(|class| class.is_some_and(|class| wanted.contains(&class)))
    };
    if let Some(at) = first(&[Class::Application]) {
        return Owner::Frame(at);
    }
    if first(&[Class::Loader]).is_some() {
        let relocates = frames
            .iter()
            .filter_map(|frame| frame.function.as_deref())
            .any(|name| RELOCATING.iter().any(|relocating| name.starts_with(relocating)));
        return if relocates { Owner::Relocations } else { Owner::Loading };
    }
    if let Some(at) = first(&[Class::Runtime]).or_else(|| first(&[Class::Interpreter])) {
        return Owner::Frame(at);
    }
    if first(&[Class::StartUp]).is_some() {
        return Owner::StartUp;
    }
    match classes.iter().rposition(Option::is_some) {
        Some(at) => Owner::Frame(at),
        None => Owner::Unknown,
    }
}

fn as_number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    const LOADER: &str = "/usr/lib64/ld-linux-x86-64.so.2";

    fn stack(frames: &[(&str, &str)]) -> Stack {
        let frame = |&(function, module): &(&str, &str)| Frame {
            function: (!function.is_empty()).then(|| function.to_owned()),
            module: module.to_owned(),
            offset: Address(0x10),
            ..Frame::default()
        };
        Stack { id: StackId(1), complete: true, frames: frames.iter().map(frame).collect() }
    }

    /// The owner's name and what was skipped.
    fn answer(frames: &[(&str, &str)]) -> String {
        let stack = stack(frames);
        let owners = Owners::of(std::slice::from_ref(&stack), &Rules::built_in());
        match owners.owner_frame(StackId(1)) {
            Some((_, frame)) => {
                format!("{} via {}", display(frame), owners.via(StackId(1)).join(", "))
            }
            None => format!("{:?}", owners.owner(StackId(1)).unwrap()),
        }
    }

    #[test]
    fn the_owner_is_the_innermost_application_frame() {
        let start =
            [("main", "/opt/app"), ("__libc_start_main_impl", LIBC), ("_start", "/opt/app")];
        let under = |inner: &[(&'static str, &'static str)]| answer(&[inner, &start].concat());
        assert_eq!(
            under(&[("__memset_avx2_unaligned_erms", LIBC), ("fill", "/opt/app")]),
            "fill via memset"
        );
        assert_eq!(
            under(&[
                ("sysmalloc", LIBC),
                ("_int_malloc", LIBC),
                ("malloc", LIBC),
                ("operator new(unsigned long)", "/usr/lib/libstdc++.so.6"),
                ("void std::vector<int>::resize(unsigned long)", "/opt/app"),
                ("Pool::take(int)", "/opt/app"),
            ]),
            "Pool::take via std::vector<…>::resize, operator new"
        );
        assert_eq!(under(&[]), "main via ");
    }

    #[test]
    fn without_application_frames_the_owner_has_a_plain_name() {
        let loader = |names: &[&'static str]| {
            answer(&names.iter().map(|name| (*name, LOADER)).collect::<Vec<_>>())
        };
        assert_eq!(loader(&["_dl_relocate_object", "dl_main", "_dl_start"]), "Relocations");
        assert_eq!(loader(&["_dl_map_object_from_fd", "dl_main", "_dl_start"]), "Loading");
        assert_eq!(answer(&[("_start", "/opt/app")]), "StartUp");
        assert_eq!(answer(&[("", "[incomplete: no unwind row]")]), "Unknown");
        assert_eq!(answer(&[]), "Unknown");
        assert_eq!(answer(&[("malloc", LIBC), ("", "[incomplete: x]")]), "malloc via ");
        assert_eq!(answer(&[("", "/opt/stripped"), ("", "/opt/other")]), "stripped+0x10 via ");
    }

    #[test]
    fn an_interpreter_without_frames_of_its_own_shows_its_library_function() {
        let python = "/usr/bin/python3.11";
        assert_eq!(
            answer(&[
                ("__memset_avx2_unaligned_erms", LIBC),
                ("bytearray___init__", python),
                ("type_call", python),
                ("_PyEval_EvalFrameDefault", python),
                ("Py_RunMain", python),
            ]),
            "bytearray___init__ via memset"
        );
        assert_eq!(
            answer(&[
                ("PyByteArray_Resize", python),
                ("_PyEval_EvalFrameDefault", python),
                ("py::load:/srv/app.py", "[perf map]"),
                ("Py_RunMain", python),
            ]),
            "py::load:/srv/app.py via PyByteArray_Resize"
        );
    }
}

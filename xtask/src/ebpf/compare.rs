//! Two objects, section by section, and their programs function by function.
//!
//! Comes in: the bytes of the kept object and of a fresh one. Goes out: one line for each kind of
//! content, saying whether it is the same; no lines if the objects are byte by byte the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags};

const EXECUTABLE: u64 = object::elf::SHF_EXECINSTR as u64;

/// What a section holds, in a reader's words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Content {
    Programs,
    Maps,
    Types,
    Lines,
    Relocations,
    Rest,
}

impl Content {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Programs, "instructions of the programs"),
        (Self::Maps, "maps"),
        (Self::Types, "types (.BTF)"),
        (Self::Lines, "functions and lines (.BTF.ext)"),
        (Self::Relocations, "relocations"),
        (Self::Rest, "data, symbols and names"),
    ];

    fn of(name: &str, executable: bool) -> Self {
        match name {
            _ if executable => Self::Programs,
            "maps" | ".maps" => Self::Maps,
            ".BTF" => Self::Types,
            ".BTF.ext" => Self::Lines,
            _ if name.starts_with(".rel") => Self::Relocations,
            _ => Self::Rest,
        }
    }
}

/// The differences between `kept` and `fresh`, as lines to print.
pub fn objects(kept: &[u8], fresh: &[u8]) -> Result<Vec<String>> {
    if kept == fresh {
        return Ok(Vec::new());
    }
    let kept = sections(kept).context("cannot read the kept object as ELF")?;
    let fresh = sections(fresh).context("cannot read the built object as ELF")?;
    let names: BTreeSet<&(Content, String)> = kept.keys().chain(fresh.keys()).collect();
    let line = |(content, title): (Content, &str)| {
        let mut same = 0;
        let mut differ = Vec::new();
        for key in names.iter().filter(|key| key.0 == content) {
            match (kept.get(*key), fresh.get(*key)) {
                (Some(a), Some(b)) if a == b => same += 1,
                (Some(_), Some(_)) => differ.push(key.1.clone()),
                (Some(_), None) => differ.push(format!("{} (only in the kept one)", key.1)),
                _ => differ.push(format!("{} (only in the built one)", key.1)),
            }
        }
        if differ.is_empty() {
            format!("  {title}: the same ({same})")
        } else {
            format!("  {title}: {} differ: {}", differ.len(), differ.join(", "))
        }
    };
    Ok(Content::ALL.into_iter().map(line).collect())
}

/// The start of the SHA-256 of what the kernel runs, without types and lines, which change when a
/// function moves to another file.
pub fn identity(object: &[u8]) -> Result<String> {
    let mut all = Vec::new();
    for section in object::File::parse(object).context("cannot read the object as ELF")?.sections()
    {
        let name = section.name()?;
        let content = Content::of(name.trim_start_matches(".rel"), false);
        if ![Content::Types, Content::Lines].contains(&content) {
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(section.data()?);
        }
    }
    Ok(crate::source_hash::sha256(&all).chars().take(8).collect())
}

fn sections(bytes: &[u8]) -> Result<BTreeMap<(Content, String), Vec<u8>>> {
    let file = object::File::parse(bytes)?;
    let mut found = BTreeMap::new();
    for section in file.sections() {
        let name = section.name()?.to_owned();
        let executable = matches!(
            section.flags(),
            SectionFlags::Elf { sh_flags } if sh_flags & EXECUTABLE != 0
        );
        let content = Content::of(&name, executable);
        let data = section.data()?;
        // A section of instructions holds many functions: each is compared by itself.
        let functions = file.symbols().filter(|symbol| {
            executable
                && symbol.section_index() == Some(section.index())
                && symbol.kind() == object::SymbolKind::Text
        });
        for function in functions {
            let start = usize::try_from(function.address())?;
            let end = start.saturating_add(usize::try_from(function.size())?);
            let body = data.get(start..end).context("a function reaches beyond its section")?;
            found.insert((content, function.name()?.to_owned()), body.to_vec());
        }
        found.insert((content, name), data.to_vec());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_have_names_that_a_reader_knows() {
        assert_eq!(Content::of("raw_tp/x", true), Content::Programs);
        assert_eq!(Content::of(".text", true), Content::Programs);
        assert_eq!(Content::of("maps", false), Content::Maps);
        assert_eq!(Content::of(".BTF", false), Content::Types);
        assert_eq!(Content::of(".BTF.ext", false), Content::Lines);
        assert_eq!(Content::of(".rel.BTF", false), Content::Relocations);
        assert_eq!(Content::of("license", false), Content::Rest);
    }

    #[test]
    fn a_changed_instruction_is_told_with_its_section() {
        let kept = crate::steps::root()
            .join(crate::source_hash::PREBUILT)
            .join(crate::source_hash::OBJECT);
        let kept = std::fs::read(kept).unwrap();
        assert!(objects(&kept, &kept).unwrap().is_empty());

        let file = object::File::parse(&*kept).unwrap();
        let section = file.sections().find(|s| s.name() == Ok(".text")).unwrap();
        let (start, _) = section.file_range().unwrap();
        let mut fresh = kept.clone();
        fresh[start as usize] ^= 1;
        let lines = objects(&kept, &fresh).unwrap();
        assert!(
            lines[0].starts_with("  instructions of the programs: 2 differ: .text, "),
            "{lines:?}"
        );
        assert!(lines[1..].iter().all(|line| line.contains("the same")), "{lines:?}");
        assert!(objects(&kept, b"no ELF").is_err());

        // Of that and of the lines, only the instruction makes it another object.
        let own = identity(&kept).unwrap();
        assert_ne!(identity(&fresh).unwrap(), own);
        let lines = file.sections().find(|s| s.name() == Ok(".BTF.ext")).unwrap();
        let (start, length) = lines.file_range().unwrap();
        let mut fresh = kept.clone();
        fresh[(start + length) as usize - 1] ^= 1;
        assert_eq!(identity(&fresh).unwrap(), own);
    }
}

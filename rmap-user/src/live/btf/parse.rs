//! A checked reader of BTF, over bytes alone.
//!
//! Comes in: bytes in the format of `Documentation/bpf/btf.rst`, in this machine's byte order.
//! Goes out: answers by name. Nothing is trusted: every offset is checked, every walk bounded;
//! bytes that make no sense give an [`Error`].

/// `struct btf_header`: magic, version, flags, length, then four offsets and lengths.
const HEADER: usize = 24;
const MAGIC: u16 = 0xeb9f;
/// More bytes than any kernel's types have.
const MAX_BYTES: usize = 256 << 20;
/// Longest chain of typedefs, qualifiers and pointers that is followed.
const MAX_CHAIN: usize = 64;
/// Deepest nesting of anonymous structs and unions that is followed.
const MAX_DEPTH: usize = 24;
/// Most members that one question looks at: nested anonymous types could name each other.
const MAX_MEMBERS: usize = 100_000;
/// Bytes in a pointer of the kernel, which is the one that runs here.
const POINTER: u64 = size_of::<usize>() as u64;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not BTF, or are damaged.
    #[error("the kernel's types (BTF) cannot be understood at byte {at}: {what}")]
    Format {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// No struct or union of that name.
    #[error("this kernel has no struct or union {0}")]
    NoType(String),
    /// The type has no such member.
    #[error("this kernel's {type_name} has no member {path}")]
    NoMember {
        /// The struct or union.
        type_name: String,
        /// The member that was asked for.
        path: String,
    },
    /// The member is of another kind than the question supposes.
    #[error("{path} of this kernel's {type_name} is no {wanted}")]
    Shape {
        /// The struct or union.
        type_name: String,
        /// The member that was asked for.
        path: String,
        /// What it was supposed to be.
        wanted: &'static str,
    },
    /// No such tracepoint.
    #[error("this kernel has no tracepoint {0} with type information")]
    NoTracepoint(String),
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// From the start of the outermost type, in bits.
    pub bit_offset: u64,
    /// Bits of a bit field; `None`: an ordinary member, at a whole byte.
    pub bit_size: Option<u32>,
    /// Bytes of its type.
    pub size: u64,
    type_id: u32,
}

/// An argument of a raw tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, where the kernel kept it.
    pub name: Option<String>,
    /// Its type as in C, for example `struct mm_struct *`.
    pub type_name: String,
    /// Bytes of its type; 0 if that is not known.
    pub size: u64,
}

/// Types, with an index of where each one lies.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where the type with this id (less 1) lies in `types`.
    index: Vec<u32>,
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// How many members, values or parameters follow.
    count: usize,
    flag: bool,
    /// A size in bytes, or the id of another type.
    size_or_type: u32,
    /// Where in `types` the rest lies.
    rest: usize,
}

impl<'a> Btf<'a> {
    /// Indexes the types; takes linear time.
    ///
    /// # Errors
    /// The bytes are not BTF of this machine's byte order, or are damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let short = Error::Format { at: 0, what: "shorter than its header" };
        let field = |at| u32_at(bytes, at).ok_or(short.clone());
        if bytes.len() > MAX_BYTES {
            return Err(Error::Format { at: MAX_BYTES, what: "too large" });
        }
        let magic = bytes.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(Error::Format { at: 0, what: "not BTF of this byte order" });
        }
        let header = field(4)? as usize;
        if header < HEADER {
            return Err(Error::Format { at: 4, what: "a header that is too short" });
        }
        let section = |offset: u32, len: u32, at| {
            let start = header.checked_add(offset as usize);
            let end = start.and_then(|start| start.checked_add(len as usize));
            start
                .zip(end)
                .and_then(|(start, end)| bytes.get(start..end))
                .ok_or(Error::Format { at, what: "a section beyond the end" })
        };
        let types = section(field(8)?, field(12)?, 8)?;
        let strings = section(field(16)?, field(20)?, 16)?;
        let mut btf = Self { types, strings, index: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            let ty = btf.type_at(at)?;
            let more = rest_len(ty.kind, ty.count)
                .ok_or(Error::Format { at, what: "a type of an unknown kind" })?;
            btf.index
                .push(u32::try_from(at).map_err(|_| Error::Format { at, what: "too many types" })?);
            at = ty.rest + more;
            if at > types.len() {
                return Err(Error::Format { at, what: "a type beyond the end" });
            }
        }
        Ok(btf)
    }

    /// Where a member lies, in bytes from the start of the struct. `path` names it, through named
    /// members by dots (`mm.pgd` of a struct with a struct `mm`); anonymous structs and unions
    /// are looked through.
    ///
    /// # Errors
    /// There is no such type or member, or it is a bit field.
    pub fn member_offset(&self, type_name: &str, path: &str) -> Result<u64, Error> {
        let member = self.member(type_name, path)?;
        if member.bit_size.is_some() || member.bit_offset % 8 != 0 {
            return Err(shape(type_name, path, "member at a whole byte"));
        }
        Ok(member.bit_offset / 8)
    }

    /// A member's place and size, as [`Self::member_offset`] finds it.
    ///
    /// # Errors
    /// There is no such type or member.
    pub fn member(&self, type_name: &str, path: &str) -> Result<Member, Error> {
        let mut known = false;
        // A name may be used twice by different parts of the kernel.
        for (id, _) in self.named(type_name, |kind| matches!(kind, STRUCT | UNION)) {
            known = true;
            if let Some(member) = self.member_of(id, path)? {
                return Ok(member);
            }
        }
        if !known {
            return Err(Error::NoType(type_name.to_owned()));
        }
        Err(Error::NoMember { type_name: type_name.to_owned(), path: path.to_owned() })
    }

    /// How many elements an array member has.
    ///
    /// # Errors
    /// There is no such type or member, or it is no array.
    pub fn array_len(&self, type_name: &str, path: &str) -> Result<u32, Error> {
        let member = self.member(type_name, path)?;
        let (_, ty) = self.resolve(member.type_id)?;
        match ty {
            Some(ty) if ty.kind == ARRAY => self.u32(ty.rest + 8),
            _ => Err(shape(type_name, path, "array")),
        }
    }

    /// Bytes of a struct or union.
    ///
    /// # Errors
    /// There is no such type.
    pub fn size_of(&self, type_name: &str) -> Result<u64, Error> {
        self.named(type_name, |kind| matches!(kind, STRUCT | UNION))
            .next()
            .map(|(_, ty)| u64::from(ty.size_or_type))
            .ok_or_else(|| Error::NoType(type_name.to_owned()))
    }

    /// Whether there is a typedef of that name.
    #[must_use]
    pub fn has_typedef(&self, name: &str) -> bool {
        self.named(name, |kind| kind == TYPEDEF).next().is_some()
    }

    /// The value of a constant of an enumeration.
    ///
    /// # Errors
    /// There is no such enumeration, or it has no such constant.
    pub fn enum_value(&self, enumeration: &str, constant: &str) -> Result<u32, Error> {
        let mut known = false;
        for (_, ty) in self.named(enumeration, |kind| kind == ENUM) {
            known = true;
            for n in 0..ty.count {
                if self.is_string(self.u32(ty.rest + 8 * n)?, constant) {
                    return self.u32(ty.rest + 8 * n + 4);
                }
            }
        }
        if !known {
            return Err(Error::NoType(enumeration.to_owned()));
        }
        let (type_name, path) = (enumeration.to_owned(), constant.to_owned());
        Err(Error::NoMember { type_name, path })
    }

    /// Whether there is a function of that name with type information.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, |kind| kind == FUNC).next().is_some()
    }

    /// What a raw tracepoint hands to its programs, in order.
    ///
    /// The typedef `btf_trace_NAME` has them (`include/trace/bpf_probe.h`), behind the pointer to
    /// private data that every probe has and no program sees.
    ///
    /// # Errors
    /// There is no such tracepoint.
    pub fn tracepoint(&self, name: &str) -> Result<Vec<Argument>, Error> {
        let missing = || Error::NoTracepoint(name.to_owned());
        let wanted = format!("btf_trace_{name}");
        let (_, typedef) =
            self.named(&wanted, |kind| kind == TYPEDEF).next().ok_or_else(missing)?;
        let (_, pointer) = self.resolve(typedef.size_or_type)?;
        let pointer = pointer.filter(|ty| ty.kind == PTR).ok_or_else(missing)?;
        let (_, prototype) = self.resolve(pointer.size_or_type)?;
        let prototype = prototype.filter(|ty| ty.kind == FUNC_PROTO).ok_or_else(missing)?;
        (1..prototype.count)
            .map(|n| {
                let (name, id) =
                    (self.u32(prototype.rest + 8 * n)?, self.u32(prototype.rest + 8 * n + 4)?);
                Ok(Argument {
                    name: Some(self.string(name))
                        .filter(|name| !name.is_empty())
                        .map(|name| String::from_utf8_lossy(name).into_owned()),
                    type_name: self.describe(id)?,
                    size: self.size(id)?,
                })
            })
            .collect()
    }

    /// The types of a name and of certain kinds, with their ids.
    fn named<'b>(
        &'b self,
        name: &'b str,
        wanted: impl Fn(u32) -> bool + 'b,
    ) -> impl Iterator<Item = (u32, Type)> + 'b {
        self.index.iter().zip(1..).filter_map(move |(at, id)| {
            let ty = self.type_at(*at as usize).ok()?;
            (wanted(ty.kind) && self.is_string(ty.name, name)).then_some((id, ty))
        })
    }

    /// Follows a path of names from a struct or union.
    fn member_of(&self, id: u32, path: &str) -> Result<Option<Member>, Error> {
        let mut id = id;
        let mut base = 0_u64;
        let mut found = None;
        let mut budget = MAX_MEMBERS;
        for name in path.split('.') {
            let Some(member) = self.find(id, name, 0, &mut budget)? else { return Ok(None) };
            let bit_offset = base.saturating_add(member.bit_offset);
            (id, base) = (member.type_id, bit_offset);
            found = Some(Member { bit_offset, ..member });
        }
        match found {
            Some(member) => Ok(Some(Member { size: self.size(member.type_id)?, ..member })),
            None => Ok(None),
        }
    }

    /// Finds a member by its name, also inside anonymous members.
    fn find(
        &self,
        id: u32,
        name: &str,
        depth: usize,
        budget: &mut usize,
    ) -> Result<Option<Member>, Error> {
        let (_, Some(ty)) = self.resolve(id)? else { return Ok(None) };
        if !matches!(ty.kind, STRUCT | UNION) || name.is_empty() || depth > MAX_DEPTH {
            return Ok(None);
        }
        for n in 0..ty.count {
            *budget = budget
                .checked_sub(1)
                .ok_or(Error::Format { at: ty.rest, what: "types nested without end" })?;
            let at = ty.rest + 12 * n;
            let (member_name, type_id, place) =
                (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
            // With the flag, the upper byte is the width of a bit field.
            let (bit_offset, width) =
                if ty.flag { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
            let bit_offset = u64::from(bit_offset);
            if self.is_string(member_name, name) {
                let bit_size = (width != 0).then_some(width);
                return Ok(Some(Member { bit_offset, bit_size, size: 0, type_id }));
            }
            if self.is_string(member_name, "")
                && let Some(inner) = self.find(type_id, name, depth + 1, budget)?
            {
                let bit_offset = bit_offset.saturating_add(inner.bit_offset);
                return Ok(Some(Member { bit_offset, ..inner }));
            }
        }
        Ok(None)
    }

    /// The type behind typedefs and qualifiers; `None` is `void`.
    fn resolve(&self, mut id: u32) -> Result<(u32, Option<Type>), Error> {
        for _ in 0..MAX_CHAIN {
            let Some(ty) = self.by_id(id)? else { return Ok((id, None)) };
            if !matches!(ty.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                return Ok((id, Some(ty)));
            }
            id = ty.size_or_type;
        }
        Err(Error::Format { at: 0, what: "a chain of types without end" })
    }

    /// Bytes of a type; 0 where it has none.
    fn size(&self, mut id: u32) -> Result<u64, Error> {
        let mut elements = 1_u64;
        for _ in 0..MAX_CHAIN {
            let (_, Some(ty)) = self.resolve(id)? else { return Ok(0) };
            match ty.kind {
                INT | STRUCT | UNION | ENUM | ENUM64 | FLOAT => {
                    return Ok(elements.saturating_mul(u64::from(ty.size_or_type)));
                }
                PTR => return Ok(elements.saturating_mul(POINTER)),
                ARRAY => {
                    elements = elements.saturating_mul(u64::from(self.u32(ty.rest + 8)?));
                    id = self.u32(ty.rest)?;
                }
                _ => return Ok(0),
            }
        }
        Err(Error::Format { at: 0, what: "a chain of types without end" })
    }

    /// A type as in C, as far as it takes to tell arguments apart: qualifiers are left out.
    fn describe(&self, mut id: u32) -> Result<String, Error> {
        let mut stars = String::new();
        for _ in 0..MAX_CHAIN {
            let base = match self.by_id(id)? {
                None => "void".to_owned(),
                Some(ty) => {
                    let name = String::from_utf8_lossy(self.string(ty.name));
                    match ty.kind {
                        PTR => {
                            stars.push('*');
                            id = ty.size_or_type;
                            continue;
                        }
                        CONST | VOLATILE | RESTRICT | TYPE_TAG => {
                            id = ty.size_or_type;
                            continue;
                        }
                        STRUCT => format!("struct {name}"),
                        UNION => format!("union {name}"),
                        ENUM | ENUM64 => format!("enum {name}"),
                        FWD => format!("{} {name}", if ty.flag { "union" } else { "struct" }),
                        FUNC_PROTO => "function".to_owned(),
                        ARRAY => "array".to_owned(),
                        _ => name.into_owned(),
                    }
                }
            };
            return Ok(if stars.is_empty() { base } else { format!("{base} {stars}") });
        }
        Err(Error::Format { at: 0, what: "a chain of types without end" })
    }

    /// `None` is `void`.
    fn by_id(&self, id: u32) -> Result<Option<Type>, Error> {
        let Some(index) = id.checked_sub(1) else { return Ok(None) };
        let at = self
            .index
            .get(index as usize)
            .ok_or(Error::Format { at: id as usize, what: "the id of a type that is not there" })?;
        self.type_at(*at as usize).map(Some)
    }

    fn type_at(&self, at: usize) -> Result<Type, Error> {
        let (name, info, size_or_type) = (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
        Ok(Type {
            name,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            flag: info >> 31 != 0,
            size_or_type,
            rest: at + 12,
        })
    }

    fn u32(&self, at: usize) -> Result<u32, Error> {
        u32_at(self.types, at).ok_or(Error::Format { at, what: "a type beyond the end" })
    }

    /// Up to its zero byte; empty if it is not there.
    fn string(&self, at: u32) -> &'a [u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    fn is_string(&self, at: u32, wanted: &str) -> bool {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.strip_prefix(wanted.as_bytes()).is_some_and(|after| after.first() == Some(&0))
    }
}

/// Bytes behind the fixed part of a type.
const fn rest_len(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
        ENUM | FUNC_PROTO => 8 * count,
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        _ => return None,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn shape(type_name: &str, path: &str, wanted: &'static str) -> Error {
    Error::Shape { type_name: type_name.to_owned(), path: path.to_owned(), wanted }
}

#[cfg(test)]
mod tests;

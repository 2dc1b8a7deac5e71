//! The reader, on bytes made by hand and on damaged ones.

use super::*;
use proptest::prelude::*;

/// Writes BTF.
#[derive(Default)]
struct Maker {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Maker {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn add(&mut self, name: &str, kind: u32, count: u32, size_or_type: u32, rest: &[u32]) {
        let name = self.name(name);
        self.types.extend([name, kind << 24 | count, size_or_type]);
        self.types.extend(rest);
    }

    fn bytes(&self) -> Vec<u8> {
        let types = u32::try_from(4 * self.types.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, types, types, strings];
        let words = header.iter().chain(&self.types).flat_map(|word| word.to_ne_bytes());
        words.chain(self.strings.iter().copied()).collect()
    }
}

/// ```c
/// struct s { int a; union { int b; int c[5]; }; unsigned f:3; struct s *next; t inner; };
/// typedef struct inner { int x; int y; } t;
/// typedef void (*btf_trace_tp)(void *, struct s *, int);
/// ```
fn sample() -> Vec<u8> {
    let mut m = Maker::default();
    let [a, b, c, f, next, inner, x, y] =
        ["a", "b", "c", "f", "next", "inner", "x", "y"].map(|name| m.name(name));
    m.add("int", INT, 0, 4, &[32]); // 1
    m.add("", ARRAY, 0, 0, &[1, 1, 5]); // 2
    m.add("", UNION, 2, 20, &[b, 1, 0, c, 2, 0]); // 3
    m.add("", PTR, 0, 5, &[]); // 4
    let members = [a, 1, 0, 0, 3, 32, f, 1, 3 << 24 | 192, next, 4, 256, inner, 6, 320];
    m.add("s", STRUCT | 0x80, 5, 48, &members); // 5
    m.add("t", TYPEDEF, 0, 7, &[]); // 6
    m.add("inner", STRUCT, 2, 8, &[x, 1, 0, y, 1, 32]); // 7
    m.add("", PTR, 0, 0, &[]); // 8
    m.add("", FUNC_PROTO, 3, 0, &[0, 8, 0, 4, a, 1]); // 9
    m.add("", PTR, 0, 9, &[]); // 10
    m.add("btf_trace_tp", TYPEDEF, 0, 10, &[]); // 11
    m.add("vfs_read", FUNC, 1, 9, &[]); // 12
    m.bytes()
}

fn ask(btf: &Btf<'_>) {
    for path in ["a", "b", "c", "f", "next", "inner.y", "inner.z", "a.b", "", "."] {
        let _ = btf.member_offset("s", path);
        let _ = btf.array_len("s", path);
    }
    let _ = btf.size_of("s");
    let _ = btf.tracepoint("tp");
    let _ = btf.has_function("vfs_read");
}

#[test]
fn members_are_found_by_their_names() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let offset = |path| btf.member_offset("s", path);
    assert_eq!(offset("a"), Ok(0));
    assert_eq!(offset("b"), Ok(4), "in an anonymous union");
    assert_eq!(offset("c"), Ok(4));
    assert_eq!(offset("next"), Ok(32));
    assert_eq!(offset("inner.y"), Ok(44), "through a typedef");
    assert!(matches!(offset("f"), Err(Error::Shape { .. })), "a bit field");
    assert_eq!(btf.member("s", "f").unwrap().bit_size, Some(3));
    assert_eq!(btf.member("s", "c").unwrap().size, 20);
    assert_eq!(btf.member("s", "next").unwrap().size, 8);
    for path in ["", "z", "a.b", "next.a", "inner.", ".a", "inner.z"] {
        assert!(matches!(offset(path), Err(Error::NoMember { .. })), "{path}");
    }
    assert_eq!(btf.array_len("s", "c"), Ok(5));
    assert!(matches!(btf.array_len("s", "a"), Err(Error::Shape { .. })));
    assert_eq!(btf.size_of("s"), Ok(48));
    assert_eq!(btf.size_of("t"), Err(Error::NoType("t".into())));
    assert!(btf.has_typedef("t") && !btf.has_typedef("s"));
    assert!(btf.has_function("vfs_read") && !btf.has_function("vfs"));
}

#[test]
fn a_tracepoint_has_its_arguments() {
    let bytes = sample();
    let arguments = Btf::parse(&bytes).unwrap().tracepoint("tp").unwrap();
    let argument = |name: Option<&str>, type_name: &str, size| Argument {
        name: name.map(str::to_owned),
        type_name: type_name.into(),
        size,
    };
    assert_eq!(arguments, [argument(None, "struct s *", 8), argument(Some("a"), "int", 4)]);
}

#[test]
fn types_without_end_are_an_error() {
    let mut m = Maker::default();
    m.add("t", TYPEDEF, 0, 1, &[]); // 1 is itself
    let many = [0, 3, 0].repeat(64);
    m.add("s", STRUCT, 64, 4, &many); // 2
    m.add("", STRUCT, 64, 4, &many); // 3 holds itself, 64 times
    m.add("btf_trace_t", TYPEDEF, 0, 1, &[]); // 4
    m.add("", PTR, 0, 5, &[]); // 5 points to itself
    m.add("", FUNC_PROTO, 2, 0, &[0, 0, 0, 5]); // 6
    m.add("", PTR, 0, 6, &[]); // 7
    m.add("btf_trace_p", TYPEDEF, 0, 7, &[]); // 8
    let bytes = m.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(matches!(btf.member("s", "x"), Err(Error::Format { .. })));
    assert!(matches!(btf.tracepoint("t"), Err(Error::Format { .. })));
    assert!(matches!(btf.tracepoint("p"), Err(Error::Format { .. })));
}

#[test]
fn what_is_no_btf_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", &[0x9f, 0xeb], &sample()[..23], &[0xeb, 0x9f, 1, 0]] {
        assert!(matches!(Btf::parse(bytes), Err(Error::Format { .. })), "{bytes:?}");
    }
    let mut unknown = Maker::default();
    unknown.add("", 31, 0, 0, &[]);
    assert!(Btf::parse(&unknown.bytes()).is_err());
}

proptest! {
    #[test]
    fn damage_is_an_error_or_another_answer(
        cut in 0..sample().len(),
        bits in proptest::collection::vec((0..sample().len(), 0..8), 0..12),
    ) {
        let mut bytes = sample();
        if let Ok(btf) = Btf::parse(&bytes[..cut]) {
            ask(&btf);
        }
        for (at, bit) in bits {
            bytes[at] ^= 1_u8 << bit;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            ask(&btf);
        }
    }

    #[test]
    fn any_types_are_read_or_refused(
        words in proptest::collection::vec(0u32..40, 0..200),
        kinds in proptest::collection::vec((0..200usize, 1u32..20, 0u32..4), 0..30),
    ) {
        let mut types = words;
        for (at, kind, count) in kinds {
            if let Some(word) = types.get_mut(at) {
                *word = kind << 24 | count;
            }
        }
        let maker = Maker { types, strings: b"\0s\0a\0b\0tp\0btf_trace_tp\0".to_vec() };
        let bytes = maker.bytes();
        if let Ok(btf) = Btf::parse(&bytes) {
            ask(&btf);
        }
    }
}

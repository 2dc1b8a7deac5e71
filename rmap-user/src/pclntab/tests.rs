use super::*;
use proptest::prelude::*;

/// Bytes of the header.
const HEADER: usize = 72;

/// The code of the function that every program has, wherever it is.
#[expect(clippy::unnecessary_wraps, reason = "the reader asks whether there is code")]
const fn known(_: u64) -> Option<[u8; 2]> {
    Some(KNOWN_CODE)
}

/// A table of functions at 0x40_1000: name, flags, and its changes of the stack pointer.
fn table(newer: bool, functions: &[(u32, &str, u8, &[u8])], end: u32) -> Vec<u8> {
    let mut names = vec![0];
    let mut changes = vec![0];
    let mut list = Vec::new();
    let mut data = Vec::new();
    let base = functions.len() * 8 + 8;
    for (start, name, flags, change) in functions {
        list.extend(start.to_le_bytes());
        list.extend((base as u32 + data.len() as u32).to_le_bytes());
        let words = [*start, names.len() as u32, 0, 0, changes.len() as u32, 0, 0, 0, 0, 0];
        let words = &words[..if newer { 10 } else { 9 }];
        data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        data.extend([0, *flags, 0, 0]);
        names.extend(name.bytes().chain([0]));
        changes.extend(*change);
    }
    list.extend(end.to_le_bytes());
    list.extend([0; 4]);
    list.extend(data);
    let mut bytes = Vec::new();
    bytes.extend((if newer { MAGIC_20 } else { MAGIC_18 }).to_le_bytes());
    bytes.extend([0, 0, 1, 8]);
    let at = |parts: &[&[u8]]| (HEADER + parts.iter().map(|p| p.len()).sum::<usize>()) as u64;
    let places = [at(&[]), 0, 0, at(&[&names]), at(&[&names, &changes])];
    for number in [functions.len() as u64, 0, 0x40_1000].iter().chain(&places) {
        bytes.extend(number.to_le_bytes());
    }
    [bytes, names, changes, list].concat()
}

/// Signed as the table has it.
const fn signed(change: i8) -> u8 {
    ((change << 1) ^ (change >> 7)).cast_unsigned()
}

#[test]
fn functions_have_their_names_places_and_depths() {
    let grow = [signed(1), 4, signed(48), 60, signed(-48), 1, 0];
    let functions: [(u32, &str, u8, &[u8]); 3] = [
        (0, "main.main", 0, &grow),
        (0x80, "runtime.goexit.abi0", TOP_FRAME, &[signed(1), 16, 0]),
        (0x90, "runtime.systemstack", WRITES_SP, &[signed(1), 16, 0]),
    ];
    for newer in [false, true] {
        let bytes = table(newer, &functions, 0xa0);
        let table = Table::parse(&bytes, 0, known).unwrap();
        assert_eq!((table.len(), table.functions().count()), (3, 3));
        let main = table.at(0x40_107f).unwrap();
        assert_eq!((main.name, main.start, main.end), ("main.main", 0x40_1000, 0x40_1080));
        assert!(!main.is_outermost && !main.leaves_its_stack);
        let depths = [(0..4, 0), (4..64, 48), (64..65, 0)];
        let depths =
            depths.map(|(range, depth)| (range.start + main.start..range.end + main.start, depth));
        assert_eq!(main.depths().unwrap(), depths);
        assert!(table.at(0x40_1080).unwrap().is_outermost);
        assert!(table.at(0x40_109f).unwrap().leaves_its_stack);
        assert!(table.at(0x40_10a0).is_none() && table.at(0x40_0fff).is_none());
    }
}

#[test]
fn what_is_cut_off_or_older_is_none() {
    let bytes = table(true, &[(0, KNOWN, 0, &[signed(1), 16, 0])], 16);
    for length in 0..bytes.len() {
        if let Some(table) = Table::parse(&bytes[..length], 0, known) {
            assert!(table.functions().all(|f| f.name == KNOWN), "{length}");
        }
    }
    let older = [&0xffff_fffa_u32.to_le_bytes()[..], &bytes[4..]].concat();
    assert!(Table::parse(&older, 0, known).is_none());
    // Addresses of another code.
    assert!(Table::parse(&bytes, 0, |_| Some([0x55, 0x48])).is_none());
    assert!(Table::parse(&bytes, 0, |_| None).is_none());
}

#[test]
fn addresses_count_from_the_text_where_the_header_does_not_say() {
    let bytes = table(true, &[(0, KNOWN, 0, &[signed(1), 16, 0])], 16);
    let code = |address| (address == 0x9000).then_some(KNOWN_CODE);
    let table = Table::parse(&bytes, 0x9000, code).unwrap();
    assert_eq!(table.at(0x900f).unwrap().start, 0x9000);
}

proptest! {
    #[test]
    fn any_bytes_are_read(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in 0..400_usize,
        byte in any::<u8>(),
    ) {
        fuzz_entry(&bytes);
        let mut damaged = table(true, &[(0, KNOWN, 0, &[signed(1), 16, 0]), (16, "b", 3, &[0])], 32);
        if let Some(place) = damaged.get_mut(at) {
            *place = byte;
        }
        fuzz_entry(&damaged);
    }
}

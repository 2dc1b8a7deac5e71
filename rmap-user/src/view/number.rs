//! Figures as text: sizes, shares, times.

use crate::report::BeforeAfter;

/// Bytes as KiB without a unit. Kernel sizes are whole KiB; what is not shows its first decimal.
pub fn kib(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) {
        (bytes / 1024).to_string()
    } else {
        // Downwards, so that nothing is claimed that is not there.
        format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024)
    }
}

/// The same for what may be negative, without a plus.
pub fn kib_signed(bytes: i128) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    let size = u64::try_from(bytes.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{sign}{}", kib(size))
}

/// From before to after, in bytes.
pub fn change(sizes: BeforeAfter) -> i128 {
    i128::from(sizes.after) - i128::from(sizes.before)
}

/// From before to after, with its sign; `0` for no change.
pub fn kib_change(sizes: BeforeAfter) -> String {
    let change = change(sizes);
    if change > 0 { format!("+{}", kib_signed(change)) } else { kib_signed(change) }
}

/// A size in a sentence: exact in KiB, and in a larger unit where that reads better.
pub fn size(bytes: u64) -> String {
    let exact = format!("{} KiB", kib(bytes));
    // One decimal of these is far inside what an f64 holds.
    let (unit, name) = match bytes {
        0..0xa0_0000 => return exact,
        0xa0_0000..0x4000_0000 => (1_u64 << 20, "MiB"),
        0x4000_0000..0x100_0000_0000 => (1 << 30, "GiB"),
        _ => (1 << 40, "TiB"),
    };
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{exact} ({}.{} {name})", tenths / 10, tenths % 10)
}

/// A share in whole per cent. `100 %` and `0 %` are said only where they are exact: in between it
/// is `>99 %` and `<1 %`. `-` where there is nothing to share.
pub fn share(part: u128, whole: u128) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let rounded = (part.saturating_mul(200) / whole).saturating_add(1) / 2;
    match rounded {
        0 if part > 0 => "<1 %".to_owned(),
        100 if part < whole => ">99 %".to_owned(),
        100 if part > whole => ">100 %".to_owned(),
        _ => format!("{rounded} %"),
    }
}

/// `many` things, with the word in the right number.
pub fn count(many: u64, one: &str, more: &str) -> String {
    if many == 1 { format!("1 {one}") } else { format!("{many} {more}") }
}

/// A span of time in the unit that reads best.
pub fn duration(ns: u64) -> String {
    let (unit, name) = match ns {
        0..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, hundredths) = (ns / unit, ns % unit * 100 / unit);
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {name}"),
        10..100 => format!("{whole}.{} {name}", hundredths / 10),
        _ => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_is_a_hundred_per_cent() {
        assert_eq!(share(1000, 1000), "100 %");
        assert_eq!(share(999, 1000), ">99 %");
        assert_eq!(share(1, 1000), "<1 %");
        assert_eq!(share(0, 1000), "0 %");
        assert_eq!(share(1001, 1000), ">100 %");
        assert_eq!(share(2, 3), "67 %");
        assert_eq!(share(0, 0), "-");
    }

    #[test]
    fn sizes_are_exact_and_readable() {
        assert_eq!(kib(61_440), "60");
        assert_eq!(kib(1536), "1.5");
        assert_eq!(kib_signed(-4096), "-4");
        assert_eq!(kib_change(BeforeAfter { before: 8192, after: 4096 }), "-4");
        assert_eq!(kib_change(BeforeAfter { before: 0, after: 4096 }), "+4");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(5 << 30), "5242880 KiB (5.0 GiB)");
        assert_eq!(size(u64::MAX), "18014398509481983.9 KiB (16777215.9 TiB)");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(1_234_567), "1.23 ms");
        assert_eq!(duration(12_345_678), "12.3 ms");
        assert_eq!(duration(123_456_789), "123 ms");
        assert_eq!(duration(999), "0.99 µs");
        assert_eq!(duration(61_000_000_000), "61.0 s");
    }
}

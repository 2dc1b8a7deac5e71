//! Sizes as they are typed: a number, with K, M, G or T behind it.

/// Bytes: `4096`, `200M`, `1.5GiB`. The letters stand for powers of 1024, as with `ulimit` and `docker`.
///
/// # Errors
/// What to give instead.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: give bytes, such as 200M, 1.5G or 65536");
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, power) = match short.char_indices().next_back() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => {
            let power = "kmgt".find(letter).ok_or_else(wrong)?;
            (&short[..at], power as i32 + 1)
        }
        _ => (short, 0),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * 1024_f64.powi(power);
    if !bytes.is_finite() || bytes < 0.0 || bytes > u64::MAX as f64 / 2.0 {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!(size("200M"), Ok(200 << 20));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("4kb"), Ok(4096));
        for wrong in ["", "M", "-1", "1X", "nan", "1e999", "10%"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}

//! Data inside of HTML.
//!
//! Comes in: JSON. Goes out: the same as the content of a `script` element that holds data: JSON in
//! which nothing can end the element, or gzip as base64.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Writes JSON so that no byte of it is markup: `<` and `>` and `&` become escapes, which JSON
/// allows only inside of strings, where alone they stand. So do the two line ends of Unicode, which
/// older scripts do not allow in strings.
pub fn write_json(json: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut from = 0;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let (escape, length) = match byte {
            b'<' => ("\\u003c", 1),
            b'>' => ("\\u003e", 1),
            b'&' => ("\\u0026", 1),
            0xe2 => match json.get(at + 1..at + 3) {
                Some([0x80, 0xa8]) => ("\\u2028", 3),
                Some([0x80, 0xa9]) => ("\\u2029", 3),
                _ => ("", 1),
            },
            _ => ("", 1),
        };
        if !escape.is_empty() {
            out.write_all(json.get(from..at).unwrap_or_default())?;
            out.write_all(escape.as_bytes())?;
            from = at + length;
        }
        at += length;
    }
    out.write_all(json.get(from..).unwrap_or_default())
}

/// Writes the gzip of bytes as base64.
pub fn write_compressed(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    out.write_all(base64(&packed.finish()?).as_bytes())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place) & 63) as usize;
            let letter = ALPHABET.get(six).copied().unwrap_or(b'A');
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn escaped(json: &str) -> String {
        let mut out = Vec::new();
        write_json(json.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_names_are_no_markup_and_stay_the_same_names() {
        for name in [
            "</script><script>alert(1)</script>",
            "<!--<script>",
            "]]>&lt;&amp;",
            "\u{2028}\u{2029}\u{2027}é",
            "a\u{202e}b\0\x1b[31m\"\\",
            "</SCRIPT >",
        ] {
            let json = serde_json::to_string(&[name]).unwrap();
            let inside = escaped(&json);
            assert!(!inside.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{inside}");
            let [back]: [String; 1] = serde_json::from_str(&inside).unwrap();
            assert_eq!(back, name);
        }
        assert_eq!(escaped(r#"{"a":[1,2]}"#), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn base64_pads() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn compressed_bytes_come_back() {
        let bytes: Vec<u8> = (0..10_000_u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        let mut text = Vec::new();
        write_compressed(&bytes, &mut text).unwrap();
        let value = |letter: &u8| ALPHABET.iter().position(|known| known == letter);
        let packed: Vec<u8> = text
            .chunks(4)
            .flat_map(|four| {
                let bits =
                    four.iter().fold(0, |bits, letter| bits << 6 | value(letter).unwrap_or(0));
                [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]
            })
            .collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
}

//! Lines of `/proc/PID/maps` that are executable.
//!
//! Comes in: the text. Goes out: [`Line`]s; what is no such line is left out. Source: proc(5),
//! kernel `show_map_vma`.

use std::ops::Range;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub range: Range<u64>,
    pub offset: u64,
    pub device: (u32, u32),
    pub inode: u64,
    /// Newlines are `\012` there; bytes that are no UTF-8 are replaced.
    pub path: String,
}

/// The executable mappings among the lines of `text`, in their order.
pub(super) fn executable(text: &[u8]) -> Vec<Line> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Line> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?;
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?;
    if perms.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let path = String::from_utf8_lossy(fields.next().unwrap_or_default().trim_ascii_start());
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Line {
        range: hex(start)?..hex(end)?,
        offset: hex(offset)?,
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode: inode.parse().ok()?,
        path: path.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_all_kinds() {
        let text = b"\
55d0a8e4b000-55d0a8e4d000 r--p 00000000 fe:00 131                        /usr/bin/a
55d0a8e4d000-55d0a8e52000 r-xp 00002000 fe:00 131                        /usr/bin/a b (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7ffd1b5f2000-7ffd1b5f4000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
";
        let lines = executable(text);
        let paths: Vec<_> = lines.iter().map(|line| line.path.as_str()).collect();
        assert_eq!(paths, ["/usr/bin/a b (deleted)", "", "[vdso]", "[vsyscall]"]);
        assert_eq!(
            lines[0],
            Line {
                range: 0x55d0_a8e4_d000..0x55d0_a8e5_2000,
                offset: 0x2000,
                device: (0xfe, 0),
                inode: 131,
                path: "/usr/bin/a b (deleted)".into(),
            }
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in prop::collection::vec(any::<u8>(), 0..300)) {
            executable(&text);
        }

        #[test]
        fn anything_like_a_line_is_taken(text in "[0-9a-f]{0,20}-[0-9a-f]{0,20} r.x. .{0,40}") {
            executable(text.as_bytes());
        }
    }
}

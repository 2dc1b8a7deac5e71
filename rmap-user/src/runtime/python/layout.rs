//! Where each version of CPython keeps what a walk reads: offsets in bytes on 64-bit machines, from
//! CPython's own headers (`Include/cpython/pystate.h`, `Include/internal/pycore_frame.h`,
//! `Include/cpython/code.h`), held against each version's builds by the tests.

use rmap_ebpf::abi::{
    PYTHON_AT_BYTES, PYTHON_AT_POINTER, PYTHON_AT_UNITS, PYTHON_BOUNDARY, PYTHON_ENTRY,
    PYTHON_OBJECTS, PythonConfig,
};

use serde::{Deserialize, Serialize};

/// A version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// 3.
    pub major: u8,
    /// 8 for 3.8.
    pub minor: u8,
    /// Known where `Py_Version` says so (3.11 and later).
    pub micro: Option<u8>,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.micro.map_or(Ok(()), |micro| write!(f, ".{micro}"))
    }
}

/// What is known of one minor version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Offset of `autoTSSkey` in `_PyRuntime`.
    pub key: u64,
    /// `tp_basicsize` of `PyCode_Type`, where that is where the instructions begin; 0: it is not.
    pub code_size: u64,
    /// Offsets without addresses.
    pub config: PythonConfig,
}

/// The offset of `tp_basicsize` in a type object.
pub(super) const TYPE_BASIC_SIZE: u64 = 32;

/// Fits 3.8 to 3.10.
const OBJECTS: PythonConfig = PythonConfig {
    salt: 0,
    key_at: 0,
    code_type: 0,
    active: 1,
    style: PYTHON_OBJECTS,
    key: 0,
    tag: 0,
    state_bytes: 192,
    state_thread: 176,
    state_frame: 24,
    state_loop: 0,
    state_top: 0,
    loop_frame: u32::MAX,
    loop_previous: 8,
    frame_bytes: 112,
    frame_code: 32,
    frame_previous: 24,
    frame_at: 104,
    frame_owner: 0,
    at_kind: PYTHON_AT_BYTES,
    code_start: 0,
    code_line: 40,
    code_file: 104,
    code_name: 112,
    code_table: 120,
    code_version: 0,
    text_ascii: 48,
    text_other: 72,
    minor: 0,
};

/// Fits 3.12, and with changes those before and after it.
const BOUNDARY: PythonConfig = PythonConfig {
    style: PYTHON_BOUNDARY,
    state_bytes: 256,
    state_thread: 136,
    state_frame: 0,
    state_loop: 56,
    state_top: 240,
    loop_frame: 0,
    frame_bytes: 80,
    frame_code: 0,
    frame_previous: 8,
    frame_at: 56,
    frame_owner: 70,
    at_kind: PYTHON_AT_POINTER,
    code_start: 192,
    code_line: 68,
    code_file: 112,
    code_name: 128,
    code_table: 136,
    code_version: 92,
    text_ascii: 40,
    text_other: 56,
    ..OBJECTS
};

/// The layout of a minor version of CPython 3; `None` if it is not known.
pub(super) const fn layout(minor: u8) -> Option<Layout> {
    let (key, code_size, config) = match minor {
        8 => (1392, 0, OBJECTS),
        9 => (584, 0, OBJECTS),
        10 => (
            584,
            0,
            PythonConfig {
                state_loop: 48,
                frame_bytes: 104,
                frame_at: 96,
                at_kind: PYTHON_AT_UNITS,
                ..OBJECTS
            },
        ),
        11 => (
            592,
            184,
            PythonConfig {
                style: PYTHON_ENTRY,
                state_bytes: 312,
                state_thread: 152,
                state_top: 304,
                loop_frame: 8,
                loop_previous: 16,
                frame_bytes: 72,
                frame_code: 32,
                frame_previous: 48,
                frame_owner: 69,
                code_start: 184,
                code_line: 72,
                code_version: 0,
                text_ascii: 48,
                text_other: 72,
                ..BOUNDARY
            },
        ),
        12 => (1544, 192, BOUNDARY),
        13 => (
            2160,
            200,
            PythonConfig {
                state_thread: 152,
                state_frame: 72,
                state_loop: 0,
                code_start: 200,
                ..BOUNDARY
            },
        ),
        14 => (
            2336,
            208,
            PythonConfig {
                tag: 1,
                state_thread: 152,
                state_frame: 72,
                state_loop: 0,
                frame_owner: 74,
                code_start: 208,
                ..BOUNDARY
            },
        ),
        _ => return None,
    };
    Some(Layout { key, code_size, config: PythonConfig { minor: minor as u32, ..config } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmap_ebpf::abi::{PYTHON_FRAME_BYTES, PYTHON_STATE_BYTES};

    #[test]
    fn every_layout_reads_what_it_names() {
        for minor in 8..=14 {
            let config = layout(minor).unwrap().config;
            assert!(config.state_bytes <= PYTHON_STATE_BYTES, "3.{minor}");
            assert!(config.frame_bytes <= PYTHON_FRAME_BYTES, "3.{minor}");
            for offset in [config.state_thread, config.state_frame, config.state_loop] {
                assert!(offset + 8 <= config.state_bytes, "3.{minor}");
            }
            assert!(config.state_top == 0 || config.state_top + 8 <= config.state_bytes);
            for offset in [config.frame_code, config.frame_previous, config.frame_at] {
                assert!(offset + 4 <= config.frame_bytes, "3.{minor}");
            }
            assert!(config.frame_owner < config.frame_bytes);
            // The kernel side reads 144 bytes of a code object.
            assert!(config.code_table + 8 <= 144 && config.code_name + 8 <= 144);
        }
        assert!(layout(7).is_none() && layout(15).is_none());
    }
}

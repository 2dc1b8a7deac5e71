//! What of an ELF file the unwind tables need: its executable segments, its call frame
//! information and its build id.
//!
//! Comes in: a file's bytes, or those of an image in memory such as the vdso's. Goes out: an
//! [`Elf`] that borrows from them. Headers that lie give an error or nothing, never a panic.

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use object::LittleEndian as Endian;
use object::elf::{
    EM_X86_64, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE,
    ProgramHeader64, SHF_COMPRESSED, SHT_NOBITS,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

/// Most program headers that are looked at.
const MAX_SEGMENTS: usize = 64;
/// Longest build id that is taken, in bytes.
pub const MAX_BUILD_ID: usize = 64;

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It does not begin with the header of a 64-bit ELF file.
    #[error("this is no 64-bit ELF file")]
    NotElf,
    /// It is for another machine.
    #[error("the ELF file is for machine {0}, not for x86-64 (62)")]
    Machine(u16),
    /// There are no usable program headers.
    #[error("the ELF file has no readable program headers")]
    NoSegments,
}

/// A loadable segment of the file (`PT_LOAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its address before relocation.
    pub address: u64,
    /// Bytes it takes from the file.
    pub file_size: u64,
    /// Whether its memory may be executed.
    pub executable: bool,
}

/// Which of the two formats of call frame information it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// `.eh_frame`.
    Eh,
    /// `.debug_frame`.
    Debug,
}

/// Call frame information.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'data> {
    /// Its format.
    pub kind: FrameKind,
    /// The section's bytes; they may run on behind its end if there are no section headers.
    pub bytes: &'data [u8],
    /// The section's address before relocation.
    pub address: u64,
    /// The address of `.text`, to which some encodings relate.
    pub text: u64,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Elf<'data> {
    data: &'data [u8],
    /// Its loadable segments, in the file's order.
    pub segments: Vec<Segment>,
    /// Its call frame information, the better first.
    pub frames: Vec<Frames<'data>>,
    /// The entry point, 0 if there is none.
    pub entry: u64,
    /// Its build id.
    pub build_id: Option<&'data [u8]>,
}

impl<'data> Elf<'data> {
    /// The whole file.
    #[must_use]
    pub const fn data(&self) -> &'data [u8] {
        self.data
    }

    /// Reads the headers.
    ///
    /// # Errors
    /// The bytes are no 64-bit ELF file for x86-64, or have no program headers.
    pub fn parse(data: &'data [u8]) -> Result<Self, ElfError> {
        let header = FileHeader64::<Endian>::parse(data).map_err(|_| ElfError::NotElf)?;
        let machine = header.e_machine.get(Endian);
        if machine != EM_X86_64 {
            return Err(ElfError::Machine(machine));
        }
        let headers = header.program_headers(Endian, data).map_err(|_| ElfError::NoSegments)?;
        let headers = headers.get(..headers.len().min(MAX_SEGMENTS)).unwrap_or_default();
        let segments: Vec<Segment> = headers
            .iter()
            .filter(|header| header.p_type.get(Endian) == PT_LOAD)
            .map(|header| Segment {
                offset: header.p_offset.get(Endian),
                address: header.p_vaddr.get(Endian),
                file_size: header.p_filesz.get(Endian),
                executable: header.p_flags.get(Endian) & PF_X != 0,
            })
            .collect();
        if segments.is_empty() {
            return Err(ElfError::NoSegments);
        }
        let entry = header.e_entry.get(Endian);
        let build_id = headers.iter().find_map(|header| build_id(header, data));
        let mut elf = Self { data, segments, frames: Vec::new(), entry, build_id };
        let (eh, debug) = elf.frames_by_sections(header);
        elf.frames.extend(eh.or_else(|| elf.frames_by_header(headers)));
        elf.frames.extend(debug);
        Ok(elf)
    }

    /// `.eh_frame` and `.debug_frame` as the section headers name them.
    fn frames_by_sections(
        &self,
        header: &FileHeader64<Endian>,
    ) -> (Option<Frames<'data>>, Option<Frames<'data>>) {
        let Ok(sections) = header.sections(Endian, self.data) else { return (None, None) };
        let (mut eh, mut debug, mut text) = (None, None, 0);
        for section in sections.iter() {
            let kind = match sections.section_name(Endian, section) {
                Ok(b".eh_frame") => FrameKind::Eh,
                Ok(b".debug_frame") => FrameKind::Debug,
                Ok(b".text") => {
                    text = section.sh_addr.get(Endian);
                    continue;
                }
                _ => continue,
            };
            let compressed = section.sh_flags.get(Endian) & u64::from(SHF_COMPRESSED) != 0;
            if compressed || section.sh_type.get(Endian) == SHT_NOBITS {
                continue;
            }
            let Ok(bytes) = section.data(Endian, self.data) else { continue };
            if !bytes.is_empty() {
                let frames = Frames { kind, bytes, address: section.sh_addr.get(Endian), text: 0 };
                let place = if kind == FrameKind::Eh { &mut eh } else { &mut debug };
                *place = Some(frames);
            }
        }
        for frames in [&mut eh, &mut debug].into_iter().flatten() {
            frames.text = text;
        }
        (eh, debug)
    }

    /// `.eh_frame` as `.eh_frame_hdr` names it, for files without section headers. How long it
    /// is stands nowhere; it ends with a zero, or with its segment.
    fn frames_by_header(&self, headers: &[ProgramHeader64<Endian>]) -> Option<Frames<'data>> {
        let hdr = headers.iter().find(|header| header.p_type.get(Endian) == PT_GNU_EH_FRAME)?;
        let hdr_address = hdr.p_vaddr.get(Endian);
        let bases = BaseAddresses::default().set_eh_frame_hdr(hdr_address);
        let bytes = hdr.data(Endian, self.data).ok()?;
        let parsed = EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
        let Pointer::Direct(address) = parsed.eh_frame_ptr() else { return None };
        let bytes = self.bytes_from(address)?;
        Some(Frames { kind: FrameKind::Eh, bytes, address, text: 0 })
    }

    /// The file's bytes from an address (before relocation) to the end of its segment.
    #[must_use]
    pub fn bytes_from(&self, address: u64) -> Option<&'data [u8]> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            if within >= segment.file_size {
                return None;
            }
            let end = segment.offset.checked_add(segment.file_size)?.min(self.data.len() as u64);
            let start = segment.offset.checked_add(within)?;
            self.data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        })
    }
}

fn build_id<'data>(header: &ProgramHeader64<Endian>, data: &'data [u8]) -> Option<&'data [u8]> {
    if header.p_type.get(Endian) != PT_NOTE {
        return None;
    }
    let mut notes = header.notes(Endian, data).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"GNU" && note.n_type(Endian) == NT_GNU_BUILD_ID {
            let id = note.desc();
            return (!id.is_empty() && id.len() <= MAX_BUILD_ID).then_some(id);
        }
    }
    None
}

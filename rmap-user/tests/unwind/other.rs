//! The other unwinder: framehop over the same registers and memory.

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use rmap::unwind::walk::Registers;
use rmap_ebpf::abi::{MAX_FRAMES, REG_BP, REG_SP};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

#[derive(Clone, Default)]
struct Bytes(Rc<Vec<u8>>, Range<usize>);

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

#[derive(Default)]
pub struct Other {
    unwinder: UnwinderX86_64<Bytes>,
    files: HashMap<String, Rc<Vec<u8>>>,
}

/// How two walks of the same stack compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Same,
    /// Ours goes on where the other ends.
    Longer,
    Shorter,
    Different,
}

impl Verdict {
    #[allow(dead_code, reason = "one of the tests that share this counts them")]
    pub const ALL: [Self; 4] = [Self::Same, Self::Longer, Self::Shorter, Self::Different];

    pub fn of(ours: &[u64], other: &[u64]) -> Self {
        if ours == other {
            Self::Same
        } else if ours.starts_with(other) {
            Self::Longer
        } else if other.starts_with(ours) {
            Self::Shorter
        } else {
            Self::Different
        }
    }
}

impl Other {
    #[allow(dead_code, reason = "the other of the tests that share this has the bytes already")]
    pub fn read(&mut self, path: &str, data: Vec<u8>) {
        self.share(path, Rc::new(data));
    }

    pub fn share(&mut self, path: &str, data: Rc<Vec<u8>>) {
        self.files.insert(path.to_owned(), data);
    }

    pub fn add(&mut self, path: &str, addresses: Range<u64>, load: u64) {
        use object::{Object, ObjectSection};
        let Some(data) = self.files.get(path) else { return };
        let file = object::File::parse(&***data).expect("parse a module");
        let section = |name| {
            let section = file.section_by_name(name)?;
            let (start, size) = section.file_range()?;
            let bytes = Bytes(data.clone(), start as usize..(start + size) as usize);
            Some((section.address()..section.address() + section.size(), bytes))
        };
        let address = |name| section(name).map(|(range, _)| range);
        let bytes = |name| section(name).map(|(_, bytes)| bytes);
        self.unwinder.add_module(Module::new(
            path.to_owned(),
            addresses,
            load,
            ExplicitModuleSectionInfo {
                base_svma: 0,
                text_svma: address(".text"),
                text: bytes(".text"),
                got_svma: address(".got"),
                eh_frame_svma: address(".eh_frame"),
                eh_frame: bytes(".eh_frame"),
                eh_frame_hdr_svma: address(".eh_frame_hdr"),
                eh_frame_hdr: bytes(".eh_frame_hdr"),
                debug_frame: bytes(".debug_frame"),
                ..ExplicitModuleSectionInfo::default()
            },
        ));
    }

    pub fn walk(
        &self,
        registers: &Registers,
        mut read: impl FnMut(u64) -> Option<u64>,
    ) -> Vec<u64> {
        let general = |number: u8| registers.general[usize::from(number)];
        let regs = UnwindRegsX86_64::new(registers.ip, general(REG_SP), general(REG_BP));
        let mut cache = CacheX86_64::<_>::new();
        let mut read = |address| read(address).ok_or(());
        let mut frames = self.unwinder.iter_frames(registers.ip, regs, &mut cache, &mut read);
        let mut ips = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            if ips.len() == MAX_FRAMES {
                break;
            }
            ips.push(frame.address());
        }
        ips
    }
}

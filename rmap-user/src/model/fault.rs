//! What a page fault did: error bits × counters that moved × kind of mapping → cause and reach.
//!
//! Comes in: a [`Fault`] and the mapping it hit. Goes out: an [`Outcome`], or nothing if the fault
//! changed neither what is resident nor what is dirty. The rules follow what was measured on the
//! kernel: a read of untouched anonymous memory maps the zero page and moves no counter; copies
//! of anonymous pages move no counter either; a private copy of a file's page moves two.

use super::cause::Cause;
use super::mapping::Vma;
use crate::trace::{Delta, Fault};

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub cause: Cause,
    /// Which pages.
    pub reach: Reach,
    /// They became resident, or other pages took their place.
    pub resident: bool,
    /// They (or the faulting one) became dirty.
    pub dirty: bool,
    /// Only a guess: it does not take pages from those who own them surely.
    pub guess: bool,
}

/// Which pages a fault brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of the naturally aligned block of so many pages around the address (1: one page).
    Block(u32),
    /// The faulting page, and so many pages in all somewhere around it.
    Around(u32),
}

/// Pages in the largest block.
const HUGE_PAGES: i32 = 512;

/// What a fault in a mapping did. `grew`: the mapping is a stack, and the fault extended it.
#[must_use]
pub fn classify(fault: &Fault, vma: Option<&Vma>, grew: bool) -> Option<Outcome> {
    let seen = Seen {
        kernel_fills: fault.kernel && fault.syscall.is_some(),
        major: fault.major,
        private_file: vma.is_some_and(|vma| vma.file && !vma.shared),
        private: vma.is_some_and(|vma| !vma.shared),
        shared: vma.is_some_and(|vma| vma.shared),
        file: vma.is_some_and(|vma| vma.file),
        grew,
        inexact: fault.delta_inexact,
        huge: fault.entry.is_some_and(|entry| entry.huge),
        same_page: fault.same_page == Some(true),
        delta: fault.delta,
    };
    match fault.access {
        Some(access) if access.write && access.present => Some(seen.protected_write()),
        Some(access) if seen.uncounted() => seen.by_mapping(access.write),
        Some(access) if access.write => seen.first_write(),
        Some(_) => seen.read(),
        None => Some(seen.by_counters()),
    }
}

/// All that the rules look at.
struct Seen {
    kernel_fills: bool,
    major: bool,
    private_file: bool,
    private: bool,
    shared: bool,
    file: bool,
    grew: bool,
    inexact: bool,
    huge: bool,
    same_page: bool,
    delta: Delta,
}

const fn outcome(cause: Cause, reach: Reach, resident: bool, dirty: bool) -> Outcome {
    Outcome { cause, reach, resident, dirty, guess: false }
}

const PAGE: Reach = Reach::Block(1);

impl Seen {
    fn moved(&self, member: Option<i32>) -> bool {
        member.is_some_and(|by| by != 0 || self.inexact)
    }

    /// How many anonymous pages (or pages of shared memory) came. Several come only as a folio, so
    /// an inexact number that no folio has was one page.
    fn folio(&self, member: Option<i32>) -> Option<u32> {
        match member {
            None => None,
            Some(by) if by < 1 => self.inexact.then_some(1),
            Some(by) if self.inexact && !(by <= HUGE_PAGES && by.count_ones() == 1) => Some(1),
            Some(by) => Some(by.unsigned_abs()),
        }
    }

    fn around(&self, member: Option<i32>) -> Option<u32> {
        match member {
            None => None,
            Some(by) if by < 1 => self.inexact.then_some(1),
            Some(by) => Some(by.min(HUGE_PAGES).unsigned_abs()),
        }
    }

    /// A new anonymous page for a write.
    fn new_anonymous(&self, pages: u32) -> Outcome {
        let cause = if self.private_file {
            Cause::FileCow
        } else if pages == HUGE_PAGES.unsigned_abs() {
            Cause::HugePage
        } else if self.kernel_fills {
            Cause::KernelWrite
        } else if self.grew {
            Cause::StackGrowth
        } else if pages > 1 {
            Cause::MultiSizeHugePage
        } else {
            Cause::FirstWrite
        };
        outcome(cause, Reach::Block(pages), true, true)
    }

    /// A write to a page that was there, but not to be written.
    fn protected_write(&self) -> Outcome {
        if let Some(pages) = self.folio(self.delta.anon) {
            if self.private_file || self.moved(self.delta.file) || self.moved(self.delta.shmem) {
                return outcome(Cause::FileCow, PAGE, true, true);
            }
            let new = self.new_anonymous(pages);
            return match new.cause {
                Cause::FirstWrite | Cause::StackGrowth => {
                    Outcome { cause: Cause::ZeroPageWrite, ..new }
                }
                _ => new,
            };
        }
        if self.shared {
            let cause = if self.file { Cause::SharedWrite } else { Cause::SharedMemory };
            return outcome(cause, PAGE, false, true);
        }
        // The last owner of a huge page may write all of it from now on.
        let reach = if self.huge { Reach::Block(HUGE_PAGES.unsigned_abs()) } else { PAGE };
        if self.same_page {
            return outcome(Cause::ForkReuse, reach, false, true);
        }
        outcome(Cause::ForkCow, reach, true, true)
    }

    /// A write to a page that was not there.
    fn first_write(&self) -> Option<Outcome> {
        if self.moved(self.delta.swap) {
            let pages = self.folio(self.delta.anon).unwrap_or(1);
            return Some(outcome(Cause::SwapIn, Reach::Block(pages), true, true));
        }
        if let Some(pages) = self.folio(self.delta.anon) {
            return Some(self.new_anonymous(pages));
        }
        if let Some(pages) = self.folio(self.delta.shmem) {
            return Some(outcome(self.shared_memory(), Reach::Block(pages), true, true));
        }
        let pages = self.around(self.delta.file)?;
        Some(if self.private {
            outcome(Cause::FileRead, Reach::Around(pages), true, false)
        } else {
            outcome(Cause::SharedWrite, Reach::Around(pages), true, true)
        })
    }

    /// A read, or an instruction fetch.
    fn read(&self) -> Option<Outcome> {
        if self.moved(self.delta.swap) {
            let pages = self.folio(self.delta.anon).unwrap_or(1);
            return Some(outcome(Cause::SwapIn, Reach::Block(pages), true, false));
        }
        if let Some(pages) = self.folio(self.delta.anon) {
            // The counters of swap are not moved where the page is brought from elsewhere.
            let cause = if self.major { Cause::SwapIn } else { Cause::OtherFault };
            return Some(outcome(cause, Reach::Block(pages), true, false));
        }
        if let Some(pages) = self.around(self.delta.shmem) {
            return Some(outcome(self.shared_memory(), Reach::Around(pages), true, false));
        }
        let pages = self.around(self.delta.file)?;
        Some(outcome(Cause::FileRead, Reach::Around(pages), true, false))
    }

    /// A page came, and no counter was seen to move.
    fn uncounted(&self) -> bool {
        self.inexact && self.delta == Delta::default()
    }

    /// What such a page is follows from the mapping and the access. If another thread was faster,
    /// that one has told.
    fn by_mapping(&self, write: bool) -> Option<Outcome> {
        let around = Reach::Around(1);
        let seen = match (self.file, self.shared, write) {
            (true, true, true) => outcome(Cause::SharedWrite, around, true, true),
            (true, false, true) => outcome(Cause::FileCow, PAGE, true, true),
            (true, _, false) => outcome(Cause::FileRead, around, true, false),
            (false, true, true) => outcome(self.shared_memory(), PAGE, true, true),
            (false, true, false) => outcome(self.shared_memory(), around, true, false),
            (false, false, true) => {
                self.new_anonymous(if self.huge { HUGE_PAGES.unsigned_abs() } else { 1 })
            }
            // The huge zero page.
            (false, false, false) if self.huge => return None,
            (false, false, false) => outcome(Cause::SwapIn, PAGE, true, false),
        };
        Some(Outcome { guess: true, ..seen })
    }

    /// The access is not known; the counters and the mapping tell what is likely.
    fn by_counters(&self) -> Outcome {
        if self.moved(self.delta.anon) && self.moved(self.delta.file) {
            return outcome(Cause::FileCow, PAGE, true, true);
        }
        if self.moved(self.delta.anon) && !self.moved(self.delta.swap) {
            return self.new_anonymous(self.folio(self.delta.anon).unwrap_or(1));
        }
        if let Some(read) = self.read() {
            return read;
        }
        // A page that is not resident at a snapshot does no harm to a guess.
        let guess = if self.file {
            outcome(Cause::FileRead, PAGE, true, false)
        } else if self.shared {
            outcome(Cause::SharedMemory, PAGE, true, false)
        } else {
            self.new_anonymous(1)
        };
        Outcome { guess: true, ..guess }
    }

    /// Pages of shared memory come from a disk only if they were swapped out.
    const fn shared_memory(&self) -> Cause {
        if self.major { Cause::SwapIn } else { Cause::SharedMemory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Call, InstanceId, Origin};
    use crate::trace::Access;

    const WRITE: u32 = 6;
    const PROTECTED_WRITE: u32 = 7;
    const READ: u32 = 4;

    fn vma(file: bool, shared: bool) -> Vma {
        let actor = Actor { pid: 1, tid: 1, time_ns: 0, stack: None };
        Vma {
            instance: InstanceId::UNKNOWN,
            origin: Origin { call: Call::Mmap, actor },
            file,
            shared,
            grows_down: false,
            inherited: false,
            prot: 3,
            base: 0,
            id: None,
        }
    }

    fn fault(error: u32, [file, anon, swap, shmem]: [i32; 4]) -> Fault {
        let some = |by: i32| (by != 0).then_some(by);
        Fault {
            address: 0x1000,
            kernel: false,
            major: false,
            access: Some(Access {
                present: error & 1 != 0,
                write: error & 2 != 0,
                instruction: error & 16 != 0,
            }),
            delta: Delta {
                file: some(file),
                anon: some(anon),
                swap: some(swap),
                shmem: some(shmem),
            },
            delta_inexact: false,
            entry: None,
            same_page: None,
            rewrite: None,
            syscall: None,
            stack: None,
        }
    }

    #[test]
    fn error_bits_counters_and_mapping_give_the_cause() {
        let (anonymous, private_file) = (vma(false, false), vma(true, false));
        let (shared_file, shared_memory) = (vma(true, true), vma(false, true));
        let one = Reach::Block(1);
        let rows: &[(u32, [i32; 4], &Vma, Option<Outcome>)] = &[
            (WRITE, [0, 1, 0, 0], &anonymous, Some(outcome(Cause::FirstWrite, one, true, true))),
            (READ, [0, 0, 0, 0], &anonymous, None),
            (WRITE, [0, 0, 0, 0], &anonymous, None),
            (
                PROTECTED_WRITE,
                [0, 1, 0, 0],
                &anonymous,
                Some(outcome(Cause::ZeroPageWrite, one, true, true)),
            ),
            (
                WRITE,
                [0, 512, 0, 0],
                &anonymous,
                Some(outcome(Cause::HugePage, Reach::Block(512), true, true)),
            ),
            (
                PROTECTED_WRITE,
                [0, 512, 0, 0],
                &anonymous,
                Some(outcome(Cause::HugePage, Reach::Block(512), true, true)),
            ),
            (
                WRITE,
                [0, 16, 0, 0],
                &anonymous,
                Some(outcome(Cause::MultiSizeHugePage, Reach::Block(16), true, true)),
            ),
            (
                READ,
                [16, 0, 0, 0],
                &private_file,
                Some(outcome(Cause::FileRead, Reach::Around(16), true, false)),
            ),
            (
                PROTECTED_WRITE,
                [-1, 1, 0, 0],
                &private_file,
                Some(outcome(Cause::FileCow, one, true, true)),
            ),
            (WRITE, [0, 1, 0, 0], &private_file, Some(outcome(Cause::FileCow, one, true, true))),
            (
                PROTECTED_WRITE,
                [0, 1, 0, -1],
                &private_file,
                Some(outcome(Cause::FileCow, one, true, true)),
            ),
            (
                PROTECTED_WRITE,
                [0, 0, 0, 0],
                &anonymous,
                Some(outcome(Cause::ForkCow, one, true, true)),
            ),
            (
                PROTECTED_WRITE,
                [0, 0, 0, 0],
                &shared_file,
                Some(outcome(Cause::SharedWrite, one, false, true)),
            ),
            (
                WRITE,
                [1, 0, 0, 0],
                &shared_file,
                Some(outcome(Cause::SharedWrite, Reach::Around(1), true, true)),
            ),
            (
                READ,
                [0, 0, 0, 5],
                &shared_memory,
                Some(outcome(Cause::SharedMemory, Reach::Around(5), true, false)),
            ),
            (
                WRITE,
                [0, 0, 0, 1],
                &shared_memory,
                Some(outcome(Cause::SharedMemory, one, true, true)),
            ),
            (READ, [0, 1, -1, 0], &anonymous, Some(outcome(Cause::SwapIn, one, true, false))),
            (WRITE, [0, 1, -1, 0], &anonymous, Some(outcome(Cause::SwapIn, one, true, true))),
        ];
        for (error, delta, vma, expected) in rows {
            let got = classify(&fault(*error, *delta), Some(vma), false);
            assert_eq!(got, *expected, "error {error} delta {delta:?} {vma:?}");
        }
    }

    #[test]
    fn the_kernel_filling_a_buffer_and_a_growing_stack_have_causes_of_their_own() {
        let anonymous = vma(false, false);
        let write = fault(WRITE, [0, 1, 0, 0]);
        let kernel = Fault { kernel: true, syscall: Some(0), ..write };
        let cause = |fault: &Fault, grew| classify(fault, Some(&anonymous), grew).map(|o| o.cause);
        assert_eq!(cause(&kernel, false), Some(Cause::KernelWrite));
        assert_eq!(cause(&Fault { syscall: None, ..kernel }, false), Some(Cause::FirstWrite));
        assert_eq!(cause(&write, true), Some(Cause::StackGrowth));
    }

    #[test]
    fn an_inexact_count_that_no_folio_has_is_one_page() {
        let anonymous = vma(false, false);
        for by in [-511, 0, 2 + 1, 513] {
            let mut fault = fault(WRITE, [0, 1, 0, 0]);
            fault.delta.anon = Some(by);
            fault.delta_inexact = true;
            let got = classify(&fault, Some(&anonymous), false).map(|o| o.reach);
            assert_eq!(got, Some(Reach::Block(1)), "{by}");
        }
    }

    #[test]
    fn a_page_that_no_counter_told_is_what_the_mapping_says_unless_somebody_has_told() {
        let uncounted = |error| Fault { delta_inexact: true, ..fault(error, [0; 4]) };
        let cause = |error, vma: &Vma| {
            let outcome = classify(&uncounted(error), Some(vma), false)?;
            assert!(outcome.guess && outcome.resident);
            Some((outcome.cause, outcome.dirty))
        };
        assert_eq!(cause(WRITE, &vma(false, false)), Some((Cause::FirstWrite, true)));
        assert_eq!(cause(WRITE, &vma(true, false)), Some((Cause::FileCow, true)));
        assert_eq!(cause(WRITE, &vma(true, true)), Some((Cause::SharedWrite, true)));
        assert_eq!(cause(WRITE, &vma(false, true)), Some((Cause::SharedMemory, true)));
        assert_eq!(cause(READ, &vma(true, false)), Some((Cause::FileRead, false)));
        assert_eq!(cause(READ, &vma(false, true)), Some((Cause::SharedMemory, false)));
        assert_eq!(cause(READ, &vma(false, false)), Some((Cause::SwapIn, false)));
        let huge = Some(crate::trace::Entry { huge: true, dirty: true, window: None });
        let huge = |error| Fault { entry: huge, ..uncounted(error) };
        let outcome = classify(&huge(WRITE), Some(&vma(false, false)), false).unwrap();
        assert_eq!((outcome.cause, outcome.reach), (Cause::HugePage, Reach::Block(512)));
        assert_eq!(classify(&huge(READ), Some(&vma(false, false)), false), None);
    }

    #[test]
    fn without_the_access_the_counters_decide_and_without_counters_the_mapping() {
        let unseen = |delta| Fault { access: None, delta_inexact: true, ..fault(0, delta) };
        let cause = |delta, vma: &Vma| {
            classify(&unseen(delta), Some(vma), false).map(|o| (o.cause, o.guess))
        };
        assert_eq!(cause([-1, 1, 0, 0], &vma(true, false)), Some((Cause::FileCow, false)));
        assert_eq!(cause([0, 1, 0, 0], &vma(false, false)), Some((Cause::FirstWrite, false)));
        assert_eq!(cause([9, 0, 0, 0], &vma(true, false)), Some((Cause::FileRead, false)));
        assert_eq!(cause([0, 0, 0, 0], &vma(false, false)), Some((Cause::FirstWrite, true)));
        assert_eq!(cause([0, 0, 0, 0], &vma(true, false)), Some((Cause::FileRead, true)));
    }
}

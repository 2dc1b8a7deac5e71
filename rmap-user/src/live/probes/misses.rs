//! How often the kernel left a program out.
//!
//! Since Linux 7.0 a program at a tracepoint may be put aside in the middle, and the kernel runs the
//! same program for nobody else on that processor until it is done. It counts how often that happened,
//! which `/proc/self/fdinfo` shows of a program's descriptor (`recursion_misses`, kernel
//! `bpf_prog_show_fdinfo`). What must not be missed has more than one program, of which the next works
//! where those before it were left out: an event is missing only if all were, so the smallest of their
//! numbers is the most that can be.
//!
//! Comes in: descriptors of loaded programs. Goes out: numbers of events.

use std::{fs::File, io, os::fd::BorrowedFd, os::unix::fs::FileExt};

/// How often programs were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The most events that can be missing of those that others are understood by: forks, programs,
    /// ends, mapping calls.
    pub needed: u64,
    /// Events of the other kinds, which the others tell without them, only less exactly.
    pub spare: u64,
}

/// The programs of one probe.
struct Watched {
    /// In the order in which they run.
    tellers: Vec<File>,
    /// What it tells is of use, but nothing that comes later means something else without it.
    spare: bool,
}

/// The programs that are watched.
#[derive(Default)]
pub(super) struct Misses {
    programs: Vec<Watched>,
}

impl Misses {
    /// Watches the programs of a probe that tell the same, in the order in which they run. `spare`: see
    /// [`LeftOut::spare`].
    pub(super) fn watch<'a>(
        &mut self,
        tellers: impl Iterator<Item = BorrowedFd<'a>>,
        spare: bool,
    ) -> io::Result<()> {
        let tellers = tellers.map(open).collect::<io::Result<_>>()?;
        self.programs.push(Watched { tellers, spare });
        Ok(())
    }

    /// What the kernel has counted so far.
    pub(super) fn read(&self) -> io::Result<LeftOut> {
        let mut sums = LeftOut::default();
        for watched in &self.programs {
            let times = watched.tellers.iter().map(read).collect::<io::Result<Vec<_>>>()?;
            let sum = if watched.spare { &mut sums.spare } else { &mut sums.needed };
            *sum += times.into_iter().min().unwrap_or(0);
        }
        Ok(sums)
    }
}

fn open(program: BorrowedFd<'_>) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))
}

fn read(file: &File) -> io::Result<u64> {
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0)?;
    let text = bytes.get(..length).unwrap_or_default();
    misses(text).ok_or_else(|| {
        let shown = String::from_utf8_lossy(text);
        io::Error::other(format!("recursion_misses of a program was looked for in {shown:?}"))
    })
}

fn misses(fdinfo: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(fdinfo).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_kernels_number_is_found() {
        let shown = b"pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\nprog_type:\t17\n\
                      prog_jited:\t1\nprog_tag:\t5e3bd2a8b8b7ef5d\nmemlock:\t4096\nprog_id:\t33\n\
                      run_time_ns:\t0\nrun_cnt:\t0\nrecursion_misses:\t12\nverified_insns:\t7\n";
        assert_eq!(misses(shown), Some(12));
        assert_eq!(misses(b"pos:\t0\n"), None);
        assert_eq!(misses(b"recursion_misses:\tmany\n"), None);
        assert_eq!(misses(b"\xff"), None);
    }

    #[test]
    fn an_event_is_missing_where_all_that_tell_it_were_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let says = |path: &Path, missed: u64| {
            fs::write(path, format!("recursion_misses:\t{missed}\n")).unwrap();
            File::open(path).unwrap()
        };
        let place = |name: &str| folder.path().join(name);
        let again = says(&place("again"), 0);
        let mut misses = Misses::default();
        let mut add = |tellers, spare| misses.programs.push(Watched { tellers, spare });
        add(vec![says(&place("first"), 5), again], false);
        add(vec![says(&place("alone"), 2)], false);
        add(vec![says(&place("spare"), 9)], true);
        let read = |misses: &Misses| misses.read().map(|read| (read.needed, read.spare));
        assert_eq!(read(&misses).unwrap(), (2, 9));
        says(&place("again"), 3);
        assert_eq!(read(&misses).unwrap(), (5, 9), "the files are read anew");
        says(&place("again"), 7);
        assert_eq!(read(&misses).unwrap(), (7, 9));
        fs::write(place("alone"), "nothing").unwrap();
        assert!(misses.read().is_err());
    }
}

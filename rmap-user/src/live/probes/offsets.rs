//! Where the running kernel keeps what the probes read, from its type information (BTF).

/// Offsets in bytes, by the names of the globals of `rmap-ebpf/src/config.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    values: Vec<(&'static str, u64)>,
}

/// The globals and the members whose offsets they hold.
const MEMBERS: [(&str, &str, &str); 7] = [
    ("TASK_MM", "task_struct", "mm"),
    ("TASK_PID", "task_struct", "pid"),
    ("TASK_TGID", "task_struct", "tgid"),
    ("TASK_EXIT_CODE", "task_struct", "exit_code"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
    ("MM_PGD", "mm_struct", "pgd"),
];

impl Offsets {
    /// Asks `offset_of(structure, member)` for each member.
    ///
    /// # Errors
    /// The first member that is not found.
    pub fn find<E>(
        mut offset_of: impl FnMut(&str, &str) -> Result<u64, E>,
    ) -> Result<Self, super::Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let values = MEMBERS
            .into_iter()
            .map(|(global, structure, member)| match offset_of(structure, member) {
                Ok(offset) => Ok((global, offset)),
                Err(source) => Err(super::Error::Offsets {
                    what: format!("{structure}.{member}"),
                    source: source.into(),
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { values })
    }

    /// The globals to set before the load.
    pub(super) fn globals(&self) -> impl Iterator<Item = (&'static str, &u64)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }
}

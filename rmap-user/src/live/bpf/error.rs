//! Why the eBPF object cannot serve.

/// Why the probes cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's type information does not have what the probes read.
    #[error("cannot find {what} in the kernel's type information: {source}")]
    Offsets {
        /// The structure's member.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object could not be loaded.
    #[error(
        "cannot load the eBPF object into the kernel: {0}; 'rmap doctor' tells what is missing"
    )]
    Load(#[from] aya::EbpfError),
    /// A program that is needed could not be loaded or attached.
    #[error("cannot attach the probe {name}: {why}; 'rmap doctor' tells what is missing")]
    Attach {
        /// The probe.
        name: String,
        /// What the kernel said.
        why: String,
    },
    /// How often programs were left out could not be read.
    #[error("cannot read how often the kernel left out a program: {0}; is /proc mounted?")]
    Misses(#[source] std::io::Error),
    /// A map of the object could not be used.
    #[error("cannot use the map {name} of the eBPF object: {why}")]
    Map {
        /// The map.
        name: &'static str,
        /// What came.
        why: String,
    },
}

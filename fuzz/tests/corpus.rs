//! Every kept input, among them all that once made a reader fail, is read without a failure.
use rmap_fuzz::{TARGETS, corpus};

#[test]
fn kept_inputs_are_read() {
    for target in TARGETS {
        let mut fed = 0;
        for entry in std::fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            eprintln!("{}: {}", target.name, path.display());
            (target.run)(&bytes);
            fed += 1;
        }
        assert!(fed > 0, "{} has no seeds", target.name);
    }
}

/// What the fuzzer would find in its first second.
#[test]
fn damaged_seeds_are_read() {
    for target in TARGETS {
        for entry in std::fs::read_dir(corpus(target)).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            (target.run)(&[]);
            let step = (seed.len() / 200).max(1);
            for at in (0..seed.len()).step_by(step) {
                (target.run)(&seed[..at]);
                (target.run)(&seed[at..]);
                for value in [0x00, 0x7f, 0x80, 0xff] {
                    let mut damaged = seed.clone();
                    damaged[at] ^= value;
                    (target.run)(&damaged);
                    for place in damaged.iter_mut().skip(at).take(8) {
                        *place = value;
                    }
                    (target.run)(&damaged);
                }
            }
        }
    }
}

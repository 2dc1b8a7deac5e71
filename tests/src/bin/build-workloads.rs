//! Builds every program of `workloads/` in the variants that the tests use, so that a machine
//! without a compiler, or with a slow one, finds them ready.

use rmap_tests::workload;

fn main() {
    println!("{} workloads are built", workload::build_all().len());
}

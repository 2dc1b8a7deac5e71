//! What a person needs to build and check rmap, by name: `cargo xtask ebpf`, `test`, `vm`,
//! `arm64`, `battery`, `page`, `dist`, `prepare`, `fuzz`, `golden`, `bench`, `unwind-check`, `malloc`, `matrix`,
//! `licences`.
//!
//! Comes in: a command. Goes out: progress on stderr, results on stdout, exit status 0 or 1.

mod apt;
mod archive;
mod arm64;
mod battery;
mod bench;
mod dist;
mod ebpf;
mod fuzz;
mod golden;
mod licences;
mod malloc;
mod matrix;
mod page;
mod prepare;
#[path = "../../rmap-ebpf/source_hash.rs"]
mod source_hash;
mod steps;
mod test;
mod unwind_check;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds and checks rmap.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks that rmap compiles for 64-bit ARM.
    Arm64,
    /// Runs stress-ng's stressors untraced and under rmap, and compares.
    Battery(battery::Options),
    /// Measures what rmap costs, beside what others cost.
    Bench(bench::Options),
    /// Builds rmap as others install it: an archive, a Debian package, debug information.
    Dist(dist::Options),
    /// Builds the eBPF object from source and keeps it with its sources' hashes.
    Ebpf(ebpf::Options),
    /// Lets a fuzzer choose what rmap's readers are fed.
    Fuzz(fuzz::Options),
    /// Writes the golden files of what people and programs read anew.
    Golden(golden::Options),
    /// Checks the licences and the origin of all dependencies.
    Licences,
    /// Builds the allocator's shim of --malloc from its source and keeps it with its source's hash.
    Malloc(malloc::Options),
    /// Does what every route of memory does, and prints what rmap said of it.
    Matrix,
    /// Builds the page of --html from its sources, or looks at pages in a browser.
    Page(page::Options),
    /// Fetches and builds beforehand what the other commands need.
    Prepare,
    /// Sets up what the tests need and runs all of them.
    Test(test::Options),
    /// Holds the walks of stacks against another unwinder, for programs that people use.
    UnwindCheck(unwind_check::Options),
    /// Runs the privileged tests on other kernels, in virtual machines.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Arm64 => arm64::run(),
        Task::Battery(options) => battery::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Ebpf(options) => ebpf::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Golden(options) => golden::run(&options),
        Task::Licences => licences::run(),
        Task::Malloc(options) => malloc::run(&options),
        Task::Matrix => matrix::run(),
        Task::Page(options) => page::run(&options),
        Task::Prepare => Ok(prepare::run()),
        Task::Test(options) => test::run(&options),
        Task::UnwindCheck(options) => unwind_check::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The ways in which memory becomes resident or dirty, and the tests that hold rmap's figures of
//! each against known truth.
//!
//! The tables of kernels say for each machine of the matrix what these tests gave there.

/// A way, and what rmap says of it.
pub struct Route {
    /// As people know it.
    pub name: &'static str,
    /// What the tests show.
    pub told: Told,
    /// The tests, as `program::test`, with the module between if there is one.
    pub tests: &'static [&'static str],
}

/// What rmap says of memory that came by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Every byte has its code path.
    Exact,
    /// No event tells it: the bytes stand under this reason.
    Reason(&'static str),
}

const fn exact(name: &'static str, tests: &'static [&'static str]) -> Route {
    Route { name, told: Told::Exact, tests }
}

/// The routes.
pub const ROUTES: &[Route] = &[
    exact(
        "first write: heap, mmap, threads",
        &[
            "main_job::the_articles_program_is_explained_by_memset_and_its_callers",
            "main_job::two_writers_own_their_pages_and_readers_own_nothing",
            "main_job::eight_threads_own_exactly_their_pages",
            "main_job::of_fifty_rounds_only_the_survivor_is_resident",
        ],
    ),
    exact(
        "write over the zero page",
        &["main_job::a_write_over_the_zero_page_is_told_from_a_first_write"],
    ),
    exact("huge pages", &["main_job::huge_pages_are_counted_as_pages_not_as_faults"]),
    exact("growing stack", &["main_job::a_deep_frame_owns_the_stack_that_it_wrote"]),
    exact("MAP_POPULATE, mlock", &["main_job::populated_memory_belongs_to_who_asked_for_it"]),
    exact("mremap", &["main_job::a_moved_and_grown_mapping_keeps_its_owners"]),
    exact("brk that shrinks", &["main_job::a_shrunk_heap_keeps_what_is_left"]),
    exact("MADV_DONTNEED", &["main_job::dropped_pages_belong_to_who_fills_them_again"]),
    exact(
        "buffers that the kernel fills: read, pipe",
        &["files::what_the_kernel_reads_into_fresh_memory_belongs_to_the_reader"],
    ),
    exact(
        "private file: reads, copies",
        &["files::a_private_file_mapping_is_read_then_partly_copied"],
    ),
    exact("shared file: writes", &["files::a_shared_file_mapping_is_dirty_by_who_wrote_it"]),
    exact(
        "shared memory: memfd, shared anonymous, System V",
        &["files::shared_memory_belongs_to_who_touched_it_first"],
    ),
    Route {
        name: "shared memory that is read and then written",
        told: Told::Reason("shared-write-without-fault"),
        tests: &["files::a_silent_write_to_shared_memory_is_a_residual_with_its_reason"],
    },
    exact("fork and copy", &["processes::a_child_owns_what_it_rewrote_of_its_parents_memory"]),
    exact("exec", &["processes::an_exec_in_the_middle_leaves_only_the_new_programs_memory"]),
    exact(
        "threads that outlive their leader",
        &["trees::a_leader_that_ends_before_its_threads_is_explained"],
    ),
    exact(
        "attached in the middle",
        &[
            "attach::exact::a_process_that_goes_on_is_told_as_it_stood_when_it_was_let_go",
            "attach::exact::a_process_that_ends_while_it_is_watched_is_told_as_it_stood_at_its_exit",
            "attach::corners::copies_after_a_fork_are_told_on_both_sides",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn every_test_of_a_route_is_there() {
        for test in ROUTES.iter().flat_map(|route| route.tests) {
            let (module, name) = test.rsplit_once("::").unwrap();
            let file = steps::root().join("tests/tests").join(module.replace("::", "/"));
            let file = file.with_extension("rs");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&format!("fn {name}()")), "{test} is not in {}", file.display());
        }
    }
}

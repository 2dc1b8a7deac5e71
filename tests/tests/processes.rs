//! `rmap run` on programs that fork and execute.

use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::job::PAGE;

#[test]
fn a_child_owns_what_it_rewrote_of_its_parents_memory() {
    let machine = begin!();
    let job = machine.job("fork_cow", &[]);
    job.expect_kernel_sizes();
    job.expect("child", "child_rewrites", "fork-cow");
    let copied = facts::owned_through(job.segment("child"), "fork-copy");
    let pages = job.truth.number("copied_pages") * PAGE;
    assert_eq!((copied.rss, copied.dirty), (pages, pages), "{}", job.show("child"));
    job.expect_whole("child");
    job.expect("parent", "parent_fills", "first-write");
    job.expect("parent", "parent_rewrites", "fork-cow");
    job.expect_whole("parent");
    let child = job.process("child");
    assert_eq!(child.parent_pid, job.process("parent").pid);
    assert_eq!(job.report().processes[0].pid, job.process("parent").pid, "the command is first");
    let by = job.segment("child").mapped_by.as_ref();
    assert_eq!(by.map(|by| by.call.as_str()), Some("fork"), "{by:?}");
}

#[test]
fn an_exec_in_the_middle_leaves_only_the_new_programs_memory() {
    let machine = begin!();
    let job = machine.job("exec_middle", &[]);
    job.expect_kernel_sizes();
    job.expect("new", "after_exec", "first-write");
    job.expect_whole("new");
    assert_eq!(job.report().processes.len(), 1, "one process, executed twice");
    let process = job.process("new");
    for segment in &process.segments {
        let owned = facts::owned_by(job.report(), segment, &["before_exec"]);
        assert_eq!((owned.rss, owned.dirty), (0, 0), "{}", facts::show(job.report(), segment));
    }
    let before = 64 * PAGE;
    assert_eq!(job.touched("new", "before_exec"), before, "{:?}", process.gone);
    let released = facts::released_by_kernel(process, "exec");
    assert!(released >= before, "exec gave back {released}: {:?}", process.released);
    // And the end gave back all that the new program still had.
    assert_eq!(facts::released_by_kernel(process, "exit"), process.rss_bytes.after);
}

#[test]
fn copies_after_a_fork_are_told_from_reuse_by_the_last_owner() {
    let machine = begin!();
    let job = machine.job("reused", &[]);
    job.expect_kernel_sizes();
    let page_tables = job.report().coverage.probes.iter().find(|probe| probe.name == "page-table");
    if page_tables.is_some_and(|probe| !probe.attached) {
        return machine.skip("page tables cannot be read here");
    }
    // The frames say that the truth is the truth.
    assert_eq!(job.truth.number("child_moved"), job.pages("child", "child_copies"));
    assert_eq!(job.truth.number("parent_moved"), job.pages("parent", "parent_copies"));
    job.expect("child", "child_copies", "fork-cow");
    job.expect("parent", "parent_copies", "fork-cow");
    job.expect("parent", "parent_fills", "first-write");
    job.expect_whole("parent");
    job.expect_whole("child");
    // What was reused was there before, and dirty: it stays whose it was.
    job.expect_nothing("parent", "parent_reuses");
    let reused = job.owned("parent", "parent_reuses");
    assert!(reused.causes.iter().eq(["fork-reuse"]), "{}", job.show("parent"));
    assert_eq!(reused.touched, job.truth.number("parent_reused") * PAGE, "{}", job.show("parent"));
}

#[test]
fn a_process_is_named_by_the_title_that_it_gave_itself() {
    let machine = begin!();
    let job = machine.job("titles", &[]);
    let name = |number: &str| {
        let pid = u32::try_from(job.truth.number(number)).unwrap_or_default();
        facts::process(job.report(), pid).command.as_str()
    };
    assert_eq!(name("titled"), "worker: one");
    assert!(name("named").ends_with(" (worker-two)"), "{}", name("named"));
    let parent = &job.report().processes[0].command;
    assert!(parent.contains("titles") && !parent.contains("worker"), "{parent}");
}

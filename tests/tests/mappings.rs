//! `rmap run` tells who made every mapping, and who gave memory back.

use rmap_tests::job::{Job, PAGE, command};
use rmap_tests::process::Running;
use rmap_tests::{begin, facts, workload};

fn mapped(machine: &rmap_tests::machine::Machine) -> Job {
    let file = machine.scratch().join("mapped");
    machine.job("mapped", &[file.to_str().expect("a path of the build")])
}

#[test]
fn every_mapping_says_who_made_it() {
    let machine = begin!();
    let job = mapped(&machine);
    job.expect_kernel_sizes();
    let calls = [
        ("anon", "mmap", "map_over"),
        ("mapped", "mmap", "map_file"),
        ("moved", "mremap", "move_away"),
        ("shared", "shmat", "attach"),
        ("heap", "brk", "grow_heap"),
        ("split-low", "mmap", "map_over"),
        ("split-middle", "mmap", "map_over"),
        ("split-high", "mmap", "map_over"),
        ("joined", "mmap", "map_over"),
        ("named", "mmap", "map_over"),
        ("down", "mmap", "map_down"),
    ];
    let process = job.process("anon");
    for (region, call, function) in calls {
        let by = job.segment(region).mapped_by.as_ref();
        let by = by.unwrap_or_else(|| panic!("{region}: nobody; {}", job.show(region)));
        assert_eq!((by.call.as_str(), by.pid), (call, process.pid), "{region}");
        assert!(facts::leaf_is(job.report(), by.stack, &[function]), "{region}: {by:?}");
        assert!(facts::caller_is(job.report(), by.stack, &["main"]), "{region}: {by:?}");
    }
    // What the kernel made at exec, and what the loader mapped before the program ran.
    for segment in &process.segments {
        let show = || facts::show(job.report(), segment);
        let by = segment.mapped_by.as_ref().unwrap_or_else(|| panic!("nobody: {}", show()));
        let file = segment.name.rsplit('/').next().unwrap_or_default();
        let expected = match file {
            "[stack]" => Some("stack"),
            "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" => Some("exec"),
            _ if segment.name == process.exe || file.starts_with("ld-linux") => Some("exec"),
            _ if file.starts_with("libc.so") => Some("mmap"),
            _ => None,
        };
        assert!(expected.is_none_or(|call| call == by.call.as_str()), "{by:?}: {}", show());
        if file.starts_with("libc.so") {
            let leaf = &facts::frames(job.report(), by.stack)[0];
            assert!(leaf.module.contains("ld-linux"), "the loader, not {leaf:?}");
        }
    }
}

#[test]
fn split_joined_and_renamed_segments_stay_the_memory_of_who_filled_them() {
    let machine = begin!();
    let job = mapped(&machine);
    for pages in &job.truth.pages {
        let owned = job.owned(&pages.region, &pages.function);
        let bytes = pages.pages * PAGE;
        assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{}", job.show(&pages.region));
        job.expect_whole(&pages.region);
    }
    if job.truth.number("renamed") == 1 {
        assert_eq!(job.segment("named").name, "[anon:its name]");
    }
}

#[test]
fn who_gave_memory_back_is_told_in_pages() {
    let machine = begin!();
    let job = machine.job("remap", &[]);
    // 32 pages shrunk to 8; what MREMAP_FIXED was put over nobody had touched.
    let by_mremap = job.process("shrunk").released.iter().filter(|r| r.how.as_str() == "mremap");
    assert_eq!(by_mremap.map(|r| r.rss_bytes).sum::<u64>(), 24 * PAGE);
    let job = machine.job("lazy_free", &[]);
    let taken = job.truth.number("taken_pages") * PAGE;
    assert_eq!(
        job.released("taken", "free_lazily", "free"),
        taken,
        "who gave them up by MADV_FREE"
    );
    job.expect_nothing("taken", "fill");
}

#[test]
fn the_calls_of_a_crowd_on_one_processor_are_told() {
    // Where the kernel puts programs aside in the middle, it leaves them out for whoever comes next
    // on that processor, and a heap grows with nobody to tell. Programs behind them do, or the
    // thread's next one.
    const MEMBERS: u64 = 8;
    const ROUNDS: u64 = 150;
    let machine = begin!();
    let args = [MEMBERS, ROUNDS].map(|number| number.to_string());
    let mut rmap =
        command(machine.scratch(), &workload::build("crowd"), &args.each_ref().map(String::as_str));
    let job = Job::end_with_losses(machine.scratch(), Running::start(&mut rmap, None));
    let lost = job.report().coverage.lost;
    assert_eq!((lost.events, lost.stacks, lost.snapshots), (0, 0, 0));
    job.expect_kernel_sizes();
    assert_eq!(job.truth.pages.len() as u64, MEMBERS);
    for pages in &job.truth.pages {
        let owned = job.owned(&pages.region, &pages.function);
        let bytes = pages.pages * PAGE;
        assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{}", job.show(&pages.region));
    }
}

#[test]
fn calls_that_nobody_told_are_told_by_what_the_thread_does_next() {
    // The programs for kernels that put programs aside, on any kernel, and some of them left out each
    // time.
    const WALK: &str = "call_stack,call_stack_again";
    const TELL: &str =
        "map_enter,map_enter_again,map_enter_last,map_exit,map_exit_again,map_exit_last";
    const WAKE: &str = "call_wake";
    let machine = begin!();
    let cases = [
        ("all run", String::new()),
        ("nobody walks", WALK.to_owned()),
        ("nobody tells", TELL.to_owned()),
        ("not even the last one", format!("{TELL},{WAKE}")),
        ("the second one of two", "call_stack,map_enter,map_exit".to_owned()),
    ];
    for (case, left_out) in cases {
        let mut rmap = command(machine.scratch(), &workload::build("crowd"), &["3", "20"]);
        rmap.env("RMAP_TEST_LEFT_OUT", left_out);
        let job = Job::end_with_losses(machine.scratch(), Running::start(&mut rmap, None));
        let lost = job.report().coverage.lost;
        assert_eq!((lost.events, lost.stacks, lost.snapshots), (0, 0, 0), "{case}");
        job.expect_kernel_sizes();
        assert_eq!(job.truth.pages.len(), 3, "{case}");
        for pages in &job.truth.pages {
            let region = &pages.region;
            let owned = job.owned(region, &pages.function);
            let bytes = pages.pages * PAGE;
            assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{case}: {}", job.show(region));
            let by = job.segment(region).mapped_by.as_ref();
            let by = by.unwrap_or_else(|| panic!("{case}: nobody; {}", job.show(region)));
            assert_eq!(by.call.as_str(), "brk", "{case}");
            assert!(facts::leaf_is(job.report(), by.stack, &["round_of"]), "{case}: {by:?}");
            assert_eq!(job.released(region, "round_of", "munmap"), bytes, "{case}");
        }
    }
}

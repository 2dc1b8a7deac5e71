//! A userfaultfd is taken out of a process that is busy with all that could break by it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::{Program, eventually, launch};
use crate::live::ptrace::{Descriptor, Observer, Status, spawn};
use crate::live::rewrite;

/// Threads that compute, sleep, and wait in a call that must not fail, with a timer that signals.
/// It ends with 0 if each saw what it must, and no descriptor is left.
const BUSY: &str = r#"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile int over, alarms;
static int pipes[2];
static void count(int s) { (void)s; alarms++; }
static double sum(void)
{
    double x = 1;
    for (int i = 1; i < 20000; i++)
        x = x * 1.0000001 + 1.0 / i;
    return x;
}
static void *compute(void *a)
{
    double expected = sum();
    while (!over)
        if (sum() != expected)
            _exit(9);
    return a;
}
static void *rest(void *a)
{
    struct timespec t = {0, 3000000};
    while (!over)
        if (nanosleep(&t, NULL))
            _exit(10);
    return a;
}
static void *wait_long(void *a)
{
    char byte;
    if (read(pipes[0], &byte, 1) != 1)
        _exit(11);
    return a;
}
static int descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}
int main(int argc, char **argv)
{
    void *(*all[])(void *) = {compute, rest, wait_long};
    pthread_t threads[3];
    sigset_t alarm, now;
    (void)argc;
    if (pipe(pipes))
        return 1;
    sigemptyset(&alarm), sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, all[i], NULL);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    int before = descriptors();
    struct sigaction act = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &act, NULL);
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {0};
    setitimer(ITIMER_REAL, &often, NULL);
    while (access(argv[1], F_OK))
        usleep(500);
    setitimer(ITIMER_REAL, &never, NULL);
    over = 1;
    if (write(pipes[1], "x", 1) != 1)
        return 2;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    if (descriptors() != before)
        return 12;
    if (!alarms || sigismember(&now, SIGALRM) || sigismember(&now, SIGUSR1))
        return 13;
    return 0;
}
"#;

#[derive(Clone, Default)]
struct Takes(Arc<Mutex<Vec<Descriptor>>>);

impl Observer for Takes {
    fn armed(&mut self, _: u32) {}
    fn about_to_stop(&mut self, _: u32) {}
    fn about_to_leave(&mut self) {}
    fn attached(&mut self, _: u32, _: u32, _: bool) {}
    fn leaving(&mut self, _: u32, _: u32, _: bool) {}
    fn executed(&mut self, _: u32, _: u32, _: u32) {}
    fn forked(&mut self, _: u32, _: u32, _: u32, _: bool) {}
    fn exiting(&mut self, _: u32, _: u32, _: bool, _: bool) {}
    fn yielded(&mut self, _: u32, _: u32, _: bool, _: &str) {}
    fn unfollowed(&mut self, _: u32, _: &str) {}
    fn descriptor(&mut self, _: u32, taken: Descriptor, _: Duration) {
        self.0.lock().unwrap().push(taken);
    }
    fn ended(&mut self, _: u32, _: Status) {}
}

#[test]
fn a_descriptor_comes_out_of_a_busy_process_and_nothing_is_left() {
    if let Err(why) = rewrite::available() {
        eprintln!("SKIP a_descriptor_comes_out_of_a_busy_process_and_nothing_is_left: {why}");
        return;
    }
    let program = Program::compile(BUSY, &[]);
    let end = program.directory.path().join("end");
    let words = [program.path().into_os_string(), end.clone().into_os_string()];
    let takes = Takes::default();
    let tracer = spawn(launch(&words), Box::new(takes.clone())).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let taken = |takes: &Takes| {
        let takes = takes.0.lock().unwrap();
        takes.iter().filter(|taken| matches!(taken, Descriptor::Taken(_))).count()
    };
    eventually("descriptors came", || {
        tracer.request_descriptor(tracer.pid());
        taken(&takes) >= 20
    });
    let refused = takes.0.lock().unwrap().iter().any(|t| matches!(t, Descriptor::Refused(_)));
    assert!(!refused, "{:?}", takes.0.lock().unwrap());
    std::fs::write(&end, "").unwrap();
    assert_eq!(tracer.join().unwrap(), Some(Status::Code(0)));
}

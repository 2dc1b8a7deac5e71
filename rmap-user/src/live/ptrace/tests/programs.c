/* Small programs for the tests of the ptrace engine, one per mode. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t barrier;

static void *wait_for_ever(void *unused) { for (;;) pause(); return unused; }
static void *exit_later(void *unused) { usleep(50000); return unused; }
static void *exit_now(void *code) {
    pthread_barrier_wait(&barrier);
    syscall(SYS_exit_group, (int)(long)code);
    return NULL;
}
static void *kill_now(void *unused) {
    pthread_barrier_wait(&barrier);
    kill(getpid(), SIGKILL);
    return unused;
}
static void *exec_now(void *self) { execl(self, self, "code", (char *)NULL); return NULL; }

static void threads(int count, void *(*start)(void *), void *argument) {
    pthread_t thread;
    for (int i = 0; i < count; i++)
        if (pthread_create(&thread, NULL, start, argument)) abort();
}

static volatile int last_value, last_sender, counted;
static void note_value(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    last_value = info->si_value.sival_int;
    last_sender = info->si_pid;
}
static void count(int signal) { (void)signal; counted++; }
static void *exit_soon(void *unused) { usleep(100); return unused; }
static int clone_child(void *unused) { (void)unused; usleep(1000); return 0; }

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "code")) return 23;
    if (!strcmp(mode, "crash")) *(volatile int *)8 = 1;
    if (!strcmp(mode, "leader-first")) {
        threads(3, exit_later, NULL);
        syscall(SYS_exit, 0); /* the leader alone */
    }
    if (!strcmp(mode, "exit-group-8")) {
        threads(8, wait_for_ever, NULL);
        usleep(20000);
        _exit(5);
    }
    if (!strcmp(mode, "killed-8")) {
        threads(8, wait_for_ever, NULL);
        puts("ready");
        fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(mode, "exit-race-8")) {
        pthread_barrier_init(&barrier, NULL, 9);
        threads(8, exit_now, (void *)6L);
        exit_now((void *)6L);
    }
    if (!strcmp(mode, "kill-race-8")) {
        pthread_barrier_init(&barrier, NULL, 9);
        threads(4, exit_now, (void *)6L);
        threads(4, kill_now, NULL);
        exit_now((void *)6L);
    }
    if (!strcmp(mode, "exec-thread")) {
        threads(4, wait_for_ever, NULL);
        threads(1, exec_now, argv[0]);
        for (;;) pause();
    }
    if (!strcmp(mode, "exec-leader")) {
        threads(4, wait_for_ever, NULL);
        usleep(10000);
        exec_now(argv[0]);
    }
    if (!strcmp(mode, "vfork-exit")) {
        pid_t child = vfork();
        if (child == 0) _exit(9);
        int status;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    }
    if (!strcmp(mode, "vfork-exec")) {
        pid_t child = vfork();
        if (child == 0) { execl(argv[0], argv[0], "code", (char *)NULL); _exit(1); }
        int status;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    }
    if (!strcmp(mode, "clone-no-signal")) { /* a process that reports no exit signal */
        static char stack[65536];
        pid_t child = clone(clone_child, stack + sizeof stack, 0, NULL);
        int status;
        return waitpid(child, &status, __WALL) == child ? WEXITSTATUS(status) : 99;
    }
    if (!strcmp(mode, "job-control")) {
        int seen[2]; /* closed when the parent has seen all: a zombie shows no WIFCONTINUED */
        if (pipe(seen)) return 63;
        pid_t child = fork();
        if (child == 0) {
            char end;
            close(seen[1]);
            raise(SIGSTOP);
            _exit(read(seen[0], &end, 1) == 0 ? 7 : 64);
        }
        int status;
        if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) return 60;
        kill(child, SIGCONT);
        if (waitpid(child, &status, WCONTINUED) != child || !WIFCONTINUED(status)) return 61;
        close(seen[1]);
        return waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 62;
    }
    if (!strcmp(mode, "queued-signals")) { /* number, value and sender arrive */
        struct sigaction action = {.sa_sigaction = note_value, .sa_flags = SA_SIGINFO};
        sigaction(SIGRTMIN + 3, &action, NULL);
        for (int i = 1; i <= 100; i++) {
            union sigval value = {.sival_int = i};
            if (sigqueue(getpid(), SIGRTMIN + 3, value)) return 70;
            if (last_value != i || last_sender != getpid()) return 71;
        }
        return 0;
    }
    if (!strcmp(mode, "busy")) { /* forks, threads, execs and signals, for about 100 ms */
        signal(SIGUSR1, count);
        for (int i = 0; i < 30; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, exit_soon, NULL)) abort();
            pid_t child = i % 2 ? fork() : vfork();
            if (child == 0) { execl(argv[0], argv[0], "code", (char *)NULL); _exit(1); }
            int status;
            kill(getpid(), SIGUSR1);
            if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 23) return 80;
            pthread_join(thread, NULL);
        }
        return counted == 30 ? 3 : 81;
    }
    if (!strcmp(mode, "many-threads")) {
        for (int i = 0; i < 300; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, exit_later, NULL)) abort();
            if (i % 50 == 49) pthread_join(thread, NULL); else pthread_detach(thread);
        }
        return 4;
    }
    return 99;
}

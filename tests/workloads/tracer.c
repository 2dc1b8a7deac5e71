/* A program that uses ptrace itself: starts a child that asks to be traced, sees every stop of it
 * until its end, then attaches to a second one that did not ask. */
#include "truth.h"
#include <signal.h>
#include <sys/ptrace.h>

static int follow(pid_t child)
{
    int status;
    for (;;) {
        if (waitpid(child, &status, 0) != child)
            die("waitpid");
        if (!WIFSTOPPED(status))
            return status;
        int signal = WSTOPSIG(status);
        if (ptrace(PTRACE_CONT, child, NULL, (void *)(long)(signal == SIGTRAP || signal == SIGSTOP ? 0 : signal)))
            die("PTRACE_CONT");
    }
}

int main(void)
{
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            die("PTRACE_TRACEME");
        raise(SIGSTOP);
        _exit(5);
    }
    int status = follow(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 5)
        die("the first child ended with %#x", status);
    int ends[2];
    if (pipe(ends))
        die("pipe");
    child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        char byte;
        close(ends[1]);
        if (read(ends[0], &byte, 1) < 0)
            _exit(9);
        _exit(6);
    }
    close(ends[0]);
    if (ptrace(PTRACE_ATTACH, child, NULL, NULL))
        die("PTRACE_ATTACH");
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        die("the second child did not stop");
    close(ends[1]);
    if (ptrace(PTRACE_CONT, child, NULL, NULL))
        die("PTRACE_CONT");
    status = follow(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 6)
        die("the second child ended with %#x", status);
    if (write(1, "traced both\n", 12) != 12)
        die("write");
    truth_end(0);
}

/*
 * A parent that becomes its child's tracer, as debuggers do: by PTRACE_TRACEME, PTRACE_ATTACH or
 * PTRACE_SEIZE. The child fills memory before and after. With `links` nobody traces, though ptrace
 * is imported.
 */
#include "truth.h"
#include <signal.h>
#include <sys/ptrace.h>

#define PAGES ((size_t)2048)

NAMED void child_fills(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
}

static int is(const char *mode, const char *name)
{
    return !strcmp(mode, name);
}

static void trace(const char *mode, pid_t child)
{
    int status;
    if (is(mode, "attach") && ptrace(PTRACE_ATTACH, child, 0, 0))
        die("attach");
    if (is(mode, "seize") &&
        (ptrace(PTRACE_SEIZE, child, 0, 0) || ptrace(PTRACE_INTERRUPT, child, 0, 0)))
        die("seize");
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        die("no stop");
    if (!is(mode, "seize") && WSTOPSIG(status) != SIGSTOP)
        die("a stop by signal %d", WSTOPSIG(status));
    if (ptrace(PTRACE_CONT, child, 0, 0))
        die("continue");
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int ready[2], go[2], status;
    char byte;
    if (pipe(ready) || pipe(go))
        die("pipe");
    pid_t child = fork();
    if (!child) {
        char *p = region_anon(PAGES);
        if (is(mode, "traceme") && (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP)))
            die("traceme");
        child_fills(p);
        if (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
            die("pipe");
        truth_pages("memory", "child_fills", PAGES);
        truth_smaps("memory", p);
        /* Once it was let go, a look at it comes every second. */
        if (is(mode, "traceme"))
            usleep(1500000);
        _exit(7);
    }
    if (is(mode, "traceme"))
        trace(mode, child);
    if (read(ready[0], &byte, 1) != 1)
        die("pipe");
    if (is(mode, "attach") || is(mode, "seize"))
        trace(mode, child);
    if (write(go[1], "x", 1) != 1)
        die("pipe");
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
        die("the child ended with %#x", (unsigned)status);
    truth_end(0);
}

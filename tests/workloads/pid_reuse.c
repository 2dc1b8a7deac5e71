/* Two children, one after the other, that have the same process id: each fills pages of its own in a
 * function of its own. The first is a zombie when its parent has looked, and gone when the second
 * comes. */
#include "truth.h"
#include <linux/sched.h>
#include <signal.h>

static char *memory;

NAMED void first_fills(volatile char *p)
{
    for (size_t i = 0; i < 24; i++)
        p[i * PAGE] = 1;
}

NAMED void second_fills(volatile char *p)
{
    for (size_t i = 0; i < 40; i++)
        p[i * PAGE] = 2;
}

static pid_t child_of(pid_t wanted)
{
    struct clone_args args = {.exit_signal = SIGCHLD,
                              .set_tid = wanted ? (uintptr_t)&wanted : 0,
                              .set_tid_size = wanted ? 1 : 0};
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void end(pid_t child)
{
    siginfo_t info;
    int status;
    if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT))
        die("wait for a zombie");
    if (waitpid(child, &status, 0) != child || status)
        die("a child failed");
}

int main(void)
{
    memory = region_anon(64);
    pid_t first = child_of(0);
    if (!first) {
        first_fills(memory);
        truth_pages("first", "first_fills", 24);
        truth_smaps("first", memory);
        truth_end(0);
    }
    if (first < 0)
        truth_skip("no clone3 here");
    end(first);
    pid_t second = child_of(first);
    if (!second) {
        second_fills(memory);
        truth_pages("second", "second_fills", 40);
        truth_smaps("second", memory);
        truth_end(0);
    }
    if (second < 0)
        truth_skip("a process id cannot be chosen");
    end(second);
    truth_number("same", first == second);
    truth_end(0);
}

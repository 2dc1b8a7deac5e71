/*
 * A region written by the kernel's own code in user space (the vDSO), with the argument `call`, or
 * by a signal handler that interrupted that code, with `signal`.
 */
#include "truth.h"
#include <signal.h>

#define PAGES 8

static char *memory;
static char *forbidden;

NAMED void write_pages(void)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

NAMED void handle(int signal)
{
    (void)signal;
    write_pages();
    if (mprotect(forbidden, PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
}

/* The coarse clock needs no counter that a virtual machine may not have, so the vDSO itself writes
 * the time, wherever it is asked to. */
NAMED void call_vdso(char *where, size_t times)
{
    for (size_t i = 0; i < times; i++)
        if (clock_gettime(CLOCK_MONOTONIC_COARSE, (struct timespec *)(where + i * PAGE)))
            die("clock_gettime");
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    memory = region_anon(PAGES);
    forbidden = region_map(PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_handler = handle};
    if (sigaction(SIGSEGV, &action, NULL))
        die("sigaction");
    if (wants_to_settle(argc, argv))
        settle();
    if (!strcmp(how, "call"))
        call_vdso(memory, PAGES);
    else if (!strcmp(how, "signal"))
        call_vdso(forbidden, 1);
    else
        die("what is %s", how);
    truth_pages("memory", how, PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

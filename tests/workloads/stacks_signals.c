/*
 * A region written by a signal handler. First argument: `fault`, the handler interrupts a store
 * that may not be done yet; or `raise`, it interrupts libc. Second argument: `own` or `alternate`,
 * the handler's stack.
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

NAMED void handle(int signal, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    write_pages();
    if (signal == SIGSEGV && mprotect(forbidden, PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
}

/* A leaf with no frame of its own: the interrupted instruction is its first. */
NAMED void store(char *where)
{
    *(volatile char *)where = 1;
}

NAMED void interrupted(void)
{
    store(forbidden);
    __asm__ volatile("" ::: "memory");
}

NAMED void call_raise(void)
{
    if (raise(SIGUSR1))
        die("raise");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("two arguments");
    int fault = !strcmp(argv[1], "fault"), alternate = !strcmp(argv[2], "alternate");
    memory = region_anon(PAGES);
    forbidden = region_map(PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = region_anon(16), .ss_size = 16 * PAGE};
    if (alternate && sigaltstack(&stack, NULL))
        die("sigaltstack");
    struct sigaction action = {.sa_sigaction = handle,
                               .sa_flags = SA_SIGINFO | (alternate ? SA_ONSTACK : 0)};
    if (sigaction(fault ? SIGSEGV : SIGUSR1, &action, NULL))
        die("sigaction");
    if (wants_to_settle(argc, argv))
        settle();
    if (fault)
        interrupted();
    else
        call_raise();
    truth_pages("memory", "write_pages", PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

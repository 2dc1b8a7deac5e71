/*
 * Regions written behind code that the program has made a moment before, again and again, while rmap
 * does not run at all: the program stops it. The code has a frame pointer, as compilers at run time
 * give theirs where they are asked.
 */
#include "truth.h"

#include <signal.h>

#define ROUNDS 8
#define PAGES 3000

static char *memory;

NAMED void write_pages(void)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

NAMED void call_made(void (*made)(void (*)(void)))
{
    made(write_pages);
    __asm__ volatile("" ::: "memory");
}

/* void made(function): function(). */
static const unsigned char code[] = {
    0xf3, 0x0f, 0x1e, 0xfa, /* endbr64 */
    0x55,                   /* push %rbp */
    0x48, 0x89, 0xe5,       /* mov %rsp,%rbp */
    0xff, 0xd7,             /* call *%rdi */
    0x5d,                   /* pop %rbp */
    0xc3,                   /* ret */
};

int main(int argc, char **argv)
{
#if !defined(__x86_64__)
    truth_skip("the machine code is of x86-64");
#endif
    char *regions = region_anon(ROUNDS * PAGES);
    char *made = mmap(NULL, ROUNDS * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        die("mmap");
    if (wants_to_settle(argc, argv))
        settle();
    if (kill(getppid(), SIGSTOP))
        die("kill");
    for (int round = 0; round < ROUNDS; round++) {
        char *here = made + round * GUARD;
        if (mprotect(here, PAGE, PROT_READ | PROT_WRITE))
            die("mprotect");
        memcpy(here, code, sizeof code);
        if (mprotect(here, PAGE, PROT_READ | PROT_EXEC))
            die("mprotect");
        memory = regions + round * PAGES * PAGE;
        call_made((void (*)(void (*)(void)))(void *)here);
    }
    if (kill(getppid(), SIGCONT))
        die("kill");
    truth_pages("memory", "write_pages", ROUNDS * PAGES);
    truth_smaps("memory", regions);
    truth_end(0);
}

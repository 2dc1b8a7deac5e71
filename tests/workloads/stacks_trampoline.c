/*
 * A region written behind code that the program makes at run time, without a file, a frame pointer
 * or unwind information: a trampoline as CPython's `-X perf` has one for each function.
 */
#include "truth.h"

#define PAGES 8

static char *memory;

NAMED void write_pages(void)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

/* Like the evaluator of an interpreter: it goes through the trampoline for each function. */
NAMED void evaluate(void (*made)(long, long, long, void *), int depth)
{
    if (depth == 0)
        write_pages();
    else
        made((long)made, depth - 1, 0, (void *)evaluate);
    __asm__ volatile("" ::: "memory");
}

/* void made(a, b, c, function): function(a, b, c). */
static const unsigned char code[] = {
    0xf3, 0x0f, 0x1e, 0xfa, /* endbr64 */
    0x48, 0x83, 0xec, 0x08, /* sub $8,%rsp */
    0xff, 0xd1,             /* call *%rcx */
    0x48, 0x83, 0xc4, 0x08, /* add $8,%rsp */
    0xc3,                   /* ret */
};

int main(int argc, char **argv)
{
#if !defined(__x86_64__)
    truth_skip("the machine code is of x86-64");
#endif
    char *of_others = region_anon(PAGES);
    char *made = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        die("mmap");
    memcpy(made, code, sizeof code);
    if (mprotect(made, PAGE, PROT_READ | PROT_EXEC))
        die("mprotect");
    /* Once, so that rmap has looked where the code is. */
    memory = of_others;
    evaluate((void (*)(long, long, long, void *))made, 1);
    if (wants_to_settle(argc, argv))
        settle();
    memory = region_anon(PAGES);
    evaluate((void (*)(long, long, long, void *))made, 3);
    truth_pages("memory", "write_pages", PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

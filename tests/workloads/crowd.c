/* Many processes on one processor, each of which grows its heap by a few pages, writes them, and maps
 * and unmaps other memory, again and again: somebody is put aside in the middle of many a call.
 * Arguments: how many processes, how many rounds. libc's allocator is not used, so each heap is its
 * process's alone. */
#include "truth.h"
#include <sched.h>

#define STEP ((size_t)4)

WRITES(fill_heap, 0, STEP, 1)
WRITES(fill_other, 0, STEP, 2)

NAMED void round_of(char *heap)
{
    if ((char *)RAW(SYS_brk, heap + STEP * PAGE, 0, 0, 0, 0, 0) != heap + STEP * PAGE)
        die("brk");
    fill_heap(heap);
    char *other = (char *)RAW(SYS_mmap, 0, STEP * PAGE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((long)other < 0)
        die("mmap");
    fill_other(other);
    if (RAW(SYS_munmap, other, STEP * PAGE, 0, 0, 0, 0))
        die("munmap");
}

/* A stack that takes a while to walk. */
NAMED void deeper(int depth, char *heap)
{
    if (depth)
        deeper(depth - 1, heap);
    else
        round_of(heap);
    __asm__ volatile("" ::: "memory");
}

static void member(size_t rounds)
{
    char name[32];
    char *base = (char *)(((uintptr_t)RAW(SYS_brk, 0, 0, 0, 0, 0, 0) + PAGE - 1) & ~(PAGE - 1));
    for (size_t i = 0; i < rounds; i++)
        deeper(30, base + i * STEP * PAGE);
    snprintf(name, sizeof name, "heap-%d", getpid());
    truth_pages(name, "fill_heap", rounds * STEP);
    truth_smaps(name, base);
    truth_end(0);
}

int main(int argc, char **argv)
{
    size_t members = argc > 1 ? (size_t)atoi(argv[1]) : 8;
    size_t rounds = argc > 2 ? (size_t)atoi(argv[2]) : 100;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one))
        die("sched_setaffinity");
    for (size_t i = 0; i < members; i++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (!child)
            member(rounds);
    }
    for (size_t i = 0; i < members; i++) {
        int status;
        if (wait(&status) < 0 || status)
            die("a child failed");
    }
    truth_end(0);
}

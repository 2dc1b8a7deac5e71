/* A thread on each processor touches memory as fast as it can. Arguments: PAGES ROUNDS. */
#include "truth.h"
#include <pthread.h>

static size_t pages, rounds;

NAMED void touch(volatile char *p)
{
    for (size_t round = 0; round < rounds; round++) {
        if (madvise((char *)p, pages * PAGE, MADV_DONTNEED))
            die("madvise");
        for (size_t i = 0; i < pages; i++)
            p[i * PAGE] = 1;
    }
}

static void *run(void *p)
{
    touch((volatile char *)p);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: full_speed PAGES ROUNDS");
    pages = strtoul(argv[1], NULL, 10);
    rounds = strtoul(argv[2], NULL, 10);
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads > 64)
        threads = 64;
    pthread_t ids[64];
    volatile char *memory[64];
    struct timespec from, to;
    for (long i = 0; i < threads; i++)
        memory[i] = region_anon(pages);
    settle();
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < threads; i++)
        if (pthread_create(ids + i, NULL, run, (void *)memory[i]))
            die("pthread_create");
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    uint64_t ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec -
                  (uint64_t)from.tv_nsec;
    truth_number("ns", ns / (pages * rounds));
    truth_end(0);
}

/* Memory that changes hands while rmap is stopped and its ring full. Waits for a byte of its input
 * before that, and before its end. Arguments: PAGES ROUNDS, of the load; and `threads`, so that
 * two of them load. */
#include "truth.h"
#include <pthread.h>

#define KEPT ((size_t)4096)

static size_t pages, rounds;

NAMED void touch_before(volatile char *p)
{
    for (size_t i = 0; i < KEPT; i++)
        p[i * PAGE] = 1;
}

NAMED void touch_during_loss(volatile char *p)
{
    for (size_t i = 0; i < KEPT; i++)
        p[i * PAGE] = 2;
}

NAMED void load(volatile char *p)
{
    for (size_t round = 0; round < rounds; round++) {
        if (madvise((char *)p, pages * PAGE, MADV_DONTNEED))
            die("madvise");
        for (size_t i = 0; i < pages; i++)
            p[i * PAGE] = 1;
    }
}

static pthread_barrier_t both;

/* Made at the start: who makes a thread waits for rmap. */
static void *run(void *p)
{
    for (;;) {
        pthread_barrier_wait(&both);
        load((volatile char *)p);
        pthread_barrier_wait(&both);
    }
    return NULL;
}

/* Loads, and gives the nanoseconds of a fault. */
static uint64_t timed(volatile char *first, volatile char *second)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (second)
        pthread_barrier_wait(&both);
    load(first);
    if (second)
        pthread_barrier_wait(&both);
    clock_gettime(CLOCK_MONOTONIC, &to);
    uint64_t ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec -
                  (uint64_t)from.tv_nsec;
    return ns / (pages * rounds);
}

static void wait_for_a_byte(void)
{
    char byte;
    if (read(0, &byte, 1) != 1)
        die("read standard input");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: overload PAGES ROUNDS [threads]");
    pages = strtoul(argv[1], NULL, 10);
    rounds = strtoul(argv[2], NULL, 10);
    volatile char *memory = region_anon(KEPT);
    volatile char *first = region_anon(pages);
    volatile char *second = argc > 3 ? region_anon(pages) : NULL;
    pthread_t thread;
    if (second && (pthread_barrier_init(&both, NULL, 2) ||
                   pthread_create(&thread, NULL, run, (void *)second)))
        die("pthread_create");
    touch_before(memory);
    truth_number("ns_read", timed(first, second));
    wait_for_a_byte();
    /* The first fills the ring. */
    load(first);
    uint64_t ns = timed(first, second);
    if (madvise((char *)memory, KEPT * PAGE, MADV_DONTNEED))
        die("madvise");
    touch_during_loss(memory);
    truth_number("ns_stopped", ns);
    wait_for_a_byte();
    truth_pages("memory", "touch_during_loss", KEPT);
    truth_smaps("memory", memory);
    truth_smaps("load", first);
    truth_end(0);
}

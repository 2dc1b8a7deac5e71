/* Work of a size that is chosen. The first word of the last line that it prints is "ns", then the
 * nanoseconds that it took.
 *
 * usage: scale faults N | random N | all N | calls N | pairs N | mappings N | threads N |
 *        processes N | touch MIB | sparse MIB
 * "all" shares N faults among all processors; "calls" are system calls that do nothing,
 * "pairs" an mmap and a munmap; "sparse" touches one page of 64. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define BLOCK 16384UL

static char *map(unsigned long pages)
{
    char *memory = mmap(0, pages * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, pages * PAGE, MADV_NOHUGEPAGE)) abort();
    return memory;
}

static void touch(unsigned long faults, int random)
{
    char *memory = map(BLOCK);
    unsigned *order = malloc(BLOCK * sizeof *order);
    unsigned long seed = 1;
    if (!order) abort();
    for (unsigned i = 0; i < BLOCK; i++) order[i] = i;
    for (unsigned i = BLOCK - 1; random && i > 0; i--) {
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        unsigned other = (seed >> 33) % (i + 1), was = order[i];
        order[i] = order[other];
        order[other] = was;
    }
    for (unsigned long done = 0; done < faults; done += BLOCK) {
        if (madvise(memory, BLOCK * PAGE, MADV_DONTNEED)) abort();
        for (unsigned long i = 0; i < BLOCK && done + i < faults; i++)
            *(volatile char *)(memory + (unsigned long)order[i] * PAGE) = 1;
    }
}

static void *touch_apart(void *faults)
{
    touch(*(unsigned long *)faults, 0);
    return 0;
}

static void *thread(void *memory)
{
    for (int i = 0; i < 16; i++) *(volatile char *)((char *)memory + i * PAGE) = 1;
    return 0;
}

int main(int count, char **words)
{
    if (count < 3) return 2;
    const char *what = words[1];
    unsigned long n = strtoul(words[2], 0, 10);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (!strcmp(what, "faults")) touch(n, 0);
    else if (!strcmp(what, "random")) touch(n, 1);
    else if (!strcmp(what, "all")) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        pthread_t ids[256];
        if (processors < 1 || processors > 256) return 1;
        n /= processors;
        for (long i = 0; i < processors; i++)
            if (pthread_create(ids + i, 0, touch_apart, &n)) return 1;
        for (long i = 0; i < processors; i++) pthread_join(ids[i], 0);
    } else if (!strcmp(what, "calls")) {
        for (unsigned long i = 0; i < n; i++) syscall(SYS_getppid);
    } else if (!strcmp(what, "pairs")) {
        for (unsigned long i = 0; i < n; i++) {
            void *memory = mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED || munmap(memory, PAGE)) abort();
        }
    } else if (!strcmp(what, "sparse")) {
        char *memory = map(n * 256);
        for (unsigned long i = 0; i < n * 256; i += 64) *(volatile char *)(memory + i * PAGE) = 1;
    } else if (!strcmp(what, "touch")) {
        char *memory = map(n * 256);
        for (unsigned long i = 0; i < n * 256; i++) *(volatile char *)(memory + i * PAGE) = 1;
    } else if (!strcmp(what, "mappings")) {
        /* Every other page has another protection, so that none are joined. */
        for (unsigned long i = 0; i < n; i++) {
            char *memory = mmap(0, PAGE, i % 2 ? 3 : 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) { perror("mmap"); return 1; }
            *(volatile char *)memory = 1;
        }
    } else if (!strcmp(what, "threads")) {
        pthread_t *ids = calloc(n, sizeof *ids);
        char *memory = map(n * 16);
        for (unsigned long i = 0; i < n; i++)
            if (pthread_create(ids + i, 0, thread, memory + i * 16 * PAGE)) return 1;
        for (unsigned long i = 0; i < n; i++) pthread_join(ids[i], 0);
    } else if (!strcmp(what, "processes")) {
        char *memory = map(64);
        for (unsigned long i = 0; i < n; i++) {
            pid_t child = fork();
            if (child < 0) return 1;
            if (!child) { for (int p = 0; p < 64; p++) *(volatile char *)(memory + p * PAGE) = 1; _exit(0); }
            if (i % 16 == 15) while (waitpid(-1, 0, WNOHANG) > 0);
        }
        while (wait(0) > 0);
    } else return 2;
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("ns %lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
    return 0;
}

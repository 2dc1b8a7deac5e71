/* Faults at a known depth: memory that is dropped and touched again, warm.
 *
 * usage: touch_again FRAMES PAGES ROUNDS same|random|stacks
 *
 * It touches all pages once to warm up, writes "ready PID" to stdout, waits for a line on stdin,
 * touches PAGES * ROUNDS pages, writes "done NANOSECONDS FAULTS", waits for a line and ends.
 * "same" and "random" touch from one place with FRAMES frames below it (the three of the C library
 * and main among them); "stacks" comes to each page by one of 1024 call paths. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
static char *memory;
static unsigned *order;
static unsigned long pages, rounds;
static volatile unsigned long sink;

static void drop(void) {
    if (madvise(memory, pages * PAGE, MADV_DONTNEED) != 0) abort();
}

/* What stands after a call keeps it from becoming a tail call. */
#define APART __attribute__((noinline, noclone))

static APART void touch_all(unsigned long times) {
    for (unsigned long r = 0; r < times; r++) {
        drop();
        for (unsigned long i = 0; i < pages; i++)
            *(volatile char *)(memory + order[i] * PAGE) = 1;
    }
    sink++;
}

static APART void deeper(int levels, unsigned long times) {
    if (levels <= 1) touch_all(times);
    else deeper(levels - 1, times);
    sink++;
}

static APART void touch_one(unsigned long page) {
    *(volatile char *)(memory + page * PAGE) = 1;
    sink++;
}

/* One call place for each value of a bit of the path. */
static APART void by_path(int levels, unsigned path, unsigned long page) {
    if (levels == 0) touch_one(page);
    else if (path & 1) { by_path(levels - 1, path >> 1, page); sink++; }
    else { by_path(levels - 1, path >> 1, page); sink += 2; }
    sink++;
}

static APART void paths(unsigned long times, int padding) {
    for (unsigned long r = 0; r < times; r++) {
        drop();
        for (unsigned long i = 0; i < pages; i++)
            by_path(10 + padding, (unsigned)(i * 2654435761u >> 10) & 1023, i);
    }
    sink++;
}

static unsigned long faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (unsigned long)usage.ru_minflt;
}

static APART void run(int frames, int many, unsigned long times) {
    if (many) paths(times, frames > 18 ? frames - 18 : 0);
    else deeper(frames - 6, times);
    sink++;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int frames = atoi(argv[1]), many = argv[4][0] == 's' && argv[4][1] == 't';
    pages = strtoul(argv[2], 0, 10);
    rounds = strtoul(argv[3], 0, 10);
    if (frames < 7 || pages == 0) return 2;
    memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    order = malloc(pages * sizeof *order);
    if (memory == MAP_FAILED || !order) return 1;
    madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
    for (unsigned long i = 0; i < pages; i++) order[i] = (unsigned)i;
    if (argv[4][0] == 'r') {
        unsigned long seed = 1;
        for (unsigned long i = pages - 1; i > 0; i--) {
            seed = seed * 6364136223846793005UL + 1442695040888963407UL;
            unsigned long j = (seed >> 33) % (i + 1);
            unsigned t = order[i]; order[i] = order[j]; order[j] = t;
        }
    }
    char line[16];
    run(frames, many, 2);
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    unsigned long before = faults();
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    run(frames, many, rounds);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("done %ld %lu\n", (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec,
           faults() - before);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    return 0;
}

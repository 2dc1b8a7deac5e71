// Blocks of malloc that are held, by function, in ways that a sampler may get wrong. The first argument
// says which.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static void *held[1 << 20];
static long count;

static void keep(void *block)
{
    if (!block)
        abort();
    held[__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED)] = block;
}

// A leak beside a handler that frees all that it takes: 16,000 blocks of 2,000 bytes are left.
static NOINLINE void on_login(void)
{
    for (int i = 0; i < 40; i++) {
        char *p = malloc(2000);
        memset(p, 1, 2000);
        keep(p);
    }
}

static NOINLINE void on_query(void)
{
    char *p = malloc(3 << 20);
    memset(p, 2, 3 << 20);
    free(p);
    char *q[200];
    for (int i = 0; i < 200; i++) {
        q[i] = malloc(900);
        memset(q[i], 3, 900);
    }
    for (int i = 0; i < 200; i++)
        free(q[i]);
}

// What was there before anybody looked, of which a half is freed afterwards.
static NOINLINE void before(void)
{
    for (int i = 0; i < 4000; i++)
        keep(malloc(1000));
}

// Says a word, and waits until there is something to read.
static void await(const char *word)
{
    puts(word);
    fflush(stdout);
    getchar();
}

static void leak(int pause_us)
{
    for (int i = 0; i < 400; i++) {
        on_login();
        on_query();
        if (pause_us)
            usleep(pause_us);
    }
}

// Four threads allocate 8,000 blocks each; the main thread frees every second one.
static NOINLINE void *in_thread(void *unused)
{
    for (int i = 0; i < 8000; i++)
        keep(malloc(1000));
    return unused;
}

static void threads(void)
{
    pthread_t all[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&all[i], NULL, in_thread, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
    for (long i = 0; i < count; i += 2)
        free(held[i]);
}

// The child has a copy of the parent's blocks, frees all of them and holds its own.
static NOINLINE void in_parent(void)
{
    for (int i = 0; i < 16000; i++)
        keep(malloc(1000));
}

static NOINLINE void in_child(void)
{
    for (int i = 0; i < 8000; i++)
        keep(malloc(1000));
}

static void forks(void)
{
    in_parent();
    if (fork() == 0) {
        for (long i = 0; i < count; i++)
            free(held[i]);
        in_child();
        exit(0);
    }
    wait(NULL);
}

// 16 MB by each way of allocating.
static NOINLINE void by_realloc(void)
{
    for (int i = 0; i < 4000; i++) {
        char *p = malloc(10);
        for (int size = 500; size <= 4000; size += 500)
            p = realloc(p, size);
        keep(p);
    }
}

static NOINLINE void by_large_realloc(void)
{
    char *p = NULL;
    for (size_t size = 1000000; size <= 16000000; size += 1000000)
        p = realloc(p, size);
    keep(p);
}

static NOINLINE void by_calloc(void)
{
    for (int i = 0; i < 4000; i++)
        keep(calloc(4, 1000));
}

static NOINLINE void by_alignment(void)
{
    for (int i = 0; i < 1000; i++) {
        void *p;
        if (posix_memalign(&p, 64, 4000))
            abort();
        keep(p);
        keep(aligned_alloc(64, 4096 - 96));
        keep(memalign(64, 4000));
        keep(reallocarray(NULL, 4, 1000));
    }
}

static NOINLINE void by_failed_realloc(void)
{
    for (int i = 0; i < 4000; i++) {
        char *p = malloc(4000);
        volatile size_t much = SIZE_MAX / 2;
        if (realloc(p, much) || errno != ENOMEM)
            abort();
        keep(p);
    }
}

static NOINLINE void by_realloc_to_nothing(void)
{
    for (int i = 0; i < 4000; i++) {
        char *p = malloc(4000);
        volatile size_t nothing = 0;
        if (realloc(p, nothing))
            abort();
    }
}

static void ways(void)
{
    by_realloc();
    by_large_realloc();
    by_calloc();
    by_alignment();
    by_failed_realloc();
    by_realloc_to_nothing();
}

static void loop(long many)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < many; i++) {
        char *volatile p = malloc(16 + (i & 63));
        p[0] = 1;
        free(p);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ns = (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
    printf("%ld\n", ns);
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "leak";
    int waits = getenv("MALLOC_HELD_WAITS") != NULL;
    if (waits) {
        before();
        await("ready");
        for (long i = 0; i < count; i += 2)
            free(held[i]);
        count = 0;
    }
    if (!strcmp(way, "leak"))
        leak(argc > 2 ? atoi(argv[2]) : 0);
    else if (!strcmp(way, "threads"))
        threads();
    else if (!strcmp(way, "forks"))
        forks();
    else if (!strcmp(way, "ways"))
        ways();
    else if (!strcmp(way, "loop"))
        loop(argc > 2 ? atol(argv[2]) : 1000);
    else if (!strcmp(way, "preload"))
        puts(getenv("LD_PRELOAD"));
    else
        return 2;
    if (waits)
        await("done");
    return 0;
}

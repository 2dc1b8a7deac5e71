/* One segment of each kind whose truth is known, and threads that stand still: stacks with names,
 * arenas of malloc, shared memory, locked, huge, merged and given up memory. It says which is which,
 * and waits for a line. */
#include "truth.h"
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>

#define THREADS 2
#define EACH ((size_t)40)

static pthread_barrier_t allocated, ready;
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static int go[2];

NAMED void *worker(void *number)
{
    char name[16], byte, region[32], here = 1;
    size_t n = (size_t)number;
    snprintf(name, sizeof name, "worker %zu", n);
    if (pthread_setname_np(pthread_self(), name))
        die("pthread_setname_np");
    /* The first block of another thread makes an arena. */
    char *block = (char *)malloc(1000);
    memset(block, 1, 1000);
    /* Nobody changes mappings while another looks at them: smaps is read piece by piece. */
    pthread_barrier_wait(&allocated);
    pthread_mutex_lock(&looking);
    snprintf(region, sizeof region, "stack %zu", n);
    truth_smaps(region, &here);
    truth("{\"truth\":\"tid\",\"pid\":%d,\"function\":\"%s\",\"tid\":%d}", getpid(), region,
          (int)syscall(SYS_gettid));
    snprintf(region, sizeof region, "arena %zu", n);
    truth_smaps(region, block);
    pthread_mutex_unlock(&looking);
    pthread_barrier_wait(&ready);
    if (read(go[0], &byte, 1) != 0)
        die("the pipe");
    return block;
}

NAMED char *make_pool(void)
{
    char *pool = (char *)mmap(NULL, EACH * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                              memory_make(EACH), 0);
    if (pool == MAP_FAILED)
        die("mmap");
    memset(pool, 1, EACH * PAGE);
    return pool;
}

NAMED char *make_shared(void)
{
    char *shared = (char *)mmap(NULL, EACH * PAGE, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    memset(shared, 1, EACH * PAGE);
    return shared;
}

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

NAMED void release(char *p)
{
    if (madvise(p, EACH / 2 * PAGE, MADV_FREE))
        die("MADV_FREE");
    /* A processor gathers such pages, and smaps counts them when it hands them on, which this makes it do
     * (kernel mm/madvise.c, lru_add_drain). */
    if (madvise(p + EACH / 2 * PAGE, PAGE, MADV_COLD))
        die("MADV_COLD");
}

int main(void)
{
    pthread_t threads[THREADS];
    char line[8];
    if (pipe(go) || pthread_barrier_init(&allocated, NULL, THREADS + 1) ||
        pthread_barrier_init(&ready, NULL, THREADS + 1))
        die("begin");
    for (size_t n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, worker, (void *)n))
            die("pthread_create");
    pthread_barrier_wait(&allocated);
    pthread_barrier_wait(&ready);
    truth_smaps("memfd", make_pool());
    truth_smaps("shared", make_shared());
    char *locked = region_anon(EACH);
    if (mlock(locked, EACH * PAGE))
        die("mlock");
    truth_smaps("locked", locked);
    char *given = region_anon(EACH);
    memset(given, 1, EACH * PAGE);
    release(given);
    truth_smaps("given", given);
    char *huge = huge_place(MADV_HUGEPAGE);
    memset(huge, 1, HUGE_PAGE);
    truth_smaps("huge", huge);
    char *code = region_map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
    memset(code, 0xcc, PAGE);
    truth_smaps("code", code);
    char *block = (char *)malloc(4 << 20);
    memset(block, 1, 4 << 20);
    truth_smaps("block", block);
    truth_number("ready", 1);
    if (read(0, line, sizeof line) < 0)
        die("read");
    truth_end(0);
}

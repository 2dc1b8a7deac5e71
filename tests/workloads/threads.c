/* Eight threads start at a barrier and write every eighth page of one mapping, each in a function
 * of its own. */
#include "truth.h"
#include <pthread.h>

#define THREADS 8
#define EACH ((size_t)4096)

static pthread_barrier_t barrier;
static volatile char *memory;
static pid_t tids[THREADS];

#define WRITER(n)                                                                                  \
    NAMED void thread_writes_##n(void)                                                             \
    {                                                                                              \
        for (size_t i = 0; i < EACH; i++)                                                          \
            memory[(i * THREADS + n) * PAGE] = n + 1;                                              \
    }
WRITER(0)
WRITER(1)
WRITER(2)
WRITER(3)
WRITER(4)
WRITER(5)
WRITER(6)
WRITER(7)

static void (*const writers[THREADS])(void) = {
    thread_writes_0, thread_writes_1, thread_writes_2, thread_writes_3,
    thread_writes_4, thread_writes_5, thread_writes_6, thread_writes_7,
};

static void *start(void *number)
{
    size_t n = (size_t)number;
    tids[n] = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&barrier);
    writers[n]();
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    memory = region_anon(THREADS * EACH);
    if (pthread_barrier_init(&barrier, NULL, THREADS))
        die("pthread_barrier_init");
    for (size_t n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, start, (void *)n))
            die("pthread_create");
    for (size_t n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    for (size_t n = 0; n < THREADS; n++) {
        char name[32];
        snprintf(name, sizeof name, "thread_writes_%zu", n);
        truth_pages("memory", name, EACH);
        truth("{\"truth\":\"tid\",\"pid\":%d,\"function\":\"%s\",\"tid\":%d}", getpid(), name,
              tids[n]);
    }
    truth_smaps("memory", memory);
    truth_end(0);
}

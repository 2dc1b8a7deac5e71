/* Threads take memory of many sizes from malloc, write it and free most of it. Then all of them wait,
 * and the first says what malloc itself counts as free (fordblks of mallinfo2). After a line it trims
 * and says how much of its resident memory went. Arguments: the number of threads beside the first;
 * `busy`: the threads go on allocating and freeing; `corrupt`: a header is overwritten. */
#include "truth.h"
#include <malloc.h>
#include <pthread.h>

#define BLOCKS 40000

static pthread_barrier_t turn;
static volatile int busy;

struct work {
    void *blocks[BLOCKS];
    unsigned seed;
};

static unsigned next(struct work *work)
{
    work->seed = work->seed * 1664525 + 1013904223;
    return work->seed >> 8;
}

/* Small ones mostly, some of several pages; some that fill fastbins and thread caches. */
static size_t some_size(struct work *work)
{
    unsigned kind = next(work) % 100;
    if (kind < 70)
        return 16 + next(work) % 200;
    if (kind < 97)
        return 200 + next(work) % 3000;
    return 4000 + next(work) % 40000;
}

NAMED void fill(struct work *work)
{
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = some_size(work);
        work->blocks[i] = malloc(size);
        memset(work->blocks[i], 1, size);
    }
}

NAMED void free_most(struct work *work)
{
    /* Neighbours in places, so that whole pages become free; single ones elsewhere. */
    for (int i = 0; i < BLOCKS; i++) {
        int in_a_row = (i / 500) % 2;
        if (in_a_row || next(work) % 3 == 0) {
            free(work->blocks[i]);
            work->blocks[i] = NULL;
        }
    }
}

static void *helper(void *argument)
{
    struct work *work = argument;
    fill(work);
    free_most(work);
    pthread_barrier_wait(&turn);
    while (busy)
        for (int i = 0; i < BLOCKS && busy; i += 7) {
            free(work->blocks[i]);
            work->blocks[i] = malloc(some_size(work));
        }
    for (;;)
        pause();
    return NULL;
}

static uint64_t resident(void)
{
    static char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    char *rss = got > 0 ? strstr(text, "\nRss:") : NULL;
    if (!rss)
        die("no Rss");
    close(fd);
    return strtoull(rss + 5, NULL, 10) * 1024;
}

static void wait_line(void)
{
    char byte;
    if (read(0, &byte, 1) != 1)
        die("read a line");
}

static struct work works[17];

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    const char *how = argc > 2 ? argv[2] : "";
    if (threads > 16)
        die("too many threads");
    busy = !strcmp(how, "busy");
    if (pthread_barrier_init(&turn, NULL, (unsigned)threads + 1))
        die("make a barrier");
    for (int i = 0; i <= threads; i++)
        works[i].seed = 17 + (unsigned)i;
    for (int i = 1; i <= threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, helper, &works[i]))
            die("make a thread");
    }
    fill(&works[0]);
    free_most(&works[0]);
    pthread_barrier_wait(&turn);
    resident();
    for (int i = 0; !strcmp(how, "corrupt") && i < BLOCKS; i++)
        if (works[0].blocks[i] && i > BLOCKS / 2) {
            ((size_t *)works[0].blocks[i])[-1] = 0x1235;
            break;
        }
    struct mallinfo2 info = mallinfo2();
    truth_number("free", info.fordblks);
    truth_number("fast", info.fsmblks);
    truth_number("ready", 1);
    if (!strcmp(how, "corrupt") || busy)
        for (;;)
            pause();
    wait_line();
    uint64_t before = resident();
    malloc_trim(0);
    truth_number("trimmed", before - resident());
    wait_line();
    truth_end(0);
}

/*
 * Holds more and more, or not, as its first argument says, for as many ms as its second one says.
 * Rounds of work lie 10 ms apart. What leaks is kept by `keep`; `work` allocates what is freed again.
 */
#include "truth.h"
#include <pthread.h>

#define ROUND_US 10000
#define KIB ((size_t)1024)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct node {
    struct node *next;
    char text[200];
};

static struct node *list;
static void *slots[4096];
static unsigned seed = 7;

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % below;
}

/* The compiler must not know that nobody reads it. */
#define FILL(at, byte, bytes)                                                                      \
    do {                                                                                           \
        char *filled = (at);                                                                       \
        memset(filled, byte, bytes);                                                               \
        __asm__ volatile("" : : "r"(filled) : "memory");                                           \
    } while (0)

NAMED void keep(size_t bytes)
{
    FILL(malloc(bytes), 1, bytes);
}

NAMED void keep_nodes(size_t count)
{
    while (count--) {
        struct node *node = malloc(sizeof *node);
        FILL(node->text, 1, sizeof node->text);
        node->next = list;
        list = node;
    }
    __asm__ volatile("");
}

NAMED void keep_mapping(size_t bytes)
{
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FILL(at, 1, bytes);
}

NAMED void enlarge(size_t bytes)
{
    static char *all;
    static size_t size;
    all = realloc(all, size + bytes);
    FILL(all + size, 1, bytes);
    size += bytes;
}

/* Some rounds' worth of allocations, all of them freed. */
NAMED void work(void)
{
    void *all[64];
    for (size_t i = 0; i < 64; i++) {
        size_t bytes = 512 + draw(8192);
        all[i] = malloc(bytes);
        FILL(all[i], 2, bytes);
    }
    for (size_t i = 0; i < 64; i++)
        free(all[i]);
    __asm__ volatile("");
}

static double until;

static void *serve(void *unused)
{
    (void)unused;
    while (now() < until) {
        keep(16 * KIB);
        usleep(ROUND_US);
    }
    return NULL;
}

/* Blocks of random sizes take the places of older ones. */
NAMED void replace(size_t count, size_t most)
{
    while (count--) {
        void **slot = &slots[draw(4096)];
        size_t bytes = 16 + draw((unsigned)most);
        free(*slot);
        *slot = malloc(bytes);
        FILL(*slot, 3, bytes);
    }
    __asm__ volatile("");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("arguments");
    const char *how = argv[1];
    double begun = now(), lasts = atof(argv[2]);
    until = begun + lasts;
    if (!strcmp(how, "threads")) {
        pthread_t all[3];
        for (size_t i = 0; i < 3; i++)
            pthread_create(&all[i], NULL, serve, NULL);
        for (size_t i = 0; i < 3; i++)
            pthread_join(all[i], NULL);
        return 0;
    }
    for (size_t round = 0; now() < until; round++) {
        double done = (now() - begun) / lasts;
        if (!strcmp(how, "blocks"))
            keep(32 * KIB);
        else if (!strcmp(how, "nodes"))
            keep_nodes(200), work();
        else if (!strcmp(how, "mmap"))
            keep_mapping(32 * KIB);
        else if (!strcmp(how, "realloc"))
            enlarge(64 * KIB);
        else if (!strcmp(how, "late")) {
            if (done > 0.4)
                keep(48 * KIB);
        } else if (!strcmp(how, "fills")) {
            /* A cache that is full after six tenths. */
            if (done < 0.6)
                keep(64 * KIB);
        } else if (!strcmp(how, "work"))
            work();
        else if (!strcmp(how, "random"))
            replace(200, 8192);
        else if (!strcmp(how, "sawtooth")) {
            /* Half a second up, and all of it back. */
            size_t slot = round % 50;
            free(slots[slot]);
            FILL(slots[slot] = malloc(512 * KIB), 4, 512 * KIB);
            if (slot == 49)
                for (size_t i = 0; i < 50; i++)
                    free(slots[i]), slots[i] = NULL;
        } else if (!strcmp(how, "builds")) {
            /* Nothing for half of the time, then one large table, and the end. */
            if (done > 0.5) {
                while (now() < until)
                    keep_nodes(1000);
            }
        } else
            die("how");
        usleep(ROUND_US);
    }
    return 0;
}

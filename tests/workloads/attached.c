/* Fills memory, waits for a line, and then fills, rewrites, copies and gives back known pages: what
 * rmap is told that attaches while it waits. A second thread does half of it. Then it waits for
 * another line. Argument: a file of its own to make. */
#include "truth.h"
#include <pthread.h>

#define HELD ((size_t)64)
#define ADDED ((size_t)32)
#define FILE_PAGES ((size_t)16)
#define COPIED ((size_t)5)

static char *memory, *file;
static pthread_barrier_t turn;

NAMED void fill_before(volatile char *p)
{
    for (size_t i = 0; i < HELD; i++)
        p[i * PAGE] = 1;
}

NAMED void read_before(volatile char *p)
{
    for (size_t i = 0; i < FILE_PAGES; i++)
        (void)p[i * PAGE];
}

NAMED void rewrite(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 2;
}

NAMED void fill_added(volatile char *p)
{
    for (size_t i = HELD; i < HELD + ADDED; i++)
        p[i * PAGE] = 3;
}

NAMED void drop(char *p)
{
    if (RAW(SYS_madvise, p + 16 * PAGE, 8 * PAGE, MADV_DONTNEED, 0, 0, 0))
        die("madvise");
}

NAMED void refill(volatile char *p)
{
    for (size_t i = 16; i < 20; i++)
        p[i * PAGE] = 4;
}

NAMED void copy_pages(volatile char *p)
{
    for (size_t i = 0; i < COPIED; i++)
        p[i * PAGE] = 5;
}

NAMED char *map_later(void)
{
    return region_anon(20);
}

NAMED void fill_later(volatile char *p)
{
    for (size_t i = 0; i < 20; i++)
        p[i * PAGE] = 6;
}

static void *helper(void *unused)
{
    pthread_barrier_wait(&turn);
    fill_added(memory);
    drop(memory);
    refill(memory);
    pthread_barrier_wait(&turn);
    for (;;)
        pause();
    return unused;
}

static void wait_line(void)
{
    char byte;
    if (read(0, &byte, 1) != 1)
        die("read a line");
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc < 2)
        die("no file is named");
    int fd = file_make(argv[1], FILE_PAGES);
    memory = region_anon(HELD + ADDED + 32);
    file = region_map(FILE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    fill_before(memory);
    read_before(file);
    if (pthread_barrier_init(&turn, NULL, 2) || pthread_create(&thread, NULL, helper, NULL))
        die("make a thread");
    truth_number("pid", (uint64_t)getpid());
    wait_line();
    rewrite(memory);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    copy_pages(file);
    char *later = map_later();
    fill_later(later);
    truth_pages("memory", "fill_added", ADDED);
    truth_pages("memory", "refill", 4);
    truth_number("memory_before", HELD - 8);
    truth_number("dropped", 8);
    truth_pages("file", "copy_pages", COPIED);
    truth_number("file_before", FILE_PAGES - COPIED);
    truth_pages("later", "fill_later", 20);
    truth_smaps("memory", memory);
    truth_smaps("file", file);
    truth_smaps("later", later);
    truth_number("done", 1);
    wait_line();
    truth_end(0);
}

/* Copy-on-write after fork, page by page: a child copies 16 of 64 pages while its parent lives, and
 * the parent copies 8 others meanwhile; when the child has ended the parent writes 24, which have no
 * second owner any more: they are reused, not copied. Page frames tell which pages are others now. */
#include "truth.h"

#define PAGES ((size_t)64)

NAMED void parent_fills(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
}

NAMED void child_copies(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 2;
}

NAMED void parent_copies(volatile char *p)
{
    for (size_t i = 32; i < 40; i++)
        p[i * PAGE] = 3;
}

NAMED void parent_reuses(volatile char *p)
{
    for (size_t i = 0; i < 24; i++)
        p[i * PAGE] = 4;
}

/* The page frames of a range, to see which pages are others now. */
static void frames(const char *p, uint64_t *to)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, to, PAGES * 8, (off_t)((uintptr_t)p / PAGE * 8)) != (ssize_t)(PAGES * 8))
        die("read /proc/self/pagemap");
    close(fd);
    for (size_t i = 0; i < PAGES; i++)
        to[i] &= ((uint64_t)1 << 55) - 1;
}

static size_t moved(const uint64_t *before, const uint64_t *after, size_t from, size_t to)
{
    size_t count = 0;
    for (size_t i = from; i < to; i++)
        count += before[i] != after[i];
    return count;
}

int main(void)
{
    static uint64_t before[PAGES], after[PAGES];
    int to_child[2], to_parent[2], status;
    char byte = 'x', *p = region_anon(PAGES);
    if (pipe(to_child) || pipe(to_parent))
        die("pipe");
    parent_fills(p);
    frames(p, before);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        child_copies(p);
        frames(p, after);
        if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1)
            die("talk to the parent");
        truth_pages("child", "child_copies", 16);
        truth_number("child_moved", moved(before, after, 0, 16));
        truth_number("child_inherited", PAGES - 16);
        truth_smaps("child", p);
        truth_end(0);
    }
    if (read(to_parent[0], &byte, 1) != 1)
        die("read the pipe");
    parent_copies(p);
    if (write(to_child[1], &byte, 1) != 1 || waitpid(child, &status, 0) != child || status)
        die("the child failed");
    parent_reuses(p);
    frames(p, after);
    truth_pages("parent", "parent_fills", PAGES - 8);
    truth_pages("parent", "parent_copies", 8);
    truth_number("parent_moved", moved(before, after, 32, 40));
    truth_number("parent_reused", 24 - moved(before, after, 0, 24));
    truth_smaps("parent", p);
    truth_end(0);
}

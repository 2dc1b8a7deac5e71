/* A file in large folios, mapped so that they begin in the middle of the kernel's fault-around: one
 * fault maps pages in front of its own 64 KiB and behind them. Which ones, the page table tells.
 * Argument: the start of names. */
#include "truth.h"

#define FILE_PAGES ((size_t)256)
#define PAGES ((size_t)192)
/* The first page that is mapped: no folio begins at a multiple of 64 KiB in memory. */
#define SKIPPED ((size_t)5)

READS(read_middle, 100, 101)
READS(read_low, 3, 4)
READS(read_below_middle, 77, 78)
READS(read_rest, 0, PAGES)

static char block[FILE_PAGES * PAGE];

/* A folio is as large as the write that makes it, where the file system has them. */
static int make(const char *prefix, const char *name, size_t chunk)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die("create %s", path);
    for (size_t at = 0; at < sizeof block; at += chunk)
        if (pwrite(fd, block + at, chunk, (off_t)at) != (ssize_t)chunk)
            die("write %s", path);
    if (fsync(fd))
        die("fsync %s", path);
    return fd;
}

/* At an address of which it is known where in a page table it lies. */
static char *map(int fd)
{
    char *p = huge_place(MADV_NOHUGEPAGE);
    if (mmap(p, PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, SKIPPED * PAGE) != p)
        die("map");
    return p;
}

/* Pages that came from outside of the fault-around. */
static size_t beyond;

/* Reads, and tells how many pages came, in the order in which it is called. */
static void read_one(const char *region, const char *function, char *p,
                     unsigned (*read)(const volatile char *))
{
    size_t before = pages_present(p, PAGES * PAGE);
    if (!read(p))
        die("the file holds zeros");
    size_t came = pages_present(p, PAGES * PAGE) - before;
    truth_pages(region, function, came);
}

static void read_all(const char *region, char *p)
{
    read_one(region, "read_middle", p, read_middle);
    /* Its fault-around has the pages from 96 to 111. */
    beyond += pages_present(p, 96 * PAGE) + pages_present(p + 112 * PAGE, 80 * PAGE);
    read_one(region, "read_below_middle", p, read_below_middle);
    read_one(region, "read_low", p, read_low);
    read_one(region, "read_rest", p, read_rest);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: folios FILE");
    memset(block, 'a', sizeof block);
    char *small = map(make(argv[1], "small", 16 * PAGE));
    char *large = map(make(argv[1], "large", sizeof block));
    read_all("small", small);
    read_all("large", large);
    truth_number("beyond", beyond);
    truth_smaps("small", small);
    truth_smaps("large", large);
    truth_end(0);
}

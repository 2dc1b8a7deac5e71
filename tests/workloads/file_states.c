/* Dirty of a file comes and goes: msync cleans it, a rewrite dirties it again, write(2) makes a
 * mapped page dirty with no fault of the mapper, populate reads. Argument: the start of names. */
#include "truth.h"

#define PAGES ((size_t)32)

static int make(const char *prefix, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, name);
    return file_make(path, PAGES);
}

static char *shared(int fd, int flags)
{
    return region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
}

NAMED void write_synced(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

NAMED void write_again(volatile char *p)
{
    for (size_t i = 0; i < 4; i++)
        p[i * PAGE] = 2;
}

NAMED unsigned read_pages(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void write_call(int fd)
{
    static const char bytes[16] = "written by call";
    for (size_t i = 0; i < 8; i++)
        if (RAW(SYS_pwrite64, fd, bytes, sizeof bytes, i * PAGE, 0, 0) != sizeof bytes)
            die("pwrite");
}

NAMED void write_populated(volatile char *p)
{
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: file_states FILE");
    int called = make(argv[1], "called"), populated = make(argv[1], "populated");
    char *clean = shared(make(argv[1], "clean"), 0), *again = shared(make(argv[1], "again"), 0);
    char *map = shared(called, 0), *full;
    char *private_map = region_map(PAGES * PAGE, PROT_READ, MAP_PRIVATE, called, 0);
    write_synced(clean);
    write_synced(again);
    if (msync(clean, PAGES * PAGE, MS_SYNC) || msync(again, PAGES * PAGE, MS_SYNC))
        die("msync");
    write_again(again);
    if (!read_pages(map) || !read_pages(private_map))
        die("the file holds zeros");
    write_call(called);
    full = shared(populated, MAP_POPULATE);
    write_populated(full);
    truth_pages("clean", "write_synced", 16);
    truth_pages("again", "write_synced", 16);
    truth_pages("called", "read_pages", PAGES);
    truth_pages("called_private", "read_pages", PAGES);
    truth_pages("populated", "mmap", PAGES);
    truth_number("clean_dirty_pages", 0);
    truth_number("again_dirty_pages", 4);
    truth_number("called_dirty_pages", 8);
    truth_number("called_private_dirty_pages", 8);
    truth_number("populated_pages", PAGES);
    truth_number("populated_dirty_pages", 8);
    truth_smaps("clean", clean);
    truth_smaps("again", again);
    truth_smaps("called", map);
    truth_smaps("called_private", private_map);
    truth_smaps("populated", full);
    truth_end(0);
}

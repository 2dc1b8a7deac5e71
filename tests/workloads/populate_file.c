/* MADV_POPULATE_READ and MADV_POPULATE_WRITE of a file's private and shared mappings.
 * Argument: the start of names of files to make. */
#include "truth.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define PAGES ((size_t)32)

static char *map(const char *prefix, const char *name, int flags)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, name);
    return region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, flags, file_make(path, PAGES), 0);
}

NAMED long populate_read(char *p)
{
    return RAW(SYS_madvise, p, PAGES * PAGE, MADV_POPULATE_READ, 0, 0, 0);
}

NAMED long populate_write(char *p)
{
    return RAW(SYS_madvise, p, PAGES * PAGE, MADV_POPULATE_WRITE, 0, 0, 0);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: populate_file FILE");
    char *read = map(argv[1], "read", MAP_PRIVATE), *copied = map(argv[1], "copied", MAP_PRIVATE);
    char *written = map(argv[1], "written", MAP_SHARED);
    if (populate_read(read))
        truth_skip("the kernel has no MADV_POPULATE_READ");
    if (populate_write(copied) || populate_write(written))
        die("MADV_POPULATE_WRITE");
    truth_pages("read", "populate_read", PAGES);
    truth_pages("copied", "populate_write", PAGES);
    truth_pages("written", "populate_write", PAGES);
    truth_smaps("read", read);
    truth_smaps("copied", copied);
    truth_smaps("written", written);
    truth_end(0);
}

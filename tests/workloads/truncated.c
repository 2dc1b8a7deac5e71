/* A mapped file is cut, and a hole is punched in mapped shared memory. Argument: a file to make. */
#include "truth.h"

#define PAGES ((size_t)32)

READS(read_pages, 0, PAGES)
WRITES(write_pages, 0, PAGES, 1)

NAMED void cut(int fd)
{
    if (RAW(SYS_ftruncate, fd, 8 * PAGE, 0, 0, 0, 0))
        die("ftruncate");
}

NAMED void punch(int fd)
{
    if (RAW(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, 16 * PAGE, 0, 0))
        die("fallocate");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: truncated FILE");
    int file = file_make(argv[1], PAGES), memory = memory_make(PAGES);
    char *p = region_map(PAGES * PAGE, PROT_READ, MAP_SHARED, file, 0);
    char *q = region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (!read_pages(p))
        die("the file holds zeros");
    write_pages(q);
    cut(file);
    punch(memory);
    truth_pages("cut", "read_pages", 8);
    truth_pages("punched", "write_pages", PAGES - 16);
    truth_smaps("cut", p);
    truth_smaps("punched", q);
    truth_end(0);
}

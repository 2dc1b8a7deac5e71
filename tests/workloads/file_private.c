/* A private mapping of a file: every page is read, every fourth one is written then, and so is
 * every page of a second mapping that nobody read before. Argument: a file to make. */
#include "truth.h"

#define PAGES ((size_t)64)

NAMED unsigned read_pages(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void rewrite_pages(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i += 4)
        p[i * PAGE] = 1;
}

NAMED void write_unread(volatile char *p)
{
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: file_private FILE");
    int fd = file_make(argv[1], PAGES);
    char *p = region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *q = region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (!read_pages(p))
        die("the file holds zeros");
    rewrite_pages(p);
    write_unread(q);
    truth_pages("read", "read_pages", PAGES - PAGES / 4);
    truth_pages("read", "rewrite_pages", PAGES / 4);
    truth_pages("unread", "write_unread", 8);
    truth_smaps("read", p);
    truth_smaps("unread", q);
    truth_end(0);
}

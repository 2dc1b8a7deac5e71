/* A shared mapping of a file: 16 pages are written that nobody read; in a second file all pages
 * are read, then every fourth one is written. Argument: the start of two names of files. */
#include "truth.h"

#define PAGES ((size_t)64)

NAMED void write_unread(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

NAMED unsigned read_pages(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void write_read(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i += 4)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    char name[4096];
    if (argc < 2)
        die("usage: file_shared FILE");
    snprintf(name, sizeof name, "%s.read", argv[1]);
    int unread = file_make(argv[1], PAGES), read_first = file_make(name, PAGES);
    char *p = region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, unread, 0);
    char *q = region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_first, 0);
    write_unread(p);
    if (!read_pages(q))
        die("the file holds zeros");
    write_read(q);
    truth_pages("unread", "write_unread", 16);
    truth_pages("read", "read_pages", PAGES);
    truth_number("written_after_read", PAGES / 4);
    truth_smaps("unread", p);
    truth_smaps("read", q);
    truth_end(0);
}

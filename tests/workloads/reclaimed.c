/* A file of 32 MiB, mapped and read from end to end three times: under a limit of memory the kernel
 * takes pages back while others come. Argument: a file to make. */
#include "truth.h"

#define PAGES ((size_t)8192)

NAMED unsigned read_pages(const volatile char *p)
{
    unsigned sum = 0;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < PAGES; i++)
            sum += (unsigned char)p[i * PAGE];
    return sum;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: reclaimed FILE");
    int fd = file_make(argv[1], PAGES);
    char *p = region_map(PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    if (!read_pages(p))
        die("the file holds zeros");
    truth_number("pages", PAGES);
    truth_smaps("file", p);
    truth_end(0);
}

/* Maps a file of any name and reads four pages of it. Argument: the file to make. */
#include "truth.h"

NAMED unsigned read_named(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < 4; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: named_file FILE");
    int fd = file_make(argv[1], 4);
    char *p = region_map(4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    if (!read_named(p))
        die("the file holds zeros");
    truth_pages("file", "read_named", 4);
    truth_smaps("file", p);
    truth_end(0);
}

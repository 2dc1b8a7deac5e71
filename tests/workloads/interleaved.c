/* Two functions write every third page and the one behind it; a third function only reads.
 * An argument names a file that is removed first. */
#include "truth.h"

#define PAGES ((size_t)1536)

NAMED void write_first_of_three(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i += 3)
        p[i * PAGE] = 1;
}

NAMED void write_second_of_three(volatile char *p)
{
    for (size_t i = 1; i < PAGES; i += 3)
        p[i * PAGE] = 2;
}

NAMED unsigned read_all(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED unsigned read_untouched(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

int main(int argc, char **argv)
{
    if (argc > 1 && unlink(argv[1]))
        die("remove %s", argv[1]);
    char *written = region_anon(PAGES), *untouched = region_anon(PAGES);
    write_first_of_three(written);
    write_second_of_three(written);
    if (read_all(written) != PAGES / 3 * 3 || read_untouched(untouched) != 0)
        die("memory holds what nobody wrote");
    truth_pages("written", "write_first_of_three", PAGES / 3);
    truth_pages("written", "write_second_of_three", PAGES / 3);
    truth_pages("written", "read_all", 0);
    truth_pages("untouched", "read_untouched", 0);
    truth_smaps("written", written);
    truth_smaps("untouched", untouched);
    truth_end(0);
}

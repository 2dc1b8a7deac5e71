/* Thirty-two pages of untouched memory are read, every second one is written then. */
#include "truth.h"

NAMED unsigned read_zeros(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < 32; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void write_over_zeros(volatile char *p)
{
    for (size_t i = 0; i < 32; i += 2)
        p[i * PAGE] = 1;
}

int main(void)
{
    char *p = region_anon(32);
    if (read_zeros(p))
        die("memory holds what nobody wrote");
    write_over_zeros(p);
    truth_pages("memory", "read_zeros", 0);
    truth_pages("memory", "write_over_zeros", 16);
    truth_smaps("memory", p);
    truth_end(0);
}

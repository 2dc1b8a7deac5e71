/* Sixty-four pages are written, half of them dropped with MADV_DONTNEED, eight written again. */
#include "truth.h"

NAMED void fill_first(volatile char *p)
{
    for (size_t i = 0; i < 64; i++)
        p[i * PAGE] = 1;
}

NAMED void drop(char *p)
{
    if (RAW(SYS_madvise, p + 16 * PAGE, 32 * PAGE, MADV_DONTNEED, 0, 0, 0))
        die("madvise");
}

NAMED void refill(volatile char *p)
{
    for (size_t i = 20; i < 28; i++)
        p[i * PAGE] = 2;
}

int main(void)
{
    char *p = region_anon(64);
    fill_first(p);
    drop(p);
    refill(p);
    truth_pages("memory", "fill_first", 32);
    truth_pages("memory", "refill", 8);
    truth_number("dropped_pages", 32);
    truth_smaps("memory", p);
    truth_end(0);
}

/* MADV_FREE makes pages clean that stay resident; a later write makes them dirty with no event, and
 * the kernel takes them back when it likes: MADV_PAGEOUT makes it like. MADV_COLD changes nothing. */
#include "truth.h"

NAMED void fill(volatile char *p)
{
    for (size_t i = 0; i < 32; i++)
        p[i * PAGE] = 1;
}

NAMED void free_lazily(char *p)
{
    if (RAW(SYS_madvise, p, 32 * PAGE, MADV_FREE, 0, 0, 0))
        die("MADV_FREE");
}

NAMED void rewrite_freed(volatile char *p)
{
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = 2;
}

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

int main(void)
{
    char *p = region_anon(32), *q = region_anon(32), *taken = region_anon(32);
    fill(p);
    fill(q);
    free_lazily(p);
    rewrite_freed(p);
#ifdef MADV_COLD
    (void)madvise(q, 32 * PAGE, MADV_COLD);
#endif
    fill(taken);
    free_lazily(taken);
    (void)madvise(taken, 32 * PAGE, MADV_PAGEOUT);
    size_t left = pages_present(taken, 32 * PAGE);
    truth_pages("taken", "free_lazily", left);
    truth_number("taken_pages", 32 - left);
    truth_number("taken_dirty_pages", 0);
    truth_pages("freed", "fill", 8);
    truth_pages("freed", "free_lazily", 24);
    truth_pages("cold", "fill", 32);
    truth_number("freed_dirty_pages", 8);
    truth_number("cold_dirty_pages", 32);
    truth_smaps("freed", p);
    truth_smaps("cold", q);
    truth_smaps("taken", taken);
    truth_end(0);
}

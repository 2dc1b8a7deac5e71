/* MADV_FREE makes pages clean that stay resident; a later write makes them dirty with no event.
 * MADV_COLD changes nothing. */
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

int main(void)
{
    char *p = region_anon(32), *q = region_anon(32);
    fill(p);
    fill(q);
    free_lazily(p);
    rewrite_freed(p);
#ifdef MADV_COLD
    (void)madvise(q, 32 * PAGE, MADV_COLD);
#endif
    truth_pages("freed", "fill", 32);
    truth_pages("cold", "fill", 32);
    truth_number("freed_dirty_pages", 8);
    truth_number("cold_dirty_pages", 32);
    truth_smaps("freed", p);
    truth_smaps("cold", q);
    truth_end(0);
}

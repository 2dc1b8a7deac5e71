/* Half of the small pages of a huge page's place are written, then MADV_COLLAPSE makes it one huge
 * page. A huge page of which a part is dropped stays without that part, of which some is written
 * again, page by page. */
#include "truth.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define SMALL ((size_t)(HUGE_PAGE / PAGE))

NAMED void fill_half(volatile char *p)
{
    for (size_t i = 0; i < SMALL; i += 2)
        p[i * PAGE] = 1;
}

NAMED long collapse(char *p)
{
    return RAW(SYS_madvise, p, HUGE_PAGE, MADV_COLLAPSE, 0, 0, 0);
}

NAMED void touch_huge(volatile char *p)
{
    p[0] = 1;
}

NAMED void drop_part(char *p)
{
    if (RAW(SYS_madvise, p + 64 * PAGE, 128 * PAGE, MADV_DONTNEED, 0, 0, 0))
        die("MADV_DONTNEED");
}

NAMED void refill_part(volatile char *p)
{
    for (size_t i = 100; i < 110; i++)
        p[i * PAGE] = 2;
}

int main(void)
{
    char *p = huge_place(MADV_NOHUGEPAGE), *q = huge_place(MADV_HUGEPAGE);
    fill_half(p);
    if (madvise(p, HUGE_PAGE, MADV_HUGEPAGE) || collapse(p))
        truth_skip("the kernel did not collapse the pages");
    touch_huge(q);
    if (pages_present(q, HUGE_PAGE) != SMALL)
        truth_skip("the kernel gave no huge page");
    /* khugepaged must not fill the hole. */
    if (madvise(q, HUGE_PAGE, MADV_NOHUGEPAGE))
        die("MADV_NOHUGEPAGE");
    drop_part(q);
    refill_part(q);
    truth_pages("collapsed", "fill_half", SMALL / 2);
    truth_pages("collapsed", "collapse", SMALL / 2);
    truth_pages("dropped", "touch_huge", SMALL - 128);
    truth_pages("dropped", "refill_part", 10);
    truth_smaps("collapsed", p);
    truth_smaps("dropped", q);
    truth_end(0);
}

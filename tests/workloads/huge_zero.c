/*
 * A huge page's place is read first, which maps the huge zero page, and then written: that gives a
 * huge page since Linux 6.13 (do_huge_zero_wp_pmd); before, the place is split into small zero pages,
 * of which the written one is copied.
 */
#include "truth.h"

NAMED unsigned read_huge(const volatile char *p)
{
    return (unsigned char)p[7 * PAGE];
}

NAMED void write_over_huge_zeros(volatile char *p)
{
    p[9 * PAGE] = 1;
}

int main(void)
{
    char *p = huge_place(MADV_HUGEPAGE);
    if (read_huge(p))
        die("memory holds what nobody wrote");
    write_over_huge_zeros(p);
    if (pages_present(p, HUGE_PAGE) != HUGE_PAGE / PAGE)
        truth_skip("the kernel gave no huge page");
    size_t pages = pages_own(p, HUGE_PAGE);
    truth_pages("huge", "read_huge", 0);
    truth_pages("huge", "write_over_huge_zeros", pages);
    truth_number("whole", pages > 1 ? pages : 0);
    truth_number("split", pages > 1 ? 0 : pages);
    truth_smaps("huge", p);
    truth_end(0);
}

/* A huge page's place is read first, which maps the huge zero page, and then written. */
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
    truth_pages("huge", "read_huge", 0);
    truth_pages("huge", "write_over_huge_zeros", HUGE_PAGE / PAGE);
    truth_smaps("huge", p);
    truth_end(0);
}

/* Half of the pages of a huge page's place are written, and khugepaged is waited for, which joins
 * them into one. It gives up after the seconds of its argument. */
#include "truth.h"

#define SMALL ((size_t)(HUGE_PAGE / PAGE))

NAMED void fill_half(volatile char *p)
{
    for (size_t i = 0; i < SMALL; i += 2)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    char *p = huge_place(MADV_NOHUGEPAGE);
    fill_half(p);
    if (madvise(p, HUGE_PAGE, MADV_HUGEPAGE))
        die("MADV_HUGEPAGE");
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 40);
    while (pages_present(p, HUGE_PAGE) != SMALL) {
        if (time(NULL) > end)
            truth_skip("khugepaged did not come");
        usleep(20 * 1000);
    }
    truth_pages("collapsed", "fill_half", SMALL / 2);
    truth_number("holes", SMALL / 2);
    truth_smaps("collapsed", p);
    truth_end(0);
}

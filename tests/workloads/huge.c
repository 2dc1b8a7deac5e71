/* Four huge pages, one byte written in each: 8 MiB are resident after four faults. */
#include "truth.h"

#define COUNT ((size_t)4)

NAMED void touch_huge(volatile char *p)
{
    for (size_t i = 0; i < COUNT; i++)
        p[i * HUGE_PAGE + 5 * PAGE] = 1;
}

int main(void)
{
    /* One huge page more at either end stays inaccessible. */
    char *base = mmap(NULL, (COUNT + 3) * HUGE_PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("mmap");
    char *p = (char *)(((uintptr_t)base + 2 * HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (mprotect(p, COUNT * HUGE_PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
    if (madvise(p, COUNT * HUGE_PAGE, MADV_HUGEPAGE))
        truth_skip("the kernel has no transparent huge pages");
    touch_huge(p);
    truth_pages("huge", "touch_huge", COUNT * HUGE_PAGE / PAGE);
    truth_number("faults", COUNT);
    truth_smaps("huge", p);
    truth_end(0);
}

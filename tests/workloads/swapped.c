/* Pages go to swap by MADV_PAGEOUT and come back: some by a read, of which some are written
 * afterwards, and some by a write. The rest stays in swap. A page that a read brought back is mapped
 * writable at once on some kernels (6.12 and 6.18 do it, 6.1 does not): then the write has no fault. */
#include "truth.h"
#include <sys/resource.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define PAGES ((size_t)64)

WRITES(fill, 0, PAGES, 1)

NAMED void page_out(char *p)
{
    if (RAW(SYS_madvise, p, PAGES * PAGE, MADV_PAGEOUT, 0, 0, 0))
        truth_skip("the kernel has no MADV_PAGEOUT");
}

READS(read_back, 0, 16)
WRITES(write_after_read, 0, 8, 2)
WRITES(write_back, 32, 42, 2)

static long faults(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage))
        die("getrusage");
    return usage.ru_minflt;
}

int main(void)
{
    char *p = region_anon(PAGES);
    fill(p);
    page_out(p);
    if (pages_present(p, PAGES * PAGE))
        truth_skip("the kernel moved nothing, or not all, to swap");
    /* Until it is written, a page in the swap cache cannot be reused. */
    settle();
    if (read_back(p) != 16)
        die("swap gave back other bytes");
    long before = faults();
    write_after_read(p);
    int told = faults() - before >= 8;
    write_back(p);
    truth_pages("swapped", "fill", 0);
    truth_pages("swapped", "read_back", 16);
    truth_pages("swapped", "write_back", 10);
    truth_number("silent_pages", told ? 0 : 8);
    truth_number("told_pages", told ? 8 : 0);
    truth_number("in_swap", PAGES - 26);
    truth_smaps("swapped", p);
    truth_end(0);
}

/* Two regions of equal pages, which KSM merges; then some are written again, and copied. */
#include "truth.h"

#define PAGES ((size_t)32)

NAMED void fill_equal(volatile uint64_t *p)
{
    for (size_t i = 0; i < PAGES * PAGE / sizeof *p; i++)
        p[i] = 0x6b736d;
}

NAMED void write_merged(volatile char *p)
{
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = 'w';
}

/* How many pages of this process are merged, by /proc/self/ksm_stat or ksm_merging_pages. */
static unsigned long merged(void)
{
    char text[64] = {0};
    int fd = open("/proc/self/ksm_merging_pages", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        truth_skip("the kernel does not tell what KSM merged");
    if (read(fd, text, sizeof text - 1) < 0)
        die("read ksm_merging_pages");
    close(fd);
    return strtoul(text, NULL, 10);
}

int main(void)
{
    char *p = region_anon(PAGES), *q = region_anon(PAGES);
    fill_equal((volatile uint64_t *)p);
    fill_equal((volatile uint64_t *)q);
    if (madvise(p, PAGES * PAGE, MADV_MERGEABLE) || madvise(q, PAGES * PAGE, MADV_MERGEABLE))
        truth_skip("the kernel has no KSM");
    for (int tries = 0; merged() < 2 * PAGES; tries++) {
        if (tries == 100)
            truth_skip("KSM has not merged the pages in 30 s; other programs may keep it busy");
        settle();
    }
    write_merged(p);
    truth_pages("written", "write_merged", 8);
    truth_pages("written", "fill_equal", PAGES - 8);
    truth_pages("merged", "fill_equal", PAGES);
    truth_number("merged_at_write", 2 * PAGES);
    truth_smaps("written", p);
    truth_smaps("merged", q);
    truth_end(0);
}

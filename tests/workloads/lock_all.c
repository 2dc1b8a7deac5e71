/* mlockall(MCL_CURRENT) brings in what is mapped, and with MCL_FUTURE what is mapped after it. */
#include "truth.h"

#define PAGES ((size_t)24)

NAMED void lock_all(void)
{
    if (RAW(SYS_mlockall, MCL_CURRENT | MCL_FUTURE, 0, 0, 0, 0, 0))
        truth_skip("memory may not be locked");
}

NAMED void map_locked(char *at)
{
    long p = RAW(SYS_mmap, at, PAGES * PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (p != (long)at)
        die("mmap");
}

int main(void)
{
    char *before = region_anon(PAGES), *after = region_map(PAGES * PAGE, PROT_NONE,
                                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lock_all();
    map_locked(after);
    truth_pages("before", "lock_all", PAGES);
    truth_pages("after", "map_locked", PAGES);
    truth_smaps("before", before);
    truth_smaps("after", after);
    truth_end(0);
}

/* The kernel fills memory on request: MAP_POPULATE, mlock and MADV_POPULATE_WRITE. */
#include "truth.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

NAMED char *map_populated(char *at)
{
    long p = RAW(SYS_mmap, at, 64 * PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
    if (p != (long)at)
        die("mmap");
    return at;
}

NAMED void lock_pages(char *p)
{
    if (RAW(SYS_mlock, p, 16 * PAGE, 0, 0, 0, 0))
        die("mlock");
}

NAMED long populate_write(char *p)
{
    return RAW(SYS_madvise, p, 32 * PAGE, MADV_POPULATE_WRITE, 0, 0, 0);
}

int main(void)
{
    char *p = region_anon(64), *q = region_anon(16), *r = region_anon(32);
    map_populated(p);
    /* Without this, huge pages by default could fill it; it has no effect on what is there. */
    (void)madvise(p, 64 * PAGE, MADV_NOHUGEPAGE);
    lock_pages(q);
    int advised = !populate_write(r);
    truth_pages("map", "map_populated", 64);
    truth_pages("lock", "lock_pages", 16);
    truth_smaps("map", p);
    truth_smaps("lock", q);
    if (advised) {
        truth_pages("advise", "populate_write", 32);
        truth_smaps("advise", r);
    }
    truth_end(0);
}

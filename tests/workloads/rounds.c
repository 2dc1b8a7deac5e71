/* Fifty rounds of map, fill and unmap, then a survivor: only the survivor is resident.
 * Arguments: pages per round (256), rounds (50). */
#include "truth.h"

#define SURVIVES ((size_t)64)

NAMED void fill_round(volatile char *p, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        p[i * PAGE] = 1;
}

NAMED void fill_survivor(volatile char *p)
{
    for (size_t i = 0; i < SURVIVES; i++)
        p[i * PAGE] = 2;
}

NAMED void unmap_round(char *p, size_t pages)
{
    if (RAW(SYS_munmap, p, pages * PAGE, 0, 0, 0, 0))
        die("munmap");
}

int main(int argc, char **argv)
{
    size_t pages = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 50;
    for (size_t i = 0; i < rounds; i++) {
        char *p = region_anon(pages);
        fill_round(p, pages);
        unmap_round(p, pages);
        /* The guards too, so that every round may get the same addresses. */
        munmap(p - GUARD, pages * PAGE + 2 * GUARD);
    }
    char *survivor = region_anon(SURVIVES);
    fill_survivor(survivor);
    truth_number("touched_pages", pages * rounds);
    truth_pages("survivor", "fill_survivor", SURVIVES);
    truth_pages("survivor", "fill_round", 0);
    truth_smaps("survivor", survivor);
    truth_end(0);
}

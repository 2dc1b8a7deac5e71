/* A mapping is filled, moved and grown by mremap, and its new part filled by somebody else. Then
 * the same with realloc of a big block, of huge pages where the argument is `huge`. */
#include "truth.h"

#define SMALL ((size_t)64)
#define BIG ((size_t)128)

NAMED void fill_small(volatile char *p)
{
    for (size_t i = 0; i < SMALL; i++)
        p[i * PAGE] = 1;
}

NAMED void fill_grown(volatile char *p)
{
    for (size_t i = SMALL; i < BIG; i++)
        p[i * PAGE] = 2;
}

NAMED void fill_block(volatile char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i += PAGE)
        p[i] = 1;
}

NAMED void fill_block_grown(volatile char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i += PAGE)
        p[i] = 2;
}

int main(int argc, char **argv)
{
    char *p = region_anon(SMALL);
    fill_small(p);
    char *place = mmap(NULL, BIG * PAGE + 2 * GUARD, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        die("mmap");
    char *q = mremap(p, SMALL * PAGE, BIG * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + GUARD);
    if (q == MAP_FAILED)
        die("mremap");
    fill_grown(q);

    size_t small = (size_t)4 << 20, big = (size_t)12 << 20;
    char *block = malloc(small);
    if (!block)
        die("malloc");
    if (argc > 1 && !strcmp(argv[1], "huge")) {
        /* With malloc's header, or the block would lie in two segments, which mremap refuses. */
        uintptr_t from = (uintptr_t)block & ~(PAGE - 1);
        if (madvise((void *)from, small + PAGE, MADV_HUGEPAGE))
            truth_skip("the kernel has no transparent huge pages");
    }
    size_t present = pages_present(block, small);
    fill_block(block, 0, small);
    size_t filled = pages_present(block, small) - present;
    /* Something in the way, so that the block has to move if it was the lowest mapping. */
    (void)region_anon(1);
    block = realloc(block, big);
    if (!block)
        die("realloc");
    present = pages_present(block, big);
    fill_block_grown(block, small, big);
    size_t grown = pages_present(block, big) - present;

    truth_pages("moved", "fill_small", SMALL);
    truth_pages("moved", "fill_grown", BIG - SMALL);
    truth_pages("block", "fill_block", filled);
    truth_pages("block", "fill_block_grown", grown);
    truth_smaps("moved", q);
    truth_smaps("block", block);
    truth_end(0);
}

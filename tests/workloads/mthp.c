/* One byte is written in each of four blocks of 64 KiB, in memory that is too small for a huge
 * page: where the kernel gives large folios of that size, all of it is resident. */
#include "truth.h"

#define BLOCK ((size_t)64 << 10)
#define COUNT ((size_t)4)

NAMED void touch_blocks(volatile char *p)
{
    for (size_t i = 0; i < COUNT; i++)
        p[i * BLOCK + 3 * PAGE] = 1;
}

int main(void)
{
    char *base = mmap(NULL, (COUNT + 4) * BLOCK, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("mmap");
    char *p = (char *)(((uintptr_t)base + 2 * BLOCK - 1) & ~(BLOCK - 1));
    if (mprotect(p, COUNT * BLOCK, PROT_READ | PROT_WRITE))
        die("mprotect");
    if (madvise(p, COUNT * BLOCK, MADV_HUGEPAGE))
        truth_skip("the kernel has no transparent huge pages");
    touch_blocks(p);
    if (pages_present(p, COUNT * BLOCK) != COUNT * BLOCK / PAGE)
        truth_skip("the kernel gave no large folios of 64 KiB");
    truth_pages("folios", "touch_blocks", COUNT * BLOCK / PAGE);
    truth_number("faults", COUNT);
    truth_smaps("folios", p);
    truth_end(0);
}

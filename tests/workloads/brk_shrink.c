/* The heap grows by 64 pages, all are written, and shrinks by half. libc's allocator is not used,
 * so the heap is this program's alone. */
#include "truth.h"

NAMED char *grow(char *to)
{
    return (char *)RAW(SYS_brk, to, 0, 0, 0, 0, 0);
}

NAMED void fill_heap(volatile char *p)
{
    for (size_t i = 0; i < 64; i++)
        p[i * PAGE] = 1;
}

NAMED char *shrink(char *to)
{
    return (char *)RAW(SYS_brk, to, 0, 0, 0, 0, 0);
}

int main(void)
{
    char *base = (char *)(((uintptr_t)grow(NULL) + PAGE - 1) & ~(PAGE - 1));
    if (grow(base + 64 * PAGE) != base + 64 * PAGE)
        die("brk");
    fill_heap(base);
    if (shrink(base + 32 * PAGE) != base + 32 * PAGE)
        die("brk");
    truth_pages("heap", "fill_heap", 32);
    truth_number("released_pages", 32);
    truth_smaps("heap", base);
    truth_end(0);
}

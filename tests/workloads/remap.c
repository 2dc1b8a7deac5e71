/* What moves mappings without touching pages: mprotect back and forth, a mapping shrunk by
 * mremap, one moved out of its place with MREMAP_DONTUNMAP and filled again, and a second mapping
 * of shared memory, of which half is read. */
#include "truth.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

NAMED void fill(volatile char *p, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        p[i * PAGE] = 1;
}

NAMED void refill(volatile char *p)
{
    for (size_t i = 0; i < 4; i++)
        p[i * PAGE] = 2;
}

NAMED void write_after_protect(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 3;
}

NAMED unsigned read_second(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < 8; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

int main(void)
{
    char *protected = region_anon(16), *shrunk = region_anon(32), *old = region_anon(16);
    char *room = region_anon(16);
    fill(protected, 16);
    if (mprotect(protected, 16 * PAGE, PROT_READ)
        || mprotect(protected, 16 * PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
    write_after_protect(protected);
    fill(shrunk, 32);
    if (mremap(shrunk, 32 * PAGE, 8 * PAGE, 0) != shrunk)
        die("mremap");
    fill(old, 16);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    int moved = mremap(old, 16 * PAGE, 16 * PAGE, flags, room) == room;
    if (moved)
        refill(old);
    char *shared = region_map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *place = region_anon(16);
    fill(shared, 16);
    char *second = mremap(shared, 0, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    if (second != place)
        die("mremap of nothing");
    size_t around = pages_present(second, 16 * PAGE);
    if (around || read_second(second) != 8)
        die("the second mapping is another one");
    /* The kernel maps neighbours as well. */
    around = pages_present(second, 16 * PAGE);
    truth_pages("shared", "fill", 16);
    truth_pages("second", "read_second", around);
    truth_number("second_dirty_pages", around);
    truth_smaps("shared", shared);
    truth_smaps("second", second);
    truth_pages("protected", "fill", 16);
    truth_pages("shrunk", "fill", 8);
    truth_smaps("protected", protected);
    truth_smaps("shrunk", shrunk);
    if (moved) {
        truth_pages("moved", "fill", 16);
        truth_pages("left", "refill", 4);
        truth_smaps("moved", room);
        truth_smaps("left", old);
    }
    truth_end(0);
}

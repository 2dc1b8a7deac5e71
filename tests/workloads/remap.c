/* What moves mappings without touching pages: mprotect back and forth, a mapping shrunk by
 * mremap, and one moved out of its place with MREMAP_DONTUNMAP and filled again. */
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

/*
 * Builds 100 MiB, drops them and exits, so that nothing of them is left at the end. Then a part of
 * it is built again and stays. `build` and `keep` wrote the pages.
 */
#include "truth.h"

#define BUILT ((size_t)100 << 20)
#define KEPT ((size_t)8 << 20)

NAMED char *build(size_t bytes)
{
    char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        die("mmap");
    for (size_t at = 0; at < bytes; at += 4096)
        block[at] = 1;
    return block;
}

NAMED char *keep(size_t bytes)
{
    return build(bytes);
}

int main(void)
{
    char *built = build(BUILT);
    munmap(built, BUILT);
    char *kept = keep(KEPT);
    truth_smaps("kept", kept);
    truth_end(0);
}

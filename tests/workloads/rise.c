/*
 * Writes as many MiB as its first argument says, one by one with so many microseconds between them as
 * the second says, and exits with 7. `grow` writes them. With a third argument it waits that many
 * milliseconds before.
 */
#include "truth.h"

#define MIB ((size_t)1 << 20)

NAMED void grow(char *at)
{
    for (size_t page = 0; page < MIB; page += PAGE)
        at[page] = 1;
    __asm__ volatile("");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("arguments");
    size_t count = strtoul(argv[1], NULL, 10);
    char *block = mmap(NULL, count * MIB, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        die("mmap");
    madvise(block, count * MIB, MADV_NOHUGEPAGE);
    if (argc > 3)
        usleep(1000 * (useconds_t)strtoul(argv[3], NULL, 10));
    for (size_t at = 0; at < count; at++) {
        grow(block + at * MIB);
        usleep((useconds_t)strtoul(argv[2], NULL, 10));
    }
    return 7;
}

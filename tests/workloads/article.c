/*
 * The program of articles about pmap: malloc 60 KiB, memset, strcpy.
 * `first` fills all of it, `second` its first 16 KiB. `wait` as the second argument: stays until
 * standard input ends, so that somebody can look with pmap.
 */
#include "truth.h"

#define BYTES ((size_t)60 * 1024)

NAMED void fill_block(char *block, size_t bytes)
{
    memset(block, 0x5a, bytes);
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    int second = argc > 1 && !strcmp(argv[1], "second");
    size_t filled = second ? 16 * 1024 : BYTES;
    char *block = malloc(BYTES);
    if (!block)
        die("malloc");
    size_t before = pages_present(block, filled);
    fill_block(block, filled);
    strcpy(block, "a string");
    size_t after = pages_present(block, filled);
    truth_pages("heap", "fill_block", after - before);
    truth_smaps("heap", block);
    if (argc > 2 && !strcmp(argv[2], "wait")) {
        char byte;
        while (read(0, &byte, 1) > 0)
            ;
    }
    truth_end(0);
}

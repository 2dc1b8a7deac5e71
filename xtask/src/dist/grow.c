/* Writes 8 MiB that it asked malloc for: what rmap must say of it is known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *grow(size_t size) {
    char *block = malloc(size);
    return block ? memset(block, 1, size) : NULL;
}

int main(void) {
    char *block = grow(8 << 20);
    puts(block && block[4096] == 1 ? "grown" : "no memory");
    return block == NULL;
}

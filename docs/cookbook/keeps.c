/* A program that drops most of what it built, and yet stays large. */
#include <stdlib.h>
#include <string.h>

#define PIECES (1 << 18)

static char *pieces[PIECES];

__attribute__((noinline)) static void build(void)
{
    for (int i = 0; i < PIECES; i++)
        pieces[i] = memset(malloc(200), 1, 200);
}

__attribute__((noinline)) static void drop_most(void)
{
    for (int i = 0; i < PIECES; i++)
        if (i % 64)
            free(pieces[i]);
}

int main(void)
{
    build();
    drop_most();
    return 0;
}

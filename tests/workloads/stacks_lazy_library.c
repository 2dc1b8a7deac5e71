/* A library for stacks_lazy.c: it writes memory while the dynamic linker binds its function. */
#include "truth.h"

/* The program's. */
extern char *lazy_memory;
extern size_t lazy_pages;

NAMED void write_lazily(void)
{
    for (size_t i = 0; i < lazy_pages; i++)
        *(volatile char *)(lazy_memory + i * PAGE) = 1;
}

static int next(int number)
{
    return number + 1;
}

/* Asked by the dynamic linker, at the first call, which of several functions it shall be. */
NAMED int (*choose(void))(int)
{
    write_lazily();
    return next;
}

int lazy_function(int number) __attribute__((ifunc("choose")));

/* A library for stacks_dlopen.c: writes memory at the end of a chain of its own. */
#include "truth.h"

NAMED void library_write(char *memory, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

NAMED void library_entry(char *memory, size_t pages)
{
    library_write(memory, pages);
    __asm__ volatile("" ::: "memory");
}

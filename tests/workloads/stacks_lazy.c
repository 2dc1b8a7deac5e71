/*
 * A region written while the first call through a slot of the PLT is bound (`-z lazy`): by the
 * library's function that the dynamic linker asks (stacks_lazy_library.c).
 */
#include "truth.h"

#define PAGES 8

char *lazy_memory;
size_t lazy_pages;
int lazy_function(int number);

NAMED int call_lazily(int number)
{
    return lazy_function(number) + number;
}

int main(int argc, char **argv)
{
    lazy_memory = region_anon(PAGES);
    lazy_pages = PAGES;
    if (wants_to_settle(argc, argv))
        settle();
    if (call_lazily(argc) != 2 * argc + 1)
        die("another function was called");
    truth_pages("memory", "write_lazily", PAGES);
    truth_smaps("memory", lazy_memory);
    truth_end(0);
}

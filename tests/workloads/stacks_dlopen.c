/* Writes a region in code of a library (the argument) as soon as dlopen(3) has returned. */
#include "truth.h"
#include <dlfcn.h>

#define PAGES 8

NAMED void call_library(const char *path, char *memory)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        die("dlopen: %s", dlerror());
    void (*entry)(char *, size_t) = (void (*)(char *, size_t))dlsym(library, "library_entry");
    if (!entry)
        die("dlsym: %s", dlerror());
    entry(memory, PAGES);
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("one argument");
    char *memory = region_anon(PAGES);
    if (wants_to_settle(argc, argv))
        settle();
    call_library(argv[1], memory);
    truth_pages("memory", "library_write", PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

/*
 * Regions written while an exception goes by: one by a destructor that a cleanup calls, one in
 * the handler.
 */
#include "truth.h"

static const size_t PAGES = 8;

extern "C" NAMED void write_pages(char *memory)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

struct Guard {
    char *memory;
    NAMED ~Guard()
    {
        write_pages(memory);
        __asm__ volatile("" ::: "memory");
    }
};

extern "C" NAMED void throws(int value)
{
    throw value;
}

extern "C" NAMED void with_cleanup(char *memory, int value)
{
    Guard guard = {memory};
    throws(value);
}

extern "C" NAMED int catches(char *cleanup, char *handler, int value)
{
    try {
        with_cleanup(cleanup, value);
    } catch (int caught) {
        write_pages(handler);
        return caught;
    }
    return -1;
}

int main(int argc, char **argv)
{
    char *cleanup = region_anon(PAGES), *handler = region_anon(PAGES);
    if (wants_to_settle(argc, argv))
        settle();
    if (catches(cleanup, handler, argc) != argc)
        die("an exception was not caught");
    truth_pages("cleanup", "write_pages", PAGES);
    truth_smaps("cleanup", cleanup);
    truth_pages("handler", "write_pages", PAGES);
    truth_smaps("handler", handler);
    truth_end(0);
}

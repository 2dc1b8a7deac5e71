/* Fills memory, then executes itself and fills other memory. */
#include "truth.h"

NAMED void before_exec(volatile char *p)
{
    for (size_t i = 0; i < 64; i++)
        p[i * PAGE] = 1;
}

NAMED void after_exec(volatile char *p)
{
    for (size_t i = 0; i < 32; i++)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        char *p = region_anon(64);
        before_exec(p);
        truth_pages("old", "before_exec", 64);
        execl("/proc/self/exe", argv[0], "again", (char *)NULL);
        die("execl");
    }
    char *p = region_anon(64);
    after_exec(p);
    truth_pages("new", "after_exec", 32);
    truth_smaps("new", p);
    truth_end(0);
}

/* A vfork child writes its parent's memory before it ends: the pages are the parent's, and the
 * child's code path is their owner. */
#include "truth.h"

NAMED void parent_writes(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

NAMED void child_writes(volatile char *p)
{
    for (size_t i = 16; i < 48; i++)
        p[i * PAGE] = 2;
}

int main(void)
{
    char *p = region_anon(64);
    int status;
    parent_writes(p);
    pid_t child = vfork();
    if (child < 0)
        die("vfork");
    if (!child) {
        child_writes(p);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status)
        die("the child failed");
    truth_pages("memory", "parent_writes", 16);
    truth_pages("memory", "child_writes", 32);
    truth_smaps("memory", p);
    truth_end(0);
}

/*
 * Writes memory before, between and after two moments, which it marks with the rmap that is its first
 * argument: `load` 16 MiB, then `serve` 24 MiB more, while 4 MiB of the first are given back, then
 * `after` 2 MiB. With "signal" as the argument the marks are SIGUSR1 to its parent, which is rmap.
 */
#include <signal.h>
#include <spawn.h>

#include "truth.h"

extern char **environ;

#define MIB ((size_t)1 << 20)

static void mark(const char *rmap, const char *name)
{
    char parent[16];
    int status;
    pid_t pid;
    if (strcmp(rmap, "signal") == 0) {
        /* The signal is handled some time later. */
        if (kill(getppid(), SIGUSR1))
            die("kill");
        usleep(400000);
        return;
    }
    snprintf(parent, sizeof parent, "%d", getppid());
    char *args[] = {"rmap", "mark", (char *)name, "-p", parent, NULL};
    if (posix_spawn(&pid, rmap, NULL, NULL, args, environ) || waitpid(pid, &status, 0) != pid || status)
        die("rmap mark");
}

static void fill(char *at, size_t bytes)
{
    for (size_t page = 0; page < bytes; page += PAGE)
        at[page] = 1;
}

NAMED void load(char *at)
{
    fill(at, 16 * MIB);
    __asm__ volatile("");
}

NAMED void serve(char *at)
{
    fill(at, 24 * MIB);
    __asm__ volatile("");
}

NAMED void after(char *at)
{
    fill(at, 2 * MIB);
    __asm__ volatile("");
}

int main(int argc, char **argv)
{
    char *block = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (argc < 2 || block == MAP_FAILED)
        die("mmap");
    madvise(block, 64 * MIB, MADV_NOHUGEPAGE);
    load(block);
    mark(argv[1], "loaded");
    serve(block + 20 * MIB);
    madvise(block, 4 * MIB, MADV_DONTNEED);
    mark(argv[1], "served");
    after(block + 48 * MIB);
    truth_end(0);
}

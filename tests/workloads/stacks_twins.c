/*
 * Two children of one process load two libraries at the same address, while rmap does not run at all:
 * the program stops it. Where code lies is each process's own business.
 */
#include "truth.h"

#include <dlfcn.h>
#include <signal.h>

#define PAGES 12000

static char *memory;

NAMED void write_pages(void)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

/* Says where it was loaded: a mapping that stays until the process ends. */
NAMED void *call_twin(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void (*entry)(void (*)(void)) =
        library ? (void (*)(void (*)(void)))dlsym(library, "twin_entry") : NULL;
    if (entry == NULL)
        die(path);
    entry(write_pages);
    __asm__ volatile("" ::: "memory");
    return (void *)entry;
}

/* A child that begins when a byte comes, and answers with the place of the code. */
static void child(const char *path, const char *region, int from, int to)
{
    char byte;
    memory = region_anon(PAGES);
    if (read(from, &byte, 1) != 1)
        die("read");
    void *entry = call_twin(path);
    if (write(to, &entry, sizeof entry) != sizeof entry || read(from, &byte, 1) != 1)
        die("the pipes");
    truth_pages(region, "write_pages", PAGES);
    truth_smaps(region, memory);
    _exit(0);
}

int main(int argc, char **argv)
{
    static const char *const regions[] = {"first", "second"};
    int to[2][2], from[2][2], status;
    void *places[2];
    if (argc < 3)
        die("usage: stacks_twins FIRST SECOND");
    /* Once, so that rmap has the tables of both. */
    for (int n = 0; n < 2; n++) {
        void *library = dlopen(argv[n + 1], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            die(argv[n + 1]);
        settle();
        dlclose(library);
    }
    /* One more, so that rmap sees that they are gone. */
    if (dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL) == NULL)
        die("libm.so.6");
    settle();
    for (int n = 0; n < 2; n++) {
        if (pipe(to[n]) || pipe(from[n]))
            die("pipe");
        if (fork() == 0)
            child(argv[n + 1], regions[n], to[n][0], from[n][1]);
    }
    settle();
    if (kill(getppid(), SIGSTOP))
        die("kill");
    for (int n = 0; n < 2; n++)
        if (write(to[n][1], "x", 1) != 1 || read(from[n][0], &places[n], sizeof places[n]) < 0)
            die("the pipes");
    if (kill(getppid(), SIGCONT))
        die("kill");
    settle();
    if (places[0] != places[1])
        truth_skip("the libraries have not come to lie at one address");
    for (int n = 0; n < 2; n++)
        if (write(to[n][1], "x", 1) != 1 || wait(&status) < 0 || status != 0)
            die("a child");
    truth_end(0);
}

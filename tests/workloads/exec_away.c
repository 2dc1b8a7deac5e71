/* Writes 64 pages in one function and executes another program at once, so that stacks may still be
 * on their way when the program that they belong to is gone. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 64 };

__attribute__((noinline, noclone)) static void writes_and_goes(volatile char *at)
{
    for (int page = 0; page < PAGES; page++)
        at[page * PAGE] = 1;
}

int main(int argc, char **argv)
{
    char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argc < 2 || at == MAP_FAILED)
        return 1;
    writes_and_goes(at);
    execv(argv[1], argv + 1);
    return 1;
}

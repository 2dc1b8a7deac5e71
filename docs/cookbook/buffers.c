/* A database whose processes share a pool of buffers. */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL (48 << 20)

static char *pool;

__attribute__((noinline)) static void read_blocks(void)
{
    memset(pool, 1, POOL / 2);
}

__attribute__((noinline)) static void sort(void)
{
    char *own = mmap(0, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(own, 1, 4 << 20);
}

__attribute__((noinline)) static void backend(void)
{
    volatile char sum = 0;
    for (size_t at = 0; at < POOL / 2; at += 4096)
        sum += pool[at];
    sort();
    usleep(300000);
    _exit(0);
}

int main(void)
{
    pool = mmap(0, POOL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    read_blocks();
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            backend();
    for (int i = 0; i < 3; i++)
        wait(0);
    return 0;
}

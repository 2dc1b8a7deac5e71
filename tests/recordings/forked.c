/* Recorded for the golden files (`cargo xtask golden --record`): a child writes a part of what its
 * parent had written, while a thread of the parent writes too. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define NAMED __attribute__((noinline)) static

static char *shared_table;

NAMED void fill(char *at, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        memset(at + i * PAGE, 1, PAGE);
}

NAMED void rewrite(char *at, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        at[i * PAGE] = 2;
}

NAMED void *work(void *unused)
{
    (void)unused;
    fill(shared_table + 16 * PAGE, 8);
    return NULL;
}

int main(void)
{
    shared_table = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared_table == MAP_FAILED)
        return 1;
    fill(shared_table, 16);
    pid_t child = fork();
    if (child == 0) {
        rewrite(shared_table, 6);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL))
        return 1;
    return pthread_join(thread, NULL);
}

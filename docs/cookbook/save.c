/* A database in memory that forks a child to save it, while it goes on: save FILE. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (64 << 20)

static char *table;

__attribute__((noinline)) static void load(void)
{
    memset(table, 1, SIZE);
}

__attribute__((noinline)) static void save(const char *file)
{
    int out = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (size_t at = 0; at < SIZE; at += 1 << 20)
        if (write(out, table + at, 1 << 20) < 0)
            _exit(1);
    usleep(300000);
    _exit(0);
}

__attribute__((noinline)) static void set_keys(void)
{
    for (size_t at = 0; at < SIZE / 2; at += 4096)
        table[at]++;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    table = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    load();
    pid_t child = fork();
    if (child == 0)
        save(argv[1]);
    set_keys();
    int status;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

/* Recorded for the golden files (`cargo xtask golden --record`): writes half of a table, so many
 * pages of it, reads a mapped file, and gives a buffer back. Argument: PAGES. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define NAMED __attribute__((noinline)) static

NAMED void fill_rows(char *table, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        memset(table + i * PAGE, (int)i + 1, PAGE);
}

NAMED long sum_file(const char *bytes, size_t pages)
{
    long sum = 0;
    for (size_t i = 0; i < pages; i++)
        sum += bytes[i * PAGE];
    return sum;
}

NAMED void use_and_free(size_t pages)
{
    char *buffer = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        exit(1);
    fill_rows(buffer, pages);
    munmap(buffer, pages * PAGE);
}

int main(int argc, char **argv)
{
    size_t pages = argc > 1 ? (size_t)atoi(argv[1]) : 8;
    char *table = malloc(2 * pages * PAGE);
    int file = open(argv[0], O_RDONLY);
    const char *bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
    if (!table || bytes == MAP_FAILED)
        return 1;
    fill_rows(table, pages);
    use_and_free(4);
    return sum_file(bytes, 1) < 0;
}

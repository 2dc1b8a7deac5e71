/* A database in a mapped file: store FILE. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (64 << 20)

static volatile char *file;

__attribute__((noinline)) static long scan(void)
{
    long sum = 0;
    for (size_t at = 0; at < SIZE; at += 4096)
        sum += file[at];
    return sum;
}

__attribute__((noinline)) static void put(void)
{
    for (size_t at = 0; at < SIZE / 4; at += 4096)
        file[at] = 1;
}

__attribute__((noinline)) static void update_index(void)
{
    for (size_t at = SIZE / 2; at < SIZE / 2 + (1 << 20); at += 4096)
        file[at]++;
}

int main(int argc, char **argv)
{
    int fd = argc < 2 ? -1 : open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, SIZE))
        return 2;
    file = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    long sum = scan();
    put();
    for (int i = 0; i < 30; i++) {
        update_index();
        usleep(100000);
    }
    return sum < 0;
}

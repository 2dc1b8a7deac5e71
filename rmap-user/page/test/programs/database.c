// A database that maps its file: a scan reads all of it, updates dirty some of its pages.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define SIZE (80l << 20)
static char *pages;
static void open_base(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (ftruncate(fd, SIZE)) exit(1);
    char block[65536];
    memset(block, 7, sizeof block);
    for (long at = 0; at < SIZE; at += sizeof block) if (write(fd, block, sizeof block) < 0) exit(1);
    fsync(fd);
    pages = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    madvise(pages, SIZE, MADV_RANDOM);
}
static long scan(void) {
    long sum = 0;
    for (long at = 0; at < SIZE; at += 4096) { sum += pages[at]; if (at % (8 << 20) == 0) usleep(20000); }
    return sum;
}
static void update(long key) { pages[key * 4096 % SIZE]++; }
static void build_index(void) {
    char *index = malloc(12 << 20);
    for (long at = 0; at < 12 << 20; at += 4096) { index[at] = 1; }
}
int main(int argc, char **argv) {
    open_base(argc > 1 ? argv[1] : "base.db");
    build_index();
    long sum = scan();
    for (long key = 0; key < 6000; key++) { update(key * 3); if (key % 600 == 0) usleep(10000); }
    return sum == 0;
}

/* O_DIRECT reads into several buffers at once: three of them, and more than a record of the probes
 * can name. Argument: a file to make. */
#include "truth.h"
#include <sys/uio.h>

#define FEW 3
#define MANY 24

/* Two pages for each vector, every other one stays untouched. */
static void fill_in(struct iovec *vectors, int count, char *p)
{
    for (int i = 0; i < count; i++)
        vectors[i] = (struct iovec){p + (size_t)i * 2 * PAGE, PAGE};
}

NAMED void read_few(int fd, const struct iovec *vectors)
{
    if (RAW(SYS_preadv, fd, vectors, FEW, 0, 0, 0) != FEW * (long)PAGE)
        die("preadv");
}

NAMED void read_many(int fd, const struct iovec *vectors)
{
    if (RAW(SYS_preadv, fd, vectors, MANY, 0, 0, 0) != MANY * (long)PAGE)
        die("preadv");
}

int main(int argc, char **argv)
{
    struct iovec few[FEW], many[MANY];
    if (argc < 2)
        die("usage: vectors FILE");
    close(file_make(argv[1], MANY));
    int fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        truth_skip("the file system has no O_DIRECT");
    char *p = region_anon(2 * FEW), *q = region_anon(2 * MANY);
    fill_in(few, FEW, p);
    fill_in(many, MANY, q);
    read_few(fd, few);
    read_many(fd, many);
    truth_pages("few", "read_few", FEW);
    truth_pages("many", "read_many", MANY);
    truth_smaps("few", p);
    truth_smaps("many", q);
    truth_end(0);
}

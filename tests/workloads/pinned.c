/* Pages that the kernel pins without a fault: O_DIRECT reads into fresh memory. An O_DIRECT write
 * from fresh memory leaves nothing, and one into touched memory changes nothing.
 * Argument: a file to make. */
#include "truth.h"

#define PAGES ((size_t)16)

NAMED void read_direct(int fd, char *p)
{
    if (RAW(SYS_pread64, fd, p, PAGES * PAGE, 0, 0, 0) != (long)(PAGES * PAGE))
        die("read with O_DIRECT");
}

NAMED void write_direct(int fd, char *p)
{
    if (RAW(SYS_pwrite64, fd, p, PAGES * PAGE, 0, 0, 0) != (long)(PAGES * PAGE))
        die("write with O_DIRECT");
}

NAMED void touch_before(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: pinned FILE");
    close(file_make(argv[1], PAGES));
    int fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        truth_skip("the file system has no O_DIRECT");
    char *fresh = region_anon(PAGES), *touched = region_anon(PAGES), *source = region_anon(PAGES);
    touch_before(touched);
    read_direct(fd, fresh);
    read_direct(fd, touched);
    write_direct(fd, source);
    truth_pages("fresh", "read_direct", PAGES);
    truth_pages("touched", "touch_before", PAGES);
    truth_pages("source", "write_direct", 0);
    truth_smaps("fresh", fresh);
    truth_smaps("touched", touched);
    truth_smaps("source", source);
    truth_end(0);
}

/* The kernel fills fresh memory: read(2) from a file, from a pipe and from /dev/zero.
 * Argument: a file to make. */
#include "truth.h"

#define FROM_FILE ((size_t)32)
#define FROM_PIPE ((size_t)16)
#define FROM_ZERO ((size_t)8)

NAMED void read_file(int fd, char *p)
{
    if (RAW(SYS_read, fd, p, FROM_FILE * PAGE, 0, 0, 0) != (long)(FROM_FILE * PAGE))
        die("read the file");
}

NAMED void read_pipe(const int *ends, char *p)
{
    static char page[PAGE];
    for (size_t i = 0; i < FROM_PIPE; i++) {
        if (write(ends[1], page, PAGE) != (ssize_t)PAGE)
            die("write the pipe");
        if (RAW(SYS_read, ends[0], p + i * PAGE, PAGE, 0, 0, 0) != (long)PAGE)
            die("read the pipe");
    }
}

NAMED void read_zero(int fd, char *p)
{
    if (RAW(SYS_read, fd, p, FROM_ZERO * PAGE, 0, 0, 0) != (long)(FROM_ZERO * PAGE))
        die("read /dev/zero");
}

int main(int argc, char **argv)
{
    int ends[2], zero = open("/dev/zero", O_RDONLY);
    if (argc < 2 || zero < 0 || pipe(ends))
        die("usage: read_into FILE");
    int fd = file_make(argv[1], FROM_FILE);
    if (lseek(fd, 0, SEEK_SET) != 0)
        die("lseek");
    char *p = region_anon(FROM_FILE + FROM_PIPE + FROM_ZERO);
    read_file(fd, p);
    read_pipe(ends, p + FROM_FILE * PAGE);
    read_zero(zero, p + (FROM_FILE + FROM_PIPE) * PAGE);
    truth_pages("memory", "read_file", FROM_FILE);
    truth_pages("memory", "read_pipe", FROM_PIPE);
    truth_pages("memory", "read_zero", FROM_ZERO);
    truth_smaps("memory", p);
    truth_end(0);
}

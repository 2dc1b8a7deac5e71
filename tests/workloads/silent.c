/* Pages that become dirty with no event of the kernel: shared memory that was read and then
 * written, by this process and by a child; and memory given up by MADV_FREE. */
#include "truth.h"

#define PAGES ((size_t)24)

NAMED void write_first(volatile char *p)
{
    for (size_t i = 0; i < 6; i++)
        p[i * PAGE] = 1;
}

NAMED unsigned read_rest(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 6; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void write_silently(volatile char *p)
{
    for (size_t i = 6; i < 11; i++)
        p[i * PAGE] = 1;
}

NAMED unsigned read_all(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < PAGES; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void child_writes_silently(volatile char *p)
{
    for (size_t i = 0; i < 4; i++)
        p[i * PAGE] = 1;
}

NAMED void fill(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
}

NAMED void rewrite_freed(volatile char *p)
{
    for (size_t i = 2; i < 9; i++)
        p[i * PAGE] = 2;
}

static char *memory(void)
{
    int fd = memfd_create("workload", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)(PAGES * PAGE)))
        die("memfd_create");
    return region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int main(void)
{
    char *own = memory(), *other = memory(), *freed = region_anon(PAGES);
    write_first(own);
    if (read_rest(own) || read_all(other))
        die("memory holds what nobody wrote");
    write_silently(own);
    fill(freed);
    if (madvise(freed, 16 * PAGE, MADV_FREE))
        die("MADV_FREE");
    rewrite_freed(freed);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        if (read_all(other))
            die("memory holds what nobody wrote");
        child_writes_silently(other);
        truth_pages("child", "read_all", PAGES);
        truth_smaps("child", other);
        truth_end(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status)
        die("the child");
    truth_pages("own", "write_first", 6);
    truth_pages("own", "read_rest", PAGES - 6);
    truth_pages("other", "read_all", PAGES);
    truth_pages("freed", "fill", PAGES);
    truth_number("own_dirty_pages", 11);
    truth_number("other_dirty_pages", 4);
    truth_number("freed_dirty_pages", PAGES - 16 + 7);
    truth_smaps("own", own);
    truth_smaps("other", other);
    truth_smaps("freed", freed);
    truth_end(0);
}

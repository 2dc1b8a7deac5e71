/* A memfd, shared anonymous memory and a System V segment are written; another memfd is read
 * first and then written, which no event of the kernel shows. */
#include "truth.h"
#include <sys/ipc.h>
#include <sys/shm.h>

NAMED void write_memfd(volatile char *p)
{
    for (size_t i = 0; i < 32; i++)
        p[i * PAGE] = 1;
}

NAMED void write_shared_anon(volatile char *p)
{
    for (size_t i = 0; i < 24; i++)
        p[i * PAGE] = 1;
}

NAMED void write_sysv(volatile char *p)
{
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = 1;
}

NAMED unsigned read_fresh(const volatile char *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < 16; i++)
        sum += (unsigned char)p[i * PAGE];
    return sum;
}

NAMED void write_silently(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

static int memfd(size_t pages)
{
    int fd = memfd_create("workload", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)(pages * PAGE)))
        die("memfd_create");
    return fd;
}

int main(void)
{
    int rw = PROT_READ | PROT_WRITE;
    char *p = region_map(32 * PAGE, rw, MAP_SHARED, memfd(32), 0);
    char *q = region_map(32 * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *r = region_map(16 * PAGE, rw, MAP_SHARED, memfd(16), 0);
    int id = shmget(IPC_PRIVATE, 16 * PAGE, IPC_CREAT | 0600);
    if (id < 0)
        die("shmget");
    char *s = shmat(id, NULL, 0);
    if (s == (char *)-1)
        die("shmat");
    shmctl(id, IPC_RMID, NULL);
    write_memfd(p);
    write_shared_anon(q);
    write_sysv(s);
    if (read_fresh(r))
        die("memory holds what nobody wrote");
    write_silently(r);
    truth_pages("memfd", "write_memfd", 32);
    truth_pages("anon", "write_shared_anon", 24);
    truth_pages("sysv", "write_sysv", 8);
    truth_pages("silent", "read_fresh", 16);
    truth_number("silent_dirty_pages", 16);
    truth_smaps("memfd", p);
    truth_smaps("anon", q);
    truth_smaps("sysv", s);
    truth_smaps("silent", r);
    truth_end(0);
}

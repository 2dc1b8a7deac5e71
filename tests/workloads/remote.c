/* A parent writes its child's memory: by process_vm_writev and through /proc/PID/mem, with and
 * without an offset in the call. The child wrote none of it; reading it remotely leaves nothing
 * there. (PTRACE_POKEDATA is `poked`'s: who traces cannot be traced.) */
#include "truth.h"
#include <sys/uio.h>

static char page[PAGE];

NAMED void write_vm(pid_t child, char *p)
{
    for (size_t i = 0; i < 8; i++) {
        struct iovec local = {page, PAGE}, remote = {p + i * PAGE, PAGE};
        if (RAW(SYS_process_vm_writev, child, &local, 1, &remote, 1, 0) != (long)PAGE)
            die("process_vm_writev");
    }
}

NAMED void read_vm(pid_t child, char *p)
{
    for (size_t i = 0; i < 8; i++) {
        struct iovec local = {page, PAGE}, remote = {p + i * PAGE, PAGE};
        if (RAW(SYS_process_vm_readv, child, &local, 1, &remote, 1, 0) != (long)PAGE)
            die("process_vm_readv");
    }
}

NAMED void write_mem(int mem, char *p)
{
    for (size_t i = 0; i < 8; i++)
        if (RAW(SYS_pwrite64, mem, page, 64, p + i * PAGE, 0, 0) != 64)
            die("write /proc/PID/mem");
}

/* The address is in no argument. */
NAMED void write_at(int mem, char *p)
{
    for (size_t i = 0; i < 4; i++) {
        if (lseek(mem, (off_t)(uintptr_t)(p + i * PAGE), SEEK_SET) < 0)
            die("lseek");
        if (RAW(SYS_write, mem, page, 64, 0, 0, 0) != 64)
            die("write /proc/PID/mem");
    }
}

int main(void)
{
    char path[64];
    char *vm = region_anon(16), *mem = region_anon(16), *at = region_anon(16);
    char *readonly = region_anon(16);
    struct held child = held_fork();
    if (!child.pid) {
        truth_pages("vm", "write_vm", 8);
        truth_pages("mem", "write_mem", 8);
        truth_pages("at", "write_at", 4);
        truth_pages("readonly", "read_vm", 0);
        truth_smaps("vm", vm);
        truth_smaps("mem", mem);
        truth_smaps("readonly", readonly);
        truth_smaps("at", at);
        truth_end(0);
    }
    write_vm(child.pid, vm);
    read_vm(child.pid, readonly);
    snprintf(path, sizeof path, "/proc/%d/mem", child.pid);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die("open %s", path);
    write_mem(fd, mem);
    write_at(fd, at);
    held_end(child);
    truth_end(0);
}

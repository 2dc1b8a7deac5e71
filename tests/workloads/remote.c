/* A parent writes its child's memory: by process_vm_writev, through /proc/PID/mem and by
 * PTRACE_POKEDATA. The child wrote none of it; reading it remotely leaves nothing there. */
#include "truth.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>
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

NAMED void poke(pid_t child, char *p)
{
    for (size_t i = 0; i < 4; i++)
        if (RAW(SYS_ptrace, PTRACE_POKEDATA, child, p + i * PAGE, 7, 0, 0))
            die("PTRACE_POKEDATA");
}

int main(void)
{
    int ready[2], go[2], status;
    char byte, path[64];
    char *vm = region_anon(16), *mem = region_anon(16), *poked = region_anon(16);
    char *readonly = region_anon(16);
    if (pipe(ready) || pipe(go))
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        if (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
            die("pipe");
        truth_pages("vm", "write_vm", 8);
        truth_pages("mem", "write_mem", 8);
        truth_smaps("vm", vm);
        truth_smaps("mem", mem);
        truth_smaps("readonly", readonly);
        truth_smaps("poked", poked);
        truth_end(0);
    }
    if (read(ready[0], &byte, 1) != 1)
        die("pipe");
    write_vm(child, vm);
    read_vm(child, readonly);
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die("open %s", path);
    write_mem(fd, mem);
    /* Who traces the child already is asked nothing more: then it stays without poked pages. */
    if (!ptrace(PTRACE_ATTACH, child, NULL, NULL)) {
        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
            die("the child did not stop");
        poke(child, poked);
        truth_pages("poked", "poke", 4);
        if (ptrace(PTRACE_DETACH, child, NULL, NULL))
            die("PTRACE_DETACH");
    }
    if (write(go[1], "x", 1) != 1 || waitpid(child, &status, 0) != child || status)
        die("the child failed");
    truth_end(0);
}

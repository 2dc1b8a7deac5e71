/* A parent writes its child's memory by PTRACE_POKEDATA: fresh anonymous memory, and a private
 * mapping of a file. The child then lives for half a second, for whoever looks at it from time to
 * time, as nobody else can trace it. Argument: a file to make. */
#include "truth.h"
#include <sys/ptrace.h>

NAMED void poke(pid_t child, char *p, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        if (RAW(SYS_ptrace, PTRACE_POKEDATA, child, p + i * PAGE, 7, 0, 0))
            die("PTRACE_POKEDATA");
}

int main(int argc, char **argv)
{
    int status;
    if (argc < 2)
        die("usage: poked FILE");
    int fd = file_make(argv[1], 16);
    char *fresh = region_anon(16);
    char *file = region_map(16 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    struct held child = held_fork();
    if (!child.pid) {
        truth_pages("fresh", "poke", 4);
        truth_pages("file", "poke", 3);
        truth_smaps("fresh", fresh);
        truth_smaps("file", file);
        usleep(500 * 1000);
        truth_end(0);
    }
    if (ptrace(PTRACE_ATTACH, child.pid, NULL, NULL))
        truth_skip("the child is traced by another program");
    if (waitpid(child.pid, &status, 0) != child.pid || !WIFSTOPPED(status))
        die("the child did not stop");
    poke(child.pid, fresh, 4);
    poke(child.pid, file, 3);
    if (ptrace(PTRACE_DETACH, child.pid, NULL, NULL))
        die("PTRACE_DETACH");
    held_end(child);
    truth_end(0);
}

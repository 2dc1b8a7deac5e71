/* Faults that end without a page, each right before O_DIRECT reads into fresh memory by the same
 * thread: a write that a handler of SIGSEGV leaves, and a read(2) into memory that cannot be
 * written. Argument: a file to make. */
#include "truth.h"
#include <setjmp.h>
#include <signal.h>

#define PAGES ((size_t)8)

static sigjmp_buf again;

static void leave(int signal)
{
    siglongjmp(again, signal);
}

/* Nothing is touched for the first time between the fault and the call. */
NAMED void read_after_signal(int fd, char *p, volatile char *none)
{
    if (!sigsetjmp(again, 0)) {
        *none = 1;
        die("memory that is not there was written");
    }
    if (RAW(SYS_pread64, fd, p, PAGES * PAGE, 0, 0, 0) != (long)(PAGES * PAGE))
        die("read with O_DIRECT");
}

NAMED void read_after_error(int cached, int fd, char *p, char *none)
{
    if (RAW(SYS_pread64, cached, none, PAGE, 0, 0, 0) != -EFAULT)
        die("memory that is not there was read into");
    if (RAW(SYS_pread64, fd, p, PAGES * PAGE, 0, 0, 0) != (long)(PAGES * PAGE))
        die("read with O_DIRECT");
}

/* The same call, from the same place: first it fails, then it pins. */
NAMED void read_both(const int *fds, char *const *to)
{
    for (size_t i = 0; i < 2; i++)
        if (RAW(SYS_pread64, fds[i], to[i], PAGES * PAGE, 0, 0, 0) < 0 && i == 1)
            die("read with O_DIRECT");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: failed_fault FILE");
    int cached = file_make(argv[1], PAGES);
    int fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        truth_skip("the file system has no O_DIRECT");
    char *none = region_map(PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *warm = region_anon(PAGES), *signalled = region_anon(PAGES), *failed = region_anon(PAGES);
    char *same = region_anon(PAGES);
    struct sigaction action = {.sa_handler = leave, .sa_flags = SA_NODEFER};
    if (sigaction(SIGSEGV, &action, NULL))
        die("sigaction");
    read_after_signal(fd, warm, none);
    read_after_signal(fd, signalled, none);
    read_after_error(cached, fd, warm, none);
    read_after_error(cached, fd, failed, none);
    read_both((int[]){cached, fd}, (char *[]){none, warm});
    read_both((int[]){cached, fd}, (char *[]){none, same});
    truth_pages("signalled", "read_after_signal", PAGES);
    truth_pages("failed", "read_after_error", PAGES);
    truth_pages("same", "read_both", PAGES);
    truth_smaps("signalled", signalled);
    truth_smaps("failed", failed);
    truth_smaps("same", same);
    truth_end(0);
}

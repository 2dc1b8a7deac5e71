/* Two children give themselves names: one writes over its arguments, as servers do, and one sets its
 * short name. */
#include "truth.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    (void)argc;
    pid_t first = fork();
    if (!first) {
        size_t size = strlen(argv[0]) + 1;
        memset(argv[0], 0, size);
        snprintf(argv[0], size, "worker: one");
        truth_number("titled", (uint64_t)getpid());
        truth_end(0);
    }
    child_end(first);
    pid_t second = fork();
    if (!second) {
        if (prctl(PR_SET_NAME, "worker-two"))
            die("prctl");
        truth_number("named", (uint64_t)getpid());
        truth_end(0);
    }
    child_end(second);
    truth_end(0);
}

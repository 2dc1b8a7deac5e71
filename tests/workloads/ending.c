/* Ends as told: `exit N`, `signal N` (kills itself), `orphan` (forks and ends at once, the child
 * goes on for a moment) or `forks` (children that end at once). */
#include "truth.h"
#include <signal.h>

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "exit";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    volatile char *p = region_anon(16);
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
    if (!strcmp(how, "signal")) {
        if (number == SIGSEGV)
            *(volatile char *)(uintptr_t)8 = 1;
        kill(getpid(), number);
        for (;;)
            pause();
    }
    if (!strcmp(how, "orphan")) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (!child) {
            usleep(200 * 1000);
            if (write(1, "orphan\n", 7) != 7)
                die("write");
        }
        truth_end(0);
    }
    if (!strcmp(how, "forks")) {
        for (int i = 0; i < 50; i++) {
            pid_t child = fork();
            if (child < 0)
                die("fork");
            if (!child)
                truth_end(i);
        }
        int status, sum = 0;
        while (wait(&status) > 0)
            sum += WEXITSTATUS(status);
        truth_number("sum", (uint64_t)sum);
        truth_end(0);
    }
    truth_end(number);
}

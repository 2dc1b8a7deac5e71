/* Four chains of processes, each of which forks the next one and ends, until the handler of a signal to
 * the first process says stop. */
#include "truth.h"
#include <signal.h>

static volatile int *shared;

static void stop(int signal)
{
    (void)signal;
    shared[0] = 1;
}

int main(void)
{
    shared = (volatile int *)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                                  0);
    if (shared == MAP_FAILED)
        die("mmap");
    signal(SIGALRM, stop);
    /* Whatever the machine: the chains end without the handler, and that is told. */
    time_t limit = time(NULL) + 20;
    for (int chain = 0; chain < 4; chain++)
        if (fork() == 0) {
            while (!shared[0] && time(NULL) < limit) {
                if (fork() > 0)
                    _exit(0);
                shared[1]++;
            }
            _exit(0);
        }
    alarm(1);
    while (!shared[0] && time(NULL) < limit)
        usleep(1000);
    truth_number("by_the_handler", (uint64_t)shared[0]);
    truth_number("links", (uint64_t)shared[1]);
    truth_end(0);
}

/* Runs a command (words 2 and following), and writes how many seconds it took into the file that
 * word 1 names: the time of the program itself, whoever watches both. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    int status;
    if (count < 3) return 2;
    double start = now();
    pid_t child = vfork();
    if (child == 0) {
        execvp(words[2], words + 2);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) return 2;
    double seconds = now() - start;
    FILE *file = fopen(words[1], "w");
    if (!file || fprintf(file, "%.6f\n", seconds) < 0 || fclose(file)) return 2;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

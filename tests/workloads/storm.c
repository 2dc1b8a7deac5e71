/* Does everything that a process can do to whoever attaches to it, until there is something to read:
 * threads that come and go, forks, vforks, programs that are executed; all results are checked.
 * Argument:
 *   all     that
 *   exec    executes itself again and again, by a second thread each time */
#include "truth.h"
#include <poll.h>
#include <pthread.h>

static volatile int over;
static const char *self;

/* Whether there is something to read, within so many milliseconds. */
static int told(int patience)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, patience) > 0;
}

NAMED void *come_and_go(void *block)
{
    volatile char *p = (volatile char *)block;
    for (size_t i = 0; i < 8; i++)
        p[i * PAGE] = (char)i;
    return block;
}

static void check(pid_t child, int expected)
{
    int status;
    if (child < 0)
        die("make a child");
    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR)
            die("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        die("a child ended with %#x", status);
}

static void *make_threads(void *unused)
{
    while (!over) {
        pthread_t thread;
        void *block = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED || pthread_create(&thread, NULL, come_and_go, block))
            die("make a thread");
        pthread_join(thread, NULL);
        for (size_t i = 0; i < 8; i++)
            if (((char *)block)[i * PAGE] != (char)i)
                die("memory has changed");
        munmap(block, 8 * PAGE);
    }
    return unused;
}

static void *make_children(void *unused)
{
    while (!over) {
        pid_t child = fork();
        if (!child) {
            char block[4 * PAGE];
            memset(block, 1, sizeof block);
            _exit(block[PAGE] + 6);
        }
        check(child, 7);
    }
    return unused;
}

static void *make_programs(void *unused)
{
    while (!over) {
        pid_t child = vfork();
        if (!child) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(99);
        }
        check(child, 0);
    }
    return unused;
}

static void *execute(void *unused)
{
    execl(self, self, "exec", (char *)NULL);
    die("exec");
    return unused;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("an argument is needed");
    pthread_t threads[3];
    self = argv[0];
    if (!strcmp(argv[1], "exec")) {
        if (told(0))
            truth_end(0);
        if (pthread_create(threads, NULL, execute, NULL))
            die("pthread_create");
        for (;;)
            pause();
    }
    void *(*work[3])(void *) = {make_threads, make_children, make_programs};
    truth_number("pid", (uint64_t)getpid());
    for (int i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, work[i], NULL))
            die("pthread_create");
    while (!told(1000))
        ;
    over = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    truth_end(0);
}

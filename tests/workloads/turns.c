/* Waits for a line, and then becomes something else, as a process can while rmap is attached to it.
 * Argument: what.
 *   exec        a second thread executes this program again, which fills 32 pages
 *   fork        a child rewrites 16 pages of 64 that were there before, the parent 8 others
 *   vfork       a vfork child writes 8 pages of its parent's memory, then the parent 8 others
 *   leaderless  the leader has ended before the line comes; a thread fills 32 pages
 *   tree        three generations, two children each; everybody fills 24 pages of its own
 *   waiting     as vfork, but the child waits for the line, and the parent for the child */
#include "truth.h"
#include <pthread.h>
#include <sys/prctl.h>

#define HELD ((size_t)64)

static char *memory;
static const char *self;
static pthread_t leader;

static void wait_line(void)
{
    char byte;
    if (read(0, &byte, 1) != 1)
        die("read a line");
}

NAMED void fill_before(volatile char *p)
{
    for (size_t i = 0; i < HELD; i++)
        p[i * PAGE] = 1;
}

NAMED void fill_after_exec(volatile char *p)
{
    for (size_t i = 0; i < 32; i++)
        p[i * PAGE] = 2;
}

NAMED void fill_without_leader(volatile char *p)
{
    for (size_t i = HELD; i < HELD + 32; i++)
        p[i * PAGE] = 3;
}

NAMED void child_rewrites(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 4;
}

NAMED void parent_rewrites(volatile char *p)
{
    for (size_t i = 32; i < 40; i++)
        p[i * PAGE] = 5;
}

NAMED void borrower_writes(volatile char *p)
{
    for (size_t i = HELD; i < HELD + 8; i++)
        p[i * PAGE] = 6;
}

NAMED void parent_adds(volatile char *p)
{
    for (size_t i = HELD + 8; i < HELD + 16; i++)
        p[i * PAGE] = 7;
}

NAMED void fill_node(volatile char *p)
{
    for (size_t i = 0; i < 24; i++)
        p[i * PAGE] = 8;
}

static void *execute(void *unused)
{
    execl(self, self, "again", (char *)NULL);
    die("exec");
    return unused;
}

static void *outlive(void *unused)
{
    if (pthread_join(leader, NULL))
        die("pthread_join");
    truth_number("pid", (uint64_t)getpid());
    wait_line();
    fill_without_leader(memory);
    truth_pages("memory", "fill_without_leader", 32);
    truth_smaps("memory", memory);
    truth_end(0);
    return unused;
}

static void wait_child(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR)
            die("waitpid");
    if (status)
        die("a child failed");
}

static void forks(void)
{
    int to_child[2], to_parent[2];
    char byte = 'x';
    if (pipe(to_child) || pipe(to_parent))
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        child_rewrites(memory);
        if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1)
            die("talk to the parent");
        truth_pages("child", "child_rewrites", 16);
        truth_smaps("child", memory);
        truth_end(0);
    }
    if (read(to_parent[0], &byte, 1) != 1)
        die("read the pipe");
    parent_rewrites(memory);
    if (write(to_child[1], &byte, 1) != 1)
        die("write the pipe");
    wait_child(child);
    truth_pages("parent", "parent_rewrites", 8);
    truth_smaps("parent", memory);
}

static void borrows(int waits)
{
    pid_t child = vfork();
    if (child < 0)
        die("vfork");
    if (!child) {
        char byte;
        if (waits && read(0, &byte, 1) != 1)
            _exit(1);
        borrower_writes(memory);
        _exit(0);
    }
    wait_child(child);
    parent_adds(memory);
    truth_pages("memory", "parent_adds", 8);
    truth_number("borrowed", 8);
    truth_smaps("memory", memory);
}

static void grow(int generations)
{
    char name[32];
    pid_t children[2];
    char *own = region_anon(32);
    fill_node(own);
    for (int i = 0; generations > 0 && i < 2; i++) {
        children[i] = fork();
        if (children[i] < 0)
            die("fork");
        if (!children[i]) {
            grow(generations - 1);
            truth_end(0);
        }
    }
    for (int i = 0; generations > 0 && i < 2; i++)
        wait_child(children[i]);
    snprintf(name, sizeof name, "node-%d", getpid());
    truth_pages(name, "fill_node", 24);
    truth_smaps(name, own);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    const char *what = argc > 1 ? argv[1] : "";
    self = argv[0];
    if (!strcmp(what, "again")) {
        char *own = region_anon(40);
        fill_after_exec(own);
        truth_pages("memory", "fill_after_exec", 32);
        truth_smaps("memory", own);
        truth_end(0);
    }
    memory = region_anon(HELD + 64);
    fill_before(memory);
    leader = pthread_self();
    if (!strcmp(what, "leaderless")) {
        if (pthread_create(&thread, NULL, outlive, NULL))
            die("pthread_create");
        pthread_exit(NULL);
    }
    truth_number("pid", (uint64_t)getpid());
    if (!strcmp(what, "waiting")) {
        borrows(1);
        truth_end(0);
    }
    wait_line();
    if (!strcmp(what, "exec")) {
        if (pthread_create(&thread, NULL, execute, NULL))
            die("pthread_create");
        for (;;)
            pause();
    }
    if (!strcmp(what, "fork"))
        forks();
    else if (!strcmp(what, "vfork"))
        borrows(0);
    else if (!strcmp(what, "tree"))
        grow(3);
    else
        die("no such turn");
    truth_end(0);
}

/* Children made by clone with flags that fork and threads do not have. Argument:
 *   vm      a process of its own in its parent's memory (CLONE_VM alone), both write at once
 *   parent  a child that is its parent's sibling (CLONE_PARENT)
 *   pid     a child that is the first process of a PID namespace, and a child of that one
 *   files   a child that shares everything but memory (CLONE_FS, CLONE_FILES, CLONE_SIGHAND needs
 *           memory and is left out), and clears a word of its own at its birth (CLONE_CHILD_SETTID) */
#include "truth.h"
#include <sched.h>
#include <signal.h>

static char *memory, stack[1 << 16] __attribute__((aligned(4096)));

NAMED void clone_writes(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

NAMED void maker_writes(volatile char *p)
{
    for (size_t i = 16; i < 40; i++)
        p[i * PAGE] = 2;
}

NAMED void grandchild_writes(volatile char *p)
{
    for (size_t i = 40; i < 48; i++)
        p[i * PAGE] = 3;
}

static int in_memory_of_parent(void *unused)
{
    (void)unused;
    clone_writes(memory);
    _exit(0);
}

static void end(pid_t child)
{
    int status;
    if (child < 0)
        die("clone");
    if (waitpid(child, &status, __WALL) != child || status)
        die("a child failed");
}

static void told(const char *region, const char *function, size_t pages)
{
    truth_pages(region, function, pages);
    truth_smaps(region, memory);
}

static pid_t raw_clone(unsigned long flags, int *word)
{
    return (pid_t)syscall(SYS_clone, flags, NULL, NULL, word, NULL);
}

int main(int argc, char **argv)
{
    static int word;
    const char *how = argc > 1 ? argv[1] : "";
    memory = region_anon(64);
    if (!strcmp(how, "vm")) {
        pid_t child = clone(in_memory_of_parent, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
        maker_writes(memory);
        end(child);
        truth_pages("memory", "clone_writes", 16);
        told("memory", "maker_writes", 24);
    } else if (!strcmp(how, "parent")) {
        int ends[2];
        char byte;
        if (pipe(ends))
            die("pipe");
        pid_t middle = fork();
        if (!middle) {
            pid_t child = raw_clone(CLONE_PARENT | SIGCHLD, NULL);
            if (!child) {
                clone_writes(memory);
                told("sibling", "clone_writes", 16);
                truth_end(0);
            }
            if (child < 0 || write(ends[1], &child, sizeof child) != sizeof child)
                die("clone");
            maker_writes(memory);
            told("middle", "maker_writes", 24);
            truth_end(0);
        }
        pid_t sibling;
        if (read(ends[0], &sibling, sizeof sibling) != sizeof sibling)
            die("read the pipe");
        end(middle);
        end(sibling);
        (void)byte;
    } else if (!strcmp(how, "pid")) {
        pid_t child = raw_clone(CLONE_NEWPID | SIGCHLD, NULL);
        if (child < 0)
            truth_skip("no PID namespace may be made");
        if (!child) {
            pid_t grandchild = fork();
            if (!grandchild) {
                grandchild_writes(memory);
                told("grandchild", "grandchild_writes", 8);
                truth_end(0);
            }
            end(grandchild);
            clone_writes(memory);
            told("child", "clone_writes", 16);
            truth_end(0);
        }
        end(child);
    } else if (!strcmp(how, "files")) {
        pid_t child = raw_clone(CLONE_FS | CLONE_FILES | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD,
                                &word);
        if (!child) {
            clone_writes(memory);
            truth_number("word", (uint64_t)(word == (int)syscall(SYS_gettid)));
            told("child", "clone_writes", 16);
            truth_end(0);
        }
        end(child);
    } else {
        die("no such way");
    }
    truth_end(0);
}

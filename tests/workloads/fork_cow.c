/* A parent fills 64 pages and forks. While both live, the child writes 16 of them again and the
 * parent 8 others. */
#include "truth.h"

#define PAGES ((size_t)64)

NAMED void parent_fills(volatile char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
}

NAMED void child_rewrites(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 2;
}

NAMED void parent_rewrites(volatile char *p)
{
    for (size_t i = 32; i < 40; i++)
        p[i * PAGE] = 3;
}

static void wait_byte(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        die("read the pipe");
}

static void send_byte(int fd)
{
    if (write(fd, "x", 1) != 1)
        die("write the pipe");
}

int main(void)
{
    int to_child[2], to_parent[2];
    char *p = region_anon(PAGES);
    if (pipe(to_child) || pipe(to_parent))
        die("pipe");
    parent_fills(p);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        child_rewrites(p);
        send_byte(to_parent[1]);
        wait_byte(to_child[0]);
        truth_pages("child", "child_rewrites", 16);
        truth_number("copied_pages", PAGES - 16);
        truth_smaps("child", p);
        truth_end(0);
    }
    wait_byte(to_parent[0]);
    parent_rewrites(p);
    send_byte(to_child[1]);
    int status;
    if (waitpid(child, &status, 0) != child || status)
        die("the child failed");
    truth_pages("parent", "parent_fills", PAGES - 8);
    truth_pages("parent", "parent_rewrites", 8);
    truth_smaps("parent", p);
    truth_end(0);
}

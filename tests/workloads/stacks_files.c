/*
 * A region written by code whose file nobody finds by its path any more. Arguments: how, the path
 * of a copy of stacks_library.c, and perhaps `settled`. The program itself is a copy as well.
 *
 * deleted: program and library are gone; replaced: other files have their paths; memfd: both are
 * in memory alone; namespace: both are on a file system that is mounted for this process alone.
 */
#include "truth.h"
#include <dlfcn.h>
#include <sched.h>
#include <sys/mount.h>

#define PAGES 8

extern char **environ;

NAMED void call_library(void (*entry)(char *, size_t), char *memory)
{
    entry(memory, PAGES);
    __asm__ volatile("" ::: "memory");
}

static void copy(const char *from, int to)
{
    static char buffer[1 << 16];
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("open %s", from);
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;)
        if (n < 0 || write(to, buffer, (size_t)n) != n)
            die("copy %s", from);
    close(fd);
}

static void copy_to(const char *from, const char *to)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd < 0)
        die("create %s", to);
    copy(from, fd);
    close(fd);
}

static int memory_of(const char *from)
{
    int fd = memfd_create("code", MFD_CLOEXEC);
    if (fd < 0)
        die("memfd_create");
    copy(from, fd);
    return fd;
}

/* Another file takes the path. */
static void replace(const char *path)
{
    char other[600];
    snprintf(other, sizeof other, "%s.other", path);
    int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (fd < 0 || write(fd, "nothing of it", 13) != 13)
        die("write %s", other);
    close(fd);
    if (rename(other, path))
        die("rename %s", other);
}

int main(int argc, char **argv)
{
    char own[512] = "", place[600];
    if (argc < 3 || readlink("/proc/self/exe", own, sizeof own - 1) < 0)
        die("two arguments");
    const char *how = argv[1], *library = argv[2];
    snprintf(place, sizeof place, "%s", library);
    if (!strcmp(how, "memfd")) {
        /* The program first, which begins anew. */
        if (strncmp(own, "/memfd:", 7)) {
            fexecve(memory_of(own), argv, environ);
            die("fexecve");
        }
        snprintf(place, sizeof place, "/proc/self/fd/%d", memory_of(library));
    } else if (!strcmp(how, "namespace")) {
        char directory[512], inside[600];
        snprintf(directory, sizeof directory, "%s", library);
        *strrchr(directory, '/') = 0;
        snprintf(inside, sizeof inside, "%s/inside", directory);
        snprintf(place, sizeof place, "%s/library", directory);
        if (strcmp(own, inside)) {
            /* Both are read before the directory is covered. */
            int program = memory_of(own), code = memory_of(library);
            if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
                mount("none", directory, "tmpfs", 0, NULL))
                die("mount");
            char from[64];
            snprintf(from, sizeof from, "/proc/self/fd/%d", program);
            copy_to(from, inside);
            snprintf(from, sizeof from, "/proc/self/fd/%d", code);
            copy_to(from, place);
            execv(inside, argv);
            die("execv");
        }
    }
    void *loaded = dlopen(place, RTLD_NOW);
    if (!loaded)
        die("dlopen: %s", dlerror());
    void (*entry)(char *, size_t) = (void (*)(char *, size_t))dlsym(loaded, "library_entry");
    if (!entry)
        die("dlsym: %s", dlerror());
    if (!strcmp(how, "deleted") && (unlink(library) || unlink(own)))
        die("unlink");
    if (!strcmp(how, "replaced")) {
        replace(library);
        replace(own);
    }
    char *memory = region_anon(PAGES);
    if (wants_to_settle(argc, argv))
        settle();
    call_library(entry, memory);
    truth_pages("memory", how, PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

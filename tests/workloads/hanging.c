// A file system (FUSE) that answers everything but READ, with a page of a file of it mapped over the
// command line, and another one executable. Whoever reads either waits for ever. Then it forks, and a
// function writes memory, as programs do.
// usage: hanging DIRECTORY
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void reply(int fd, uint64_t unique, int error, const void *data, size_t size) {
    char bytes[4096];
    struct fuse_out_header head = {.len = sizeof head + size, .error = error, .unique = unique};
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, data, size);
    if (write(fd, bytes, head.len) < 0) _exit(3);
}

static void attr(struct fuse_attr *attr, uint64_t node) {
    memset(attr, 0, sizeof *attr);
    attr->ino = node;
    attr->size = 1 << 20;
    attr->mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0755;
    attr->nlink = 1;
    attr->blksize = 4096;
}

static void serve(int fd) {
    static char request[1 << 20];
    for (;;) {
        if (read(fd, request, sizeof request) <= 0) _exit(0);
        struct fuse_in_header *head = (void *)request;
        switch (head->opcode) {
        case FUSE_INIT: {
            struct fuse_init_out out = {
                .major = 7, .minor = 31, .max_readahead = 65536, .max_write = 65536};
            reply(fd, head->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_LOOKUP: {
            struct fuse_entry_out out;
            memset(&out, 0, sizeof out);
            out.nodeid = 2;
            attr(&out.attr, 2);
            reply(fd, head->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_GETATTR: {
            struct fuse_attr_out out;
            memset(&out, 0, sizeof out);
            attr(&out.attr, head->nodeid);
            reply(fd, head->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_OPEN:
        case FUSE_OPENDIR: {
            struct fuse_open_out out = {.fh = 1};
            reply(fd, head->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_READ: // never
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
            break;
        default:
            reply(fd, head->unique, -38, "", 0);
        }
    }
}

__attribute__((noinline)) static void fill(char *memory, size_t size) { memset(memory, 1, size); }

int main(int count, char **words) {
    char options[128], path[512];
    if (count < 2 || unshare(CLONE_NEWNS)) return 77;
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    int fuse = open("/dev/fuse", O_RDWR);
    if (fuse < 0) return 77;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (mount("x", words[1], "fuse", MS_NOSUID | MS_NODEV, options)) return 77;
    pid_t server = fork();
    if (!server) serve(fuse);
    snprintf(path, sizeof path, "%s/f", words[1]);
    int file = open(path, O_RDONLY);
    if (file < 0) return 1;
    char *page = (char *)((uintptr_t)words[0] & ~4095UL);
    if (mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != page) return 2;
    if (mmap(0, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED) return 2;
    char *memory = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(memory, 65536);
    pid_t child = fork();
    if (!child) _exit(0);
    waitpid(child, 0, 0);
    kill(server, SIGKILL);
    _exit(0);
}

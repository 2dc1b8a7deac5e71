/*
 * What every workload shares: regions that stay segments of their own, and the truth, printed as
 * JSON lines on standard output.
 *
 * Nothing here allocates: the heap belongs to the workload. The truth is printed when the work is
 * done, so that printing touches none of the memory that is counted. Every line is one write(2).
 */
#ifndef TRUTH_H
#define TRUTH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A function whose name must be found in the report. */
#define NAMED __attribute__((noinline, noclone))
#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)
/* Inaccessible memory on both sides of a region, so that it never merges with a neighbour. */
#define GUARD ((size_t)16 * PAGE)

/*
 * A system call in the middle of the calling function, which is then the innermost frame, with no
 * function of libc in between. Returns -errno as the kernel does.
 */
#if defined(__x86_64__)
#define RAW(nr, a, b, c, d, e, f)                                                                  \
    ({                                                                                             \
        long raw_result;                                                                           \
        register long raw_d __asm__("r10") = (long)(d);                                            \
        register long raw_e __asm__("r8") = (long)(e);                                             \
        register long raw_f __asm__("r9") = (long)(f);                                             \
        __asm__ volatile("syscall"                                                                 \
                         : "=a"(raw_result)                                                        \
                         : "0"((long)(nr)), "D"((long)(a)), "S"((long)(b)), "d"((long)(c)),        \
                           "r"(raw_d), "r"(raw_e), "r"(raw_f)                                      \
                         : "rcx", "r11", "memory");                                                \
        raw_result;                                                                                \
    })
#elif defined(__aarch64__)
#define RAW(nr, a, b, c, d, e, f)                                                                  \
    ({                                                                                             \
        register long raw_n __asm__("x8") = (long)(nr);                                            \
        register long raw_a __asm__("x0") = (long)(a);                                             \
        register long raw_b __asm__("x1") = (long)(b);                                             \
        register long raw_c __asm__("x2") = (long)(c);                                             \
        register long raw_d __asm__("x3") = (long)(d);                                             \
        register long raw_e __asm__("x4") = (long)(e);                                             \
        register long raw_f __asm__("x5") = (long)(f);                                             \
        __asm__ volatile("svc 0"                                                                   \
                         : "+r"(raw_a)                                                             \
                         : "r"(raw_n), "r"(raw_b), "r"(raw_c), "r"(raw_d), "r"(raw_e), "r"(raw_f)  \
                         : "memory");                                                              \
        raw_a;                                                                                     \
    })
#else
#error "write RAW for this processor"
#endif

/* Ends the program because the workload itself failed: not a matter of rmap. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    char text[512];
    va_list list;
    int saved = errno;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text - 64, format, list);
    va_end(list);
    n += snprintf(text + n, 64, ": %s\n", strerror(saved));
    if (write(2, text, (size_t)n) < 0)
        _exit(98);
    _exit(99);
}

/* One line of truth. */
__attribute__((format(printf, 1, 2))) static inline void truth(const char *format, ...)
{
    static char line[1024];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line - 1, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof line - 1)
        die("a line of truth is too long");
    line[n++] = '\n';
    if (write(1, line, (size_t)n) != n)
        die("write the truth");
}

/* This kernel or machine cannot show what the workload is for. */
__attribute__((noreturn)) static inline void truth_skip(const char *reason)
{
    truth("{\"truth\":\"skip\",\"reason\":\"%s\"}", reason);
    _exit(0);
}

/* How many pages the function is expected to own in the region, at the end or (gone) in all. */
static inline void truth_pages(const char *region, const char *function, size_t pages)
{
    truth("{\"truth\":\"pages\",\"pid\":%d,\"region\":\"%s\",\"function\":\"%s\",\"pages\":%zu}",
          getpid(), region, function, pages);
}

/* Any other number. */
static inline void truth_number(const char *name, uint64_t value)
{
    truth("{\"truth\":\"number\",\"pid\":%d,\"name\":\"%s\",\"value\":%llu}", getpid(), name,
          (unsigned long long)value);
}

/*
 * What smaps says of the segment that holds the address, in bytes. It is the last thing that a
 * workload reads of a region, so the report must show the same.
 */
static inline void truth_smaps(const char *region, const volatile void *address)
{
    static char text[1 << 16];
    static const char *const keys[] = {"Rss:", "Shared_Dirty:", "Private_Dirty:", "Swap:",
                                       "AnonHugePages:"};
    unsigned long long sizes[5] = {0}, start = 0, end = 0;
    size_t held = 0;
    int inside = 0, found = 0;
    int fd = open("/proc/thread-self/smaps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("open /proc/thread-self/smaps");
    for (;;) {
        ssize_t got = read(fd, text + held, sizeof text - 1 - held);
        if (got < 0)
            die("read /proc/thread-self/smaps");
        if (got == 0)
            break;
        held += (size_t)got;
        text[held] = 0;
        char *line = text;
        for (char *newline; (newline = (char *)memchr(line, '\n', held - (size_t)(line - text)));
             line = newline + 1) {
            *newline = 0;
            unsigned long long from, to;
            char perms[8];
            if (sscanf(line, "%llx-%llx %7s", &from, &to, perms) == 3) {
                inside = from <= (uintptr_t)address && (uintptr_t)address < to;
                if (inside) {
                    found = 1;
                    start = from;
                    end = to;
                }
            } else if (inside) {
                for (int i = 0; i < 5; i++)
                    if (!strncmp(line, keys[i], strlen(keys[i])))
                        sizes[i] = strtoull(line + strlen(keys[i]), NULL, 10) * 1024;
            }
        }
        held -= (size_t)(line - text);
        memmove(text, line, held);
    }
    close(fd);
    if (!found)
        die("no segment holds %s", region);
    truth("{\"truth\":\"smaps\",\"pid\":%d,\"region\":\"%s\",\"start\":\"0x%llx\",\"end\":\"0x%llx\","
          "\"rss\":%llu,\"dirty\":%llu,\"swap\":%llu,\"anon_huge\":%llu}",
          getpid(), region, start, end, sizes[0], sizes[1] + sizes[2], sizes[3], sizes[4]);
}

/* How many pages from the address on have all these bits in pagemap. */
static inline size_t pages_with(uint64_t bits, volatile void *address, size_t bytes)
{
    static uint64_t entries[512];
    uintptr_t at = (uintptr_t)address & ~(PAGE - 1), end = (uintptr_t)address + bytes;
    size_t found = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("open /proc/self/pagemap");
    while (at < end) {
        size_t want = (end - at + PAGE - 1) / PAGE;
        if (want > 512)
            want = 512;
        ssize_t got = pread(fd, entries, want * 8, (off_t)(at / PAGE * 8));
        if (got <= 0)
            die("read /proc/self/pagemap");
        for (ssize_t i = 0; i < got / 8; i++)
            found += (entries[i] & bits) == bits;
        at += (size_t)got / 8 * PAGE;
    }
    close(fd);
    return found;
}

/* How many pages from the address on are present. */
static inline size_t pages_present(volatile void *address, size_t bytes)
{
    return pages_with(1ULL << 63, address, bytes);
}

/* How many of them are mapped nowhere else, which the zero page is. */
static inline size_t pages_own(volatile void *address, size_t bytes)
{
    return pages_with(1ULL << 63 | 1ULL << 56, address, bytes);
}

/* A mapping that is a segment of its own: inaccessible memory lies on both sides. */
static inline char *region_map(size_t bytes, int prot, int flags, int fd, off_t offset)
{
    char *base = (char *)mmap(NULL, bytes + 2 * GUARD, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("reserve %zu bytes", bytes);
    char *start = (char *)mmap(base + GUARD, bytes, prot, flags | MAP_FIXED, fd, offset);
    if (start == MAP_FAILED)
        die("map %zu bytes", bytes);
    /* Small pages are counted, also where huge ones are the default. Old kernels may refuse. */
    if (flags & MAP_ANONYMOUS)
        (void)madvise(start, bytes, MADV_NOHUGEPAGE);
    return start;
}

/* Private anonymous memory as a segment of its own. */
static inline char *region_anon(size_t pages)
{
    return region_map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The place of a huge page, with advice for it, and inaccessible memory around. */
static inline char *huge_place(int advice)
{
    char *base = (char *)mmap(NULL, 4 * HUGE_PAGE, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("mmap");
    char *p = (char *)(((uintptr_t)base + 2 * HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (mprotect(p, HUGE_PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
    if (madvise(p, HUGE_PAGE, advice))
        truth_skip("the kernel has no transparent huge pages");
    return p;
}

/* Shared memory of so many pages that no name leads to. */
static inline int memory_make(size_t pages)
{
    int fd = (int)syscall(SYS_memfd_create, "workload", 1 /* MFD_CLOEXEC */);
    if (fd < 0 || ftruncate(fd, (off_t)(pages * PAGE)))
        die("memfd_create");
    return fd;
}

/* Functions that read, or write, a byte of each page from one number to another. */
#define READS(function, from, to)                                                                  \
    NAMED unsigned function(const volatile char *p)                                                \
    {                                                                                              \
        unsigned sum = 0;                                                                          \
        for (size_t i = (from); i < (to); i++)                                                     \
            sum += (unsigned char)p[i * PAGE];                                                     \
        return sum;                                                                                \
    }
#define WRITES(function, from, to, byte)                                                           \
    NAMED void function(volatile char *p)                                                          \
    {                                                                                              \
        for (size_t i = (from); i < (to); i++)                                                     \
            p[i * PAGE] = (byte);                                                                  \
    }

/*
 * A new file of so many pages, clean in the page cache. It is written page by page: an ext4 file
 * written in big chunks has large folios, and one dirty byte makes all of such a folio dirty.
 */
static inline int file_make(const char *path, size_t pages)
{
    static char page[PAGE];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die("create %s", path);
    for (size_t i = 0; i < pages; i++) {
        memset(page, 'a' + (int)(i % 26), sizeof page);
        if (pwrite(fd, page, sizeof page, (off_t)(i * PAGE)) != (ssize_t)sizeof page)
            die("write %s", path);
    }
    if (fsync(fd))
        die("fsync %s", path);
    return fd;
}

/* Waits for a child that must end well. */
static inline void child_end(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || status)
        die("the child failed");
}

/* A child that stands still while its parent does something to it. */
struct held {
    pid_t pid;
    int go;
};

/* Makes one: the parent goes on when the child stands, the child when [held_end] lets it go. */
static inline struct held held_fork(void)
{
    int ready[2], go[2];
    char byte;
    if (pipe(ready) || pipe(go))
        die("pipe");
    struct held held = {fork(), go[1]};
    if (held.pid < 0)
        die("fork");
    if (!held.pid && (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1))
        die("pipe");
    if (held.pid && read(ready[0], &byte, 1) != 1)
        die("pipe");
    return held;
}

/* Lets it go on to its end. */
static inline void held_end(struct held held)
{
    if (write(held.go, "x", 1) != 1)
        die("pipe");
    child_end(held.pid);
}

/*
 * Time for rmap to look at the code that is mapped by now: the stacks of later faults are walked
 * when they happen, not afterwards on a copy.
 */
static inline void settle(void)
{
    struct timespec pause = {.tv_sec = 0, .tv_nsec = 300000000};
    while (nanosleep(&pause, &pause) && errno == EINTR)
        ;
}

/* Whether the last argument is `settled`. */
static inline int wants_to_settle(int argc, char **argv)
{
    return argc > 1 && !strcmp(argv[argc - 1], "settled");
}

/* Ends at once: no exit handler touches memory after the truth was told. */
__attribute__((noreturn)) static inline void truth_end(int status)
{
    _exit(status);
}

#endif

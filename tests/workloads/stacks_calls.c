/*
 * A region written at the end of a known chain of callers, in code without frame pointers. The
 * first argument names the way to call, the second a depth for `recursion`, the last may be
 * `settled`.
 */
#include "truth.h"
#include <alloca.h>

#define PAGES 8

/* Code behind a call keeps it from becoming a jump, which would take the caller off the stack. */
#define NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

static char *memory;
static char source[PAGES * PAGE];

NAMED void write_pages(void)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

NAMED void call_memset(size_t bytes)
{
    memset(memory, 0x5a, bytes);
    NO_TAIL_CALL();
}

NAMED void call_memcpy(size_t bytes)
{
    memcpy(memory, source, bytes);
    NO_TAIL_CALL();
}

NAMED void recurse(int depth)
{
    if (depth > 1)
        recurse(depth - 1);
    else
        write_pages();
    NO_TAIL_CALL();
}

/* Writes one page in each comparison, until all are written. */
NAMED int compare(const void *a, const void *b)
{
    static size_t next;
    if (next < PAGES)
        *(volatile char *)(memory + next++ * PAGE) = 1;
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

NAMED void call_qsort(void)
{
    int numbers[64];
    for (int i = 0; i < 64; i++)
        numbers[i] = i * 37 % 64;
    qsort(numbers, 64, sizeof *numbers, compare);
    NO_TAIL_CALL();
}

/* The size of the frame is known to nobody: its CFA hangs on a saved register. */
NAMED void call_with_alloca(size_t bytes)
{
    volatile char *p = alloca(bytes);
    p[0] = 1;
    write_pages();
    p[bytes - 1] = 1;
}

/* Aligned locals only: the stack pointer is cut, and the CFA hangs on a saved register. */
NAMED void call_aligned(void)
{
    _Alignas(256) volatile char local[256];
    local[0] = 1;
    write_pages();
    local[255] = local[0];
    (void)local[255];
}

/* Both, with arguments on the stack: the CFA is an expression (the compiler's DRAP). */
NAMED int call_aligned_with_alloca(size_t bytes, int a, int b, int c, int d, int e, int f, int g)
{
    _Alignas(256) volatile char local[256];
    volatile char *p = alloca(bytes);
    local[0] = p[0] = 1;
    write_pages();
    local[255] = p[bytes - 1] = 1;
    return a + b + c + d + e + f + g + local[255];
}

/* Its call becomes a jump, so that no stack holds it. */
NAMED void jump_to_write(void)
{
    write_pages();
}

NAMED void call_jump(void)
{
    jump_to_write();
    NO_TAIL_CALL();
}

/* The kernel takes the faults, for a thread in the middle of read(2). */
NAMED void call_read(size_t bytes)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, memory, bytes) != (ssize_t)bytes)
        die("read /dev/zero");
    close(fd);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    size_t bytes = PAGES * PAGE;
    memory = region_anon(PAGES);
    memset(source, 1, sizeof source);
    if (wants_to_settle(argc, argv))
        settle();
    if (!strcmp(how, "memset"))
        call_memset(bytes);
    else if (!strcmp(how, "memcpy"))
        call_memcpy(bytes);
    else if (!strcmp(how, "recursion"))
        recurse(atoi(argv[2]));
    else if (!strcmp(how, "qsort"))
        call_qsort();
    else if (!strcmp(how, "alloca"))
        call_with_alloca(100 + (size_t)argc * 333);
    else if (!strcmp(how, "aligned"))
        call_aligned();
    else if (!strcmp(how, "aligned-alloca"))
        call_aligned_with_alloca(100 + (size_t)argc * 333, 1, 2, 3, 4, 5, 6, argc);
    else if (!strcmp(how, "jump"))
        call_jump();
    else if (!strcmp(how, "read"))
        call_read(bytes);
    else
        die("what is %s", how);
    truth_pages("memory", how, PAGES);
    truth_smaps("memory", memory);
    truth_end(0);
}

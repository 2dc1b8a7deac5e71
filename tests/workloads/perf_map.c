/* Code that the program makes at run time fills memory; its name stands in the program's own perf
 * map file, as a JIT compiler writes it. With the argument "foreign" the file is another user's. */
#include "truth.h"

/* void fill(char *first, size_t pages): one byte in each page. */
static const unsigned char code[] = {
    0x55,                                     /* push %rbp */
    0x48, 0x89, 0xe5,                         /* mov %rsp,%rbp */
    0xc6, 0x07, 0x01,                         /* 1: movb $1,(%rdi) */
    0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add $4096,%rdi */
    0x48, 0xff, 0xce,                         /* dec %rsi */
    0x75, 0xf1,                               /* jnz 1b */
    0x5d,                                     /* pop %rbp */
    0xc3,                                     /* ret */
};

NAMED void call_made_code(void (*made)(char *, size_t), char *memory, size_t pages)
{
    made(memory, pages);
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
#if !defined(__x86_64__)
    truth_skip("the machine code is of x86-64");
#endif
    char name[64], line[128];
    char *memory = region_anon(48);
    char *made = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        die("mmap");
    memcpy(made, code, sizeof code);
    if (mprotect(made, PAGE, PROT_READ | PROT_EXEC))
        die("mprotect");
    snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
    unlink(name);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int length = snprintf(line, sizeof line, "%lx %zx Made::fill(page after page)\nbad line\n",
                          (unsigned long)made, sizeof code);
    if (fd < 0 || write(fd, line, (size_t)length) != length)
        die("write %s", name);
    if (argc > 1 && !strcmp(argv[1], "foreign") && fchown(fd, 12345, 12345))
        die("fchown");
    close(fd);
    call_made_code((void (*)(char *, size_t))made, memory, 48);
    truth_pages("memory", "Made::fill(page after page)", 48);
    truth_smaps("memory", memory);
    truth_end(0);
}

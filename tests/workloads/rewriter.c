/* Writes again and again to memory that it has: what `rmap attach --rewrites` counts. It says its pid,
 * waits for a line, and then for rmap to have write-protected the pages before each round, which
 * pagemap shows (bit 57), so that every page of every round is one fault. Arguments: the mode, a file
 * of its own to make.
 *
 * exact    five rounds over memory of every kind
 * huge     the same over a huge page alone
 * seccomp  exact, behind a filter that kills at userfaultfd and close
 * own      it uses userfaultfd itself, and waits for a second line
 * edges    memory that comes, grows, moves, changes its protection, is given up, forked
 * silent   writes that take no fault, unless memory is protected
 * rates    a part of the pages every 10 ms, another once, for as long as the line says in seconds
 * sparse   a large mapping of which few pages are there
 */
#include "truth.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#define ROUNDS ((size_t)5)
#define PROTECTED (1ULL << 57)

WRITES(write_first, 0, 16, 2)
WRITES(write_rest, 16, 64, 3)
WRITES(write_memory, 0, 48, 4)
WRITES(write_file, 0, 32, 5)
WRITES(write_private, 0, 16, 6)
WRITES(write_huge, 0, 512, 7)
WRITES(write_new, 0, 24, 8)
WRITES(write_moved, 0, 24, 9)
WRITES(write_unprotected, 0, 24, 10)
WRITES(write_child, 0, 24, 11)
WRITES(write_often, 0, 1000, 12)
WRITES(write_seldom, 1000, 2000, 13)
WRITES(write_given_up, 0, 32, 14)
READS(read_shared, 0, 32)
WRITES(write_read, 0, 32, 15)

static void nap(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&pause, &pause) && errno == EINTR)
        ;
}

/* Waits until rmap has protected so many pages. */
static void protected(volatile void *p, size_t pages)
{
    for (int i = 0; pages_with(PROTECTED, p, pages * PAGE) != pages; i++) {
        if (i == 20000)
            die("rmap does not protect all pages: %zu of %zu",
                pages_with(PROTECTED, p, pages * PAGE), pages);
        nap(3);
    }
}

static void line(void)
{
    char byte;
    do
        if (read(0, &byte, 1) != 1)
            die("read a line");
    while (byte != '\n');
}

/* Kills at what rmap must not be seen to do. */
static void filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        truth_skip("the kernel has no seccomp filters");
}

static void exact(const char *path)
{
    char *anon = region_anon(64);
    int memfd = memory_make(48), file = file_make(path, 48);
    char *memory = region_map(48 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    char *shared = region_map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *private = region_map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 32 * PAGE);
    char *huge = huge_place(MADV_HUGEPAGE);
    write_first(anon), write_rest(anon), write_memory(memory), write_file(shared);
    write_private(private), write_huge(huge);
    truth_number("pid", getpid());
    line();
    for (size_t round = 0; round <= ROUNDS; round++) {
        protected(anon, 64), protected(memory, 48), protected(shared, 32), protected(private, 16);
        if (round == ROUNDS)
            break;
        write_first(anon), write_rest(anon), write_memory(memory), write_file(shared);
        write_private(private), write_huge(huge);
    }
    truth_pages("anon", "write_first", 16 * ROUNDS);
    truth_pages("anon", "write_rest", 48 * ROUNDS);
    truth_pages("memory", "write_memory", 48 * ROUNDS);
    truth_pages("shared", "write_file", 32 * ROUNDS);
    truth_pages("private", "write_private", 16 * ROUNDS);
    truth_smaps("anon", anon), truth_smaps("memory", memory), truth_smaps("shared", shared);
    truth_smaps("private", private), truth_smaps("huge", huge);
}

static void huge(void)
{
    char *p = huge_place(MADV_HUGEPAGE);
    write_huge(p);
    truth_number("pid", getpid());
    line();
    for (size_t round = 0; round <= ROUNDS; round++) {
        protected(p, 512);
        if (round < ROUNDS)
            write_huge(p);
    }
    truth_pages("huge", "write_huge", 512 * ROUNDS);
    truth_smaps("huge", p);
}

/* Has a mapping of its own watched by a userfaultfd. */
static void own(void)
{
    if (syscall(SYS_userfaultfd, O_CLOEXEC | 1) < 0)
        truth_skip("the kernel has no userfaultfd");
    char *anon = region_anon(64);
    write_rest(anon);
    truth_number("pid", getpid());
    line();
    write_rest(anon);
    truth_smaps("anon", anon);
}

static void edges(void)
{
    char *still = region_anon(64), *closed = region_anon(24);
    write_first(still), write_rest(still), write_unprotected(closed);
    truth_number("pid", getpid());
    line();
    protected(still, 64);
    /* What is new is watched from the next period on. */
    char *new = region_anon(48);
    write_new(new);
    protected(new, 24);
    write_new(new);
    protected(new, 24);
    /* What is given up and comes again is new. */
    if (madvise(still, 16 * PAGE, MADV_DONTNEED))
        die("madvise");
    write_first(still);
    protected(still, 64);
    write_first(still);
    protected(still, 64);
    /* What is moved is watched again later. */
    char *to = region_map(24 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mremap(new, 24 * PAGE, 24 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
        die("mremap");
    protected(to, 24);
    write_moved(to);
    protected(to, 24);
    /* Protection outlives mprotect. */
    protected(closed, 24);
    if (mprotect(closed, 24 * PAGE, PROT_READ) || mprotect(closed, 24 * PAGE, PROT_READ | PROT_WRITE))
        die("mprotect");
    write_unprotected(closed);
    protected(closed, 24);
    /* A child is watched by itself. */
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        protected(still, 24);
        write_child(still);
        protected(still, 24);
        truth_end(0);
    }
    child_end(child);
    truth_pages("moved", "write_moved", 24);
    truth_pages("still", "write_first", 16);
    truth_pages("closed", "write_unprotected", 24);
    truth_smaps("still", still), truth_smaps("closed", closed), truth_smaps("moved", to);
}

static void silent(void)
{
    int memfd = memory_make(32);
    char *anon = region_anon(32);
    char *writer = region_map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    memset(writer, 1, 32 * PAGE);
    char *shared = region_map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    write_given_up(anon);
    (void)read_shared(shared);
    truth_number("pid", getpid());
    line();
    protected(anon, 32), protected(shared, 32);
    if (madvise(anon, 32 * PAGE, MADV_FREE))
        die("madvise");
    protected(anon, 32);
    write_given_up(anon);
    write_read(shared);
    protected(anon, 32), protected(shared, 32);
    truth_pages("anon", "write_given_up", 32);
    truth_pages("shared", "write_read", 32);
    truth_smaps("anon", anon), truth_smaps("shared", shared);
}

static void rates(void)
{
    char *p = region_anon(8000);
    for (size_t i = 0; i < 8000; i++)
        p[i * PAGE] = 1;
    truth_number("pid", getpid());
    line();
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    size_t round = 0;
    do {
        write_often(p);
        if (round++ % 20 == 0)
            write_seldom(p);
        nap(10);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < 5);
    truth_number("rounds", round);
    truth_pages("rates", "write_often", 1000);
    truth_pages("rates", "write_seldom", 1000);
    truth_smaps("rates", p);
}

static void sparse(void)
{
    size_t bytes = (size_t)16 << 30;
    char *p = region_map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);
    for (size_t i = 0; i < 16; i++)
        p[i << 29] = 1;
    truth_number("pid", getpid());
    line();
    for (size_t i = 0; i < 16; i++)
        protected(p + (i << 29), 1);
    for (size_t i = 0; i < 16; i++)
        p[i << 29] = 2;
    for (size_t i = 0; i < 16; i++)
        protected(p + (i << 29), 1);
    truth_number("done", 1);
    line();
    truth_smaps("sparse", p);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "exact") && argc > 2)
        exact(argv[2]);
    else if (!strcmp(mode, "seccomp") && argc > 2)
        filter(), exact(argv[2]);
    else if (!strcmp(mode, "huge"))
        huge();
    else if (!strcmp(mode, "own"))
        own();
    else if (!strcmp(mode, "edges"))
        edges();
    else if (!strcmp(mode, "silent"))
        silent();
    else if (!strcmp(mode, "rates"))
        rates();
    else if (!strcmp(mode, "sparse"))
        sparse();
    else
        die("usage: rewriter MODE [FILE]");
    truth_end(0);
}

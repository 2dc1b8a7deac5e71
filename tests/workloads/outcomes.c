/* Mapping calls that fail, or that do a part of what they were asked. What is there afterwards this
 * program reads in its own pagemap; how much each call gave back follows from that. */
#include "truth.h"

#include <sys/shm.h>

#define PAGES ((size_t)12)
#define RW (PROT_READ | PROT_WRITE)
/* Newer than some headers. */
#define CALL_MSEAL 462
#define GUARD_INSTALL 102

NAMED static void fill(char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        p[i * PAGE] = 1;
}

/* A filled region. The names of its parts are given out when all is done. */
static char *region(void)
{
    char *p = region_anon(PAGES);
    fill(p, 0, PAGES);
    return p;
}

/* Pages of a part of a region, from one number to another, that are there. */
static size_t present(char *p, size_t from, size_t to)
{
    return pages_present(p + from * PAGE, (to - from) * PAGE);
}

struct row {
    const char *name;
    char *p;
    /* The parts that are segments of their own, as numbers of pages. */
    size_t ends[4];
    /* Whether the pages are `fill`'s; otherwise the call brought them. */
    int filled;
};

static struct row rows[40];
static size_t count;

/* A region and the ends of its segments, the first of which begins where the region does. A part
 * with nothing in it is no matter. */
static void row(const char *name, char *p, int filled, size_t a, size_t b, size_t c)
{
    struct row *row = &rows[count++];
    row->name = name;
    row->p = p;
    row->filled = filled;
    row->ends[0] = a;
    row->ends[1] = b;
    row->ends[2] = c;
}

/* What a call is expected to return, or the test is not about it: the kernels differ. */
static void expect(const char *name, long result, long expected)
{
    if (result != expected) {
        errno = result < 0 ? (int)-result : 0;
        die("%s returned %ld, not %ld", name, result, expected);
    }
}

/* How many pages a call gave back, by who called. */
static void released(const char *name, char *p, size_t pages)
{
    truth_number(name, pages - present(p, 0, pages));
}

static int sealed(char *p, size_t from, size_t to)
{
    return !RAW(CALL_MSEAL, p + from * PAGE, (to - from) * PAGE, 0, 0, 0, 0);
}

NAMED static void unmap_all_there_is(void)
{
    expect("munmap", RAW(SYS_munmap, 0, ~0UL, 0, 0, 0, 0), -EINVAL);
    expect("munmap", RAW(SYS_munmap, 0, ~0UL & ~(PAGE - 1), 0, 0, 0, 0), -EINVAL);
}

NAMED static void unmap_odd(char *p)
{
    expect("munmap", RAW(SYS_munmap, p + 1, PAGES * PAGE, 0, 0, 0, 0), -EINVAL);
}

NAMED static void unmap_sealed(char *p)
{
    expect("munmap", RAW(SYS_munmap, p, PAGES * PAGE, 0, 0, 0, 0), -EPERM);
}

NAMED static void drop_over_gap(char *p)
{
    expect("madvise", RAW(SYS_madvise, p, 6 * PAGE, MADV_DONTNEED, 0, 0, 0), -ENOMEM);
}

NAMED static void drop_up_to_locked(char *p)
{
    expect("madvise", RAW(SYS_madvise, p, PAGES * PAGE, MADV_DONTNEED, 0, 0, 0), -EINVAL);
}

NAMED static void drop_up_to_sealed(char *p)
{
    expect("madvise", RAW(SYS_madvise, p, PAGES * PAGE, MADV_DONTNEED, 0, 0, 0), -EPERM);
}

NAMED static void drop_wrapped(char *p)
{
    expect("madvise", RAW(SYS_madvise, p, ~0UL, MADV_DONTNEED, 0, 0, 0), -EINVAL);
}

NAMED static void remove_private(char *p)
{
    expect("madvise", RAW(SYS_madvise, p, PAGES * PAGE, MADV_REMOVE, 0, 0, 0), -EINVAL);
}

NAMED static void install_guards(char *p)
{
    if (RAW(SYS_madvise, p, 4 * PAGE, GUARD_INSTALL, 0, 0, 0))
        return;
    row("guarded", p, 1, PAGES, 0, 0);
    released("released_by_install_guards", p, 4);
}

NAMED static void protect_up_to_gap(char *p)
{
    expect("mprotect", RAW(SYS_mprotect, p, PAGES * PAGE, PROT_READ, 0, 0, 0), -ENOMEM);
}

NAMED static void map_over_and_fail(char *p, int fd)
{
    long flags = MAP_SHARED | MAP_FIXED;
    expect("mmap", RAW(SYS_mmap, p, PAGES * PAGE, PROT_READ, flags, fd, 0), -EACCES);
}

NAMED static void move_over_and_fail(char *p, char *to)
{
    /* Private memory cannot be mapped a second time; older kernels unmap the target before. */
    long flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    expect("mremap", RAW(SYS_mremap, p, 0, PAGES * PAGE, flags, to, 0), -EINVAL);
}

NAMED static void grow_and_fail(char *p)
{
    expect("mremap", RAW(SYS_mremap, p, PAGES * PAGE, 2 * PAGES * PAGE, 0, 0, 0), -ENOMEM);
}

NAMED static void lock_up_to_gap(char *p)
{
    expect("mlock", RAW(SYS_mlock, p, PAGES * PAGE, 0, 0, 0, 0), -ENOMEM);
}

NAMED static void lock_nothing(void)
{
    expect("mlock", RAW(SYS_mlock, 0, ~0UL, 0, 0, 0, 0), 0);
    expect("mlock2", RAW(SYS_mlock2, 0, ~0UL, 0, 0, 0, 0), 0);
    expect("munlock", RAW(SYS_munlock, 0, ~0UL, 0, 0, 0, 0), 0);
}

NAMED static void make_writable(char *p)
{
    expect("mprotect", RAW(SYS_mprotect, p, PAGES * PAGE, RW, 0, 0, 0), 0);
}

NAMED static char *grow_locked(char *p)
{
    long to = RAW(SYS_mremap, p, PAGE, PAGES * PAGE, MREMAP_MAYMOVE, 0, 0);
    if (to < 0)
        die("mremap");
    return (char *)to;
}

NAMED static void detach_nothing(char *p)
{
    expect("shmdt", RAW(SYS_shmdt, p, 0, 0, 0, 0, 0), -EINVAL);
}

NAMED static void detach(char *p)
{
    expect("shmdt", RAW(SYS_shmdt, p, 0, 0, 0, 0, 0), 0);
}

static char *attached(void)
{
    int id = shmget(IPC_PRIVATE, PAGES * PAGE, 0600);
    if (id < 0)
        return NULL;
    char *p = (char *)shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    if (p == (char *)-1)
        return NULL;
    fill(p, 0, PAGES);
    return p;
}

int main(void)
{
    char *p = region();
    unmap_all_there_is();
    unmap_odd(p);
    drop_wrapped(p);
    remove_private(p);
    lock_nothing();
    detach_nothing(p);
    row("untouched", p, 1, PAGES, 0, 0);

    p = region();
    if (sealed(p, 4, 8)) {
        unmap_sealed(p);
        row("sealed", p, 1, 4, 8, PAGES);
        p = region();
        if (mprotect(p + 8 * PAGE, 4 * PAGE, PROT_READ) || !sealed(p, 8, PAGES))
            die("mseal");
        drop_up_to_sealed(p);
        row("dropped-to-sealed", p, 1, 8, PAGES, 0);
        released("released_by_drop_up_to_sealed", p, 8);
    }

    p = region();
    if (munmap(p + 4 * PAGE, PAGE))
        die("munmap");
    drop_over_gap(p);
    truth_number("released_by_drop_over_gap", 5 - present(p, 0, 6));
    row("dropped-over-gap", p + 5 * PAGE, 1, 7, 0, 0);

    p = region();
    if (mlock(p + 4 * PAGE, 2 * PAGE))
        truth_skip("memory may not be locked");
    drop_up_to_locked(p);
    released("released_by_drop_up_to_locked", p, 4);
    row("dropped-to-locked", p, 1, 4, 6, PAGES);

    install_guards(region());

    p = region();
    if (munmap(p + 6 * PAGE, PAGE))
        die("munmap");
    protect_up_to_gap(p);
    row("protected-to-gap", p, 1, 6, 0, 0);

    p = region();
    int fd = memory_make(PAGES);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int writes = open(name, O_WRONLY | O_CLOEXEC);
    if (writes < 0)
        die("open %s", name);
    map_over_and_fail(p, writes);
    row("mapped-over", p, 1, PAGES, 0, 0);

    char *target = region();
    p = region();
    move_over_and_fail(p, target);
    row("not-moved", p, 1, PAGES, 0, 0);
    if (present(target, 0, PAGES))
        row("target", target, 1, PAGES, 0, 0);
    else
        released("released_by_move_over_and_fail", target, PAGES);

    p = region();
    grow_and_fail(p);
    row("not-grown", p, 1, PAGES, 0, 0);

    p = region_anon(PAGES);
    if (munmap(p + 6 * PAGE, PAGE) || mprotect(p, 6 * PAGE, PROT_READ))
        die("mprotect");
    lock_up_to_gap(p);
    fill(p + 7 * PAGE, 0, 5);
    row("behind-gap", p + 7 * PAGE, 1, 5, 0, 0);

    p = region_map(PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mlock(p, PAGES * PAGE) != -1)
        die("mlock of memory that may not be read");
    make_writable(p);
    truth_pages("made-writable", "make_writable", present(p, 0, PAGES));
    row("made-writable", p, 0, PAGES, 0, 0);

    p = region_map(PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(p, 0, 1);
    if (mlock(p, PAGE))
        die("mlock");
    p = grow_locked(p);
    truth_pages("grown-locked", "grow_locked", present(p, 1, PAGES));
    row("grown-locked", p, 0, PAGES, 0, 0);

    p = attached();
    char *stays = attached();
    if (p && stays) {
        detach(p);
        truth_number("released_by_detach", PAGES);
        row("attached", stays, 1, PAGES, 0, 0);
    }

    for (size_t i = 0; i < count; i++) {
        struct row *r = &rows[i];
        for (size_t k = 0, from = 0; k < 3 && r->ends[k]; from = r->ends[k++]) {
            size_t pages = present(r->p, from, r->ends[k]);
            static char part[64];
            snprintf(part, sizeof part, k ? "%s-%zu" : "%s", r->name, k);
            if (r->filled && pages)
                truth_pages(part, "fill", pages);
            truth_smaps(part, r->p + from * PAGE);
        }
    }
    truth_end(0);
}

/* Every way to make a mapping, each by a function of its own: mmap, mmap of a file, mmap over
 * another, brk, mremap, shmat; then mappings are split (mprotect in the middle), given a name
 * (PR_SET_VMA_ANON_NAME), joined again, and grow down. All stay the memory of who filled it.
 * Argument: a file to make. */
#include "truth.h"
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#define PAGES ((size_t)16)
#define RW (PROT_READ | PROT_WRITE)

static int rights(char *p, size_t from, size_t pages, int prot)
{
    return mprotect(p + from * PAGE, pages * PAGE, prot);
}

NAMED char *map_over(char *at, int flags, int fd)
{
    long p = RAW(SYS_mmap, at, PAGES * PAGE, RW, flags | MAP_FIXED, fd, 0);
    if (p != (long)at)
        die("mmap");
    return at;
}

NAMED char *map_file(char *at, int fd)
{
    long p = RAW(SYS_mmap, at, PAGES * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    if (p != (long)at)
        die("mmap");
    return at;
}

NAMED char *move_away(char *from, char *to)
{
    long p = RAW(SYS_mremap, from, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to, 0);
    if (p != (long)to)
        die("mremap");
    return to;
}

NAMED char *attach(int id)
{
    return (char *)RAW(SYS_shmat, id, NULL, 0, 0, 0, 0);
}

NAMED char *grow_heap(char *to)
{
    return (char *)RAW(SYS_brk, to, 0, 0, 0, 0, 0);
}

NAMED char *map_down(char *at)
{
    long p = RAW(SYS_mmap, at, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    if (p != (long)at)
        die("mmap");
    return at;
}

NAMED void fill(volatile char *p, size_t from, size_t pages)
{
    for (size_t i = from; i < from + pages; i++)
        p[i * PAGE] = 1;
}

NAMED void fill_again(volatile char *p, size_t from, size_t pages)
{
    for (size_t i = from; i < from + pages; i++)
        p[i * PAGE] = 2;
}

NAMED void fill_down(volatile char *p)
{
    for (size_t i = 1; i <= 4; i++)
        p[-(long)(i * PAGE)] = 1;
}

int main(int argc, char **argv)
{
    int private = MAP_PRIVATE | MAP_ANONYMOUS;
    if (argc < 2)
        die("usage: mapped FILE");
    int file = file_make(argv[1], PAGES);
    char *anon = map_over(region_anon(PAGES), private, -1);
    char *mapped = map_file(region_anon(PAGES), file);
    char *moved = move_away(map_over(region_anon(PAGES), private, -1), region_anon(PAGES));
    int id = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
    char *shared = attach(id);
    if (id < 0 || shared == (char *)-1)
        die("shmat");
    shmctl(id, IPC_RMID, NULL);
    char *heap = (char *)(((uintptr_t)grow_heap(NULL) + PAGE - 1) & ~(PAGE - 1));
    if (grow_heap(heap + PAGES * PAGE) != heap + PAGES * PAGE)
        die("brk");
    char *split = map_over(region_anon(PAGES), private, -1);
    char *joined = map_over(region_anon(PAGES), private, -1);
    char *named = map_over(region_anon(PAGES), private, -1);
    char *room = region_map(64 * PAGE, PROT_NONE, private, -1, 0);
    /* The kernel keeps a gap of a mebibyte below what grows down, free of accessible memory. */
    char *place = mmap(NULL, (size_t)4 << 20, PROT_NONE, private | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED || munmap(place, (size_t)4 << 20))
        die("mmap");
    char *down = map_down(place + ((size_t)3 << 20));
    (void)room;

    fill(anon, 0, 8);
    fill(moved, 0, 8);
    fill(shared, 0, 8);
    fill(heap, 0, 8);
    fill(split, 0, PAGES);
    fill(joined, 0, PAGES);
    fill(named, 0, 8);
    fill_down(down);
    (void)*(volatile char *)mapped;
    /* Three segments of one memory; in the other case they are one again. */
    if (rights(split, 4, 8, PROT_READ) || rights(joined, 4, 8, PROT_READ) || rights(joined, 4, 8, RW))
        die("mprotect");
    fill_again(joined, 0, PAGES);
    int renamed = !prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, PAGES * PAGE, "its name");
    fill_again(named, 8, 4);

    truth_pages("anon", "fill", 8);
    truth_pages("moved", "fill", 8);
    truth_pages("shared", "fill", 8);
    truth_pages("heap", "fill", 8);
    truth_pages("split-low", "fill", 4);
    truth_pages("split-middle", "fill", 8);
    truth_pages("split-high", "fill", 4);
    truth_pages("joined", "fill", PAGES);
    truth_pages("joined", "fill_again", 0);
    truth_pages("named", "fill", 8);
    truth_pages("named", "fill_again", 4);
    truth_pages("down", "fill_down", 4);
    truth_number("renamed", (uint64_t)renamed);
    truth_smaps("anon", anon);
    truth_smaps("mapped", mapped);
    truth_smaps("moved", moved);
    truth_smaps("shared", shared);
    truth_smaps("heap", heap);
    truth_smaps("split-low", split);
    truth_smaps("split-middle", split + 4 * PAGE);
    truth_smaps("split-high", split + 12 * PAGE);
    truth_smaps("joined", joined);
    truth_smaps("named", named);
    truth_smaps("down", down);
    truth_end(0);
}

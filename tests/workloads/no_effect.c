/* Calls that look as if they made memory resident and do not: mlock2 with MLOCK_ONFAULT,
 * MADV_WILLNEED and MADV_DONTFORK on anonymous memory, a populated mapping that may only be read,
 * and write(2) from untouched memory. */
#include "truth.h"

#define PAGES ((size_t)16)

NAMED void lock_on_fault(char *p)
{
    if (RAW(SYS_mlock2, p, PAGES * PAGE, 1 /* MLOCK_ONFAULT */, 0, 0, 0))
        die("mlock2");
}

NAMED void write_untouched(int fd, const char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        if (RAW(SYS_write, fd, p + i * PAGE, 64, 0, 0, 0) != 64)
            die("write");
}

int main(void)
{
    int rw = PROT_READ | PROT_WRITE, private = MAP_PRIVATE | MAP_ANONYMOUS, ends[2];
    char *locked = region_anon(PAGES), *needed = region_anon(PAGES), *source = region_anon(PAGES);
    char *populated = region_map(PAGES * PAGE, PROT_READ, private | MAP_POPULATE, -1, 0);
    char *kept = region_map(PAGES * PAGE, rw, private, -1, 0);
    if (pipe(ends))
        die("pipe");
    lock_on_fault(locked);
    (void)madvise(needed, PAGES * PAGE, MADV_WILLNEED);
    write_untouched(ends[1], source);
    (void)madvise(kept, PAGES * PAGE, MADV_DONTFORK);
    truth_number("nothing", 0);
    truth_smaps("locked", locked);
    truth_smaps("needed", needed);
    truth_smaps("source", source);
    truth_smaps("populated", populated);
    truth_smaps("kept", kept);
    truth_end(0);
}

/* Pages that become dirty with no event of the kernel: shared memory that was read and then
 * written, by this process and by a child; and memory given up by MADV_FREE. */
#include "truth.h"

#define PAGES ((size_t)24)

WRITES(write_first, 0, 6, 1)
READS(read_rest, 6, PAGES)
WRITES(write_silently, 6, 11, 1)
READS(read_all, 0, PAGES)
WRITES(child_writes_silently, 0, 4, 1)
WRITES(fill, 0, PAGES, 1)
WRITES(rewrite_freed, 2, 9, 2)

static char *memory(void)
{
    return region_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_make(PAGES), 0);
}

int main(void)
{
    char *own = memory(), *other = memory(), *freed = region_anon(PAGES);
    write_first(own);
    if (read_rest(own) || read_all(other))
        die("memory holds what nobody wrote");
    write_silently(own);
    fill(freed);
    if (madvise(freed, 16 * PAGE, MADV_FREE))
        die("MADV_FREE");
    rewrite_freed(freed);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        if (read_all(other))
            die("memory holds what nobody wrote");
        child_writes_silently(other);
        truth_pages("child", "read_all", PAGES);
        truth_smaps("child", other);
        truth_end(0);
    }
    child_end(child);
    truth_pages("own", "write_first", 6);
    truth_pages("own", "read_rest", PAGES - 6);
    truth_pages("other", "read_all", PAGES);
    truth_pages("freed", "fill", PAGES);
    truth_number("own_dirty_pages", 11);
    truth_number("own_silent_pages", 5);
    truth_number("other_dirty_pages", 4);
    truth_number("freed_dirty_pages", PAGES - 16 + 7);
    truth_smaps("own", own);
    truth_smaps("other", other);
    truth_smaps("freed", freed);
    truth_end(0);
}

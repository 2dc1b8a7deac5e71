/* More memory than the limit of its group of processes: pages of a file are read through a
 * mapping, fresh memory is filled, and the kernel takes back what it likes. Argument: a file. */
#include "truth.h"

#define FILE_PAGES ((size_t)3072)
#define PAGES ((size_t)2048)

READS(read_file, 0, FILE_PAGES)
WRITES(fill, 0, PAGES, 1)

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: pressed FILE");
    int fd = file_make(argv[1], FILE_PAGES);
    /* The file's pages are charged to whoever brings them. */
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        die("posix_fadvise");
    char *file = region_map(FILE_PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    char *memory = region_anon(PAGES);
    if (!read_file(file))
        die("the file holds zeros");
    fill(memory);
    truth_number("file_pages", FILE_PAGES);
    truth_number("memory_pages", PAGES);
    truth_smaps("file", file);
    truth_smaps("memory", memory);
    truth_end(0);
}

/* More memory than the limit of its group of processes: pages of a file are read through a
 * mapping, fresh memory is filled, and the kernel takes back what it likes. Then the limit is raised,
 * so that nothing more is taken while the process looks at itself and ends. Arguments: a file, and the
 * file of the limit. */
#include "truth.h"

#define FILE_PAGES ((size_t)3072)
#define PAGES ((size_t)2048)

READS(read_file, 0, FILE_PAGES)
WRITES(fill, 0, PAGES, 1)

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: pressed FILE LIMIT");
    int fd = file_make(argv[1], FILE_PAGES);
    /* The file's pages are charged to whoever brings them. */
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
        die("posix_fadvise");
    char *file = region_map(FILE_PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    char *memory = region_anon(PAGES);
    if (!read_file(file))
        die("the file holds zeros");
    fill(memory);
    int limit = open(argv[2], O_WRONLY);
    if (limit < 0 || write(limit, "1073741824", 10) != 10)
        die("the limit cannot be raised");
    truth_number("file_pages", FILE_PAGES);
    truth_number("memory_pages", PAGES);
    truth_smaps("file", file);
    truth_smaps("memory", memory);
    truth_end(0);
}

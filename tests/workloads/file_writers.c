/* Files that the parent maps and others write: sendfile by itself; a child by pwrite, through a
 * mapping of its own, by one byte into a large folio, and by cutting. Argument: the start of names
 * of files. */
#include "truth.h"
#include <sys/sendfile.h>

#define PAGES ((size_t)32)
#define LARGE ((size_t)256)

static int make(const char *prefix, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, name);
    return file_make(path, PAGES);
}

/* One write of all of it: a file system that has large folios takes them. */
static int make_large(const char *prefix)
{
    static char bytes[LARGE * 4096];
    char path[4096];
    snprintf(path, sizeof path, "%s.large", prefix);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    memset(bytes, 'x', sizeof bytes);
    if (fd < 0 || write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes || fsync(fd))
        die("make %s", path);
    return fd;
}

static char *shared(int fd, size_t pages)
{
    return region_map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

READS(read_pages, 0, PAGES)
READS(read_large, 0, LARGE)
WRITES(store_first, 0, 10, 1)

NAMED void send_pages(int to, int from)
{
    if (RAW(SYS_sendfile, to, from, NULL, 8 * PAGE, 0, 0) != 8 * (long)PAGE)
        die("sendfile");
}

NAMED void child_writes(int fd)
{
    static const char byte = 'c';
    for (size_t i = 0; i < 6; i++)
        if (RAW(SYS_pwrite64, fd, &byte, 1, i * PAGE, 0, 0) != 1)
            die("pwrite");
}

WRITES(child_stores, 0, 5, 1)

NAMED void child_pokes(int fd)
{
    static const char byte = 'p';
    if (RAW(SYS_pwrite64, fd, &byte, 1, 7 * PAGE + 9, 0, 0) != 1)
        die("pwrite");
}

NAMED void child_cuts(int fd)
{
    if (RAW(SYS_ftruncate, fd, 8 * PAGE, 0, 0, 0, 0))
        die("ftruncate");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: file_writers FILE");
    const char *name = argv[1];
    int sent = make(name, "sent"), from = make(name, "from"), written = make(name, "written");
    int stored = make(name, "stored"), cut = make(name, "cut"), large = make_large(name);
    char *a = shared(sent, PAGES), *b = shared(written, PAGES), *c = shared(stored, PAGES);
    char *d = shared(cut, PAGES), *e = shared(large, LARGE);
    if (!read_pages(a) || !read_pages(c) || !read_pages(d) || !read_large(e))
        die("a file holds zeros");
    /* What the child writes was the parent's before it was written back. */
    store_first(b);
    if (msync(b, PAGES * PAGE, MS_SYNC))
        die("msync");
    lseek(sent, 0, SEEK_SET);
    lseek(from, 0, SEEK_SET);
    send_pages(sent, from);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        child_writes(written);
        child_stores(shared(stored, PAGES));
        child_pokes(large);
        child_cuts(cut);
        truth_end(0);
    }
    child_end(child);
    truth_pages("sent", "read_pages", PAGES);
    truth_pages("written", "store_first", 10);
    truth_pages("stored", "read_pages", PAGES);
    truth_pages("cut", "read_pages", 8);
    truth_pages("large", "read_large", LARGE);
    truth_number("sent_dirty_pages", 8);
    truth_number("written_dirty_pages", 6);
    truth_number("stored_dirty_pages", 5);
    truth_number("cut_dirty_pages", 0);
    truth_smaps("sent", a);
    truth_smaps("written", b);
    truth_smaps("stored", c);
    truth_smaps("cut", d);
    truth_smaps("large", e);
    truth_end(0);
}

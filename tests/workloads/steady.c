/* Maps, fills and unmaps all the time until a file exists, then writes its last words to another
 * and ends with status 7. Says its process id first. Arguments: STOP DONE. Gives up after 60 s. */
#include "truth.h"
#include <time.h>

NAMED void work(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: steady STOP DONE");
    volatile char *kept = region_anon(16);
    work(kept);
    truth_number("pid", (uint64_t)getpid());
    time_t end = time(NULL) + 60;
    while (access(argv[1], F_OK) && time(NULL) < end) {
        char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            die("mmap");
        work(p);
        munmap(p, 16 * PAGE);
        usleep(1000);
    }
    int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, "done\n", 5) != 5 || fsync(fd))
        die("write %s", argv[2]);
    truth_end(7);
}

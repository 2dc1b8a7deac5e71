/* userfaultfd: UFFDIO_COPY fills 16 pages, UFFDIO_ZEROPAGE 8 more, which are not resident. */
#include "truth.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

NAMED void copy_in(int fd, char *p)
{
    static char page[PAGE];
    for (size_t i = 0; i < 16; i++) {
        struct uffdio_copy copy = {.dst = (uintptr_t)(p + i * PAGE), .src = (uintptr_t)page,
                                   .len = PAGE};
        if (RAW(SYS_ioctl, fd, UFFDIO_COPY, &copy, 0, 0, 0))
            die("UFFDIO_COPY");
    }
}

NAMED void zero_in(int fd, char *p)
{
    struct uffdio_zeropage zero = {.range = {(uintptr_t)(p + 16 * PAGE), 8 * PAGE}};
    if (RAW(SYS_ioctl, fd, UFFDIO_ZEROPAGE, &zero, 0, 0, 0))
        die("UFFDIO_ZEROPAGE");
}

int main(void)
{
    char *p = region_anon(32);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uintptr_t)p, 32 * PAGE},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
        truth_skip("userfaultfd is not allowed");
    if (ioctl(fd, UFFDIO_REGISTER, &range))
        die("UFFDIO_REGISTER");
    copy_in(fd, p);
    zero_in(fd, p);
    truth_pages("memory", "copy_in", 16);
    truth_pages("memory", "zero_in", 0);
    truth_smaps("memory", p);
    truth_end(0);
}

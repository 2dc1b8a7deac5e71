/* The clock is read through the vdso, which no file is behind; its data pages (vvar) are in no
 * figure of smaps. */
#include "truth.h"
#include <sys/auxv.h>

NAMED long ask_time(void)
{
    struct timespec now;
    long sum = 0;
    for (int i = 0; i < 1000; i++) {
        if (clock_gettime(CLOCK_MONOTONIC, &now))
            die("clock_gettime");
        sum += now.tv_nsec;
    }
    return sum;
}

int main(void)
{
    char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
    if (!vdso)
        truth_skip("the kernel gave this program no vdso");
    if (ask_time() < 0)
        die("the clock ran backwards");
    truth_smaps("vdso", vdso);
    truth_end(0);
}

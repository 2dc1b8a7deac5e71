/* Pages of hugetlbfs are never part of RSS or Dirty. */
#include "truth.h"

NAMED void touch_hugetlb(volatile char *p)
{
    p[0] = 1;
}

int main(void)
{
    char *p = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26 /* 2 MiB */), -1, 0);
    if (p == MAP_FAILED)
        truth_skip("no huge pages of 2 MiB are reserved (vm.nr_hugepages)");
    touch_hugetlb(p);
    truth_pages("hugetlb", "touch_hugetlb", 0);
    truth_smaps("hugetlb", p);
    truth_end(0);
}

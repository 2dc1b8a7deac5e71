/* One deep frame: a mebibyte of stack is written from above to below. */
#include "truth.h"
#include <alloca.h>

#define BYTES ((size_t)1 << 20)

NAMED void deepen(void)
{
    volatile char *p = alloca(BYTES);
    for (size_t at = BYTES; at > 0; at -= PAGE)
        p[at - PAGE] = 1;
}

int main(void)
{
    char here;
    uintptr_t high = (uintptr_t)&here & ~(PAGE - 1), low = high - BYTES - 4 * PAGE;
    size_t before = pages_present((char *)low, high - low);
    deepen();
    size_t after = pages_present((char *)low, high - low);
    truth_pages("stack", "deepen", after - before);
    truth_smaps("stack", &here);
    truth_end(0);
}

/* One deep frame: a mebibyte of stack is written from above to below. What of it lay in the mapping
 * before is a first write, what it reaches below makes the stack grow. */
#include "truth.h"
#include <alloca.h>

#define BYTES ((size_t)1 << 20)

NAMED void deepen(void)
{
    volatile char *p = alloca(BYTES);
    for (size_t at = BYTES; at > 0; at -= PAGE)
        p[at - PAGE] = 1;
}

/* Where the mapping of the stack begins. */
static uintptr_t stack_start(uintptr_t inside)
{
    static char text[1 << 16];
    size_t held = 0;
    unsigned long from, to;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; (got = read(fd, text + held, sizeof text - 1 - held)) > 0;)
        held += (size_t)got;
    close(fd);
    for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= inside && inside < to)
            return from;
    die("no mapping of the stack");
}

int main(void)
{
    char here;
    uintptr_t high = (uintptr_t)&here & ~(PAGE - 1), low = high - BYTES - 4 * PAGE;
    /* The frame is larger than what is copied of a stack of which the code is not known yet. */
    settle();
    size_t before = pages_present((char *)low, high - low);
    uintptr_t limit = stack_start((uintptr_t)&here);
    size_t inside = limit > low ? pages_present((char *)limit, high - limit) : before;
    deepen();
    size_t after = pages_present((char *)low, high - low);
    if (limit > low)
        inside = pages_present((char *)limit, high - limit) - inside;
    truth_pages("stack", "deepen", after - before);
    truth_number("grown", after - before - inside);
    truth_number("inside", inside);
    truth_smaps("stack", &here);
    truth_end(0);
}

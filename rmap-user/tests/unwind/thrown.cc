// A fault in a destructor that runs while an exception is on its way; with the argument "step",
// the same without the fault, between two int3.
#include <cstring>
#include <sys/mman.h>

#define KEEP __attribute__((noinline, noclone))

static volatile int sink;
static volatile long size = 64;
static bool step;
static char *bad;

KEEP void touch() {
    static char good[64];
    memset(step ? good : bad, 1, (size_t)size);
    sink = sink + 1;
}

struct Guard {
    KEEP ~Guard() {
        touch();
        sink = sink + 1;
    }
};

KEEP void thrower(int n) {
    if (n)
        throw n;
    sink = sink + 1;
}

KEEP void guarded(int n) {
    Guard guard;
    thrower(n);
    sink = sink + 1;
}

int main(int argc, char **argv) {
    step = argc > 1 && !strcmp(argv[1], "step");
    bad = (char *)mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (step)
        __asm__ volatile("int3");
    try {
        guarded(argc);
    } catch (int n) {
        sink = sink + n;
    }
    if (step)
        __asm__ volatile("int3");
    return 0;
}

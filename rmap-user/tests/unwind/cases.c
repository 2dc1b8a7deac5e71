/* Stacks whose truth is known. argv[1] names the case; each ends with a write to a page that may
 * not be touched, by memset where nothing else is said. Between two int3 the tests step through
 * it instruction by instruction. */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifndef NO_UCONTEXT
#include <ucontext.h>
#endif

#define KEEP __attribute__((noinline, noclone))

static char *bad;
static volatile long size = 64;
static volatile int sink;
static int step;

/* The end of every case: a fault, or a quiet return where the tests step. */
KEEP void touch(void) {
    static char good[64];
    memset(step ? good : bad, 1, (size_t)size);
    sink++;
}

KEEP void inner(int n) {
    touch();
    sink += n;
}

KEEP int recurse(int n) {
    int r = 1;
    if (n > 1)
        r += recurse(n - 1);
    else
        touch();
    sink += n;
    return r;
}

KEEP int compare(const void *a, const void *b) {
    touch();
    return *(const int *)a - *(const int *)b;
}

KEEP void sorted(void) {
    int v[4] = {3, 1, 2, 0};
    qsort(v, 4, sizeof *v, compare);
    sink += v[0];
}

KEEP void handler(int n) {
    inner(n);
    sink++;
}

KEEP void raised(int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    if (flags & SA_ONSTACK) {
        stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
        sigaltstack(&stack, 0);
    }
    sigaction(SIGUSR1, &action, 0);
    raise(SIGUSR1);
    sink++;
}

KEEP void faulted(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &action, 0);
    /* The handler runs above the very store that got the signal. */
    *(volatile char *)bad = 1;
    sink++;
}

KEEP void *thread(void *arg) {
    inner(1);
    sink++;
    return arg;
}

KEEP void threaded(void) {
    pthread_t id;
    pthread_create(&id, 0, thread, 0);
    pthread_join(id, 0);
}

KEEP void dynamic(int n) {
    char *p = alloca((size_t)n);
    p[n - 1] = 1;
    inner(p[n - 1]);
    sink += p[0];
}

KEEP void aligned(int a, int b, int c, int d, int e, int f, int g, int h) {
    /* Over-aligned locals, arguments on the stack and alloca: GCC keeps a pointer to the
     * arguments (DRAP). */
    __attribute__((aligned(64))) volatile char x[128];
    char *p = alloca((size_t)a);
    p[0] = (char)(b + c + d + e + f + g);
    x[h] = 1;
    inner(p[0]);
    sink += x[h] + p[0] + g + h;
}

KEEP void large(void) {
    volatile char x[100000];
    x[7] = 1;
    inner(x[7]);
    sink += x[7];
}

/* The compiler leaves no trace of this frame. */
KEEP void tail(int n) { inner(n + 1); }

/* Six registers to save. */
KEEP int busy(int a, int b, int c, int d, int e, int f) {
    for (int i = 0; i < 2; i++) {
        inner(a);
        sink += a * b + c * d + e * f + i;
    }
    return a + b + c + d + e + f;
}

KEEP void printed(void) {
    char text[64];
    snprintf(text, sizeof text, "%d %s %.3f", 7, "seven", 7.5);
    inner(text[0]);
}

KEEP void early(void) {
    exit(3);
}

KEEP void at_exit(void) { inner(1); sink++; }

#ifndef NO_UCONTEXT
static ucontext_t outer, other;
KEEP void coroutine(void) {
    inner(1);
    sink++;
}
KEEP void swapped(void) {
    static char stack[1 << 16];
    getcontext(&other);
    other.uc_stack.ss_sp = stack;
    other.uc_stack.ss_size = sizeof stack;
    other.uc_link = &outer;
    makecontext(&other, coroutine, 0);
    swapcontext(&outer, &other);
    sink++;
}
#endif

KEEP void loaded(const char *path) {
    void *lib = dlopen(path, RTLD_LAZY);
    void (*f)(void (*)(void)) = lib ? (void (*)(void (*)(void)))dlsym(lib, "library") : 0;
    if (f)
        f(touch);
    sink++;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    const char *rest = argc > 2 ? argv[2] : "";
    step = !strncmp(rest, "step", 4);
    bad = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (step)
        __asm__ volatile("int3");
    if (!strcmp(name, "plain")) inner(1);
    if (!strcmp(name, "recurse")) recurse(300);
    if (!strcmp(name, "shallow")) recurse(20);
    if (!strcmp(name, "qsort")) sorted();
    if (!strcmp(name, "signal")) raised(0);
    if (!strcmp(name, "sigaltstack")) raised(SA_ONSTACK);
    if (!strcmp(name, "faulted")) faulted();
    if (!strcmp(name, "thread")) threaded();
    if (!strcmp(name, "alloca")) dynamic(1000);
    if (!strcmp(name, "drap")) aligned(100, 1, 2, 3, 4, 5, 6, 7);
    if (!strcmp(name, "large")) large();
    if (!strcmp(name, "tail")) tail(1);
    if (!strcmp(name, "busy")) busy(1, 2, 3, 4, 5, argc);
    if (!strcmp(name, "printed")) printed();
    if (!strcmp(name, "atexit")) { atexit(at_exit); early(); }
#ifndef NO_UCONTEXT
    if (!strcmp(name, "context")) swapped();
#endif
    if (!strcmp(name, "dlopen")) loaded(rest + (step ? 4 : 0));
    sink++;
    if (step)
        __asm__ volatile("int3");
    return 0;
}

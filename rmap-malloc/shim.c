/* The allocator's shim of `rmap run --malloc`, preloaded into the traced programs.
 *
 * Comes in: calls of malloc and its kin. Goes out: the same calls, to the next allocator in the order
 * of the loader; and for allocations that were picked, and the end of each of them, a call of
 * rmap_malloc_report, which does nothing and has a uprobe on its first instruction.
 *
 * Allocations are picked by bytes, as a Poisson process with one point in rmap_malloc_mean bytes on
 * average: an allocation of s bytes is picked with the probability 1 - exp(-s / mean). Each thread
 * counts down by itself to its next point. Nothing here takes a lock or allocates.
 *
 * No library is needed and no header: what is called of the C library is looked up when it is there.
 */

typedef unsigned char u8;
typedef unsigned long u64;
typedef unsigned long size_t;

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))
#define TLS static __thread __attribute__((tls_model("initial-exec")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define RTLD_NEXT ((void *)-1L)
#define ENOMEM 12
#define EINVAL 22
#define PAGE 4096UL

/* What rmap_malloc_report is called for: rmap-ebpf/src/abi/malloc.rs has the same numbers. */
enum {
    LOADED = 0, /* the shim is in the process */
    BEGUN = 1,  /* the first allocation has come through it */
    PICKED = 2, /* an allocation was picked */
    FREED = 3,  /* a picked one was freed */
    MOVING = 4, /* realloc is about to free a picked one */
    STAYED = 5, /* it could not, and the picked one is live again */
    UNKEPT = 6, /* an allocation was picked, and there is no room to know it again */
};

/* Average bytes from one point to the next. rmap writes its own number here before it loads this. */
HIDDEN volatile const u64 rmap_malloc_mean __attribute__((used, section(".data"))) = 512UL << 10;

/* Where the uprobe is. The nop is executed by the kernel without a copy of it in the process. */
HIDDEN __attribute__((noinline, noclone, used)) void rmap_malloc_report(u64 what, u64 address,
                                                                        u64 size, u64 mean)
{
    __asm__ volatile("nop" : : "D"(what), "S"(address), "d"(size), "c"(mean) : "memory");
}

extern void *dlsym(void *, const char *) __attribute__((weak));
extern int *__errno_location(void) __attribute__((weak));
extern void *__libc_malloc(size_t) __attribute__((weak));
extern void *__libc_calloc(size_t, size_t) __attribute__((weak));
extern void *__libc_realloc(void *, size_t) __attribute__((weak));
extern void *__libc_memalign(size_t, size_t) __attribute__((weak));
extern void __libc_free(void *) __attribute__((weak));

/* ---- The next allocator. Each entry begins with a function that looks all of them up. ---- */

static void *first_malloc(size_t);
static void *first_calloc(size_t, size_t);
static void *first_realloc(void *, size_t);
static void *first_memalign(size_t, size_t);
static void *first_aligned_alloc(size_t, size_t);
static int first_posix_memalign(void **, size_t, size_t);
static void first_free(void *);

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
} next = {
    first_malloc,         first_calloc, first_realloc, first_memalign, first_aligned_alloc,
    first_posix_memalign, first_free,
};

/* Memory for whoever allocates while the next allocator is looked up: dlsym of old C libraries. It is
 * never freed. */
static u8 early[16 << 10] __attribute__((aligned(16)));
static u64 early_used;
TLS u8 resolving;

/* ---- Picked allocations: a set of their addresses, and a filter before it. ---- */

#define FILTER (1UL << 16)
#define SLOTS (1UL << 16)
/* An address lies in one of so many slots from the one that it hashes to. */
#define WINDOW 32UL

/* How many addresses of the set have each place; one that reaches its highest value stays there. */
static u8 filter[FILTER];
static u64 slots[SLOTS + WINDOW];

/* Neighbours share a cache line. Blocks that are mapped by themselves, all 16 bytes behind a page's
 * begin, share 256 places; but freeing one takes much longer than a look into the set. */
static inline u8 *place(u64 address)
{
    return &filter[address >> 4 & (FILTER - 1)];
}

static inline int may_be_picked(const void *pointer)
{
    return unlikely(__atomic_load_n(place((u64)pointer), __ATOMIC_RELAXED) != 0);
}

static void count(u64 address, int by)
{
    u8 *at = place(address);
    u8 was = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (was != 255 && !__atomic_compare_exchange_n(at, &was, (u8)(was + by), 1, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED)) {
    }
}

/* Mixed well: one multiplication leaves addresses at some even distances in heaps. */
static inline u64 *window(u64 address)
{
    address = (address ^ address >> 30) * 0xbf58476d1ce4e5b9UL;
    address = (address ^ address >> 27) * 0x94d049bb133111ebUL;
    return &slots[address >> 48];
}

/* Whether the address is in the set now. */
static __attribute__((noinline)) int rmap_malloc_insert(u64 address)
{
    u64 *from = window(address);
    for (;;) {
        u64 *empty = 0;
        for (u64 at = 0; at < WINDOW; at++) {
            u64 found = __atomic_load_n(&from[at], __ATOMIC_RELAXED);
            if (found == address)
                return 1; /* Its end was not seen: somebody freed it past this shim. */
            if (found == 0 && !empty)
                empty = &from[at];
        }
        if (!empty)
            return 0;
        count(address, 1);
        u64 none = 0;
        if (__atomic_compare_exchange_n(empty, &none, address, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return 1;
        count(address, -1);
    }
}

/* Whether the address was in the set; it is no longer. */
static __attribute__((noinline)) int rmap_malloc_take_out(u64 address)
{
    if (!address)
        return 0;
    u64 *from = window(address);
    for (u64 at = 0; at < WINDOW; at++) {
        u64 expected = address;
        if (__atomic_load_n(&from[at], __ATOMIC_RELAXED) == address &&
            __atomic_compare_exchange_n(&from[at], &expected, 0, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            count(address, -1);
            return 1;
        }
    }
    return 0;
}

/* ---- The early memory. Its addresses are in the filter, so that frees of it are noticed. ---- */

static void *early_memory(size_t size)
{
    size = (size + 15) & ~15UL;
    u64 at = __atomic_fetch_add(&early_used, size, __ATOMIC_RELAXED);
    if (size > sizeof early || at > sizeof early - size)
        return 0;
    count((u64)&early[at], 1);
    return &early[at];
}

static inline int is_early(const void *pointer)
{
    return (u64)pointer - (u64)early < sizeof early;
}

static void rmap_malloc_lookup(void)
{
    resolving = 1;
    if (dlsym) {
        next.calloc = dlsym(RTLD_NEXT, "calloc");
        next.realloc = dlsym(RTLD_NEXT, "realloc");
        next.memalign = dlsym(RTLD_NEXT, "memalign");
        next.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
        next.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
        next.free = dlsym(RTLD_NEXT, "free");
        next.malloc = dlsym(RTLD_NEXT, "malloc");
    } else {
        next.calloc = __libc_calloc;
        next.realloc = __libc_realloc;
        next.memalign = __libc_memalign;
        next.aligned_alloc = __libc_memalign;
        next.free = __libc_free;
        next.malloc = __libc_malloc;
        next.posix_memalign = 0;
    }
    resolving = 0;
    if (!next.malloc || !next.calloc || !next.realloc || !next.memalign || !next.free)
        __builtin_trap(); /* A C library without malloc. */
}

static void *first_malloc(size_t size)
{
    if (resolving)
        return early_memory(size);
    rmap_malloc_lookup();
    return next.malloc(size);
}

static void *first_calloc(size_t members, size_t size)
{
    size_t bytes;
    if (resolving)
        return __builtin_mul_overflow(members, size, &bytes) ? 0 : early_memory(bytes);
    rmap_malloc_lookup();
    return next.calloc(members, size);
}

static void *first_realloc(void *old, size_t size)
{
    if (resolving)
        return old ? 0 : early_memory(size);
    rmap_malloc_lookup();
    return next.realloc(old, size);
}

static void *first_memalign(size_t alignment, size_t size)
{
    if (resolving)
        return 0;
    rmap_malloc_lookup();
    return next.memalign(alignment, size);
}

static void *first_aligned_alloc(size_t alignment, size_t size)
{
    if (resolving)
        return 0;
    rmap_malloc_lookup();
    return next.aligned_alloc(alignment, size);
}

static int first_posix_memalign(void **out, size_t alignment, size_t size)
{
    if (resolving)
        return ENOMEM;
    rmap_malloc_lookup();
    if (next.posix_memalign)
        return next.posix_memalign(out, alignment, size);
    next.posix_memalign = first_posix_memalign;
    if (alignment % sizeof(void *) || !alignment || alignment & (alignment - 1))
        return EINVAL;
    void *got = next.memalign(alignment, size);
    if (!got)
        return ENOMEM;
    *out = got;
    return 0;
}

static void first_free(void *pointer)
{
    if (resolving)
        return;
    rmap_malloc_lookup();
    next.free(pointer);
}

/* ---- Which allocations are picked. ---- */

/* Bytes to the next point, and the state of the random numbers; both 0 in a new thread. */
TLS u64 left;
TLS u64 state;
static u8 announced;

/* A natural logarithm of a number in (0, 1], good to 1e-9. */
static double logarithm(double number)
{
    union {
        double number;
        u64 bits;
    } as = {number};
    int exponent = (int)(as.bits >> 52) - 1023;
    as.bits = (as.bits & ~0UL >> 12) | 1023UL << 52;
    if (as.number > 1.4142135623730951) {
        as.number *= 0.5;
        exponent += 1;
    }
    double s = (as.number - 1) / (as.number + 1), q = s * s;
    double series = 1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q / 11))));
    return exponent * 0.6931471805599453 + 2 * s * series;
}

/* The next distance: an allocation of s bytes reaches it if s >= it. A forked child, which has its
 * parent's state, must not draw the same: so the clock is in it. */
static u64 draw(void)
{
    u64 bits = state ^ __builtin_ia32_rdtsc() ^ (u64)&state;
    bits += 0x9e3779b97f4a7c15UL;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9UL;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebUL;
    bits ^= bits >> 31;
    state = bits;
    double uniform = ((double)(bits >> 11) + 0.5) * 0x1p-53;
    return (u64)(-logarithm(uniform) * (double)rmap_malloc_mean) + 1;
}

/* Whether an allocation that reaches the next point is picked: not if it is the thread's first one,
 * before which nothing was drawn. */
static __attribute__((noinline)) int rmap_malloc_reaches(size_t size)
{
    if (unlikely(state == 0)) {
        if (!__atomic_exchange_n(&announced, 1, __ATOMIC_RELAXED))
            rmap_malloc_report(BEGUN, 0, 0, rmap_malloc_mean);
        left = draw();
        if (size < left) {
            left -= size;
            return 0;
        }
    }
    left = draw();
    return 1;
}

/* Counts an allocation; whether it does not reach the next point. */
static inline __attribute__((always_inline)) int passes(size_t size)
{
    u64 to = left;
    if (unlikely(size >= to))
        return 0;
    left = to - size;
    return 1;
}

/* Of a picked allocation, if there is one. The caller's frame is the allocator's function. */
static inline __attribute__((always_inline)) void keep(void *pointer, size_t size)
{
    if (pointer) {
        u64 what = rmap_malloc_insert((u64)pointer) ? PICKED : UNKEPT;
        rmap_malloc_report(what, (u64)pointer, size, rmap_malloc_mean);
    }
}

/* Before the allocator may give a block's memory to somebody else. Whether it is early memory. */
static __attribute__((noinline)) int rmap_malloc_ends(void *pointer)
{
    if (unlikely(is_early(pointer)))
        return 1;
    if (rmap_malloc_take_out((u64)pointer))
        rmap_malloc_report(FREED, (u64)pointer, 0, rmap_malloc_mean);
    return 0;
}

static void refuse(void)
{
    if (__errno_location)
        *__errno_location() = ENOMEM;
}

/* ---- What programs call. ---- */

/* The rest of malloc, apart from it so that its beginning saves no register; rmap shows it as malloc. */
static __attribute__((noinline)) void *rmap_picked_malloc(size_t size)
{
    if (!rmap_malloc_reaches(size))
        return next.malloc(size);
    void *got = next.malloc(size);
    keep(got, size);
    return got;
}

EXPORT void *malloc(size_t size)
{
    return likely(passes(size)) ? next.malloc(size) : rmap_picked_malloc(size);
}

EXPORT void *calloc(size_t members, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(members, size, &bytes)))
        return next.calloc(members, size);
    if (likely(passes(bytes)) || !rmap_malloc_reaches(bytes))
        return next.calloc(members, size);
    void *got = next.calloc(members, size);
    keep(got, bytes);
    return got;
}

static __attribute__((noinline)) void *early_again(void *old, size_t size)
{
    u8 *got = malloc(size);
    u64 most = sizeof early - ((u64)old - (u64)early);
    for (u64 at = 0; got && at < size && at < most; at++)
        got[at] = ((u8 *)old)[at];
    return got;
}

EXPORT void *realloc(void *old, size_t size)
{
    int was = may_be_picked(old);
    int picked = unlikely(!passes(size)) && rmap_malloc_reaches(size);
    if (likely(!was && !picked))
        return next.realloc(old, size);
    if (was) {
        if (unlikely(is_early(old)))
            return early_again(old, size);
        /* While it is moved, another thread may be given its address. */
        was = rmap_malloc_take_out((u64)old);
        if (was)
            rmap_malloc_report(MOVING, (u64)old, 0, rmap_malloc_mean);
    }
    void *got = next.realloc(old, size);
    if (!got && size && was) {
        u64 what = rmap_malloc_insert((u64)old) ? STAYED : UNKEPT;
        rmap_malloc_report(what, (u64)old, 0, rmap_malloc_mean);
    }
    if (picked)
        keep(got, size);
    return got;
}

EXPORT void *reallocarray(void *old, size_t members, size_t size)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(members, size, &bytes))) {
        refuse();
        return 0;
    }
    return realloc(old, bytes);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    if (likely(passes(size)) || !rmap_malloc_reaches(size))
        return next.memalign(alignment, size);
    void *got = next.memalign(alignment, size);
    keep(got, size);
    return got;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (likely(passes(size)) || !rmap_malloc_reaches(size))
        return next.aligned_alloc(alignment, size);
    void *got = next.aligned_alloc(alignment, size);
    keep(got, size);
    return got;
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (likely(passes(size)) || !rmap_malloc_reaches(size))
        return next.posix_memalign(out, alignment, size);
    int error = next.posix_memalign(out, alignment, size);
    if (!error)
        keep(*out, size);
    return error;
}

EXPORT void *valloc(size_t size)
{
    return memalign(PAGE, size);
}

EXPORT void *pvalloc(size_t size)
{
    if (unlikely(size > ~0UL - PAGE)) {
        refuse();
        return 0;
    }
    return memalign(PAGE, (size + PAGE - 1) & ~(PAGE - 1));
}

EXPORT void free(void *pointer)
{
    if (may_be_picked(pointer) && rmap_malloc_ends(pointer))
        return;
    next.free(pointer);
}

EXPORT void cfree(void *pointer)
{
    free(pointer);
}

EXPORT void free_sized(void *pointer, size_t size)
{
    (void)size;
    free(pointer);
}

EXPORT void free_aligned_sized(void *pointer, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    free(pointer);
}

__attribute__((constructor)) static void rmap_malloc_loaded(void)
{
    rmap_malloc_report(LOADED, 0, 0, rmap_malloc_mean);
}

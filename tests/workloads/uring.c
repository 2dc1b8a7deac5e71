/* Memory that io_uring pins without a fault: registered buffers, and a read with O_DIRECT into fresh
 * memory, of which the address is in no argument of a call. Argument: a file to make. */
#include "truth.h"
#include <linux/io_uring.h>
#include <sys/uio.h>

#define EACH ((size_t)12)
#define READ ((size_t)8)

NAMED void register_buffers(int ring, struct iovec *buffers, unsigned count)
{
    if (RAW(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, buffers, count, 0, 0))
        die("IORING_REGISTER_BUFFERS");
}

NAMED void enter(int ring)
{
    if (RAW(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) != 1)
        die("io_uring_enter");
}

static char *ring_map(int ring, size_t bytes, off_t offset)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
    if (p == MAP_FAILED)
        die("map a ring");
    return p;
}

int main(int argc, char **argv)
{
    struct io_uring_params params = {0};
    if (argc < 2)
        die("usage: uring FILE");
    close(file_make(argv[1], READ));
    int fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (ring < 0)
        truth_skip("io_uring is not allowed");
    if (fd < 0)
        truth_skip("the file system has no O_DIRECT");
    char *one = region_anon(EACH), *two = region_anon(EACH), *read = region_anon(READ);
    struct iovec buffers[2] = {{one, EACH * PAGE}, {two, EACH * PAGE}};
    register_buffers(ring, buffers, 2);

    char *queue = ring_map(ring, params.sq_off.array + params.sq_entries * 4, IORING_OFF_SQ_RING);
    char *completed = ring_map(ring, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
                               IORING_OFF_CQ_RING);
    struct io_uring_sqe *entries = (struct io_uring_sqe *)ring_map(
        ring, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    entries[0] = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)read,
                                       .len = READ * PAGE};
    *(unsigned *)(queue + params.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
    enter(ring);
    struct io_uring_cqe *done = (struct io_uring_cqe *)(completed + params.cq_off.cqes);
    if (done->res != (int)(READ * PAGE))
        die("the ring read %d bytes", done->res);
    truth_pages("one", "register_buffers", EACH);
    truth_pages("two", "register_buffers", EACH);
    truth_pages("read", "enter", READ);
    truth_smaps("one", one);
    truth_smaps("two", two);
    truth_smaps("read", read);
    truth_end(0);
}

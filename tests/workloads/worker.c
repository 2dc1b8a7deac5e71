/* A server over a socket with several threads: each client sends a seed, gets the sum of a block of
 * memory that was filled from it, and the block is given back in one of four ways. Arguments: the
 * socket's path, threads. It serves until it is killed. */
#include "truth.h"
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

static int listener;

NAMED uint64_t fill_block(volatile unsigned char *p, size_t bytes, uint64_t seed)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i += 512) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (unsigned char)(seed >> 56);
        sum += p[i];
    }
    return sum;
}

NAMED uint64_t answer(uint64_t seed)
{
    size_t bytes = (1 + seed % 61) * PAGE;
    uint64_t sum;
    if (seed % 4 == 0) {
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            die("mmap");
        sum = fill_block((unsigned char *)p, bytes, seed);
        munmap(p, bytes);
        return sum;
    }
    unsigned char *p = malloc(bytes);
    if (!p)
        die("malloc");
    sum = fill_block(p, bytes, seed);
    if (seed % 4 == 1)
        p = realloc(p, bytes / 2 + 1);
    free(p);
    return sum;
}

static void *serve(void *unused)
{
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
            if (errno == EINTR)
                continue;
            die("accept");
        }
        uint64_t seed, sum;
        while (recv(client, &seed, sizeof seed, MSG_WAITALL) == (ssize_t)sizeof seed) {
            sum = answer(seed);
            if (send(client, &sum, sizeof sum, MSG_NOSIGNAL) != (ssize_t)sizeof sum)
                break;
        }
        close(client);
    }
    return unused;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc < 3 || strlen(argv[1]) >= sizeof address.sun_path)
        die("a socket and a number of threads are needed");
    strcpy(address.sun_path, argv[1]);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, 64))
        die("listen at %s", argv[1]);
    for (int i = 1; i < atoi(argv[2]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL))
            die("pthread_create");
    }
    truth_number("pid", (uint64_t)getpid());
    serve(NULL);
}

/* The leader ends before its threads: one thread fills memory while the leader lives, and again
 * when the leader is a zombie. The last thread says what is there. */
#include "truth.h"
#include <pthread.h>

static char *memory;
static pthread_t leader;

NAMED void fill_while_led(volatile char *p)
{
    for (size_t i = 0; i < 16; i++)
        p[i * PAGE] = 1;
}

NAMED void fill_without_leader(volatile char *p)
{
    for (size_t i = 16; i < 48; i++)
        p[i * PAGE] = 2;
}

static void *outlive(void *unused)
{
    (void)unused;
    fill_while_led(memory);
    if (pthread_join(leader, NULL))
        die("pthread_join");
    fill_without_leader(memory);
    truth_pages("memory", "fill_while_led", 16);
    truth_pages("memory", "fill_without_leader", 32);
    truth_smaps("memory", memory);
    truth_end(0);
}

int main(void)
{
    pthread_t thread;
    memory = region_anon(64);
    leader = pthread_self();
    if (pthread_create(&thread, NULL, outlive, NULL))
        die("pthread_create");
    pthread_exit(NULL);
}

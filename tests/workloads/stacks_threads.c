/* A region written by a thread, and one written on a stack that makecontext(3) made. */
#include "truth.h"
#include <pthread.h>
#include <ucontext.h>

#define PAGES 8

static ucontext_t there, back;

NAMED void write_pages(char *memory)
{
    for (size_t i = 0; i < PAGES; i++)
        *(volatile char *)(memory + i * PAGE) = 1;
}

NAMED void *thread_work(void *memory)
{
    write_pages(memory);
    __asm__ volatile("" ::: "memory");
    return NULL;
}

static char *of_context;

NAMED void context_work(void)
{
    write_pages(of_context);
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    char *of_thread = region_anon(PAGES), *stack = region_anon(16);
    of_context = region_anon(PAGES);
    pthread_t thread;
    if (wants_to_settle(argc, argv))
        settle();
    if (pthread_create(&thread, NULL, thread_work, of_thread) || pthread_join(thread, NULL))
        die("a thread");
    if (getcontext(&there))
        die("getcontext");
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = 16 * PAGE;
    there.uc_link = &back;
    makecontext(&there, context_work, 0);
    if (swapcontext(&back, &there))
        die("swapcontext");
    truth_pages("thread", "write_pages", PAGES);
    truth_smaps("thread", of_thread);
    truth_pages("context", "write_pages", PAGES);
    truth_smaps("context", of_context);
    truth_end(0);
}

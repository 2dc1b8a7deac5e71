/* A server that forgets to drop its sessions: grows [REQUESTS]. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
    struct session *next;
    char text[4000];
};

static struct session *sessions;

__attribute__((noinline)) static void open_session(void)
{
    struct session *session = malloc(sizeof *session);
    memset(session->text, 'x', sizeof session->text);
    session->next = sessions;
    sessions = session;
}

__attribute__((noinline)) static void answer(void)
{
    char *page = malloc(64 << 10);
    memset(page, 'y', 64 << 10);
    free(page);
}

int main(int argc, char **argv)
{
    int requests = argc > 1 ? atoi(argv[1]) : 8000;
    for (int i = 0; i < requests; i++) {
        open_session();
        answer();
        if (i % 8 == 0)
            usleep(1000);
    }
    return 0;
}

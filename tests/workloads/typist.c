/* Types into every terminal that it can reach, as if a person did: into the standard descriptors,
 * those of its caller that are still open, and its controlling terminal. Prints where it could. */
#include "truth.h"
#include <fcntl.h>
#include <sys/ioctl.h>

static void type_into(int fd, const char *name)
{
    for (const char *key = "injected\n"; *key; key++)
        if (ioctl(fd, TIOCSTI, key) < 0)
            return;
    printf("typed into %s\n", name);
}

int main(void)
{
    char name[32];
    for (int fd = 0; fd < 20; fd++) {
        snprintf(name, sizeof name, "descriptor %d", fd);
        type_into(fd, name);
    }
    int own = open("/dev/tty", O_RDWR);
    if (own >= 0)
        type_into(own, "its own");
    printf("tried\n");
    return 0;
}

// A library that a program preloads itself.
#include <stdio.h>

__attribute__((constructor)) static void hello(void)
{
    puts("preloaded");
    fflush(stdout);
}

/* A library of which there are two that differ in how large a frame is, and in nothing else. */
#ifndef ROOM
#define ROOM 24
#endif

__attribute__((noinline, noclone)) void twin_entry(void (*function)(void))
{
    volatile char room[ROOM];
    room[0] = 1;
    function();
    room[ROOM - 1] = room[0];
}

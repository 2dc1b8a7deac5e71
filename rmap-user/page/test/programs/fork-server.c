// A server that loads a table and forks workers, each of which writes to a part of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#define TABLE (64l << 20)
static char *table;
static void load_table(void) { table = malloc(TABLE); memset(table, 1, TABLE); }
static void update_rows(int worker) {
    for (long at = 0; at < (4l + 2 * worker) << 20; at += 4096) table[at]++;
}
static void handle_requests(int worker) {
    char *buffer = malloc(6 << 20);
    memset(buffer, 2, 6 << 20);
    update_rows(worker);
    usleep(300000);
}
static void spawn(int worker) {
    if (fork() == 0) { handle_requests(worker); _exit(0); }
    usleep(60000);
}
int main(void) {
    load_table();
    for (int worker = 0; worker < 6; worker++) spawn(worker);
    while (wait(NULL) > 0) {}
    return 0;
}

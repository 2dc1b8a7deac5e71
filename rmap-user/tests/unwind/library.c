/* Loaded by the case "dlopen"; calls back. */
static volatile int sink;

__attribute__((noinline, noclone)) static void within(void (*back)(void)) {
    back();
    sink++;
}

void library(void (*back)(void)) {
    within(back);
    sink++;
}

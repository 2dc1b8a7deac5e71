/* A parent that traces its child by PTRACE_TRACEME, as a debugger does. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(50);
        raise(SIGSTOP);
        _exit(7);
    }
    int status;
    if (waitpid(child, &status, 0) != child) return 51;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) return 52;
    if (ptrace(PTRACE_CONT, child, 0, 0) != 0) return 53;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 54;
    return WEXITSTATUS(status);
}

/* The sandbox process of every pod: holds the namespaces and does nothing.
 * Linked statically, because its image holds no other file. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) { (void)signal; _exit(0); }

int main(void)
{
    /* Process 1 of a PID namespace gets only the signals it handles
     * (pid_namespaces(7)), so without this a pod's end takes the full grace. */
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGCHLD, SIG_IGN); /* orphans are reaped by the kernel: wait(2) */
    for (;;)
        pause();
}

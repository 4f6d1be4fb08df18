/* Takes what a processor has left, and says how much that was.
 *
 *   idle FILE PROCESSOR
 *
 * It runs on that processor when nobody else wants it (SCHED_IDLE) and does nothing but read the
 * clock.  What passes between two readings is its own, unless it is longer than GAP: then something
 * else was busy, be it a program, an interrupt or the kernel on nobody's account.  The sum of its
 * own, in nanoseconds, stands in FILE at the place of the processor, eight bytes each.
 *
 * The kernel's own accounting (/proc/stat) looks who is busy at each tick, 250 times a second; what
 * is short, and begins at no tick's time, is not seen as it is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

enum { GAP = 400, PLACES = 512 };

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int arguments, char **argument) {
    if (arguments != 3) return 2;
    int processor = atoi(argument[2]), file = open(argument[1], O_RDWR);
    if (file < 0 || processor < 0 || processor >= PLACES) return 2;
    volatile int64_t *places =
        mmap(NULL, PLACES * sizeof *places, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(processor, &here);
    struct sched_param none = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (places == MAP_FAILED || sched_setaffinity(0, sizeof here, &here) ||
        sched_setscheduler(0, SCHED_IDLE, &none)) {
        perror("idle");
        return 1;
    }
    int64_t last = now(), own = 1;
    for (;;) {
        places[processor] = own;
        int64_t t = now();
        if (t - last < GAP) own += t - last;
        last = t;
    }
}

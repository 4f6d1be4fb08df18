/* Sends datagrams through pairs of sockets and counts those that come out at the other end.
 *
 *   pump SECONDS WINDOW SIZE PREFIX OUT:IN ...
 *
 * The sockets are inherited, connected and non-blocking: what goes into descriptor OUT is expected
 * at descriptor IN, and both are the same for requests that are answered.  Each datagram is PREFIX
 * (hexadecimal) and then filler up to SIZE bytes.  At most WINDOW datagrams are under way over all
 * pairs; those that have not come within LOSS seconds count as lost.  The result is one line of
 * JSON.
 *
 * Build: cc -O2 -o pump pump.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, LARGEST = 65535 };
static const double LOSS = 0.05;

struct pair {
    int out, in;
    int under_way;
};

static struct mmsghdr outgoing[BATCH], incoming[BATCH];
static struct iovec datagram, slots[BATCH];
static unsigned char packet[LARGEST], received[BATCH][LARGEST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void prepare(size_t size, const char *prefix) {
    unsigned int byte;
    memset(packet, 'x', sizeof packet);
    for (size_t i = 0; sscanf(prefix + 2 * i, "%2x", &byte) == 1; i++) packet[i] = byte;
    datagram = (struct iovec){packet, size};
    for (int i = 0; i < BATCH; i++) {
        slots[i] = (struct iovec){received[i], LARGEST};
        outgoing[i].msg_hdr = (struct msghdr){.msg_iov = &datagram, .msg_iovlen = 1};
        incoming[i].msg_hdr = (struct msghdr){.msg_iov = &slots[i], .msg_iovlen = 1};
    }
}

/* Fill the pair's share of the window; how many went out. */
static long fill(struct pair *pair, int share) {
    long sent = 0;
    while (pair->under_way < share) {
        int room = share - pair->under_way;
        int n = sendmmsg(pair->out, outgoing, room < BATCH ? room : BATCH, 0);
        if (n <= 0) {
            if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
                fail("sendmmsg");
            break;
        }
        pair->under_way += n;
        sent += n;
    }
    return sent;
}

static long drain(struct pair *pair) {
    int n = recvmmsg(pair->in, incoming, BATCH, 0, NULL);
    if (n < 0) {
        if (errno == EAGAIN || errno == ECONNREFUSED) return 0;
        fail("recvmmsg");
    }
    pair->under_way = pair->under_way > n ? pair->under_way - n : 0;
    return n;
}

int main(int count, char **arguments) {
    if (count < 6) {
        fprintf(stderr, "usage: pump SECONDS WINDOW SIZE PREFIX OUT:IN ...\n");
        return 2;
    }
    double seconds = atof(arguments[1]);
    int window = atoi(arguments[2]), pairs = count - 5;
    int share = window / pairs > 0 ? window / pairs : 1;
    prepare(atoi(arguments[3]), arguments[4]);

    struct pair *pair = calloc(pairs, sizeof *pair);
    struct pollfd *waiting = calloc(pairs, sizeof *waiting);
    if (!pair || !waiting) fail("calloc");
    for (int i = 0; i < pairs; i++) {
        if (sscanf(arguments[5 + i], "%d:%d", &pair[i].out, &pair[i].in) != 2) return 2;
        waiting[i] = (struct pollfd){.fd = pair[i].in, .events = POLLIN};
    }

    long sent = 0, got = 0;
    double start = now(), last = start, t = start;
    while (t - start < seconds) {
        for (int i = 0; i < pairs; i++) sent += fill(&pair[i], share);
        if (poll(waiting, pairs, 5) > 0) {
            for (int i = 0; i < pairs; i++)
                if (waiting[i].revents) got += drain(&pair[i]);
            last = t;
        } else if (t - last > LOSS) {
            for (int i = 0; i < pairs; i++) pair[i].under_way = 0;
            last = t;
        }
        t = now();
    }
    /* What is still under way belongs to the server's work as well. */
    while (poll(waiting, pairs, (int)(LOSS * 1000)) > 0)
        for (int i = 0; i < pairs; i++)
            if (waiting[i].revents) got += drain(&pair[i]);
    printf("{\"sent\": %ld, \"received\": %ld, \"seconds\": %.6f}\n", sent, got, t - start);
    return 0;
}

/* Sends datagrams of many flows from one socket, and counts those that come out at another.
 *
 *   load FLOWS SECONDS WINDOW SIZE PREFIX OUT IN
 *
 * FLOWS is a file with ten bytes for each flow: source address, destination address, destination
 * port, all in network order.  Packets take the flows in turn.  OUT and IN are inherited UDP
 * sockets over IPv4, which may be the same; OUT belongs to every source address.  Each packet is
 * PREFIX (hexadecimal) and then filler up to SIZE bytes.  At most WINDOW packets are under way, and
 * those that have not come within LOSS seconds count as lost.
 *
 * It says "ready", waits for a line, and ends with one line of JSON.  With a WINDOW of 1 a packet
 * leaves every PACE seconds, if the last has come, and how long each was under way is measured too.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, LARGEST = 2048, FLOW = 10 };
static const double LOSS = 0.05, PACE = 0.0001;

union control {
    char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct cmsghdr aligned;
};

static struct mmsghdr *outgoing, incoming[BATCH];
static struct iovec datagram, slots[BATCH];
static unsigned char packet[LARGEST], received[BATCH][LARGEST];
static int count; /* of messages in outgoing: every flow as often as any other */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *many(size_t number, size_t bytes) {
    void *memory = calloc(number, bytes);
    if (!memory) fail("calloc");
    return memory;
}

static void address(struct mmsghdr *message, const unsigned char *flow) {
    struct sockaddr_in *to = many(1, sizeof *to);
    union control *control = many(1, sizeof *control);
    struct in_pktinfo from = {0};
    memcpy(&from.ipi_spec_dst, flow, 4);
    *to = (struct sockaddr_in){.sin_family = AF_INET};
    memcpy(&to->sin_addr, flow + 4, 4);
    memcpy(&to->sin_port, flow + 8, 2);
    message->msg_hdr = (struct msghdr){.msg_name = to, .msg_namelen = sizeof *to,
                                       .msg_iov = &datagram, .msg_iovlen = 1,
                                       .msg_control = control, .msg_controllen = sizeof *control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message->msg_hdr);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof from);
    memcpy(CMSG_DATA(header), &from, sizeof from);
}

static void read_flows(const char *path) {
    unsigned char flow[FLOW];
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    int flows = ftell(file) / FLOW;
    if (!flows) fail("no flows");
    rewind(file);
    count = flows < BATCH ? BATCH / flows * flows : flows;
    outgoing = many(count, sizeof *outgoing);
    for (int i = 0; i < flows; i++) {
        if (fread(flow, FLOW, 1, file) != 1) fail(path);
        for (int n = i; n < count; n += flows) address(&outgoing[n], flow);
    }
    fclose(file);
}

static void prepare(const char *prefix, size_t size) {
    unsigned int byte;
    memset(packet, 'x', sizeof packet);
    for (size_t i = 0; i < LARGEST && sscanf(prefix + 2 * i, "%2x", &byte) == 1; i++)
        packet[i] = byte;
    datagram = (struct iovec){packet, size};
    for (int i = 0; i < BATCH; i++) {
        slots[i] = (struct iovec){received[i], LARGEST};
        incoming[i].msg_hdr = (struct msghdr){.msg_iov = &slots[i], .msg_iovlen = 1};
    }
}

/* Send up to `room` packets of the flows whose turn it is; how many left. */
static int send_some(int out, int room) {
    static int next;
    if (room > BATCH) room = BATCH;
    if (room > count - next) room = count - next;
    int n = sendmmsg(out, outgoing + next, room, MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) fail("sendmmsg");
        return 0;
    }
    next = (next + n) % count;
    return n;
}

static int take(int in) {
    int n = recvmmsg(in, incoming, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && errno != EAGAIN && errno != ECONNREFUSED) fail("recvmmsg");
    return n > 0 ? n : 0;
}

static long sent, got;
static double *delays;

/* Keep the window full; how long that was done. */
static double flood(int out, int in, double seconds, int window) {
    struct pollfd waiting = {.fd = in, .events = POLLIN};
    double start = now(), last = start, t = start;
    int under_way = 0;
    while (t - start < seconds) {
        while (under_way < window) {
            int n = send_some(out, window - under_way);
            if (!n) break;
            under_way += n;
            sent += n;
        }
        int n = take(in);
        if (!n && poll(&waiting, 1, 5) > 0) n = take(in);
        got += n;
        under_way = under_way > n ? under_way - n : 0;
        if (n) {
            last = t;
        } else if (t - last > LOSS) {
            under_way = 0;
            last = t;
        }
        t = now();
    }
    /* What is still under way belongs to the work as well. */
    while (got < sent && poll(&waiting, 1, (int)(LOSS * 1000)) > 0) got += take(in);
    return t - start;
}

/* One packet after the other; how long that was done. */
static double measure(int out, int in, double seconds) {
    double start = now(), t = start;
    delays = many(seconds / PACE + 1, sizeof *delays);
    while (t - start < seconds) {
        double left = t;
        sent += send_some(out, 1);
        while (!take(in) && t - left < LOSS) t = now();
        t = now();
        if (t - left < LOSS) delays[got++] = t - left;
        while (t - left < PACE) t = now();
    }
    return t - start;
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(double share) { return got ? delays[(long)(share * (got - 1))] * 1e6 : 0; }

int main(int arguments, char **argument) {
    if (arguments != 8) {
        fprintf(stderr, "usage: load FLOWS SECONDS WINDOW SIZE PREFIX OUT IN\n");
        return 2;
    }
    double seconds = atof(argument[2]);
    int window = atoi(argument[3]), out = atoi(argument[6]), in = atoi(argument[7]);
    read_flows(argument[1]);
    prepare(argument[5], atoi(argument[4]));
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF) return 2;
    double took = window > 1 ? flood(out, in, seconds, window) : measure(out, in, seconds);
    if (delays) qsort(delays, got, sizeof *delays, ascending);
    printf("{\"sent\": %ld, \"received\": %ld, \"seconds\": %.6f, \"middle\": %.2f, "
           "\"slow\": %.2f}\n",
           sent, got, took, delays ? quantile(0.5) : 0, delays ? quantile(0.99) : 0);
    return 0;
}

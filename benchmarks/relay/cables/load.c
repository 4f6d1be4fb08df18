/* Sends datagrams of many flows from one socket, and counts those that come out at another.
 *
 *   load FLOWS IDLE SECONDS WINDOW SIZE PREFIX OUT IN
 *
 * FLOWS is a file with ten bytes for each flow: source address, destination address, destination
 * port, all in network order.  Packets take the flows in turn.  OUT and IN are inherited UDP
 * sockets over IPv4, which may be the same; OUT belongs to every source address.  Each packet is
 * PREFIX (hexadecimal) and then filler up to SIZE bytes.  At most WINDOW packets are under way, and
 * those that have not come within LOSS seconds count as lost.
 *
 * It says "ready", waits for a line, and ends with one line of JSON.  In that are slices of SLICE
 * seconds: how long each was, how many packets came, and how long all processors were busy, which
 * is what IDLE, the file of idle.c, does not have.  With a WINDOW of 1 a packet leaves every PACE
 * seconds, if the last has come, and how long each was under way is measured instead.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, LARGEST = 2048, FLOW = 10, PLACES = 512 };
static const double LOSS = 0.05, PACE = 0.0001, SLICE = 0.01;

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

static volatile int64_t *idle;
static struct slice {
    double end, busy;
    long got;
} *slices;
static int slices_done;

static void watch(const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) fail(path);
    idle = mmap(NULL, PLACES * sizeof *idle, PROT_READ, MAP_SHARED, file, 0);
    if (idle == MAP_FAILED) fail(path);
}

/* How long the processors were busy, in all, since some moment or other. */
static double busy(double t) {
    double seconds = 0;
    for (int i = 0; i < PLACES; i++)
        if (idle[i]) seconds += t - idle[i] * 1e-9;
    return seconds;
}

static void cut(double t) { slices[slices_done++] = (struct slice){t, busy(t), got}; }

/* Keep the window full. */
static void flood(int out, int in, double seconds, int window) {
    struct pollfd waiting = {.fd = in, .events = POLLIN};
    double start = now(), last = start, t = start;
    int under_way = 0;
    slices = many(seconds / SLICE + 2, sizeof *slices);
    cut(start);
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
        if (t - slices[slices_done - 1].end >= SLICE) cut(t);
    }
    /* What is still under way is not lost. */
    while (got < sent && poll(&waiting, 1, (int)(LOSS * 1000)) > 0) got += take(in);
}

/* One packet after the other. */
static void measure(int out, int in, double seconds) {
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
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(double share) { return got ? delays[(long)(share * (got - 1))] * 1e6 : 0; }

static void print_slices(void) {
    printf("\"slices\": [");
    for (int i = 1; i < slices_done; i++) {
        struct slice *a = &slices[i - 1], *b = &slices[i];
        printf("%s[%.9f, %ld, %.9f]", i > 1 ? ", " : "", b->end - a->end, b->got - a->got,
               b->busy - a->busy);
    }
    printf("]");
}

int main(int arguments, char **argument) {
    if (arguments != 9) {
        fprintf(stderr, "usage: load FLOWS IDLE SECONDS WINDOW SIZE PREFIX OUT IN\n");
        return 2;
    }
    double seconds = atof(argument[3]);
    int window = atoi(argument[4]), out = atoi(argument[7]), in = atoi(argument[8]);
    read_flows(argument[1]);
    watch(argument[2]);
    prepare(argument[6], atoi(argument[5]));
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF) return 2;
    if (window > 1)
        flood(out, in, seconds, window);
    else
        measure(out, in, seconds);
    if (delays) qsort(delays, got, sizeof *delays, ascending);
    printf("{\"sent\": %ld, \"received\": %ld, \"middle\": %.2f, \"slow\": %.2f, ", sent, got,
           delays ? quantile(0.5) : 0, delays ? quantile(0.99) : 0);
    print_slices();
    puts("}");
    return 0;
}

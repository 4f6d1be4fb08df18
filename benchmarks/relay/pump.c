/* Sends packets through pairs of sockets and counts those that come out at the other end.
 *
 *   pump SECONDS WINDOW SIZE PREFIX OUT_KIND IN_KIND IN_SIZE CONTROL OUT:IN ...
 *
 * The sockets are inherited and connected: what goes into descriptor OUT is expected at descriptor
 * IN, and both are the same for requests that are answered.  A kind is udp, tcp, tls or dtls; on
 * tcp and tls packets follow one another, and IN_SIZE bytes are one that arrived.  Each packet is
 * PREFIX (hexadecimal) and then filler up to SIZE bytes.  At most WINDOW packets are under way over
 * all pairs; those that have not come within LOSS seconds count as lost.  The result is one line of
 * JSON.
 *
 * CONTROL is a SOCK_SEQPACKET socket.  The handshakes of tls and dtls happen first; then what is
 * read from it is sent on the secure socket of the pair whose number is in the first two bytes (in
 * the machine's order), and the answer is written back.  A message of two bytes begins the load.
 *
 * Build: cc -O2 -o pump pump.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LARGEST = 65535 };
static const double LOSS = 0.05;

enum kind { UDP, TCP, TLS, DTLS };
static const char *const NAMES[] = {"udp", "tcp", "tls", "dtls"};

struct pair {
    int out, in;
    int under_way;
    size_t begun;  /* bytes of a packet that a stream took no more of */
    size_t partly; /* bytes of a packet that a stream has given so far */
    SSL *ssl;
};

static enum kind out_kind, in_kind;
static size_t size, in_size;
static struct mmsghdr outgoing[BATCH], incoming[BATCH];
static struct iovec datagram, slots[BATCH];
static unsigned char *packets, received[BATCH][LARGEST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int passing(void) {
    return errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED;
}

static enum kind kind_of(const char *name) {
    for (int i = UDP; i <= DTLS; i++)
        if (!strcmp(name, NAMES[i])) return i;
    exit(2);
}

static void prepare(const char *prefix) {
    unsigned int byte;
    packets = malloc(size * BATCH);
    if (!packets) fail("malloc");
    memset(packets, 'x', size * BATCH);
    for (int n = 0; n < BATCH; n++)
        for (size_t i = 0; sscanf(prefix + 2 * i, "%2x", &byte) == 1; i++)
            packets[n * size + i] = byte;
    datagram = (struct iovec){packets, size};
    for (int i = 0; i < BATCH; i++) {
        slots[i] = (struct iovec){received[i], LARGEST};
        outgoing[i].msg_hdr = (struct msghdr){.msg_iov = &datagram, .msg_iovlen = 1};
        incoming[i].msg_hdr = (struct msghdr){.msg_iov = &slots[i], .msg_iovlen = 1};
    }
}

/* Shake hands on the pair's secure socket, which is blocking until then. */
static void secure(struct pair *pair, enum kind kind, SSL_CTX *context) {
    int fd = kind == out_kind ? pair->out : pair->in;
    pair->ssl = SSL_new(context);
    if (!pair->ssl) fail("SSL_new");
    if (kind == DTLS) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        BIO *bio = BIO_new_dgram(fd, BIO_NOCLOSE);
        if (!bio || getpeername(fd, (struct sockaddr *)&peer, &length)) fail("DTLS");
        BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &peer);
        SSL_set_bio(pair->ssl, bio, bio);
    } else if (!SSL_set_fd(pair->ssl, fd)) {
        fail("SSL_set_fd");
    }
    if (SSL_connect(pair->ssl) != 1) fail("SSL_connect");
}

static SSL_CTX *secure_context(enum kind kind) {
    SSL_CTX *context = SSL_CTX_new(kind == TLS ? TLS_client_method() : DTLS_client_method());
    if (!context) fail("SSL_CTX_new");
    /* The same cipher for every server; nobody is to be convinced of the certificate. */
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    if (!SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256") ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"))
        fail("ciphers");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

/* Carry messages between CONTROL and the pairs, one answer for each. */
static void obey(int control, struct pair *pair) {
    unsigned char message[LARGEST];
    for (;;) {
        ssize_t n = recv(control, message, sizeof message, 0);
        uint16_t number;
        if (n < 2) exit(1);
        if (n == 2) return;
        memcpy(&number, message, 2);
        SSL *ssl = pair[number].ssl;
        if (SSL_write(ssl, message + 2, n - 2) <= 0) fail("SSL_write");
        int got = SSL_read(ssl, message + 2, sizeof message - 2);
        if (got <= 0) fail("SSL_read");
        if (send(control, message, 2 + got, 0) < 0) fail("control");
    }
}

/* Send up to `room` packets; how many left. */
static int send_some(struct pair *pair, int room) {
    if (room > BATCH) room = BATCH;
    if (out_kind == UDP) {
        int n = sendmmsg(pair->out, outgoing, room, 0);
        if (n < 0 && !passing()) fail("sendmmsg");
        return n < 0 ? 0 : n;
    }
    if (out_kind == TCP) {
        ssize_t n = send(pair->out, packets + pair->begun, room * size - pair->begun, 0);
        if (n < 0 && !passing()) fail("send");
        if (n <= 0) return 0;
        size_t whole = pair->begun + n;
        pair->begun = whole % size;
        return whole / size;
    }
    int sent = 0;
    while (sent < room) {
        int n = SSL_write(pair->ssl, packets + pair->begun, size - pair->begun);
        if (n <= 0) break;
        pair->begun += n;
        if (pair->begun < size) continue;
        pair->begun = 0;
        sent++;
    }
    return sent;
}

/* Fill the pair's share of the window; how many went out. */
static long fill(struct pair *pair, int share) {
    long sent = 0;
    while (pair->under_way < share) {
        int n = send_some(pair, share - pair->under_way);
        if (n <= 0) break;
        pair->under_way += n;
        sent += n;
    }
    return sent;
}

static long drain(struct pair *pair) {
    long n = 0;
    if (in_kind == UDP) {
        n = recvmmsg(pair->in, incoming, BATCH, 0, NULL);
        if (n < 0 && !passing()) fail("recvmmsg");
    } else if (in_kind == DTLS) {
        while (n < BATCH && SSL_read(pair->ssl, received[0], LARGEST) > 0) n++;
    } else {
        ssize_t bytes = 0, more;
        if (in_kind == TCP) {
            bytes = recv(pair->in, received, sizeof received, 0);
            if (bytes < 0 && !passing()) fail("recv");
        } else {
            for (int i = 0; i < BATCH; i++) {
                if ((more = SSL_read(pair->ssl, received[0], LARGEST)) <= 0) break;
                bytes += more;
            }
        }
        if (bytes > 0) {
            pair->partly += bytes;
            n = pair->partly / in_size;
            pair->partly %= in_size;
        }
    }
    if (n <= 0) return 0;
    pair->under_way = pair->under_way > n ? pair->under_way - n : 0;
    return n;
}

int main(int count, char **arguments) {
    enum { FIXED = 9 };
    if (count < FIXED + 1) {
        fprintf(stderr, "usage: pump SECONDS WINDOW SIZE PREFIX OUT_KIND IN_KIND IN_SIZE CONTROL "
                        "OUT:IN ...\n");
        return 2;
    }
    double seconds = atof(arguments[1]);
    int window = atoi(arguments[2]), pairs = count - FIXED;
    int share = window / pairs > 0 ? window / pairs : 1;
    size = atoi(arguments[3]);
    out_kind = kind_of(arguments[5]);
    in_kind = kind_of(arguments[6]);
    in_size = atoi(arguments[7]);
    prepare(arguments[4]);

    struct pair *pair = calloc(pairs, sizeof *pair);
    struct pollfd *waiting = calloc(pairs, sizeof *waiting);
    if (!pair || !waiting) fail("calloc");
    enum kind safe = out_kind >= TLS ? out_kind : in_kind;
    SSL_CTX *context = safe >= TLS ? secure_context(safe) : NULL;
    for (int i = 0; i < pairs; i++) {
        if (sscanf(arguments[FIXED + i], "%d:%d", &pair[i].out, &pair[i].in) != 2) return 2;
        waiting[i] = (struct pollfd){.fd = pair[i].in, .events = POLLIN};
        if (context) secure(&pair[i], safe, context);
    }
    obey(atoi(arguments[8]), pair);
    for (int i = 0; i < pairs; i++) {
        fcntl(pair[i].out, F_SETFL, fcntl(pair[i].out, F_GETFL) | O_NONBLOCK);
        fcntl(pair[i].in, F_SETFL, fcntl(pair[i].in, F_GETFL) | O_NONBLOCK);
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

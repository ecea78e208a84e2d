/*
 * The egress bench's load, its origin, and the physical limit: a relay that does nothing but splice(2). Loopback only; a thread a
 * connection, because here it is the simplest thing that is fast. Figures go to standard output.
 *
 *   load origin                                   prints its port
 *   load splice ORIGIN                            prints its port
 *   load connections COUNT PORT AUTHORITY         seconds for COUNT tunnels, THREADS at once
 *   load ping COUNT PORT AUTHORITY                microseconds of a byte there and back: median, 99th percentile
 *   load bulk STREAMS MEGABYTES PORT AUTHORITY    seconds for MEGABYTES of all streams together
 *   load requests COUNT PORT TARGET HOST          seconds for COUNT requests over THREADS connections
 *
 * AUTHORITY is that of a CONNECT, or - where PORT is the origin's or a forwarder's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define BUFFER (256 * 1024)
#define PIECE (1024 * 1024)

/*
 * What an origin is asked by the first byte: to echo, to send, or to answer requests. The first two begin neither TLS nor HTTP:
 * after a letter castellan waits for the rest of a request line.
 */
enum { ECHO = 1, SEND = 2, REQUEST = 'G' };
static const char RESPONSE[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

static int port;
static int origin_port;
static const char *authority;
static const char *target;
static long share;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void start(pthread_t *thread, void *(*work)(void *), void *data) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (thread == NULL) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t unnamed;
    if (pthread_create(thread == NULL ? &unnamed : thread, &attributes, work, data) != 0) die("pthread_create");
    pthread_attr_destroy(&attributes);
}

static int dial(int to) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0 || connect(socket_, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return socket_;
}

static bool put(int to, const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(to, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        done += (size_t)sent;
    }
    return true;
}

/* Reads up to the text, which ends what was read; false where the connection ends before anything came. */
static bool read_until(int from, const char *text) {
    char bytes[4096] = "";
    size_t length = 0;
    while (strstr(bytes, text) == NULL) {
        ssize_t got = recv(from, bytes + length, sizeof bytes - 1 - length, 0);
        if (got <= 0 && length == 0) return false;
        if (got <= 0) die("recv");
        length += (size_t)got;
        bytes[length] = '\0';
    }
    return true;
}

static int open_tunnel(void) {
    int tunnel = dial(port);
    if (authority[0] == '-') return tunnel;
    char head[256];
    int length = snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority);
    put(tunnel, head, (size_t)length);
    if (!read_until(tunnel, "\r\n\r\n")) die("CONNECT");
    return tunnel;
}

static void echo_byte(int tunnel) {
    char byte = ECHO;
    put(tunnel, &byte, 1);
    if (recv(tunnel, &byte, 1, 0) != 1) die("recv");
}

static void *open_many(void *data) {
    for (long i = 0; i < share; i++) {
        int tunnel = open_tunnel();
        echo_byte(tunnel);
        close(tunnel);
    }
    return data;
}

static void *download(void *data) {
    int tunnel = open_tunnel();
    char *bytes = malloc(BUFFER);
    char question[1 + sizeof(uint64_t)] = {SEND};
    uint64_t left = (uint64_t)share;
    memcpy(question + 1, &left, sizeof left);
    put(tunnel, question, sizeof question);
    while (left > 0) {
        ssize_t got = recv(tunnel, bytes, BUFFER, 0);
        if (got <= 0) die("recv");
        left -= (uint64_t)got;
    }
    free(bytes);
    close(tunnel);
    return data;
}

static void *ask_many(void *data) {
    int connection = dial(port);
    char request[512];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", target, authority);
    for (long i = 0; i < share; i++) {
        if (put(connection, request, (size_t)length) && read_until(connection, "hello")) continue;
        /* A proxy may close a connection between two requests. */
        close(connection);
        connection = dial(port);
        if (!put(connection, request, (size_t)length) || !read_until(connection, "hello")) die("request");
    }
    close(connection);
    return data;
}

static void run_threads(int count, void *(*work)(void *)) {
    pthread_t threads[64];
    double began = seconds();
    for (int i = 0; i < count; i++) start(&threads[i], work, NULL);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    printf("%.6f\n", seconds() - began);
}

static int in_order(const void *one, const void *other) {
    double a = *(const double *)one;
    double b = *(const double *)other;
    return (a > b) - (a < b);
}

static void ping(long count) {
    int tunnel = open_tunnel();
    double *times = calloc((size_t)count, sizeof *times);
    for (long i = 0; i < count; i++) {
        double began = seconds();
        echo_byte(tunnel);
        times[i] = (seconds() - began) * 1e6;
    }
    qsort(times, (size_t)count, sizeof *times, in_order);
    printf("%.2f %.2f\n", times[count / 2], times[count * 99 / 100]);
    free(times);
    close(tunnel);
}

static void send_bytes(int to, const char *question, ssize_t length, char *bytes) {
    char whole[1 + sizeof(uint64_t)];
    memcpy(whole, question, (size_t)length);
    while (length < (ssize_t)sizeof whole) {
        ssize_t got = recv(to, whole + length, sizeof whole - (size_t)length, 0);
        if (got <= 0) return;
        length += got;
    }
    uint64_t left;
    memcpy(&left, whole + 1, sizeof left);
    while (left > 0) {
        ssize_t sent = send(to, bytes, left < BUFFER ? left : BUFFER, MSG_NOSIGNAL);
        if (sent <= 0) return;
        left -= (uint64_t)sent;
    }
}

static void *answer(void *data) {
    int client = (int)(intptr_t)data;
    char *bytes = malloc(BUFFER);
    for (;;) {
        ssize_t got = recv(client, bytes, BUFFER, 0);
        if (got <= 0) break;
        if (bytes[0] == SEND)
            send_bytes(client, bytes, got < 9 ? got : 9, bytes);
        else if (bytes[0] == REQUEST)
            put(client, RESPONSE, sizeof RESPONSE - 1);
        else
            put(client, bytes, (size_t)got);
    }
    free(bytes);
    close(client);
    return NULL;
}

struct way {
    int from;
    int to;
};

static void *splice_way(void *data) {
    struct way *way = data;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) die("pipe2");
    for (;;) {
        ssize_t held = splice(way->from, NULL, ends[1], NULL, PIECE, 0);
        if (held <= 0) break;
        while (held > 0) {
            ssize_t given = splice(ends[0], NULL, way->to, NULL, (size_t)held, 0);
            if (given <= 0) goto broken;
            held -= given;
        }
    }
broken:
    shutdown(way->to, SHUT_WR);
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

static void *splice_both(void *data) {
    int client = (int)(intptr_t)data;
    int origin = dial(origin_port);
    struct way out = {client, origin};
    struct way in = {origin, client};
    pthread_t thread;
    start(&thread, splice_way, &out);
    splice_way(&in);
    pthread_join(thread, NULL);
    close(client);
    close(origin);
    return NULL;
}

static void serve(void *(*work)(void *)) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) die("accept");
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        start(NULL, work, (void *)(intptr_t)client);
    }
}

int main(int count, char **values) {
    const char *mode = count > 1 ? values[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(mode, "origin") == 0 && count == 2) {
        serve(answer);
    } else if (strcmp(mode, "splice") == 0 && count == 3) {
        origin_port = atoi(values[2]);
        serve(splice_both);
    } else if (strcmp(mode, "connections") == 0 && count == 5) {
        share = atol(values[2]) / THREADS;
        port = atoi(values[3]);
        authority = values[4];
        run_threads(THREADS, open_many);
    } else if (strcmp(mode, "ping") == 0 && count == 5) {
        port = atoi(values[3]);
        authority = values[4];
        ping(atol(values[2]));
    } else if (strcmp(mode, "bulk") == 0 && count == 6) {
        int streams = atoi(values[2]);
        share = atol(values[3]) * 1000000 / streams;
        port = atoi(values[4]);
        authority = values[5];
        run_threads(streams, download);
    } else if (strcmp(mode, "requests") == 0 && count == 6) {
        share = atol(values[2]) / THREADS;
        port = atoi(values[3]);
        target = values[4];
        authority = values[5];
        run_threads(THREADS, ask_many);
    } else {
        fprintf(stderr, "load: see its first lines\n");
        return 2;
    }
    return 0;
}

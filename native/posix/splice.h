/*
 * The tunnel relay: one thread that moves the bytes of any number of TCP tunnels by splice(2), without ever blocking on one of
 * them. It knows nothing of Node; splice_module.c is its way to JavaScript.
 */
#ifndef CASTELLAN_SPLICE_H
#define CASTELLAN_SPLICE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sides of a tunnel. A flow has the number of the side that it comes from. */
enum { CLIENT, UPSTREAM };

/* Empty pipes that are kept for the next flow; they are closed when nothing has moved for PIPES_KEPT_MS. */
#define PIPES_KEPT 16
#define PIPES_KEPT_MS 1000

/* What is copied where there is no pipe: as much as a socket's first buffer. */
#define COPY_BYTES (16 * 1024)

/* A place in a ring; a ring is a place that is nobody's. */
struct place {
    struct place *previous;
    struct place *next;
};

struct pipe {
    /* -1 where there is none. */
    int ends[2];
    bool large;
};

struct tunnel;

struct side {
    struct tunnel *tunnel;
    int socket;
    /* Until a call says otherwise: epoll tells changes only. */
    bool readable;
    bool writable;
};

struct flow {
    /* Only while bytes are in it, so that idle tunnels cost none. */
    struct pipe pipe;
    size_t held;
    uint64_t taken;
    uint64_t given;
    bool begun;
    /* Its source has no more. */
    bool ended;
    /* Nor will anything more be given. */
    bool done;
    /* splice(2) does not pass urgent data, so this one reads and writes. */
    bool copies;
};

enum tunnel_end { TUNNEL_CLOSED, TUNNEL_BROKEN, TUNNEL_IDLE, TUNNEL_HALF_IDLE, TUNNEL_CANCELLED };

struct tunnel {
    struct side sides[2];
    struct flow flows[2];
    struct place idle;
    struct place turn;
    int64_t moved_ms;
    /* One side has ended, or has broken: what is left is an answer, which comes or does not. */
    bool half;
    /* Which ring of idle tunnels it is in. */
    bool waits_half;
    /* The first errno, and the side that gave it. */
    int error;
    int broken;
    enum tunnel_end end;
    /* Under the relay's lock: what JavaScript has asked for since. */
    struct place command;
    unsigned begin;
    bool is_new;
    bool cancelled;
    bool over;
    /* JavaScript's own. */
    struct place known;
    int64_t id;
};

struct relay {
    pthread_t thread;
    int epoll;
    int wake;
    int64_t idle_ms[2];
    /* Both are called by the thread; `stopped` is the last that it does. */
    void (*ended)(void *context, struct tunnel *tunnel);
    void (*stopped)(void *context);
    void *context;
    /* The thread's own. */
    int64_t now;
    struct place idle[2];
    struct place turns;
    struct pipe pipes[PIPES_KEPT];
    size_t pipe_count;
    unsigned open_pipes;
    unsigned large_pipes;
    int64_t pipes_used_ms;
    char copied[COPY_BYTES];
    pthread_mutex_t lock;
    struct place commands;
    bool stopping;
};

/* 0 or an errno. The relay must be zeroed but for the limits, `ended`, `stopped` and `context`. */
int relay_start(struct relay *relay);

/*
 * Takes duplicates of two connected, non-blocking TCP sockets; the caller keeps its own open, and idle, until `ended` is called
 * with the tunnel. `ways` has a bit for each flow that may begin. 0 or an errno.
 */
int relay_add(struct relay *relay, struct tunnel *tunnel, int client, int upstream, unsigned ways);
void relay_begin(struct relay *relay, struct tunnel *tunnel, unsigned ways);

/* Resets both sides. Does nothing once the tunnel is over. */
void relay_cancel(struct relay *relay, struct tunnel *tunnel);

/* Resets all tunnels; the thread then ends, and relay_join() waits for that and gives back what relay_start() took. */
void relay_stop(struct relay *relay);
void relay_join(struct relay *relay);

/* Ends a TCP connection with a reset at once, whoever else has the socket open. */
void disconnect(int socket);

void place_init(struct place *place);
bool place_alone(const struct place *place);
void place_leave(struct place *place);
void place_before(struct place *ring, struct place *place);

/* Moves what can be moved of one flow now. Gives true when more could be at once, but others have to have their turn. */
bool flow_run(struct relay *relay, struct tunnel *tunnel, int way);
/* Gives up what the flow holds. */
void flow_drop(struct relay *relay, struct flow *flow);
void close_pipes(struct relay *relay);

#endif

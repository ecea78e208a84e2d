/* One direction of a tunnel: socket → pipe → socket. */
#include "splice.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A pipe has the kernel's own 64 KiB until a flow fills it. All pipes of a user share 16384 pages (fs.pipe-user-pages-soft) before
 * the kernel makes further ones tiny, and many sandboxes may run under one uid; but a large pipe saves a third of the work for
 * who moves much. So there are few of them.
 */
#define PIPE_BYTES (64 * 1024)
#define LARGE_PIPE_BYTES (1024 * 1024)
#define LARGE_PIPES 8

/*
 * Who reads slowly keeps a pipe filled. Beyond so many, half of the user's pages, bytes are copied: descriptors are needed for new
 * connections.
 */
#define OPEN_PIPES 512

/* After this many the other tunnels have their turn. */
#define TURN_BYTES (1024 * 1024)

static bool get_pipe(struct relay *relay, struct pipe *pipe) {
    if (pipe->ends[0] >= 0) return true;
    relay->pipes_used_ms = relay->now;
    if (relay->pipe_count > 0) {
        *pipe = relay->pipes[--relay->pipe_count];
        return true;
    }
    if (relay->open_pipes >= OPEN_PIPES) return false;
    if (pipe2(pipe->ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        pipe->ends[0] = pipe->ends[1] = -1;
        return false;
    }
    relay->open_pipes++;
    return true;
}

/* Where the user has too many pages already it stays as it is. */
static void enlarge(struct relay *relay, struct pipe *pipe) {
    if (pipe->large || relay->large_pipes >= LARGE_PIPES) return;
    if (fcntl(pipe->ends[1], F_SETPIPE_SZ, LARGE_PIPE_BYTES) < 0) return;
    pipe->large = true;
    relay->large_pipes++;
}

static void close_pipe(struct relay *relay, const struct pipe *pipe) {
    relay->open_pipes--;
    if (pipe->large) relay->large_pipes--;
    close(pipe->ends[0]);
    close(pipe->ends[1]);
}

/* A pipe with bytes in it is never used again: they would end up in another tunnel. */
void flow_drop(struct relay *relay, struct flow *flow) {
    if (flow->pipe.ends[0] < 0) return;
    if (flow->held == 0 && relay->pipe_count < PIPES_KEPT)
        relay->pipes[relay->pipe_count++] = flow->pipe;
    else
        close_pipe(relay, &flow->pipe);
    flow->pipe = (struct pipe){{-1, -1}, false};
    flow->held = 0;
}

void close_pipes(struct relay *relay) {
    while (relay->pipe_count > 0) close_pipe(relay, &relay->pipes[--relay->pipe_count]);
}

/* Nothing more goes to a side that is broken; what came from it before may still arrive. */
static void break_side(struct relay *relay, struct tunnel *tunnel, int side, int error) {
    if (tunnel->error == 0) {
        tunnel->error = error;
        tunnel->broken = side;
    }
    tunnel->half = true;
    tunnel->sides[side].readable = true;
    struct flow *towards = &tunnel->flows[!side];
    flow_drop(relay, towards);
    towards->done = true;
}

static void source_failed(struct relay *relay, struct tunnel *tunnel, int way, int error) {
    break_side(relay, tunnel, way, error);
    tunnel->flows[way].ended = true;
}

/* Without a pipe, what was copied but found no room stays where it was: it is looked at first, and taken when it has been given. */
static size_t copy_some(struct relay *relay, struct tunnel *tunnel, int way) {
    struct flow *flow = &tunnel->flows[way];
    struct side *from = &tunnel->sides[way];
    struct side *to = &tunnel->sides[!way];
    ssize_t seen = recv(from->socket, relay->copied, sizeof relay->copied, MSG_PEEK | MSG_DONTWAIT);
    if (seen == 0) flow->ended = true;
    if (seen < 0 && errno == EAGAIN) from->readable = false;
    if (seen < 0 && errno != EAGAIN && errno != EINTR) source_failed(relay, tunnel, way, errno);
    if (seen <= 0) return 0;
    ssize_t sent = send(to->socket, relay->copied, (size_t)seen, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) to->writable = false;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) break_side(relay, tunnel, !way, errno);
    if (sent <= 0) return 0;
    flow->taken += (uint64_t)sent;
    flow->given += (uint64_t)sent;
    ssize_t dropped = recv(from->socket, relay->copied, (size_t)sent, MSG_TRUNC | MSG_DONTWAIT);
    if (dropped != sent) source_failed(relay, tunnel, way, dropped < 0 ? errno : EIO);
    return (size_t)sent;
}

/* Only into an empty pipe: then EAGAIN can but mean that the socket is empty. */
static size_t take_some(struct relay *relay, struct tunnel *tunnel, int way) {
    struct flow *flow = &tunnel->flows[way];
    struct side *from = &tunnel->sides[way];
    if (flow->copies || !get_pipe(relay, &flow->pipe)) return copy_some(relay, tunnel, way);
    ssize_t taken = splice(from->socket, NULL, flow->pipe.ends[1], NULL, LARGE_PIPE_BYTES, SPLICE_F_NONBLOCK);
    if (taken == 0) {
        /* The end, or urgent data in front of it: only recv(2) tells them apart. */
        flow->copies = true;
        return copy_some(relay, tunnel, way);
    }
    if (taken < 0 && errno == EAGAIN) from->readable = false;
    if (taken < 0 && errno != EAGAIN && errno != EINTR) source_failed(relay, tunnel, way, errno);
    if (taken <= 0) return 0;
    if (taken >= PIPE_BYTES) enlarge(relay, &flow->pipe);
    flow->held = (size_t)taken;
    flow->taken += (uint64_t)taken;
    return (size_t)taken;
}

static void give_some(struct relay *relay, struct tunnel *tunnel, int way) {
    struct flow *flow = &tunnel->flows[way];
    struct side *to = &tunnel->sides[!way];
    ssize_t given = splice(flow->pipe.ends[0], NULL, to->socket, NULL, flow->held, SPLICE_F_NONBLOCK);
    if (given < 0 && errno == EAGAIN) to->writable = false;
    if (given < 0 && errno != EAGAIN && errno != EINTR) break_side(relay, tunnel, !way, errno);
    if (given == 0) break_side(relay, tunnel, !way, EIO);
    if (given <= 0) return;
    flow->held -= (size_t)given;
    flow->given += (uint64_t)given;
    tunnel->moved_ms = relay->now;
}

bool flow_run(struct relay *relay, struct tunnel *tunnel, int way) {
    struct flow *flow = &tunnel->flows[way];
    const struct side *from = &tunnel->sides[way];
    const struct side *to = &tunnel->sides[!way];
    size_t moved = 0;
    bool more = false;
    while (flow->begun && !flow->done) {
        if (flow->held > 0) {
            if (!to->writable) break;
            give_some(relay, tunnel, way);
        } else if (flow->ended) {
            flow->done = true;
            tunnel->half = true;
            /* A cut must not look like an end. */
            if (tunnel->error == 0) shutdown(to->socket, SHUT_WR);
        } else {
            more = moved >= TURN_BYTES;
            if (more || !from->readable || !to->writable) break;
            moved += take_some(relay, tunnel, way);
        }
    }
    if (moved > 0) tunnel->moved_ms = relay->now;
    if (flow->held == 0) flow_drop(relay, flow);
    return more;
}

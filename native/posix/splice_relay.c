/* The relay's thread: who has to be served, who has been idle for too long, and what was asked for meanwhile. */
#include "splice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
/* The thread calls nothing deep; the rest of its memory is in the relay. */
#define STACK_BYTES (256 * 1024)

#define OWNER(place, type, member) ((type *)((char *)(place) - offsetof(type, member)))

void place_init(struct place *place) {
    place->previous = place->next = place;
}

bool place_alone(const struct place *place) {
    return place->next == place;
}

void place_leave(struct place *place) {
    place->previous->next = place->next;
    place->next->previous = place->previous;
    place_init(place);
}

void place_before(struct place *ring, struct place *place) {
    place_leave(place);
    place->previous = ring->previous;
    place->next = ring;
    ring->previous->next = place;
    ring->previous = place;
}

static int64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* connect(2): AF_UNSPEC dissolves the association. It fails on nothing that is still connected. */
void disconnect(int socket) {
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    int ignored = connect(socket, &nowhere, sizeof nowhere);
    (void)ignored;
}

/* The duplicate leaves epoll by itself only when the last descriptor of its socket is closed, and Node has another. */
static void end_tunnel(struct relay *relay, struct tunnel *tunnel, enum tunnel_end end) {
    tunnel->end = end;
    for (int side = CLIENT; side <= UPSTREAM; side++) {
        int socket = tunnel->sides[side].socket;
        flow_drop(relay, &tunnel->flows[side]);
        epoll_ctl(relay->epoll, EPOLL_CTL_DEL, socket, NULL);
        if (end == TUNNEL_BROKEN || end == TUNNEL_CANCELLED) disconnect(socket);
        close(socket);
    }
    place_leave(&tunnel->idle);
    place_leave(&tunnel->turn);
    pthread_mutex_lock(&relay->lock);
    tunnel->over = true;
    place_leave(&tunnel->command);
    pthread_mutex_unlock(&relay->lock);
    relay->ended(relay->context, tunnel);
}

static void serve_tunnel(struct relay *relay, struct tunnel *tunnel) {
    int64_t moved_ms = tunnel->moved_ms;
    bool more = flow_run(relay, tunnel, CLIENT);
    more |= flow_run(relay, tunnel, UPSTREAM);
    const struct flow *flows = tunnel->flows;
    /* What the second flow met may end the first. */
    if (tunnel->error != 0) more |= flow_run(relay, tunnel, tunnel->broken);
    if (flows[CLIENT].done && flows[UPSTREAM].done)
        return end_tunnel(relay, tunnel, tunnel->error != 0 ? TUNNEL_BROKEN : TUNNEL_CLOSED);
    if (more) place_before(&relay->turns, &tunnel->turn);
    if (tunnel->waits_half == tunnel->half && tunnel->moved_ms == moved_ms) return;
    tunnel->moved_ms = relay->now;
    tunnel->waits_half = tunnel->half;
    place_before(&relay->idle[tunnel->half], &tunnel->idle);
}

/* Errors are not asked for: the next call on the socket gives them, after what arrived before. */
static void notice(struct relay *relay, struct side *side, uint32_t events) {
    struct tunnel *tunnel = side->tunnel;
    const uint32_t gone = EPOLLHUP | EPOLLERR;
    if (events & EPOLLPRI) tunnel->flows[side - tunnel->sides].copies = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | gone)) side->readable = true;
    if (events & (EPOLLOUT | gone)) side->writable = true;
    if (events & gone) tunnel->half = true;
    place_before(&relay->turns, &tunnel->turn);
}

static void admit(struct relay *relay, struct tunnel *tunnel) {
    tunnel->moved_ms = relay->now;
    place_before(&relay->idle[0], &tunnel->idle);
    for (int side = CLIENT; side <= UPSTREAM; side++) {
        struct epoll_event event = {
            .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
            .data.ptr = &tunnel->sides[side],
        };
        if (epoll_ctl(relay->epoll, EPOLL_CTL_ADD, tunnel->sides[side].socket, &event) == 0) continue;
        tunnel->error = errno;
        tunnel->broken = side;
        return end_tunnel(relay, tunnel, TUNNEL_BROKEN);
    }
    place_before(&relay->turns, &tunnel->turn);
}

/* Gives whether the relay goes on. */
static bool obey(struct relay *relay) {
    uint64_t count;
    if (read(relay->wake, &count, sizeof count) < 0 && errno != EAGAIN) return false;
    pthread_mutex_lock(&relay->lock);
    while (!place_alone(&relay->commands)) {
        struct tunnel *tunnel = OWNER(relay->commands.next, struct tunnel, command);
        place_leave(&tunnel->command);
        bool is_new = tunnel->is_new;
        bool cancelled = tunnel->cancelled;
        tunnel->is_new = false;
        for (int way = CLIENT; way <= UPSTREAM; way++)
            if (tunnel->begin & (1u << way)) tunnel->flows[way].begun = true;
        pthread_mutex_unlock(&relay->lock);
        if (cancelled)
            end_tunnel(relay, tunnel, TUNNEL_CANCELLED);
        else if (is_new)
            admit(relay, tunnel);
        else
            place_before(&relay->turns, &tunnel->turn);
        pthread_mutex_lock(&relay->lock);
    }
    bool stopping = relay->stopping;
    pthread_mutex_unlock(&relay->lock);
    return !stopping;
}

/* Each once; who has more to do comes again after a look at the others. */
static void take_turns(struct relay *relay) {
    struct place now;
    place_init(&now);
    while (!place_alone(&relay->turns)) place_before(&now, relay->turns.next);
    while (!place_alone(&now)) {
        struct tunnel *tunnel = OWNER(now.next, struct tunnel, turn);
        place_leave(&tunnel->turn);
        serve_tunnel(relay, tunnel);
    }
}

static void end_idle(struct relay *relay) {
    for (int half = 0; half <= 1; half++) {
        while (!place_alone(&relay->idle[half])) {
            struct tunnel *oldest = OWNER(relay->idle[half].next, struct tunnel, idle);
            if (relay->now - oldest->moved_ms < relay->idle_ms[half]) break;
            end_tunnel(relay, oldest, half ? TUNNEL_HALF_IDLE : TUNNEL_IDLE);
        }
    }
    if (relay->now - relay->pipes_used_ms >= PIPES_KEPT_MS) close_pipes(relay);
}

static int wait_ms(const struct relay *relay) {
    if (!place_alone(&relay->turns)) return 0;
    int64_t until = INT64_MAX;
    for (int half = 0; half <= 1; half++) {
        if (place_alone(&relay->idle[half])) continue;
        int64_t end = OWNER(relay->idle[half].next, struct tunnel, idle)->moved_ms + relay->idle_ms[half];
        if (end < until) until = end;
    }
    if (relay->pipe_count > 0 && relay->pipes_used_ms + PIPES_KEPT_MS < until)
        until = relay->pipes_used_ms + PIPES_KEPT_MS;
    if (until == INT64_MAX) return -1;
    int64_t left = until - relay->now;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void *run_relay(void *data) {
    struct relay *relay = data;
    struct epoll_event events[EVENTS];
    bool goes_on = true;
    pthread_setname_np(pthread_self(), "tunnel-relay");
    while (goes_on) {
        int count = epoll_wait(relay->epoll, events, EVENTS, wait_ms(relay));
        relay->now = clock_ms();
        /* All are noticed before one is served: a tunnel that has ended has no event left. */
        bool called = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                called = true;
            else
                notice(relay, events[i].data.ptr, events[i].events);
        }
        goes_on = count >= 0 || errno == EINTR;
        if (called) goes_on &= obey(relay);
        take_turns(relay);
        end_idle(relay);
    }
    for (int half = 0; half <= 1; half++)
        while (!place_alone(&relay->idle[half]))
            end_tunnel(relay, OWNER(relay->idle[half].next, struct tunnel, idle), TUNNEL_CANCELLED);
    close_pipes(relay);
    relay->stopped(relay->context);
    return NULL;
}

static int start_thread(struct relay *relay) {
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return error;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are the main thread's, and a write to a closed socket raises one. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&relay->thread, &attributes, run_relay, relay);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

int relay_start(struct relay *relay) {
    place_init(&relay->idle[0]);
    place_init(&relay->idle[1]);
    place_init(&relay->turns);
    place_init(&relay->commands);
    pthread_mutex_init(&relay->lock, NULL);
    relay->now = clock_ms();
    relay->epoll = epoll_create1(EPOLL_CLOEXEC);
    relay->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int error = 0;
    if (relay->epoll < 0 || relay->wake < 0 || epoll_ctl(relay->epoll, EPOLL_CTL_ADD, relay->wake, &event) != 0)
        error = errno;
    if (error == 0) error = start_thread(relay);
    if (error == 0) return 0;
    if (relay->epoll >= 0) close(relay->epoll);
    if (relay->wake >= 0) close(relay->wake);
    pthread_mutex_destroy(&relay->lock);
    return error;
}

static void wake_up(struct relay *relay) {
    const uint64_t one = 1;
    /* Full is as good as woken. */
    ssize_t ignored = write(relay->wake, &one, sizeof one);
    (void)ignored;
}

/* With the lock held. Who finds others waiting has no need to wake the thread again. */
static void command(struct relay *relay, struct tunnel *tunnel) {
    bool first = place_alone(&relay->commands);
    place_before(&relay->commands, &tunnel->command);
    if (first) wake_up(relay);
}

int relay_add(struct relay *relay, struct tunnel *tunnel, int client, int upstream, unsigned ways) {
    const int given[2] = {client, upstream};
    for (int side = CLIENT; side <= UPSTREAM; side++) {
        int copy = fcntl(given[side], F_DUPFD_CLOEXEC, 3);
        if (copy < 0) {
            int error = errno;
            if (side == UPSTREAM) close(tunnel->sides[CLIENT].socket);
            return error;
        }
        tunnel->sides[side] = (struct side){tunnel, copy, true, true};
        tunnel->flows[side] = (struct flow){.pipe = {{-1, -1}, false}};
    }
    place_init(&tunnel->idle);
    place_init(&tunnel->turn);
    place_init(&tunnel->command);
    tunnel->is_new = true;
    tunnel->begin = ways;
    pthread_mutex_lock(&relay->lock);
    command(relay, tunnel);
    pthread_mutex_unlock(&relay->lock);
    return 0;
}

void relay_begin(struct relay *relay, struct tunnel *tunnel, unsigned ways) {
    pthread_mutex_lock(&relay->lock);
    tunnel->begin |= ways;
    if (!tunnel->over) command(relay, tunnel);
    pthread_mutex_unlock(&relay->lock);
}

void relay_cancel(struct relay *relay, struct tunnel *tunnel) {
    pthread_mutex_lock(&relay->lock);
    tunnel->cancelled = true;
    if (!tunnel->over) command(relay, tunnel);
    pthread_mutex_unlock(&relay->lock);
}

void relay_stop(struct relay *relay) {
    pthread_mutex_lock(&relay->lock);
    relay->stopping = true;
    pthread_mutex_unlock(&relay->lock);
    wake_up(relay);
}

void relay_join(struct relay *relay) {
    pthread_join(relay->thread, NULL);
    close(relay->epoll);
    close(relay->wake);
    pthread_mutex_destroy(&relay->lock);
}

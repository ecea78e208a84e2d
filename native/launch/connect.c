/* The last step of a forward: a connection that is handed over, in the place of a command. */
#include "launch.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/*
 * Loopback and Unix sockets answer at once. A listener whose queue is full, which an agent can arrange, would hold this
 * process, and a thread of the supervisor's, for minutes.
 */
#define CONNECT_TIMEOUT_S 2

static int connect_in_time(const struct target *target) {
    struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_S};
    int connection = socket(target->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0)
        fail(STEP_CONNECT, "socket");
    if (connect(connection, &target->address.any, target->bytes) != 0) {
        /* What TCP and Unix sockets say when the time is over. */
        if (errno == EINPROGRESS || errno == EAGAIN) errno = ETIMEDOUT;
        fail(STEP_CONNECT, "connect");
    }
    return connection;
}

void connect_target(const struct spec *spec, int supervisor) {
    if (spec->target.bytes == 0) return;
    int connection = connect_in_time(&spec->target);
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char payload = 0;
    struct iovec vector = {&payload, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof connection);
    memcpy(CMSG_DATA(&control.header), &connection, sizeof connection);
    if (sendmsg(supervisor, &message, MSG_NOSIGNAL) != 1) fail(STEP_CONNECT, "sendmsg");
    _exit(0);
}

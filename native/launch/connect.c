/* The last step of a forward: a connection that is handed over, in the place of a command. */
#include "launch.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Does not wait. A listener whose queue is full, which an agent can arrange, would hold this process, and whoever waits for it,
 * for minutes: TCP goes on connecting after the hand-over, and a Unix socket is refused with EAGAIN.
 */
static int begin_to_connect(const struct target *target) {
    int connection = socket(target->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection < 0) fail(STEP_CONNECT, "socket");
    if (connect(connection, &target->address.any, target->bytes) != 0 && errno != EINPROGRESS) fail(STEP_CONNECT, "connect");
    return connection;
}

void connect_target(const struct spec *spec, int supervisor) {
    if (spec->target.bytes == 0) return;
    int connection = begin_to_connect(&spec->target);
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

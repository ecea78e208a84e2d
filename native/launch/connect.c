/* The last step of a forward: a connection that is handed over, in the place of a command. */
#include "hand-over.h"
#include "launch.h"

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
    if (!hand_over(supervisor, connection)) fail(STEP_CONNECT, "sendmsg");
    _exit(0);
}

#include "posix.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* One state of a service; systemd's own are far shorter. */
#define MAX_DATAGRAM 512

/* To a pathname, or with a leading @ to an abstract name, as sd_notify(3) writes them. */
napi_value send_datagram(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[MAX_DATAGRAM];
    if (!arguments(env, info, 2, values) || !get_text(env, values[0], address.sun_path, sizeof address.sun_path) ||
        !get_text(env, values[1], text, sizeof text))
        return NULL;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address.sun_path));
    if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
    else length = sizeof address;
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sender < 0) return throw_errno(env, errno, "socket");
    ssize_t sent = sendto(sender, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, length);
    int error = errno;
    close_quietly(sender);
    return sent < 0 ? throw_errno(env, error, "sendto") : NULL;
}

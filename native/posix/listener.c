/* What a socket is that somebody else has made and handed over. */
#include "posix.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *family_name(int domain) {
    switch (domain) {
    case AF_UNIX: return "unix";
    case AF_INET: return "ipv4";
    case AF_INET6: return "ipv6";
    default: return "other";
    }
}

static bool get_option(int socket, int option, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(socket, SOL_SOCKET, option, value, &length) == 0;
}

/* Of a Unix socket the pathname it was bound to; empty where it has none, or an abstract name. */
static bool get_path(int socket, char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    if (getsockname(socket, (struct sockaddr *)&address, &length) != 0) return false;
    size_t size = length > offsetof(struct sockaddr_un, sun_path) ? length - offsetof(struct sockaddr_un, sun_path) : 0;
    if (size > sizeof address.sun_path) size = sizeof address.sun_path;
    memcpy(path, address.sun_path, size);
    path[size] = '\0';
    return true;
}

napi_value adopt_listener(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &socket)) return NULL;
    /* Before anything else: whatever is started from now on must not have it. */
    if (fcntl(socket, F_SETFD, FD_CLOEXEC) != 0) return throw_errno(env, errno, "fcntl");
    int domain, type, listening;
    if (!get_option(socket, SO_DOMAIN, &domain) || !get_option(socket, SO_TYPE, &type) ||
        !get_option(socket, SO_ACCEPTCONN, &listening))
        return throw_errno(env, errno, "getsockopt");
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1] = "";
    if (domain == AF_UNIX && !get_path(socket, path)) return throw_errno(env, errno, "getsockname");
    napi_value is_listening = NULL;
    napi_get_boolean(env, type == SOCK_STREAM && listening != 0, &is_listening);
    napi_value result = NULL;
    napi_create_object(env, &result);
    set_property(env, result, "family", make_text(env, family_name(domain)));
    set_property(env, result, "isListening", is_listening);
    set_property(env, result, "path", make_text(env, path));
    return result;
}

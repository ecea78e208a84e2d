/* One datagram of any protocol, to see what becomes of it: Node knows UDP alone. */
#include "posix.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An echo request of either family (RFC 792, RFC 4443); a socket of any other protocol takes it as its payload. */
static const uint8_t echo4[8] = {8};
static const uint8_t echo6[8] = {128};

static bool get_address(napi_env env, napi_value value, int family, int port, struct sockaddr_storage *address) {
    char text[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    if (!get_text(env, value, text, sizeof text)) return false;
    struct sockaddr_in *address4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *address6 = (struct sockaddr_in6 *)address;
    char *interface = strchr(text, '%');
    if (interface != NULL) *interface++ = '\0';
    int parsed;
    if (family == 6) {
        *address6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        if (interface != NULL) address6->sin6_scope_id = if_nametoindex(interface);
        parsed = inet_pton(AF_INET6, text, &address6->sin6_addr);
    } else {
        *address4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        parsed = inet_pton(AF_INET, text, &address4->sin_addr);
    }
    if (parsed != 1) type_error(env, "not an address");
    return parsed == 1;
}

/* For a refusal that send(2) does not tell, as of ICMPv6; it comes from this machine, before send(2) has returned or never. */
#define REFUSAL_MS 200

static int refusal_of(int sender) {
    int error = 0;
    socklen_t length = sizeof error;
    if (wait_for(sender, POLLIN, now_ms() + REFUSAL_MS) != 0) return 0;
    return getsockopt(sender, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

/* connect(2) of a datagram socket only looks for a route, so that the call which failed tells a missing route from a refusal. */
napi_value probe_datagram(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct sockaddr_storage address = {0};
    int family;
    int protocol;
    int port;
    if (!arguments(env, info, 4, values) || !get_int(env, values[0], &family) || !get_int(env, values[1], &protocol) ||
        !get_int(env, values[3], &port) || !get_address(env, values[2], family, port, &address))
        return NULL;
    socklen_t length = family == 6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int sender = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
    if (sender < 0) return throw_errno(env, errno, "socket");
    const char *syscall = "connect";
    int error = 0;
    if (connect(sender, (struct sockaddr *)&address, length) != 0) {
        error = errno;
    } else {
        syscall = "send";
        const uint8_t *request = family == 6 ? echo6 : echo4;
        error = send(sender, request, sizeof echo4, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : refusal_of(sender);
    }
    close_quietly(sender);
    return error == 0 ? NULL : throw_errno(env, error, syscall);
}

/* sock_diag(7): which socket in the sealed namespace is the workload's end of a connection. */
#include "posix.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Answers are one message of about 100 bytes; a truncated one fails the length checks. */
#define ANSWER_BYTES 4096

struct end {
    uint8_t address[16];
    uint16_t port;
};

static bool parse_end(napi_env env, int family, napi_value address, napi_value port, struct end *end) {
    char text[INET6_ADDRSTRLEN];
    int number;
    if (!get_text(env, address, text, sizeof text) || !get_int(env, port, &number)) return false;
    memset(end, 0, sizeof *end);
    if (number < 0 || number > 65535 || inet_pton(family, text, end->address) != 1) {
        type_error(env, "not an address of the family, or not a port");
        return false;
    }
    end->port = htons((uint16_t)number);
    return true;
}

static int ask(int socket, int family, const struct end *local, const struct end *remote) {
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } message = {
        .header = {.nlmsg_len = sizeof message, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .request = {.sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX},
    };
    struct inet_diag_sockid *id = &message.request.id;
    id->idiag_sport = local->port;
    id->idiag_dport = remote->port;
    memcpy(id->idiag_src, local->address, sizeof local->address);
    memcpy(id->idiag_dst, remote->address, sizeof remote->address);
    id->idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent =
        sendto(socket, &message, sizeof message, MSG_DONTWAIT, (const struct sockaddr *)&kernel, sizeof kernel);
    return sent == sizeof message ? 0 : errno;
}

/* An IPv6 socket may speak IPv4; the kernel then answers an IPv4 question with mapped addresses. */
static bool same_address(const struct inet_diag_msg *answer, int family, const uint32_t *found, const uint8_t *wanted) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (family == AF_INET6) return answer->idiag_family == AF_INET6 && memcmp(found, wanted, 16) == 0;
    if (answer->idiag_family == AF_INET) return memcmp(found, wanted, 4) == 0;
    return memcmp(found, mapped, sizeof mapped) == 0 && memcmp(found + 3, wanted, 4) == 0;
}

/* Where no connection matches, the kernel may answer with the listener that would take it: not the one asked for. */
static bool is_connection(const struct inet_diag_msg *answer, int family, const struct end *local,
                          const struct end *remote) {
    return answer->id.idiag_sport == local->port && answer->id.idiag_dport == remote->port &&
           same_address(answer, family, answer->id.idiag_src, local->address) &&
           same_address(answer, family, answer->id.idiag_dst, remote->address) && answer->idiag_inode != 0;
}

static napi_value found_socket(napi_env env, const struct inet_diag_msg *answer) {
    char inode[16];
    napi_value result = NULL;
    napi_value uid = NULL;
    snprintf(inode, sizeof inode, "%u", answer->idiag_inode);
    napi_create_object(env, &result);
    napi_create_uint32(env, answer->idiag_uid, &uid);
    set_property(env, result, "inode", make_text(env, inode));
    set_property(env, result, "uid", uid);
    return result;
}

napi_value tcp_socket(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    int version;
    struct end local;
    struct end remote;
    if (!arguments(env, info, 6, values) || !get_int(env, values[0], &socket) || !get_int(env, values[1], &version))
        return NULL;
    int family = version == 6 ? AF_INET6 : AF_INET;
    if (!parse_end(env, family, values[2], values[3], &local) || !parse_end(env, family, values[4], values[5], &remote))
        return NULL;
    int error = ask(socket, family, &local, &remote);
    if (error != 0) return throw_errno(env, error, "sendto");

    /* The kernel answers within sendto: the answer is there or will never come. */
    _Alignas(struct nlmsghdr) uint8_t buffer[ANSWER_BYTES];
    ssize_t length = recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0) return throw_errno(env, errno, "recv");
    const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
    if (!NLMSG_OK(header, (size_t)length)) return throw_errno(env, EPROTO, "recv");
    if (header->nlmsg_type == NLMSG_ERROR && header->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
        int refused = -((const struct nlmsgerr *)NLMSG_DATA(header))->error;
        return refused == ENOENT ? NULL : throw_errno(env, refused, "sock_diag");
    }
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
        return throw_errno(env, EPROTO, "recv");
    const struct inet_diag_msg *answer = NLMSG_DATA(header);
    return is_connection(answer, family, &local, &remote) ? found_socket(env, answer) : NULL;
}

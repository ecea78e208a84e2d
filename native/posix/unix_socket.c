#include "posix.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_RECEIVED 1024
/* Peers of our own sockets come one by one; a longer queue would only serve a flood. */
#define BACKLOG 64

napi_value socket_pair(napi_env env, napi_callback_info info) {
    (void)info;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return throw_errno(env, errno, "socketpair");
    return make_int_array(env, ends, 2);
}

napi_value listen_unix(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int mode;
    if (!arguments(env, info, 2, values) || !get_int(env, values[1], &mode)) return NULL;
    size_t length = 0;
    if (napi_get_value_string_utf8(env, values[0], NULL, 0, &length) == napi_ok && length >= sizeof address.sun_path)
        return throw_errno(env, ENAMETOOLONG, "bind");
    if (!get_text(env, values[0], address.sun_path, sizeof address.sun_path)) return NULL;
    /* bind(2) would take an empty path as "choose an abstract name", which every process could reach. */
    if (length == 0) return throw_errno(env, EINVAL, "bind");

    const char *syscall = "socket";
    bool bound = false;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0) return throw_errno(env, errno, syscall);
    /* The file appears with the socket's own mode, less the umask; the exact mode follows before anything listens. */
    syscall = "fchmod";
    if (fchmod(listener, (mode_t)mode) != 0) goto failed;
    syscall = "bind";
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) goto failed;
    bound = true;
    syscall = "fchmodat";
    if (fchmodat(AT_FDCWD, address.sun_path, (mode_t)mode, AT_SYMLINK_NOFOLLOW) != 0) goto failed;
    syscall = "listen";
    if (listen(listener, BACKLOG) != 0) goto failed;
    return make_int(env, listener);

failed:;
    int error = errno;
    if (bound) unlink(address.sun_path);
    close(listener);
    return throw_errno(env, error, syscall);
}

napi_value peer_credentials(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &socket)) return NULL;
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return throw_errno(env, errno, "getsockopt");
    /* A socket that is not connected has no peer, and says so with uid -1. Pid 0 alone is a peer of a pid namespace that we cannot see. */
    if (peer.uid == (uid_t)-1) return throw_errno(env, ENOTCONN, "getsockopt");
    napi_value result = NULL;
    napi_value uid = NULL;
    napi_value gid = NULL;
    napi_create_object(env, &result);
    napi_create_uint32(env, peer.uid, &uid);
    napi_create_uint32(env, peer.gid, &gid);
    set_property(env, result, "pid", make_int(env, peer.pid));
    set_property(env, result, "uid", uid);
    set_property(env, result, "gid", gid);
    return result;
}

int send_row(int socket, const int *descriptors, size_t count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MAX_PER_MESSAGE * sizeof(int))];
    } control = {0};
    char payload = 0;
    struct iovec vector = {&payload, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : errno;
}

napi_value send_descriptors(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    uint32_t count;
    int descriptors[MAX_PER_MESSAGE];
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &socket)) return NULL;
    if (napi_get_array_length(env, values[1], &count) != napi_ok || count == 0 || count > MAX_PER_MESSAGE)
        return type_error(env, "not an array of 1 to 253 descriptors");
    for (uint32_t i = 0; i < count; i++) {
        napi_value element;
        if (napi_get_element(env, values[1], i, &element) != napi_ok || !get_int(env, element, &descriptors[i])) return NULL;
    }
    int error = send_row(socket, descriptors, count);
    return error == 0 ? NULL : throw_errno(env, error, "sendmsg");
}

struct receiving {
    struct job job;
    int socket;
    int64_t deadline;
    size_t wanted;
    size_t received;
    int descriptors[MAX_RECEIVED];
};

/* Takes the descriptors of one message into the job, which closes them if anything goes wrong later. */
static int keep_received(struct receiving *receiving, struct msghdr *message) {
    int error = message->msg_flags & MSG_CTRUNC ? EMSGSIZE : 0;
    size_t before = receiving->received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + i * sizeof descriptor, sizeof descriptor);
            if (receiving->received < receiving->wanted) {
                receiving->descriptors[receiving->received++] = descriptor;
            } else {
                close(descriptor);
                error = EPROTO;
            }
        }
    }
    return error == 0 && receiving->received == before ? EPROTO : error;
}

static void run_receiving(struct job *job) {
    struct receiving *receiving = (struct receiving *)job;
    while (receiving->received < receiving->wanted) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(MAX_PER_MESSAGE * sizeof(int))];
        } control;
        char payload;
        struct iovec vector = {&payload, 1};
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(receiving->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (length < 0 && errno == EAGAIN) {
            int error = wait_for(receiving->socket, POLLIN, receiving->deadline);
            if (error != 0) return job_failed(job, error, "poll");
        } else if (length == 0 || (length < 0 && errno != EINTR)) {
            return job_failed(job, length == 0 ? ECONNRESET : errno, "recvmsg");
        } else if (length > 0) {
            int error = keep_received(receiving, &message);
            if (error != 0) return job_failed(job, error, "recvmsg");
        }
    }
}

static napi_value received_descriptors(napi_env env, struct job *job) {
    struct receiving *receiving = (struct receiving *)job;
    napi_value result = make_int_array(env, receiving->descriptors, receiving->received);
    if (result != NULL) receiving->received = 0;
    return result;
}

static void discard_receiving(struct job *job) {
    struct receiving *receiving = (struct receiving *)job;
    close_all(receiving->descriptors, receiving->received);
    close_quietly(receiving->socket);
    free(receiving);
}

napi_value receive_descriptors(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    int count;
    int timeout;
    if (!arguments(env, info, 3, values) || !get_int(env, values[0], &socket) || !get_int(env, values[1], &count) ||
        !get_int(env, values[2], &timeout))
        return NULL;
    if (count < 0 || count > MAX_RECEIVED) return throw_errno(env, EINVAL, "recvmsg");
    struct receiving *receiving = calloc(1, sizeof *receiving);
    if (receiving == NULL) return throw_errno(env, ENOMEM, "recvmsg");
    receiving->job = (struct job){run_receiving, received_descriptors, discard_receiving, 0, NULL, NULL, NULL};
    receiving->wanted = (size_t)count;
    receiving->deadline = now_ms() + timeout;
    receiving->socket = duplicate(socket);
    if (receiving->socket < 0) {
        int error = errno;
        discard_receiving(&receiving->job);
        return throw_errno(env, error, "fcntl");
    }
    return start_job(env, &receiving->job, "receiveDescriptors");
}

napi_value take_descriptors(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int count;
    /* The deadline has passed: nothing is waited for. */
    struct receiving receiving = {0};
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &receiving.socket) || !get_int(env, values[1], &count))
        return NULL;
    if (count < 0 || count > MAX_RECEIVED) return throw_errno(env, EINVAL, "recvmsg");
    receiving.wanted = (size_t)count;
    run_receiving(&receiving.job);
    if (receiving.job.error == 0) return make_int_array(env, receiving.descriptors, receiving.received);
    close_all(receiving.descriptors, receiving.received);
    return throw_errno(env, receiving.job.error, receiving.job.syscall);
}

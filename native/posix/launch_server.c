/* The supervisor's end of one launch; the framing is in native/README.md. */
#include "posix.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAGIC 0x4c545343u
#define VERSION 1u
#define MAX_SPEC_BYTES (4u * 1024 * 1024)
#define MAX_DESCRIPTORS 1024u
#define DESCRIPTORS_PER_MESSAGE 200u
#define MAX_STATUS_BYTES (4 + 4 + 255)

struct launch {
    struct job job;
    int listener;
    int connection;
    pid_t pid;
    int64_t deadline;
    uint8_t *spec;
    size_t spec_bytes;
    size_t descriptor_count;
    int descriptors[MAX_DESCRIPTORS];
    /* What is launched is a connection, which comes in the place of the silence that means success. */
    bool connects;
    int handed;
    size_t status_bytes;
    uint8_t status[MAX_STATUS_BYTES + 1];
};

/*
 * Waits for a connection. The end of the launcher ends the wait too, so that its crash does not cost the whole
 * time-out; what it sent before is in the backlog, hence the listener first.
 */
static int wait_for_connection(struct launch *launch, int process, bool gone) {
    for (;;) {
        int64_t left = gone ? 0 : launch->deadline - now_ms();
        if (left <= 0 && !gone) return ETIMEDOUT;
        struct pollfd waited[2] = {{.fd = launch->listener, .events = POLLIN}, {.fd = process, .events = POLLIN}};
        int ready = poll(waited, 2, left > INT32_MAX ? INT32_MAX : (int)left);
        if (ready < 0 && errno != EINTR) return errno;
        if (ready > 0 && waited[0].revents != 0) return 0;
        if (gone || (ready > 0 && waited[1].revents != 0)) return ESRCH;
    }
}

/* Accepts until the peer is the launcher we started: whoever else found the path is turned away. */
static int accept_launcher(struct launch *launch, int process, bool gone) {
    for (;;) {
        int error = wait_for_connection(launch, process, gone);
        if (error != 0) return error;
        int connection = accept4(launch->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) continue;
            return errno;
        }
        struct ucred peer;
        socklen_t length = sizeof peer;
        if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == launch->pid) {
            launch->connection = connection;
            return 0;
        }
        close(connection);
    }
}

static int send_bytes(struct launch *launch, const uint8_t *data, size_t length) {
    while (length > 0) {
        ssize_t sent = send(launch->connection, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            data += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            int error = wait_for(launch->connection, POLLOUT, launch->deadline);
            if (error != 0) return error;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static int send_in_time(struct launch *launch, const int *descriptors, size_t count) {
    for (;;) {
        int error = send_row(launch->connection, descriptors, count);
        if (error == EAGAIN) error = wait_for(launch->connection, POLLOUT, launch->deadline);
        else if (error == 0) return 0;
        if (error != 0 && error != EINTR) return error;
    }
}

static int send_spec(struct launch *launch) {
    uint32_t header[4] = {htole32(MAGIC), htole32(VERSION), htole32((uint32_t)launch->spec_bytes),
                          htole32((uint32_t)launch->descriptor_count)};
    int error = send_bytes(launch, (const uint8_t *)header, sizeof header);
    if (error == 0) error = send_bytes(launch, launch->spec, launch->spec_bytes);
    for (size_t sent = 0; error == 0 && sent < launch->descriptor_count; sent += DESCRIPTORS_PER_MESSAGE) {
        size_t left = launch->descriptor_count - sent;
        size_t count = left < DESCRIPTORS_PER_MESSAGE ? left : DESCRIPTORS_PER_MESSAGE;
        error = send_in_time(launch, launch->descriptors + sent, count);
    }
    return error;
}

/* Room for one descriptor: the kernel closes what comes beyond. */
static ssize_t receive_part(struct launch *launch) {
    struct iovec vector = {launch->status + launch->status_bytes, sizeof launch->status - launch->status_bytes};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (launch->connects && launch->handed < 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_LEN(sizeof(int));
    }
    ssize_t length = recvmsg(launch->connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *header = length < 0 || message.msg_controllen == 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(&launch->handed, CMSG_DATA(header), sizeof launch->handed);
    return length;
}

/* A connection is one byte and a stream, connected or about to be; a failure is a record alone. */
static int judge_connection(const struct launch *launch) {
    if (launch->handed < 0) return launch->status_bytes > 1 ? 0 : ECONNRESET;
    int type, listens;
    socklen_t type_bytes = sizeof type, listens_bytes = sizeof listens;
    bool known = getsockopt(launch->handed, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
                 getsockopt(launch->handed, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) == 0;
    return launch->status_bytes == 1 && known && type == SOCK_STREAM && !listens ? 0 : EPROTO;
}

/* Reads until end of file. A reset after a record is an end too: the launcher left without reading the rest. */
static int read_status(struct launch *launch) {
    for (;;) {
        ssize_t length = receive_part(launch);
        if (length == 0) return 0;
        if (length > 0) {
            launch->status_bytes += (size_t)length;
            if (launch->status_bytes > MAX_STATUS_BYTES) return EMSGSIZE;
        } else if (errno == EAGAIN) {
            int error = wait_for(launch->connection, POLLIN, launch->deadline);
            if (error != 0) return error;
        } else if (errno != EINTR) {
            return errno == ECONNRESET && launch->status_bytes > 0 ? 0 : errno;
        }
    }
}

static void run_launch(struct job *job) {
    struct launch *launch = (struct launch *)job;
    /* Without pidfd_open (Linux before 5.3) only the deadline notices a launcher that died. */
    int process = (int)syscall(SYS_pidfd_open, launch->pid, 0);
    int error = accept_launcher(launch, process, process < 0 && errno == ESRCH);
    close_quietly(process);
    if (error != 0) return job_failed(job, error, "accept");
    int send_error = send_spec(launch);
    bool refused = send_error == EPIPE || send_error == ECONNRESET;
    if (send_error != 0 && !refused) return job_failed(job, send_error, "sendmsg");
    error = read_status(launch);
    if (error == 0 && launch->connects) error = judge_connection(launch);
    if (error != 0) return job_failed(job, error, "recv");
    /* Silence means success only to someone who was told everything. */
    if (refused && launch->status_bytes == 0) job_failed(job, send_error, "sendmsg");
}

static napi_value launch_status(napi_env env, struct job *job) {
    struct launch *launch = (struct launch *)job;
    if (launch->handed < 0) return make_bytes(env, launch->status, launch->status_bytes);
    napi_value connection = make_int(env, launch->handed);
    if (connection != NULL) launch->handed = -1;
    return connection;
}

static void discard_launch(struct job *job) {
    struct launch *launch = (struct launch *)job;
    close_all(launch->descriptors, launch->descriptor_count);
    close_quietly(launch->connection);
    close_quietly(launch->handed);
    close_quietly(launch->listener);
    free(launch->spec);
    free(launch);
}

static bool copy_descriptors(napi_env env, napi_value array, struct launch *launch) {
    uint32_t count;
    if (napi_get_array_length(env, array, &count) != napi_ok || count > MAX_DESCRIPTORS) {
        type_error(env, "not an array of at most 1024 descriptors");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        napi_value element;
        int descriptor;
        if (napi_get_element(env, array, i, &element) != napi_ok || !get_int(env, element, &descriptor)) return false;
        int copy = duplicate(descriptor);
        if (copy < 0) {
            throw_errno(env, errno, "fcntl");
            return false;
        }
        launch->descriptors[launch->descriptor_count++] = copy;
    }
    return true;
}

static bool copy_spec(napi_env env, napi_value bytes, struct launch *launch) {
    napi_typedarray_type type;
    size_t length;
    void *data;
    if (napi_get_typedarray_info(env, bytes, &type, &length, &data, NULL, NULL) != napi_ok ||
        type != napi_uint8_array || length > MAX_SPEC_BYTES) {
        type_error(env, "not a Uint8Array of at most 4 MiB");
        return false;
    }
    launch->spec = malloc(length > 0 ? length : 1);
    if (launch->spec == NULL) {
        throw_errno(env, ENOMEM, "malloc");
        return false;
    }
    if (length > 0) memcpy(launch->spec, data, length);
    launch->spec_bytes = length;
    return true;
}

static napi_value serve(napi_env env, napi_callback_info info, bool connects) {
    napi_value values[MAX_ARGUMENTS];
    int listener;
    int pid;
    int timeout;
    if (!arguments(env, info, 5, values) || !get_int(env, values[0], &listener) || !get_int(env, values[1], &pid) ||
        !get_int(env, values[4], &timeout))
        return NULL;
    struct launch *launch = calloc(1, sizeof *launch);
    if (launch == NULL) return throw_errno(env, ENOMEM, "calloc");
    launch->job = (struct job){run_launch, launch_status, discard_launch, 0, NULL, NULL, NULL};
    launch->connection = -1;
    launch->handed = -1;
    launch->connects = connects;
    launch->pid = pid;
    launch->deadline = now_ms() + timeout;
    launch->listener = duplicate(listener);
    if (launch->listener < 0) throw_errno(env, errno, "fcntl");
    if (launch->listener < 0 || !copy_spec(env, values[2], launch) || !copy_descriptors(env, values[3], launch)) {
        discard_launch(&launch->job);
        return NULL;
    }
    return start_job(env, &launch->job, "serveLaunch");
}

napi_value serve_launch(napi_env env, napi_callback_info info) {
    return serve(env, info, false);
}

napi_value serve_connect(napi_env env, napi_callback_info info) {
    return serve(env, info, true);
}

/* Receiving the spec: framing, records, descriptors. Whatever is not exactly as in ../README.md fails step receive. */
#include "launch.h"
#include "seccomp-rules.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAGIC 0x4c545343u
#define VERSION 1u
/* SCM_MAX_FD is 253; the sender uses at most 200 a message. */
#define DESCRIPTORS_PER_MESSAGE 253
/* The supervisor sends at once; longer means that it is gone. */
#define RECEIVE_TIMEOUT_S 10
/* Linux uids end at 2^32 - 2; -1 means "unchanged" to the kernel and must never reach it. */
#define NO_ID UINT32_MAX
/* LANDLOCK_RESTRICT_SELF_LOG_*: three bits as of ABI 7. */
#define KNOWN_RESTRICT_FLAGS 7u

struct record {
    uint16_t tag;
    uint32_t length;
    const unsigned char *value;
};

static int descriptors[MAX_DESCRIPTORS];
static uint32_t descriptor_count;

int connect_supervisor(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    /* An empty path would be a name in the abstract namespace, which anybody may bind. */
    if (length == 0 || length >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, length);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -1;
    struct timeval timeout = {.tv_sec = RECEIVE_TIMEOUT_S};
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0) return -1;
    /* connect(2) waits that long for room in the queue, and the status record for room in the buffer. */
    if (setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0) return -1;
    if (connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0) return -1;
    return descriptor;
}

static _Noreturn void malformed(const char *what) {
    errno = EINVAL;
    fail(STEP_RECEIVE, what);
}

static void read_exactly(int from, void *to, size_t length) {
    unsigned char *next = to;
    while (length > 0) {
        ssize_t got = read(from, next, length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(STEP_RECEIVE, "read");
        if (got == 0) malformed("end of file");
        next += got;
        length -= (size_t)got;
    }
}

static void receive_descriptors(int from, uint32_t wanted) {
    while (descriptor_count < wanted) {
        unsigned char payload;
        struct iovec data = {.iov_base = &payload, .iov_len = 1};
        union {
            struct cmsghdr header;
            unsigned char space[CMSG_SPACE(sizeof(int) * DESCRIPTORS_PER_MESSAGE)];
        } control;
        struct msghdr message = {
            .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(STEP_RECEIVE, "recvmsg");
        if (got == 0 || (message.msg_flags & MSG_CTRUNC) != 0) malformed("descriptors");
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            malformed("descriptors");
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count == 0 || count > wanted - descriptor_count) malformed("descriptors");
        memcpy(descriptors + descriptor_count, CMSG_DATA(header), count * sizeof(int));
        descriptor_count += (uint32_t)count;
    }
}

static void want_length(const struct record *record, uint32_t length) {
    if (record->length != length) malformed("record length");
}

static uint32_t word(const struct record *record, uint32_t offset) {
    uint32_t value;
    if (record->length < offset + sizeof value) malformed("record length");
    memcpy(&value, record->value + offset, sizeof value);
    return value;
}

static uint64_t long_word(const struct record *record, uint32_t offset) {
    uint64_t value;
    if (record->length < offset + sizeof value) malformed("record length");
    memcpy(&value, record->value + offset, sizeof value);
    return value;
}

static uint32_t only_word(const struct record *record) {
    want_length(record, sizeof(uint32_t));
    return word(record, 0);
}

static void want_zero(const struct record *record, uint32_t offset) {
    if (word(record, offset) != 0) malformed("reserved field");
}

static int descriptor_at(uint32_t index) {
    if (index >= descriptor_count) malformed("descriptor index");
    return descriptors[index];
}

static char *text(const struct record *record, uint32_t offset) {
    if (record->length < offset || memchr(record->value + offset, '\0', record->length - offset) != NULL)
        malformed("text");
    char *copy = malloc(record->length - offset + 1);
    if (copy == NULL) fail(STEP_RECEIVE, "memory");
    memcpy(copy, record->value + offset, record->length - offset);
    copy[record->length - offset] = '\0';
    return copy;
}

static char *variable(const struct record *record) {
    char *copy = text(record, 0);
    if (copy[0] == '=' || strchr(copy, '=') == NULL) malformed("environment");
    return copy;
}

static char *absolute_path(const struct record *record, uint32_t offset) {
    char *path = text(record, offset);
    if (path[0] != '/') malformed("path");
    return path;
}

static uint32_t identifier(const struct record *record) {
    uint32_t id = only_word(record);
    /* Nothing that this program starts is ever root. */
    if (id == 0 || id == NO_ID) malformed("id");
    return id;
}

static void limit_count(size_t count, size_t most) {
    if (count >= most) malformed("too many records");
}

/* Single records may come once: a second one would silently win. */
static void once(uint32_t *seen, uint16_t tag) {
    if ((*seen & (1u << tag)) != 0) malformed("repeated record");
    *seen |= 1u << tag;
}

enum tag {
    TAG_ARGUMENT = 1, TAG_ENVIRONMENT, TAG_DIRECTORY, TAG_UID, TAG_GID, TAG_GROUP, TAG_SESSION, TAG_LIMIT, TAG_UMASK,
    TAG_USER_NAMESPACE, TAG_NETWORK_NAMESPACE, TAG_HIDE, TAG_BIND, TAG_RULESET, TAG_RULE, TAG_SECCOMP, TAG_KEEP,
    TAG_CGROUP, TAG_DIRECTORY_ACCESS, TAG_CHECK_ONLY, TAG_RESTRICT_FLAGS, TAG_RELAX, TAG_ID_MAP, TAG_PORT,
    TAG_MOUNT_NAMESPACE, TAG_CONNECT_TCP, TAG_CONNECT_UNIX,
};

static void take_repeatable(struct spec *spec, const struct record *record, size_t *arguments, size_t *variables) {
    switch (record->tag) {
    case TAG_ARGUMENT:
        spec->arguments[(*arguments)++] = text(record, 0);
        break;
    case TAG_ENVIRONMENT:
        spec->environment[(*variables)++] = variable(record);
        break;
    case TAG_GROUP:
        limit_count(spec->group_count, MAX_GROUPS);
        spec->groups[spec->group_count++] = identifier(record);
        break;
    case TAG_LIMIT:
        want_length(record, 24);
        want_zero(record, 4);
        limit_count(spec->limit_count, MAX_LIMITS);
        spec->limits[spec->limit_count++] =
            (struct limit){.resource = word(record, 0), .soft = long_word(record, 8), .hard = long_word(record, 16)};
        break;
    case TAG_HIDE:
        limit_count(spec->mount_count, MAX_MOUNTS);
        spec->mounts[spec->mount_count++] = (struct mount_step){.descriptor = -1, .id_map = -1, .path = absolute_path(record, 0)};
        break;
    case TAG_BIND:
        limit_count(spec->mount_count, MAX_MOUNTS);
        spec->mounts[spec->mount_count++] = (struct mount_step){
            .descriptor = descriptor_at(word(record, 0)), .id_map = -1, .path = absolute_path(record, 4)};
        break;
    case TAG_ID_MAP:
        limit_count(spec->mount_count, MAX_MOUNTS);
        spec->mounts[spec->mount_count++] = (struct mount_step){.descriptor = descriptor_at(word(record, 4)),
                                                                .id_map = descriptor_at(word(record, 0)),
                                                                .path = absolute_path(record, 8)};
        break;
    case TAG_RULE:
        want_length(record, 16);
        want_zero(record, 4);
        limit_count(spec->rule_count, MAX_DESCRIPTORS);
        spec->rules[spec->rule_count++] =
            (struct landlock_rule){.descriptor = descriptor_at(word(record, 0)), .access = long_word(record, 8)};
        break;
    case TAG_PORT:
        want_length(record, 16);
        limit_count(spec->port_count, MAX_PORTS);
        if (long_word(record, 8) > UINT16_MAX) malformed("port");
        spec->ports[spec->port_count++] = (struct port_rule){.access = long_word(record, 0), .port = long_word(record, 8)};
        break;
    case TAG_KEEP:
        want_length(record, 8);
        limit_count(spec->kept_count, MAX_KEPT);
        if (word(record, 4) < FIRST_TARGET || word(record, 4) > LAST_TARGET) malformed("target");
        for (size_t i = 0; i < spec->kept_count; i++)
            if (spec->kept[i].target == (int)word(record, 4)) malformed("target");
        spec->kept[spec->kept_count++] =
            (struct kept){.descriptor = descriptor_at(word(record, 0)), .target = (int)word(record, 4)};
        break;
    default:
        malformed("tag");
    }
}

/* Loopback alone: everything else goes through the policy. */
static void take_tcp_target(struct target *target, const struct record *record) {
    uint32_t port = word(record, 0);
    if (port == 0 || port > UINT16_MAX) malformed("port");
    const unsigned char *address = record->value + sizeof port;
    if (record->length == sizeof port + sizeof(struct in_addr)) {
        struct sockaddr_in *to = &target->address.ip4;
        *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        memcpy(&to->sin_addr, address, sizeof to->sin_addr);
        if (address[0] != IN_LOOPBACKNET) malformed("address");
        target->bytes = sizeof *to;
        return;
    }
    want_length(record, sizeof port + sizeof(struct in6_addr));
    struct sockaddr_in6 *to = &target->address.ip6;
    *to = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    memcpy(&to->sin6_addr, address, sizeof to->sin6_addr);
    if (!IN6_IS_ADDR_LOOPBACK(&to->sin6_addr)) malformed("address");
    target->bytes = sizeof *to;
}

static void take_unix_target(struct target *target, const struct record *record) {
    struct sockaddr_un *to = &target->address.path;
    /* Without its NUL a path of full length could be read on. */
    if (record->length >= sizeof to->sun_path) malformed("path");
    char *path = absolute_path(record, 0);
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(to->sun_path, path);
    free(path);
    target->bytes = sizeof *to;
}

static bool take_single(struct spec *spec, const struct record *record, uint32_t *seen) {
    switch (record->tag) {
    case TAG_DIRECTORY:
        spec->directory = absolute_path(record, 0);
        break;
    case TAG_UID:
        spec->uid = identifier(record);
        break;
    case TAG_GID:
        spec->gid = identifier(record);
        break;
    case TAG_SESSION:
        want_length(record, 0);
        spec->new_session = true;
        break;
    case TAG_UMASK:
        if (only_word(record) > 0777) malformed("umask");
        spec->umask = (mode_t)only_word(record);
        break;
    case TAG_USER_NAMESPACE:
        spec->user_namespace = descriptor_at(only_word(record));
        break;
    case TAG_NETWORK_NAMESPACE:
        spec->network_namespace = descriptor_at(only_word(record));
        break;
    case TAG_MOUNT_NAMESPACE:
        want_length(record, 8);
        spec->mount_namespace = descriptor_at(word(record, 0));
        if (word(record, 4) > 1) malformed("mount namespace");
        spec->prepare_view = word(record, 4) == 1;
        break;
    case TAG_RULESET:
        want_length(record, 24);
        spec->has_landlock = true;
        spec->handled_fs = long_word(record, 0);
        spec->handled_net = long_word(record, 8);
        spec->scoped = long_word(record, 16);
        break;
    case TAG_CGROUP:
        spec->cgroup = descriptor_at(only_word(record));
        break;
    case TAG_DIRECTORY_ACCESS:
        if ((only_word(record) & ~(uint32_t)(R_OK | W_OK)) != 0) malformed("directory access");
        spec->directory_access = (int)only_word(record);
        break;
    case TAG_CHECK_ONLY:
        want_length(record, 0);
        spec->check_only = true;
        break;
    case TAG_RESTRICT_FLAGS:
        if (only_word(record) > KNOWN_RESTRICT_FLAGS) malformed("restrict flags");
        spec->restrict_flags = only_word(record);
        break;
    case TAG_RELAX:
        if ((only_word(record) & ~RELAXABLE_GROUPS) != 0) malformed("seccomp group");
        spec->relaxed = only_word(record);
        break;
    case TAG_CONNECT_TCP:
        take_tcp_target(&spec->target, record);
        break;
    case TAG_CONNECT_UNIX:
        take_unix_target(&spec->target, record);
        break;
    case TAG_SECCOMP:
        if (only_word(record) > PROFILE_NETWORK_ROLE) malformed("profile");
        spec->profile = (enum profile)only_word(record);
        break;
    default:
        return false;
    }
    once(seen, record->tag);
    return true;
}

static void check(const struct spec *spec, uint32_t seen) {
    bool connects = spec->target.bytes > 0;
    if (connects == (spec->arguments[0] != NULL)) malformed("argument");
    if (!connects && spec->arguments[0][0] == '\0') malformed("argument");
    if (connects && (spec->check_only || spec->prepare_view || spec->kept_count > 0)) malformed("connection");
    const uint32_t both = 1u << TAG_CONNECT_TCP | 1u << TAG_CONNECT_UNIX;
    if ((seen & both) == both) malformed("connection");
    if (spec->directory == NULL) malformed("directory");
    bool uid = (seen & (1u << TAG_UID)) != 0, gid = (seen & (1u << TAG_GID)) != 0;
    if (uid != gid || (!uid && spec->group_count > 0)) malformed("credentials");
    if (spec->relaxed != 0 && spec->profile != PROFILE_AGENT) malformed("seccomp group");
    if (!uid && geteuid() == 0) malformed("root");
    if (!spec->has_landlock && (spec->rule_count > 0 || spec->port_count > 0 || spec->restrict_flags != 0)) malformed("ruleset");
}

static void parse(struct spec *spec, const unsigned char *bytes, uint32_t length) {
    /* Every record is at least 8 bytes, so this many strings can come at most. */
    size_t most = length / 8 + 1;
    spec->arguments = calloc(most, sizeof *spec->arguments);
    spec->environment = calloc(most, sizeof *spec->environment);
    if (spec->arguments == NULL || spec->environment == NULL) fail(STEP_RECEIVE, "memory");
    size_t arguments = 0, variables = 0;
    uint32_t seen = 0;
    for (uint32_t at = 0; at < length;) {
        if (length - at < 8) malformed("record");
        struct record record = {.value = bytes + at + 8};
        uint16_t zero;
        memcpy(&record.tag, bytes + at, 2);
        memcpy(&zero, bytes + at + 2, 2);
        memcpy(&record.length, bytes + at + 4, 4);
        if (zero != 0 || record.length > length - at - 8) malformed("record");
        if (!take_single(spec, &record, &seen)) take_repeatable(spec, &record, &arguments, &variables);
        at += 8 + record.length;
    }
    spec->has_credentials = (seen & (1u << TAG_UID)) != 0;
    check(spec, seen);
}

void receive_spec(int from, struct spec *spec) {
    uint32_t header[4];
    read_exactly(from, header, sizeof header);
    if (header[0] != MAGIC || header[1] != VERSION) malformed("header");
    if (header[2] > MAX_SPEC_BYTES || header[3] > MAX_DESCRIPTORS) malformed("size");
    unsigned char *bytes = malloc(header[2] + 1);
    if (bytes == NULL) fail(STEP_RECEIVE, "memory");
    read_exactly(from, bytes, header[2]);
    receive_descriptors(from, header[3]);
    spec->cgroup = -1;
    spec->user_namespace = -1;
    spec->network_namespace = -1;
    spec->mount_namespace = -1;
    spec->umask = 077;
    parse(spec, bytes, header[2]);
    free(bytes);
}

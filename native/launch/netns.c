/*
 * castellan-netns: makes the sealed namespace and the sockets in it, and hands them to the supervisor, which cannot
 * do this itself: Node has threads, and a process with threads can neither enter a user namespace nor leave its own
 * network namespace as a whole. Request, answer and failure line: native/README.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hand-over.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x534e5343u
/* The plan is a few kilobytes; more is a broken caller. */
#define MAX_TEXT_BYTES 65536u
#define MAX_SOCKETS 64
/* ip and nft need milliseconds; a loaded machine gets this long before they are killed. */
#define TOOL_TIMEOUT_MS 15000
#define BACKLOG 4096
/* Enough for every header that bypass-watch reads. */
#define NFLOG_COPY_BYTES 128
/* The ruleset logs at most 10 packets a second: minutes of them fit while the reader is busy. */
#define NFLOG_BUFFER_BYTES (1024 * 1024)

struct text {
    char bytes[MAX_TEXT_BYTES + 1];
    uint32_t length;
};

static struct text links, ruleset, sockets, ip_path, nft_path;

/* One line `step errno detail`, and the end: whatever was made goes with the process. */
static _Noreturn void fail(const char *step, int error, const char *format, ...) {
    char detail[512];
    va_list values;
    va_start(values, format);
    vsnprintf(detail, sizeof detail, format, values);
    va_end(values);
    for (char *character = detail; *character != '\0'; character++)
        if ((unsigned char)*character < ' ') *character = ' ';
    const char *name = error == 0 ? "-" : strerrorname_np(error);
    dprintf(STDERR_FILENO, "%s %s %s\n", step, name != NULL ? name : "EUNKNOWN", detail);
    exit(1);
}

static void read_exactly(int from, void *data, size_t length) {
    char *next = data;
    while (length > 0) {
        ssize_t count = read(from, next, length);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail("request", errno, "read");
        if (count == 0) fail("request", EPIPE, "the request ends early");
        next += count;
        length -= (size_t)count;
    }
}

static void read_text(int from, struct text *text) {
    uint32_t length;
    read_exactly(from, &length, sizeof length);
    text->length = le32toh(length);
    if (text->length > MAX_TEXT_BYTES) fail("request", EMSGSIZE, "a text of %u bytes", text->length);
    read_exactly(from, text->bytes, text->length);
    text->bytes[text->length] = '\0';
}

static void read_request(int from, bool here) {
    uint32_t magic;
    read_exactly(from, &magic, sizeof magic);
    if (le32toh(magic) != MAGIC) fail("request", EPROTO, "magic");
    struct text *const texts[] = {&links, &ruleset, &sockets, &ip_path, &nft_path};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) read_text(from, texts[i]);
    if (!here && (ip_path.bytes[0] != '/' || nft_path.bytes[0] != '/')) fail("request", EINVAL, "a tool's path is not absolute");
}

static void write_map(const char *path, const char *format, ...) {
    char line[64];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, line, (size_t)length) != length) fail("user-namespace", errno, "%s", path);
    close(file);
}

/* Ids stay what they are, so that files and audit show the same numbers inside and outside. */
static void enter_user_namespace(void) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0) fail("user-namespace", errno, "unshare");
    write_map("/proc/self/setgroups", "deny");
    write_map("/proc/self/uid_map", "%u %u 1", uid, uid);
    write_map("/proc/self/gid_map", "%u %u 1", gid, gid);
}

static void die_with_parent(const char *step) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(step, errno, "prctl");
}

/* Under another uid than 0 execve(2) would drop what the user namespace gave: capabilities(7), ambient set. */
static void keep_network_capability(const char *step) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets) != 0) fail(step, errno, "capget");
    sets[0].inheritable = 1u << CAP_NET_ADMIN;
    sets[1].inheritable = 0;
    if (syscall(SYS_capset, &header, sets) != 0) fail(step, errno, "capset");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0) fail(step, errno, "prctl");
}

static _Noreturn void become_tool(const char *step, char *const *argv, int input, int output) {
    die_with_parent(step);
    if (geteuid() != 0) keep_network_capability(step);
    if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) _exit(126);
    char *const environment[] = {NULL};
    execve(argv[0], argv, environment);
    dprintf(STDERR_FILENO, "%s\n", strerrordesc_np(errno));
    _exit(127);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Keeps the beginning of what the tool says and waits until it has ended; false at the deadline. */
static bool collect_output(int from, char *said, size_t capacity) {
    size_t length = 0;
    int64_t deadline = now_ms() + TOOL_TIMEOUT_MS;
    said[0] = '\0';
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd waited = {.fd = from, .events = POLLIN};
        if (left <= 0) return false;
        if (poll(&waited, 1, (int)left) <= 0) continue;
        char chunk[1024];
        ssize_t count = read(from, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return true;
        size_t kept = (size_t)count < capacity - 1 - length ? (size_t)count : capacity - 1 - length;
        memcpy(said + length, chunk, kept);
        length += kept;
        said[length] = '\0';
    }
}

/* Runs one of the two tools with `text` as its standard input. */
static void run_tool(const char *step, char *const *argv, const struct text *text) {
    int input = memfd_create("castellan", MFD_CLOEXEC);
    int output[2];
    if (input < 0 || write(input, text->bytes, text->length) != (ssize_t)text->length || lseek(input, 0, SEEK_SET) != 0)
        fail(step, errno, "memfd");
    if (pipe2(output, O_CLOEXEC) != 0) fail(step, errno, "pipe");
    pid_t child = fork();
    if (child < 0) fail(step, errno, "fork");
    if (child == 0) become_tool(step, argv, input, output[1]);
    close(input);
    close(output[1]);
    char said[400];
    bool ended = collect_output(output[0], said, sizeof said);
    if (!ended) kill(child, SIGKILL);
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) fail(step, errno, "waitpid");
    close(output[0]);
    said[strcspn(said, "\n")] = '\0';
    if (!ended) fail(step, ETIMEDOUT, "%s", argv[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail(step, 0, "%s: %s", argv[0], said);
}

static int make_socket(int domain, int type, int protocol, const char *line) {
    int made = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (made < 0) fail("sockets", errno, "%s", line);
    return made;
}

static void set_option(int socket, int level, int option, int value, const char *line) {
    if (setsockopt(socket, level, option, &value, sizeof value) != 0) fail("sockets", errno, "%s", line);
}

static int make_internet_socket(bool stream, bool version6, const char *address, unsigned port, const char *line) {
    struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in address4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    void *bytes = version6 ? (void *)&address6.sin6_addr : (void *)&address4.sin_addr;
    const struct sockaddr *name = version6 ? (struct sockaddr *)&address6 : (struct sockaddr *)&address4;
    int family = version6 ? AF_INET6 : AF_INET;
    if (port > 65535 || inet_pton(family, address, bytes) != 1) fail("sockets", EINVAL, "%s", line);
    int made = make_socket(family, stream ? SOCK_STREAM : SOCK_DGRAM, 0, line);
    set_option(made, SOL_SOCKET, SO_REUSEADDR, 1, line);
    if (version6) set_option(made, IPPROTO_IPV6, IPV6_V6ONLY, 1, line);
    if (bind(made, name, version6 ? sizeof address6 : sizeof address4) != 0) fail("sockets", errno, "%s", line);
    if (stream && listen(made, BACKLOG) != 0) fail("sockets", errno, "%s", line);
    return made;
}

/* One nfnetlink configuration request for the group, answered before it returns. */
static void configure_log(int socket, unsigned group, uint16_t type, const void *value, size_t length, const char *line) {
    struct {
        struct nlmsghdr header;
        struct nfgenmsg family;
        struct nlattr attribute;
        uint8_t value[8];
    } request = {
        .header = {.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .family = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons((uint16_t)group)},
        .attribute = {.nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + length)},
    };
    memcpy(request.value, value, length);
    request.header.nlmsg_len = (uint32_t)NLMSG_LENGTH(sizeof request.family + NLA_HDRLEN + NLA_ALIGN(length));
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(socket, &request, request.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        fail("sockets", errno, "%s", line);
    struct {
        struct nlmsghdr header;
        struct nlmsgerr result;
        uint8_t rest[256];
    } answer;
    ssize_t received = recv(socket, &answer, sizeof answer, 0);
    if (received < 0) fail("sockets", errno, "%s", line);
    if ((size_t)received < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.header.nlmsg_type != NLMSG_ERROR)
        fail("sockets", EPROTO, "%s", line);
    if (answer.result.error != 0) fail("sockets", -answer.result.error, "%s", line);
}

static int make_log_socket(unsigned group, const char *line) {
    int made = make_socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, line);
    struct nfulnl_msg_config_cmd bind = {.command = NFULNL_CFG_CMD_BIND};
    struct nfulnl_msg_config_mode mode = {.copy_range = htonl(NFLOG_COPY_BYTES), .copy_mode = NFULNL_COPY_PACKET};
    uint32_t each = htonl(1);
    set_option(made, SOL_SOCKET, SO_RCVBUF, NFLOG_BUFFER_BYTES, line);
    /* An overrun would otherwise put the socket in an error state, which ends a watch on it. */
    set_option(made, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1, line);
    configure_log(made, group, NFULA_CFG_CMD, &bind, sizeof bind, line);
    configure_log(made, group, NFULA_CFG_MODE, &mode, sizeof mode, line);
    configure_log(made, group, NFULA_CFG_QTHRESH, &each, sizeof each, line);
    return made;
}

static int make_from_line(const char *line) {
    char kind[8];
    char address[INET6_ADDRSTRLEN];
    unsigned number;
    int end = -1;
    if (sscanf(line, "%7s %45s %u%n", kind, address, &number, &end) == 3 && line[end] == '\0' &&
        (strncmp(kind, "tcp", 3) == 0 || strncmp(kind, "udp", 3) == 0) &&
        (strcmp(kind + 3, "4") == 0 || strcmp(kind + 3, "6") == 0))
        return make_internet_socket(kind[0] == 't', kind[3] == '6', address, number, line);
    end = -1;
    if (sscanf(line, "nflog %u%n", &number, &end) == 1 && line[end] == '\0' && number <= UINT16_MAX)
        return make_log_socket(number, line);
    if (strcmp(line, "diag") == 0) return make_socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG, line);
    fail("sockets", EINVAL, "%s", line);
}

/*
 * Sockets for datagrams may share an address only while all of them say SO_REUSEADDR. Withdrawn here, it keeps the
 * agent from binding the address too and taking the queries.
 */
static void refuse_sharing(int socket) {
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) != 0) fail("sockets", errno, "SO_TYPE");
    if (type == SOCK_DGRAM) set_option(socket, SOL_SOCKET, SO_REUSEADDR, 0, "SO_REUSEADDR");
}

static void send_descriptor(int to, int descriptor) {
    if (!hand_over(to, descriptor)) fail("answer", errno, "sendmsg");
}

static int open_namespace(const char *path) {
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0) fail("answer", errno, "%s", path);
    return opened;
}

static void make_namespace(bool user_namespace) {
    if (user_namespace) enter_user_namespace();
    if (unshare(CLONE_NEWNET) != 0) fail("network-namespace", errno, "unshare");
    run_tool("links", (char *[]){ip_path.bytes, "-batch", "-", NULL}, &links);
    run_tool("ruleset", (char *[]){nft_path.bytes, "-f", "-", NULL}, &ruleset);
}

static void send_namespaces(int supervisor, bool user_namespace) {
    /* A view that is made once, before the supervisor gives up the right to mount, and entered by every launch. */
    if (unshare(CLONE_NEWNS) != 0) fail("mount-namespace", errno, "unshare");
    send_descriptor(supervisor, open_namespace("/proc/self/ns/net"));
    send_descriptor(supervisor, open_namespace("/proc/self/ns/mnt"));
    if (user_namespace) send_descriptor(supervisor, open_namespace("/proc/self/ns/user"));
}

int main(int argc, char **argv) {
    bool user_namespace = argc == 3 && strcmp(argv[2], "--user-namespace") == 0;
    bool here = argc == 3 && strcmp(argv[2], "--here") == 0;
    char *end;
    long number = argc > 1 ? strtol(argv[1], &end, 10) : -1;
    if (argc < 2 || (argc > 2 && !user_namespace && !here) || *argv[1] == '\0' || *end != '\0' || number < 3 ||
        number > INT_MAX)
        fail("arguments", EINVAL, "castellan-netns SOCKET_FD [--user-namespace | --here]");
    int supervisor = (int)number;
    if (fcntl(supervisor, F_SETFD, FD_CLOEXEC) != 0) fail("arguments", errno, "%s", argv[1]);
    die_with_parent("arguments");
    read_request(supervisor, here);
    if (!here) make_namespace(user_namespace);

    int made[MAX_SOCKETS];
    size_t count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(sockets.bytes, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (count == MAX_SOCKETS) fail("sockets", E2BIG, "%s", line);
        made[count++] = make_from_line(line);
    }
    for (size_t i = 0; i < count; i++) refuse_sharing(made[i]);
    if (!here) send_namespaces(supervisor, user_namespace);
    for (size_t i = 0; i < count; i++) send_descriptor(supervisor, made[i]);
    return 0;
}

/* castellan-netns: its request, and the lines that name sockets. No socket is made. */
#include "harness.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static size_t bound;

static int fake_socket(int domain, int type, int protocol) {
    CHECK((domain == AF_INET || domain == AF_INET6 || domain == AF_NETLINK) && type != 0 && protocol >= 0);
    return 1000;
}

static int fake_bind(int made, const struct sockaddr *name, socklen_t length) {
    CHECK(made == 1000 && (name->sa_family == AF_INET || name->sa_family == AF_INET6));
    CHECK(length == (name->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)));
    bound++;
    return 0;
}

static ssize_t fake_send(size_t length) { return (ssize_t)length; }

static ssize_t fake_receive(void *answer, size_t length) {
    memset(answer, 0, length);
    ((struct nlmsghdr *)answer)->nlmsg_type = NLMSG_ERROR;
    return (ssize_t)length;
}

#define main netns_main
#define exit(status) longjmp(refused, 1)
#define dprintf(...) ((void)0)
#define socket fake_socket
#define bind fake_bind
#define listen(made, backlog) 0
#define setsockopt(made, level, option, value, length) 0
#define sendto(made, data, length, flags, name, size) fake_send(length)
#define recv(made, data, length, flags) fake_receive(data, length)
#include "../../../native/launch/netns.c"

static void take_request(const uint8_t *data, size_t size) {
    int from = stream_of(data, size);
    if (setjmp(refused) == 0) {
        read_request(from, false);
        struct text *const texts[] = {&links, &ruleset, &sockets, &ip_path, &nft_path};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            CHECK(texts[i]->length <= MAX_TEXT_BYTES && strlen(texts[i]->bytes) <= texts[i]->length);
        CHECK(ip_path.bytes[0] == '/' && nft_path.bytes[0] == '/');
    }
    close(from);
}

static void take_line(const uint8_t *data, size_t size) {
    char line[512];
    if (size >= sizeof line) return;
    memcpy(line, data, size);
    line[size] = '\0';
    bound = 0;
    if (setjmp(refused) == 0) CHECK(make_from_line(line) == 1000);
    CHECK(bound <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > MAX_STREAM_BYTES) return 0;
    if (data[0] % 2 == 0) take_request(data + 1, size - 1);
    else take_line(data + 1, size - 1);
    return 0;
}

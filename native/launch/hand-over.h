/* A descriptor for who waits at the other end of a Unix stream socket (unix(7), SCM_RIGHTS), with the one byte that has to go with it. */
#pragma once
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* False with errno. */
static inline bool hand_over(int to, int descriptor) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char payload = 0;
    struct iovec vector = {&payload, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    return sendmsg(to, &message, MSG_NOSIGNAL) == 1;
}

/*
 * Asks the seccomp filters of its own process about system calls without making them. Each argument is NAME,A0,A1,A2 (or a
 * number for NAME), and each gets a line: the errno that a filter gives, or `passed`.
 *
 * A filter of ours answers RET_TRACE for the numbers asked about: that yields ENOSYS where nobody traces, and loses against
 * any errno of a stricter filter. So ENOSYS as a refusal cannot be told from passing: with `!` before it a call is really made.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name) {#name, __NR_##name}
static const struct { const char *name; long number; } calls[] = {
#include "calls.h"
};

static long number_of(const char *name) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, name) == 0) return calls[i].number;
    return strtol(name, NULL, 0);
}

static int watch(long number) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

int main(int count, char **arguments) {
    static char answer[65536];
    size_t length = 0;
    for (int i = 1; i < count; i++) {
        char *name = strtok(arguments[i], ",");
        int really = name[0] == '!';
        long number = number_of(name + really);
        unsigned long values[6] = {0};
        char *text;
        for (int at = 0; at < 6 && (text = strtok(NULL, ",")) != NULL; at++) values[at] = strtoul(text, NULL, 0);
        if (!really && watch(number) != 0) return 1;
        errno = 0;
        syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
        int passed = !really && errno == ENOSYS;
        length += (size_t)snprintf(answer + length, sizeof answer - length, passed ? "passed\n" : "%d\n", errno);
    }
    return write(1, answer, length) == (ssize_t)length ? 0 : 1;
}

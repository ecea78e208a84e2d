/* The filters: seccomp.table by libseccomp, and after it a short one for numbers that the table cannot know. */
#include "launch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* file_setattr(2), the last of Linux 6.18. A newer one does not exist for confined processes until the table was read again. */
#define NEWEST_KNOWN 469

/* Calls that the table names and Debian's headers (Linux 6.1) do not; these numbers are the same on every architecture. */
#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif

struct rule {
    int number;
    int error;
    bool network_role_only;
    /* The bit of a group that a policy may relax, or 0. */
    uint32_t group;
    unsigned comparison_count;
    struct scmp_arg_cmp comparisons[2];
};

static const struct rule rules[] = {
#define SECCOMP_ROWS
#include "seccomp-rules.h"
};

/*
 * Calls of other instruction sets (i386, x32) never get an answer: the table's filter kills them. This one comes last, since a process
 * that has a filter and is not dumpable stands in the way of identities in a pod, and the table's takes milliseconds to make.
 */
static void refuse_unknown(void) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NEWEST_KNOWN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) fail(STEP_SECCOMP, "unknown numbers");
}

void filter_system_calls(const struct spec *spec) {
    if (spec->profile == PROFILE_NONE) return;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL) fail(STEP_SECCOMP, "init");
    if (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0) fail(STEP_SECCOMP, "architecture");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        if (rule->network_role_only && spec->profile != PROFILE_NETWORK_ROLE) continue;
        if ((rule->group & spec->relaxed) != 0) continue;
        int problem = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(rule->error), rule->number, rule->comparison_count,
                                             rule->comparisons);
        if (problem != 0) {
            errno = -problem;
            fail(STEP_SECCOMP, "rule");
        }
    }
    int problem = seccomp_load(filter);
    if (problem != 0) {
        errno = -problem;
        fail(STEP_SECCOMP, "load");
    }
    refuse_unknown();
}

/* Landlock by raw system calls: the C library wraps none, and Debian's headers know ABI 1 only. See landlock(7). */
#include "launch.h"

#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define RULE_PATH_BENEATH 1
#define RULE_NET_PORT 2

/* struct landlock_ruleset_attr as of ABI 6; an older kernel takes it as long as the fields it lacks are zero. */
struct ruleset_attributes {
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
};

struct path_beneath {
    uint64_t allowed_access;
    int32_t parent;
} __attribute__((packed));

static void add_rules(const struct spec *spec, int ruleset) {
    for (size_t i = 0; i < spec->rule_count; i++) {
        struct path_beneath rule = {.allowed_access = spec->rules[i].access, .parent = spec->rules[i].descriptor};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) != 0) fail(STEP_LANDLOCK, "rule");
    }
    for (size_t i = 0; i < spec->port_count; i++)
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &spec->ports[i], 0) != 0) fail(STEP_LANDLOCK, "port");
}

void restrict_access(const struct spec *spec) {
    if (!spec->has_landlock) return;
    struct ruleset_attributes attributes = {
        .handled_fs = spec->handled_fs, .handled_net = spec->handled_net, .scoped = spec->scoped};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (ruleset < 0) fail(STEP_LANDLOCK, "ruleset");
    add_rules(spec, ruleset);
    if (syscall(SYS_landlock_restrict_self, ruleset, spec->restrict_flags) != 0) fail(STEP_LANDLOCK, "restrict");
    close(ruleset);
}

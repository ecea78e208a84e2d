/* Landlock as the supervisor itself needs it: which ABI there is, and a domain for signals only. See landlock(7). */
#include "posix.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
/* Linking and renaming between directories. Where any domain above refuses something on files, one that says nothing refuses this. */
#define ACCESS_REFER (1ull << 13)
#define SCOPE_SIGNAL 2u

napi_value landlock_abi(napi_env env, napi_callback_info info) {
    (void)info;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return version < 0 ? throw_errno(env, errno, "landlock_create_ruleset") : make_int(env, (int)version);
}

/* The domain is one of the calling thread and of what it starts; killing everything else by it would be killing everything. */
static _Thread_local bool scoped;

static int allow_refer_everywhere(int ruleset) {
    int root = open("/", O_PATH | O_CLOEXEC);
    if (root < 0) return -1;
    const struct {
        uint64_t allowed;
        int32_t parent;
    } __attribute__((packed)) rule = {.allowed = ACCESS_REFER, .parent = root};
    long result = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    close_quietly(root);
    return (int)result;
}

napi_value scope_signals(napi_env env, napi_callback_info info) {
    (void)info;
    const struct {
        uint64_t filesystem, network, scoped;
    } attributes = {.filesystem = ACCESS_REFER, .scoped = SCOPE_SIGNAL};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (ruleset < 0) return throw_errno(env, errno, "landlock_create_ruleset");
    if (allow_refer_everywhere(ruleset) != 0) {
        int problem = errno;
        close_quietly(ruleset);
        return throw_errno(env, problem, "landlock_add_rule");
    }
    int problem = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
    if (problem == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) problem = errno;
    close_quietly(ruleset);
    if (problem != 0) return throw_errno(env, problem, "landlock_restrict_self");
    scoped = true;
    return NULL;
}

/*
 * The kernel walks all processes under one lock, so nothing can fork out of it. That the domain holds is tried first: the
 * parent is outside of it, and may be of another uid, which refuses as well.
 */
napi_value kill_scope(napi_env env, napi_callback_info info) {
    (void)info;
    if (!scoped || kill(getppid(), 0) == 0) return throw_errno(env, EPERM, "kill");
    if (kill(-1, SIGKILL) == 0 || errno == ESRCH || errno == EPERM) return NULL;
    return throw_errno(env, errno, "kill");
}

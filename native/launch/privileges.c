/* Giving up: limits, ids, capabilities, and the proof that none of it comes back. See capabilities(7), credentials(7). */
#include "launch.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAST_POSSIBLE_CAPABILITY 63

void set_limits(const struct spec *spec) {
    for (size_t i = 0; i < spec->limit_count; i++) {
        struct rlimit limit = {.rlim_cur = spec->limits[i].soft, .rlim_max = spec->limits[i].hard};
        if (setrlimit((__rlimit_resource_t)spec->limits[i].resource, &limit) != 0) fail(STEP_LIMITS, "setrlimit");
    }
    umask(spec->umask);
}

/* Always set, also to nothing: the supervisor's own groups must not get through to a numeric uid. */
void set_groups(const struct spec *spec) {
    if (spec->has_credentials && setgroups(spec->group_count, spec->groups) != 0) fail(STEP_GROUPS, "setgroups");
}

void set_gid(const struct spec *spec) {
    if (!spec->has_credentials) return;
    gid_t real, effective, saved;
    if (getresgid(&real, &effective, &saved) != 0) fail(STEP_GID, "getresgid");
    if (real == spec->gid && effective == spec->gid && saved == spec->gid) return;
    if (setresgid(spec->gid, spec->gid, spec->gid) != 0) fail(STEP_GID, "setresgid");
    if (getresgid(&real, &effective, &saved) != 0) fail(STEP_GID, "getresgid");
    if (real == spec->gid && effective == spec->gid && saved == spec->gid) return;
    errno = EPERM;
    fail(STEP_GID, "read back");
}

static bool has_capability(int capability) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    memset(data, 0, sizeof data);
    if (syscall(SYS_capget, &header, data) != 0) return false;
    return (data[capability / 32].effective & (1u << (capability % 32))) != 0;
}

/*
 * Without CAP_SETPCAP nothing can be dropped; that is fine only where the set is empty, or where no_new_privs (set below)
 * is all that keeps it from mattering: a process that never had a capability gains none from the bounding set then.
 */
void clear_bounding_set(void) {
    bool may_drop = has_capability(CAP_SETPCAP);
    for (int capability = 0; capability <= LAST_POSSIBLE_CAPABILITY; capability++) {
        int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (present < 0) break;
        if (present == 1 && may_drop && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) fail(STEP_BOUNDING, "drop");
    }
    if (!may_drop && geteuid() == 0) {
        errno = EPERM;
        fail(STEP_BOUNDING, "CAP_SETPCAP");
    }
    unsigned long locked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                           SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    if (may_drop && prctl(PR_SET_SECUREBITS, locked, 0, 0, 0) != 0) fail(STEP_BOUNDING, "securebits");
}

void set_uid(const struct spec *spec) {
    if (!spec->has_credentials) return;
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) != 0) fail(STEP_UID, "getresuid");
    if (real == spec->uid && effective == spec->uid && saved == spec->uid) return;
    if (setresuid(spec->uid, spec->uid, spec->uid) != 0) fail(STEP_UID, "setresuid");
    if (getresuid(&real, &effective, &saved) != 0) fail(STEP_UID, "getresuid");
    if (real == spec->uid && effective == spec->uid && saved == spec->uid) return;
    errno = EPERM;
    fail(STEP_UID, "read back");
}

/*
 * Every way back to root is tried. Rootless runs hold the capabilities of their user namespace until the next step, so there
 * it is the namespace's map, without uid 0, that refuses.
 */
void refuse_regain(void) {
    bool regained = setuid(0) == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setgid(0) == 0;
    setfsuid(0);
    /* setfsuid(2) has no error: the answer to an impossible id is the one in force. */
    if (setfsuid((uid_t)-1) == 0) regained = true;
    if (!regained && geteuid() != 0 && getuid() != 0) return;
    errno = EPERM;
    fail(STEP_REGAIN, "root came back");
}

void clear_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    memset(data, 0, sizeof data);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
        fail(STEP_CAPABILITIES, "ambient");
    if (syscall(SYS_capset, &header, data) != 0) fail(STEP_CAPABILITIES, "capset");
    if (syscall(SYS_capget, &header, data) != 0) fail(STEP_CAPABILITIES, "capget");
    for (int i = 0; i < 2; i++) {
        if (data[i].effective == 0 && data[i].permitted == 0 && data[i].inheritable == 0) continue;
        errno = EPERM;
        fail(STEP_CAPABILITIES, "read back");
    }
}

void fix_privileges(pid_t parent) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "no_new_privs");
    /* execve makes the command dumpable again; until then nobody may look into the launcher. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "dumpable");
    /* A change of uid clears it, so it is set after that; the parent may have ended before. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "parent death");
    if (getppid() == parent) return;
    errno = ESRCH;
    fail(STEP_PRIVILEGES, "parent");
}

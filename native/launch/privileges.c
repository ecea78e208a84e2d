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

/* Two words of 32 are what capget(2) has room for; a kernel knows fewer and says so. */
#define LAST_POSSIBLE_CAPABILITY 63

void set_limits(const struct spec *spec) {
    for (size_t i = 0; i < spec->limit_count; i++) {
        struct rlimit limit = {.rlim_cur = spec->limits[i].soft, .rlim_max = spec->limits[i].hard};
        if (setrlimit((__rlimit_resource_t)spec->limits[i].resource, &limit) != 0) fail(STEP_LIMITS, "setrlimit");
    }
    /* Whatever was asked: a core holds what the process knew, where others can read it. */
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0}) != 0) fail(STEP_LIMITS, "core");
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

static void read_capabilities(struct __user_cap_data_struct data[2], enum step step) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    if (syscall(SYS_capget, &header, data) != 0) fail(step, "capget");
}

static bool is_empty(const struct __user_cap_data_struct data[2]) {
    return (data[0].effective | data[0].permitted | data[0].inheritable | data[1].effective | data[1].permitted |
            data[1].inheritable) == 0;
}

/*
 * Without CAP_SETPCAP nothing can be dropped. That is fine only for who has no capability at all: no_new_privs (set below)
 * keeps such a process from gaining one out of the bounding set by an execve.
 */
void clear_bounding_set(void) {
    /* NO_SETUID_FIXUP stays off, for good: the change of uid that follows clears the capabilities of the old one. */
    const unsigned long locked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                                 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    struct __user_cap_data_struct held[2];
    read_capabilities(held, STEP_BOUNDING);
    if ((held[0].permitted | held[1].permitted) == 0) return;
    for (int capability = 0; capability <= LAST_POSSIBLE_CAPABILITY; capability++) {
        int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (present < 0) break;
        if (present == 1 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) fail(STEP_BOUNDING, "drop");
    }
    if (prctl(PR_SET_SECUREBITS, locked, 0, 0, 0) != 0) fail(STEP_BOUNDING, "securebits");
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
 * Ways back to root are tried. Rootless runs hold the capabilities of their user namespace until the next step, so there
 * it is the namespace's map, without uid 0, that refuses.
 */
void refuse_regain(void) {
    bool regained = setuid(0) == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) == 0;
    /* Who keeps the caller's ids may have root's group among them (platforms with arbitrary uids do that), and cannot drop it. */
    bool has_root_group = getgid() == 0;
    if (!has_root_group && setgid(0) == 0) regained = true;
    setfsuid(0);
    setfsgid(0);
    /* Neither has an error: the answer to an impossible id is the one in force. */
    if (setfsuid((uid_t)-1) == 0 || (!has_root_group && setfsgid((gid_t)-1) == 0)) regained = true;
    if (!regained && geteuid() != 0 && getuid() != 0) return;
    errno = EPERM;
    fail(STEP_REGAIN, "root came back");
}

void clear_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}}, left[2];
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) fail(STEP_CAPABILITIES, "ambient");
    if (syscall(SYS_capset, &header, none) != 0) fail(STEP_CAPABILITIES, "capset");
    read_capabilities(left, STEP_CAPABILITIES);
    bool empty = is_empty(left);
    for (int capability = 0; capability <= LAST_POSSIBLE_CAPABILITY; capability++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1) empty = false;
    /* What is given up must not come back by asking. */
    none[0].effective = none[0].permitted = 1u << CAP_SETUID;
    if (empty && syscall(SYS_capset, &header, none) != 0) return;
    errno = EPERM;
    fail(STEP_CAPABILITIES, "read back");
}

void fix_privileges(pid_t parent) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "no_new_privs");
    /* Set at the start, but a change of ids puts it to fs.suid_dumpable. execve makes the command dumpable again. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "dumpable");
    /* A change of uid clears it, so it is set after that; the parent may have ended before. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(STEP_PRIVILEGES, "parent death");
    if (getppid() == parent) return;
    errno = ESRCH;
    fail(STEP_PRIVILEGES, "parent");
}

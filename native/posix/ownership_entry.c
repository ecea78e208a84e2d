/* One inode of a tree: whose it is, whether it may be given away, and the change. */
#include "ownership.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

int look(int directory, const char *name, struct statx *facts) {
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
    return statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, facts);
}

struct place place_of(const struct statx *facts) {
    return (struct place){
        .inode = facts->stx_ino,
        .born_seconds = facts->stx_mask & STATX_BTIME ? facts->stx_btime.tv_sec : 0,
        .born_nanoseconds = facts->stx_mask & STATX_BTIME ? facts->stx_btime.tv_nsec : 0,
        .device_major = facts->stx_dev_major,
        .device_minor = facts->stx_dev_minor,
        .mount = facts->stx_mask & STATX_MNT_ID ? facts->stx_mnt_id : 0,
    };
}

/* A bind mount of the same file system has the same device, so the mount counts too, where the kernel tells it. */
static bool same_mount(const struct place *one, const struct place *other) {
    return one->device_major == other->device_major && one->device_minor == other->device_minor &&
           one->mount == other->mount;
}

bool same_place(const struct place *one, const struct place *other) {
    return one->inode == other->inode && one->born_seconds == other->born_seconds &&
           one->born_nanoseconds == other->born_nanoseconds && same_mount(one, other);
}

/*
 * A file with several names may have one outside the tree, put there by a tenant who could name it but not write it
 * (fs.protected_hardlinks=0). It is given away only where that takes nothing from a third party: when it was the previous
 * owner's own already, and that was not root, who owns what such a link would be made for.
 */
static bool may_be_another_file(const struct tree *tree, const struct statx *facts) {
    if (facts->stx_nlink < 2 || facts->stx_uid == tree->uid) return false;
    return facts->stx_uid == 0 || facts->stx_uid != tree->previous_uid;
}

static bool is_on_other_mount(const struct tree *tree, const struct statx *facts) {
    struct place place = place_of(facts);
    return !same_mount(&place, &tree->place);
}

bool is_right(const struct tree *tree, const struct statx *facts) {
    return facts->stx_uid == tree->uid && facts->stx_gid == tree->gid && !is_on_other_mount(tree, facts);
}

enum verdict judge(const struct tree *tree, const struct statx *facts, uint64_t *counts) {
    if (is_on_other_mount(tree, facts)) return VERDICT_MOUNT;
    if (is_right(tree, facts)) return VERDICT_RIGHT;
    if (S_ISDIR(facts->stx_mode) || tree->survey) return VERDICT_CHANGE;
    /* The owner of a node opens the device behind it. */
    if (S_ISCHR(facts->stx_mode) || S_ISBLK(facts->stx_mode)) {
        counts[COUNT_DEVICES]++;
        return VERDICT_LEAVE;
    }
    if (may_be_another_file(tree, facts)) {
        counts[COUNT_LINKED]++;
        return VERDICT_LEAVE;
    }
    return VERDICT_CHANGE;
}

/* After the change, when the previous owner can no longer set them again. */
static int drop_set_id(int descriptor, const char **syscall_name) {
    struct statx facts;
    *syscall_name = "statx";
    if (look(descriptor, "", &facts) != 0) return errno;
    if ((facts.stx_mode & (S_ISUID | S_ISGID)) == 0) return 0;
    mode_t mode = facts.stx_mode & 01777;
    *syscall_name = "fchmodat2";
    if (syscall(SYS_fchmodat2, descriptor, "", mode, AT_EMPTY_PATH) == 0) return 0;
    /* Kernels before 6.6, and filters that do not know the call. The link leads to this inode, whatever its name is now. */
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    return chmod(link, mode) == 0 ? 0 : errno;
}

int change_owner(struct tree *tree, int descriptor, const struct statx *facts, uint64_t *counts, const char **syscall) {
    if (tree->survey) {
        counts[COUNT_CHANGED]++;
        atomic_store(&tree->stopped, true);
        return 0;
    }
    *syscall = "fchownat";
    if (fchownat(descriptor, "", tree->uid, tree->gid, AT_EMPTY_PATH) != 0) {
        if (errno != EROFS) return errno;
        counts[COUNT_READ_ONLY]++;
        return 0;
    }
    counts[COUNT_CHANGED]++;
    /* chown(2) by root leaves a setgid bit that comes without group execution. */
    if (!S_ISREG(facts->stx_mode) || (facts->stx_mode & (S_ISUID | S_ISGID)) == 0) return 0;
    return drop_set_id(descriptor, syscall);
}

void count_mount(int descriptor, uint64_t *counts) {
    struct statfs facts;
    counts[COUNT_MOUNTS]++;
    if (fstatfs(descriptor, &facts) == 0 && (facts.f_flags & ST_RDONLY) != 0) counts[COUNT_READ_ONLY_MOUNTS]++;
}

/* chown(2) and whatever changes a directory's entries lock its inode: after the call, no change judged by the old mode is under way. */
bool hold_directory(const struct tree *tree, int descriptor, mode_t mode) {
    if (tree->survey || (mode & (S_IWGRP | S_IWOTH)) != 0) return false;
    if (fchownat(descriptor, "", 0, tree->gid, AT_EMPTY_PATH) != 0) return false;
    /* The previous owner could change the mode until now. Access lists give no more than its group bits. */
    struct statx held;
    return look(descriptor, "", &held) == 0 && held.stx_uid == 0 && (held.stx_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int change_held_entry(struct tree *tree, int directory, const char *name, const struct statx *facts, uint64_t *counts,
                      const char **syscall) {
    bool set_id = S_ISREG(facts->stx_mode) && (facts->stx_mode & (S_ISUID | S_ISGID)) != 0;
    if (set_id || is_on_other_mount(tree, facts)) return change_entry(tree, directory, name, counts, syscall);
    counts[COUNT_SEEN]++;
    if (judge(tree, facts, counts) != VERDICT_CHANGE) return 0;
    *syscall = "fchownat";
    if (fchownat(directory, name, tree->uid, tree->gid, AT_SYMLINK_NOFOLLOW) == 0) counts[COUNT_CHANGED]++;
    else if (errno == EROFS) counts[COUNT_READ_ONLY]++;
    /* Only root can have moved it. */
    else if (errno == ENOENT) counts[COUNT_MOVED]++;
    else return errno;
    return 0;
}

int change_entry(struct tree *tree, int directory, const char *name, uint64_t *counts, const char **syscall) {
    *syscall = "openat";
    int descriptor = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        if (errno != ENOENT) return errno;
        counts[COUNT_MOVED]++;
        return 0;
    }
    struct statx facts;
    int error = 0;
    *syscall = "statx";
    if (look(descriptor, "", &facts) != 0) {
        error = errno;
    } else if (S_ISDIR(facts.stx_mode)) {
        /* Exchanged since it was looked at; a directory is only changed by way of its own descriptor's walk. */
        counts[COUNT_MOVED]++;
    } else {
        enum verdict verdict = judge(tree, &facts, counts);
        if (verdict == VERDICT_MOUNT) count_mount(descriptor, counts);
        else counts[COUNT_SEEN]++;
        if (verdict == VERDICT_CHANGE) error = change_owner(tree, descriptor, &facts, counts, syscall);
    }
    close_quietly(descriptor);
    return error;
}

/* Session, cgroup, namespaces and the private view of the file system. */
#include "launch.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mount.h, which cannot be included beside sys/mount.h. */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#endif
#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* setsid(2) refuses whoever leads a group already; a terminal's child is a session leader, which is as good. */
void start_session(const struct spec *spec) {
    if (spec->new_session && setsid() < 0 && getsid(0) != getpid()) fail(STEP_SESSION, "setsid");
}

/* First of all, so that limits hold and a kill reaches whatever the steps and the command start. */
void join_cgroup(const struct spec *spec) {
    if (spec->cgroup >= 0 && write(spec->cgroup, "0", 1) != 1) fail(STEP_CGROUP, "cgroup.procs");
}

/* Entering leads to the namespace's own root, which is another one for who was started in a chroot(2): then no path means the same. */
static void enter_view(int mount_namespace) {
    struct stat before, after;
    if (stat("/", &before) != 0 || setns(mount_namespace, CLONE_NEWNS) != 0 || stat("/", &after) != 0)
        fail(STEP_NAMESPACES, "mount");
    if (before.st_dev == after.st_dev && before.st_ino == after.st_ino) return;
    errno = ESTALE;
    fail(STEP_NAMESPACES, "mount");
}

/* The user namespace first: it gives the right to enter the other. */
void enter_namespaces(const struct spec *spec) {
    if (spec->user_namespace >= 0 && setns(spec->user_namespace, CLONE_NEWUSER) != 0) fail(STEP_NAMESPACES, "user");
    if (spec->network_namespace >= 0 && setns(spec->network_namespace, CLONE_NEWNET) != 0)
        fail(STEP_NAMESPACES, "network");
    if (spec->mount_namespace >= 0) enter_view(spec->mount_namespace);
}

static int open_place(const char *path) {
    return open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/*
 * Puts a clone of the tree at `source` over the very inode behind `place`, whatever the path has become meanwhile; with its
 * ids mapped where `id_map` is a user namespace (only those of the tree's own mount: others below it keep theirs).
 */
static void cover(int place, int source, int id_map, const char *path) {
    int tree = (int)syscall(SYS_open_tree, source, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0) fail(STEP_MOUNTS, path);
    if (id_map >= 0) {
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                                        .userns_fd = (uint64_t)id_map};
        if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
            fail(STEP_MOUNTS, path);
    }
    if (syscall(SYS_move_mount, tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        fail(STEP_MOUNTS, path);
    close(tree);
}

/*
 * A directory is covered by an empty one that cannot be written, anything else by a device that reads as empty. What is not
 * there needs no cover. Neither does a link: it is only a name, and what it leads to has a path of its own to be hidden by.
 */
static void hide(const char *path) {
    int place = open_place(path);
    if (place < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return;
        fail(STEP_MOUNTS, path);
    }
    struct stat facts;
    if (fstat(place, &facts) != 0) fail(STEP_MOUNTS, path);
    if (S_ISDIR(facts.st_mode)) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", place);
        if (mount("none", name, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555,size=4k,nr_inodes=2") != 0)
            fail(STEP_MOUNTS, path);
    } else if (!S_ISLNK(facts.st_mode)) {
        int null = open("/dev/null", O_PATH | O_CLOEXEC);
        if (null < 0) fail(STEP_MOUNTS, "/dev/null");
        cover(place, null, -1, path);
        close(null);
    }
    close(place);
}

static bool same_inode(int one, int other) {
    struct stat wanted, found;
    return fstat(one, &wanted) == 0 && fstat(other, &found) == 0 && wanted.st_dev == found.st_dev &&
           wanted.st_ino == found.st_ino;
}

/*
 * The descriptor belongs to the mount namespace that it was opened in, whose trees cannot be cloned from here; so the same
 * inode is opened again by its path in ours.
 */
static int reopen(int descriptor, const char *path) {
    char name[64], source[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, source, sizeof source - 1);
    if (length < 0) fail(STEP_MOUNTS, path);
    source[length] = '\0';
    int here = open_place(source);
    if (here < 0) fail(STEP_MOUNTS, source);
    if (same_inode(descriptor, here)) return here;
    errno = ESTALE;
    fail(STEP_MOUNTS, source);
}

static void attach(const struct mount_step *step) {
    int place = open_place(step->path);
    if (place < 0) fail(STEP_MOUNTS, step->path);
    int source = reopen(step->descriptor, step->path);
    cover(place, source, -1, step->path);
    close(source);
    close(place);
}

/* Over itself, and only over the directory that was prepared: another one's files must not become the command's. */
static void map_ids(const struct mount_step *step) {
    int place = open_place(step->path);
    if (place < 0) fail(STEP_MOUNTS, step->path);
    if (!same_inode(step->descriptor, place)) {
        errno = ESTALE;
        fail(STEP_MOUNTS, step->path);
    }
    cover(place, place, step->id_map, step->path);
    close(place);
}

void make_mounts(const struct spec *spec) {
    bool has_view = spec->mount_namespace >= 0;
    if (spec->mount_count == 0 && !has_view) return;
    /* Uids guard System V IPC and message queues too, and a rootless command has the caller's. */
    if (unshare(CLONE_NEWIPC | (has_view ? 0 : CLONE_NEWNS)) != 0) fail(STEP_MOUNTS, "unshare");
    if (spec->mount_count == 0) return;
    /* What is mounted here must not show outside; what the host mounts later still shows here. */
    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) fail(STEP_MOUNTS, "/");
    for (size_t i = 0; i < spec->mount_count; i++) {
        if (spec->mounts[i].descriptor < 0) hide(spec->mounts[i].path);
        else if (spec->mounts[i].id_map < 0) attach(&spec->mounts[i]);
        else map_ids(&spec->mounts[i]);
    }
}

/* As the final identity, which is the one that has to live there; a link on the way could have been aimed by anybody. */
void enter_directory(const struct spec *spec) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int directory = (int)syscall(SYS_openat2, AT_FDCWD, spec->directory, &how, sizeof how);
    if (directory < 0 || fchdir(directory) != 0 || access(".", spec->directory_access) != 0)
        fail(STEP_DIRECTORY, spec->directory);
    close(directory);
}

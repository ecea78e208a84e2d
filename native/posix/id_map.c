/* Id-mapped mounts (mount_setattr(2)): the namespace that holds the mapping, and whether a file system takes one. */
#include "posix.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

static int write_map(pid_t child, const char *name, uint32_t on_disk, uint32_t in_sandbox) {
    char path[64], line[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
    int length = snprintf(line, sizeof line, "%u %u 1\n", on_disk, in_sandbox);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t written = write(file, line, (size_t)length);
    close_quietly(file);
    return written == length ? 0 : -1;
}

/* The child of a program with threads: nothing but system calls. It only keeps the namespace until that is open. */
static _Noreturn void hold(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (;;) pause();
}

/*
 * A child with no exit signal is nobody's to wait for but ours: libuv does not see it. All signals are blocked in it, because
 * Node's handlers would write to pipes that it shares with Node.
 */
static pid_t make_child(void) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, 0);
    if (child == 0) hold();
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return child;
}

napi_value map_ids(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    uint64_t ids[4];
    if (!arguments(env, info, 4, values)) return NULL;
    for (size_t i = 0; i < 4; i++) {
        if (!get_uint64(env, values[i], &ids[i])) return NULL;
        /* Who is mapped to root's id on disk could leave setuid programs of root's there. */
        if (ids[i] == 0 || ids[i] >= UINT32_MAX) return type_error(env, "not an id of an ordinary user");
    }
    pid_t child = make_child();
    if (child < 0) return throw_errno(env, errno, "clone");
    const char *call = "uid_map";
    int namespace = -1;
    if (write_map(child, "uid_map", (uint32_t)ids[0], (uint32_t)ids[2]) == 0) {
        call = "gid_map";
        if (write_map(child, "gid_map", (uint32_t)ids[1], (uint32_t)ids[3]) == 0) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child);
            call = "open";
            namespace = open(path, O_RDONLY | O_CLOEXEC);
        }
    }
    int error = errno;
    kill(child, SIGKILL);
    while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR) continue;
    if (namespace < 0) return throw_errno(env, error, call);
    return make_int(env, namespace);
}

napi_value can_map_ids(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int descriptor, namespace;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &descriptor) || !get_int(env, values[1], &namespace))
        return NULL;
    int tree = (int)syscall(SYS_open_tree, descriptor, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0) return throw_errno(env, errno, "open_tree");
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)namespace};
    long done = syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
    close_quietly(tree);
    if (done != 0) return throw_errno(env, errno, "mount_setattr");
    return NULL;
}

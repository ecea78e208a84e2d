#include "posix.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the pool: the path is of somebody's choice, and may lead to a file system that does not answer. */
struct follow {
    struct job job;
    int root;
    char path[PATH_MAX];
    char end[PATH_MAX];
};

static void run_follow(struct job *job) {
    struct follow *follow = (struct follow *)job;
    /* Links to `/` and `..` end at the root, and those of /proc, which lead anywhere, are not followed. O_PATH opens no device and no FIFO. */
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    long found;
    do found = syscall(SYS_openat2, follow->root, follow->path, &how, sizeof how);
    while (found < 0 && errno == EINTR);
    if (found < 0) return job_failed(job, errno, "openat2");
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%ld", found);
    ssize_t length = readlink(name, follow->end, sizeof follow->end);
    if (length < 0)
        job_failed(job, errno, "readlink");
    else if ((size_t)length == sizeof follow->end)
        job_failed(job, ENAMETOOLONG, "readlink");
    else
        follow->end[length] = '\0';
    close_quietly((int)found);
}

static napi_value found_end(napi_env env, struct job *job) {
    return make_text(env, ((struct follow *)job)->end);
}

static void discard_follow(struct job *job) {
    struct follow *follow = (struct follow *)job;
    close_quietly(follow->root);
    free(follow);
}

napi_value follow_in_root(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int root;
    char path[PATH_MAX];
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &root) ||
        !get_text(env, values[1], path, sizeof path))
        return NULL;
    struct follow *follow = calloc(1, sizeof *follow);
    if (follow == NULL) return throw_errno(env, ENOMEM, "calloc");
    follow->job = (struct job){run_follow, found_end, discard_follow, 0, NULL, NULL, NULL};
    memcpy(follow->path, path, sizeof path);
    follow->root = duplicate(root);
    if (follow->root < 0) {
        int error = errno;
        free(follow);
        return throw_errno(env, error, "fcntl");
    }
    return start_job(env, &follow->job, "followInRoot");
}

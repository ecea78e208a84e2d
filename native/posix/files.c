#include "posix.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

napi_value set_undumpable(napi_env env, napi_callback_info info) {
    (void)info;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return throw_errno(env, errno, "prctl");
    return NULL;
}

napi_value open_at_2(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int directory;
    char path[PATH_MAX];
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
    if (!arguments(env, info, 5, values) || !get_int(env, values[0], &directory) ||
        !get_text(env, values[1], path, sizeof path) || !get_uint64(env, values[2], &flags) ||
        !get_uint64(env, values[3], &mode) || !get_uint64(env, values[4], &resolve))
        return NULL;
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long descriptor;
    do descriptor = syscall(SYS_openat2, directory, path, &how, sizeof how);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) return throw_errno(env, errno, "openat2");
    return make_int(env, (int)descriptor);
}

napi_value make_directory_at(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int directory;
    int mode;
    char name[PATH_MAX];
    if (!arguments(env, info, 3, values) || !get_int(env, values[0], &directory) ||
        !get_text(env, values[1], name, sizeof name) || !get_int(env, values[2], &mode))
        return NULL;
    if (mkdirat(directory, name, (mode_t)mode) != 0) return throw_errno(env, errno, "mkdirat");
    return NULL;
}

napi_value close_descriptor(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int descriptor;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &descriptor)) return NULL;
    /* Linux has released the number even when close was interrupted: trying again could close another file. */
    if (close(descriptor) != 0 && errno != EINTR) return throw_errno(env, errno, "close");
    return NULL;
}

#include "posix.h"

#include <fcntl.h>
#include <unistd.h>

napi_value make_pipe(napi_env env, napi_callback_info info) {
    (void)info;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return throw_errno(env, errno, "pipe2");
    return make_int_array(env, ends, 2);
}

/*
 * Starts a program that is born in a cgroup. To move a process into one later takes the kernel a grace period of RCU, some
 * 10 ms; to be born there takes nothing (clone3(2), CLONE_INTO_CGROUP, Linux 5.7).
 */
#include "posix.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STREAMS 3
#define EXIT_NOT_EXECUTED 127

/* As in linux/sched.h, which cannot be included beside sched.h. */
#define INTO_CGROUP 0x200000000ull
#define PIDFD 0x1000ull
struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct program {
    char path[PATH_MAX];
    char argument[PATH_MAX];
    int streams[STREAMS];
};

/* What Node's child_process does between fork and execve; nothing here may take a lock. */
static _Noreturn void become(const struct program *program) {
    sigset_t none;
    struct sigaction untouched = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) sigaction(number, &untouched, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int stream = 0; stream < STREAMS; stream++) {
        int from = program->streams[stream];
        /* dup2 leaves close-on-exec off; where there is nothing to duplicate it has to be taken off. */
        if (from == stream ? fcntl(stream, F_SETFD, 0) != 0 : dup2(from, stream) < 0) _exit(EXIT_NOT_EXECUTED);
        /* Node makes its own streams such that they do not block; programs do not expect that. */
        int flags = fcntl(stream, F_GETFL);
        if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(stream, F_SETFL, flags & ~O_NONBLOCK);
    }
    if (chdir("/") != 0) _exit(EXIT_NOT_EXECUTED);
    char *const arguments[] = {(char *)program->path, (char *)program->argument, NULL};
    char *const environment[] = {NULL};
    execve(program->path, arguments, environment);
    _exit(EXIT_NOT_EXECUTED);
}

static bool read_program(napi_env env, napi_value *values, struct program *program) {
    if (!get_text(env, values[0], program->path, sizeof program->path) ||
        !get_text(env, values[1], program->argument, sizeof program->argument))
        return false;
    for (int stream = 0; stream < STREAMS; stream++) {
        napi_value element;
        if (napi_get_element(env, values[2], (uint32_t)stream, &element) != napi_ok ||
            !get_int(env, element, &program->streams[stream]))
            return false;
        int from = program->streams[stream];
        /* Another stream's place would be overwritten before it is read. */
        if (from == stream || from >= STREAMS) continue;
        throw_errno(env, EINVAL, "spawn");
        return false;
    }
    return true;
}

napi_value spawn_into(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct program program;
    int cgroup;
    if (!arguments(env, info, 4, values) || !read_program(env, values, &program) || !get_int(env, values[3], &cgroup))
        return NULL;
    if (access(program.path, X_OK) != 0) return throw_errno(env, errno, "spawn");
    int started[2] = {-1, -1};
    struct clone_arguments clone = {.flags = INTO_CGROUP | PIDFD,
                                    .pidfd = (uint64_t)(uintptr_t)&started[1],
                                    .exit_signal = SIGCHLD,
                                    .cgroup = (uint64_t)cgroup};
    sigset_t all, before;
    sigfillset(&all);
    /* A handler of Node's must not run in the child. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started[0] = (int)syscall(SYS_clone3, &clone, sizeof clone);
    int error = errno;
    if (started[0] == 0) become(&program);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started[0] < 0 ? throw_errno(env, error, "clone3") : make_int_array(env, started, 2);
}

napi_value reap(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int process;
    siginfo_t ended = {0};
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &process)) return NULL;
    if (waitid((idtype_t)P_PIDFD, (id_t)process, &ended, WEXITED | WNOHANG) != 0) return throw_errno(env, errno, "waitid");
    if (ended.si_pid == 0) return NULL;
    bool exited = ended.si_code == CLD_EXITED;
    int status[2] = {exited ? ended.si_status : 0, exited ? 0 : ended.si_status};
    return make_int_array(env, status, 2);
}

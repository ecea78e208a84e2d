/*
 * A signal to a process of another user without CAP_KILL, which container engines can be told to take away: kill(2) asks for the real uid of
 * who sends it, and a process may take any while it has CAP_SETUID. Its effective uid stays, and with it what it may.
 */
#include "posix.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* It makes two system calls; whom it signals may stop it, and must not hold us up. */
#define SENDER_MS 1000

/*
 * The child, whose exit status is 0 or an errno. Not a thread: whoever has that uid may signal the sender too, and kill(2) takes the number of
 * a thread for its whole process. Nothing but system calls, for other threads may hold any lock.
 */
static _Noreturn void send_as(uid_t uid, pid_t pid, int signal) {
    bool sent = syscall(SYS_setresuid, uid, -1, -1) == 0 && kill(pid, signal) == 0;
    _exit(sent ? 0 : errno);
}

/* 0 or an errno. */
static int result_of(pid_t sender) {
    int status;
    int pidfd = (int)syscall(SYS_pidfd_open, sender, 0);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&ended, 1, SENDER_MS) != 1) kill(sender, SIGKILL);
    if (pidfd >= 0) close_quietly(pidfd);
    if (waitpid(sender, &status, 0) != sender) return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* The real uid of a process, or of the leader of a group where `pid` is negative; 0 or an errno. */
static int real_uid(pid_t pid, uid_t *uid) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)(pid < 0 ? -pid : pid));
    FILE *file = fopen(path, "re");
    if (file == NULL) return errno == ENOENT ? ESRCH : errno;
    int error = EPROTO;
    while (error != 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Uid: %u", uid) == 1) error = 0;
    fclose(file);
    return error;
}

napi_value signal_as_owner(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int pid, signal;
    uid_t uid;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &pid) || !get_int(env, values[1], &signal)) return NULL;
    /* 0 and -1 are not one process or group, but all that may be signalled. */
    if (pid == 0 || pid == -1) return throw_errno(env, EINVAL, "kill");
    int error = real_uid(pid, &uid);
    if (error != 0) return throw_errno(env, error, "kill");
    /* Node's handlers would tell this process of a signal that was sent to the child. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t sender = _Fork();
    if (sender == 0) send_as(uid, pid, signal);
    error = sender < 0 ? errno : result_of(sender);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? NULL : throw_errno(env, error, "kill");
}

/*
 * A signal to a process of another user without CAP_KILL, which container engines can be told to take away: kill(2) asks for the real uid of
 * the thread that sends it, and a thread may take any while it has CAP_SETUID. Its effective uid stays, and with it what it may.
 */
#include "posix.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sending {
    pid_t pid;
    int signal;
    uid_t uid;
    int error;
};

/* A thread of its own, which ends with that uid: nothing has to be undone, and nobody can signal this process's main one by it. */
static void *send_as(void *data) {
    struct sending *sending = data;
    /* Not libc's, which changes every thread of the process. */
    bool sent = syscall(SYS_setresuid, sending->uid, -1, -1) == 0 && kill(sending->pid, sending->signal) == 0;
    sending->error = sent ? 0 : errno;
    return NULL;
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
    struct sending sending = {0};
    int pid;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &pid) || !get_int(env, values[1], &sending.signal))
        return NULL;
    /* 0 and -1 are not one process or group, but all that may be signalled. */
    if (pid == 0 || pid == -1) return throw_errno(env, EINVAL, "kill");
    sending.pid = pid;
    int error = real_uid(pid, &sending.uid);
    if (error != 0) return throw_errno(env, error, "kill");
    pthread_t thread;
    error = pthread_create(&thread, NULL, send_as, &sending);
    if (error == 0) error = pthread_join(thread, NULL);
    if (error == 0) error = sending.error;
    return error == 0 ? NULL : throw_errno(env, error, "kill");
}

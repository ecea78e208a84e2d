/*
 * castellan-launch SOCKET: becomes a confined command, or makes one connection as such a command would. This file is the order of the steps; each is irreversible or
 * ends the launch, and what went wrong is written to the supervisor before the process ends.
 */
#include "launch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int supervisor = -1;

_Noreturn void fail(enum step step, const char *object) {
    int error = errno;
    struct {
        uint32_t step;
        int32_t error;
        char object[255];
    } record = {.step = step, .error = error};
    size_t length = object == NULL ? 0 : strnlen(object, sizeof record.object);
    if (length > 0) memcpy(record.object, object, length);
    if (supervisor >= 0) {
        /* The supervisor takes a missing record for success only at an execve; our exit status says otherwise. */
        ssize_t sent = send(supervisor, &record, offsetof(__typeof__(record), object) + length, MSG_NOSIGNAL);
        (void)sent;
    }
    _exit(125);
}

static const char *search_path(const struct spec *spec) {
    for (char **variable = spec->environment; *variable != NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0) return *variable + 5;
    return "";
}

/* Linux 6.14; every check of an execve without the execve. */
#define EXECVE_CHECK 0x10000

/* Returns only when it fails. */
static void become(const struct spec *spec, const char *path) {
    if (!spec->check_only) {
        execve(path, spec->arguments, spec->environment);
        return;
    }
    if (syscall(SYS_execveat, AT_FDCWD, path, spec->arguments, spec->environment, EXECVE_CHECK) == 0) _exit(0);
    if (errno != EINVAL) return;
    /* An older kernel: what may be opened and has the mode is what Landlock and the file system let run. */
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && access(path, X_OK) == 0) _exit(0);
}

/*
 * execvpe(3) with the child's own PATH. Only absolute elements count: an empty or relative one would mean the current
 * directory, which belongs to whoever filled it.
 */
static _Noreturn void execute(const struct spec *spec) {
    static char candidate[4096], refused[4096];
    const char *name = spec->arguments[0];
    if (strchr(name, '/') != NULL) {
        become(spec, name);
        fail(STEP_EXECUTE, name);
    }
    int worst = ENOENT;
    const char *path = search_path(spec);
    while (*path != '\0') {
        size_t length = strcspn(path, ":");
        if (path[0] == '/' && length + 1 + strlen(name) < sizeof candidate) {
            memcpy(candidate, path, length);
            candidate[length] = '/';
            strcpy(candidate + length + 1, name);
            become(spec, candidate);
            /* A file that is there but refused is the better answer than the directories after it that lack it. */
            if (errno != ENOENT && errno != ENOTDIR) {
                worst = errno;
                strcpy(refused, candidate);
            }
        }
        path += length + (path[length] == ':');
    }
    errno = worst;
    fail(STEP_EXECUTE, worst == ENOENT ? name : refused);
}

int main(int count, char **arguments) {
    static struct spec spec;
    pid_t parent = getppid();
    /* Whoever has the same uid must not look into the launcher, nor steer it, before it has given up anything. */
    if (count != 2 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return 125;
    supervisor = connect_supervisor(arguments[1]);
    if (supervisor < 0) return 125;

    receive_spec(supervisor, &spec);
    start_session(&spec);
    join_cgroup(&spec);
    enter_namespaces(&spec);
    make_mounts(&spec);
    if (spec.prepare_view) return 0;
    set_limits(&spec);
    set_groups(&spec);
    set_gid(&spec);
    clear_bounding_set();
    set_uid(&spec);
    refuse_regain();
    clear_capabilities();
    fix_privileges(parent);
    enter_directory(&spec);
    restrict_access(&spec);
    keep_descriptors(&spec, &supervisor);
    filter_system_calls(&spec);
    connect_target(&spec, supervisor);
    execute(&spec);
}

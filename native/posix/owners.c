/* Who holds a socket open, found in /proc (proc(5)). */
#include "posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A socket shared by more processes than this has no owner worth naming. */
#define MAX_OWNERS 256

struct search {
    struct job job;
    char link[48];
    char namespace_link[48];
    /* A process with more system call filters than these is one of the sandbox; -1 where nobody of it can hide. */
    int own_filters;
    size_t count;
    int owners[MAX_OWNERS];
};

static DIR *open_directory(int parent, const char *name) {
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return NULL;
    DIR *directory = fdopendir(descriptor);
    if (directory == NULL) close_quietly(descriptor);
    return directory;
}

static bool parse_id(const char *name, int *id) {
    char *end;
    long number = strtol(name, &end, 10);
    if (*name < '1' || *name > '9' || *end != '\0' || number > INT32_MAX) return false;
    *id = (int)number;
    return true;
}

static bool leads_to(int directory, const char *name, const char *wanted) {
    char target[48];
    ssize_t length = readlinkat(directory, name, target, sizeof target);
    return length == (ssize_t)strlen(wanted) && memcmp(target, wanted, (size_t)length) == 0;
}

static bool holds_socket(const struct search *search, int task) {
    DIR *descriptors = open_directory(task, "fd");
    if (descriptors == NULL) return false;
    bool found = false;
    const struct dirent *entry;
    while (!found && (entry = readdir(descriptors)) != NULL) {
        found = leads_to(dirfd(descriptors), entry->d_name, search->link);
    }
    closedir(descriptors);
    return found;
}

/* The text of the link will do: to follow it, the kernel would have to open the namespace. */
static bool in_namespace(const struct search *search, int task) {
    return leads_to(task, "ns/net", search->namespace_link);
}

/* The first number behind a label in the text of /proc/pid/status. */
static bool status_number(const char *text, const char *label, long long *number) {
    const char *line = strstr(text, label);
    return line != NULL && sscanf(line + strlen(label), "%lld", number) == 1;
}

/*
 * Whether a process has our uid, which nothing in the sandbox can change, and more system call filters than castellan, which nothing
 * can take off. Everybody may read that; what cannot be told counts as one of the sandbox.
 */
static bool is_of_sandbox(int process, int own_filters) {
    char text[4096];
    int file = openat(process, "status", O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno != ENOENT && errno != ESRCH;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0) return errno != ESRCH;
    text[length] = '\0';
    long long uid, filters;
    if (!status_number(text, "\nUid:", &uid) || !status_number(text, "\nSeccomp_filters:", &filters)) return true;
    return uid == (long long)getuid() && filters > own_filters;
}

/*
 * A process that is not dumpable shows nothing to who merely has its uid. One of the sandbox could use such a connection beside
 * a program that has rights: nobody is told to own it then.
 */
static bool hides(const struct search *search, int task) {
    char target[48];
    if (search->own_filters < 0 || readlinkat(task, "ns/net", target, sizeof target) >= 0) return false;
    return (errno == EACCES || errno == EPERM) && is_of_sandbox(task, search->own_filters);
}

/*
 * Threads share one table of descriptors unless they asked for their own (unshare(2) CLONE_FILES), which would be
 * a way to hide a socket from a look at the first thread only.
 */
static bool process_holds_socket(struct search *search, int pid, DIR *tasks) {
    bool first = true;
    const struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL) {
        int thread;
        if (!parse_id(entry->d_name, &thread)) continue;
        if (!first && syscall(SYS_kcmp, pid, thread, KCMP_FILES, 0, 0) == 0) continue;
        int task = openat(dirfd(tasks), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (task < 0) continue;
        bool found = in_namespace(search, task) && holds_socket(search, task);
        if (!found && hides(search, task)) job_failed(&search->job, EACCES, "readlinkat");
        close(task);
        if (found) return true;
        if (thread == pid) first = false;
    }
    return false;
}

static void run_search(struct job *job) {
    struct search *search = (struct search *)job;
    DIR *processes = open_directory(AT_FDCWD, "/proc");
    if (processes == NULL) return job_failed(job, errno, "opendir");
    const struct dirent *entry;
    while (job->error == 0 && (entry = readdir(processes)) != NULL) {
        int pid;
        char path[32];
        if (!parse_id(entry->d_name, &pid)) continue;
        snprintf(path, sizeof path, "%d/task", pid);
        DIR *tasks = open_directory(dirfd(processes), path);
        if (tasks == NULL) continue;
        if (process_holds_socket(search, pid, tasks)) {
            if (search->count == MAX_OWNERS)
                job_failed(job, E2BIG, "readdir");
            else
                search->owners[search->count++] = pid;
        }
        closedir(tasks);
    }
    closedir(processes);
}

static napi_value found_owners(napi_env env, struct job *job) {
    const struct search *search = (const struct search *)job;
    return make_int_array(env, search->owners, search->count);
}

static void discard_search(struct job *job) {
    free(job);
}

napi_value socket_owners(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    char socket[24];
    char namespace[24];
    int own_filters;
    if (!arguments(env, info, 3, values) || !get_text(env, values[0], socket, sizeof socket) ||
        !get_text(env, values[1], namespace, sizeof namespace) || !get_int(env, values[2], &own_filters))
        return NULL;
    struct search *search = calloc(1, sizeof *search);
    if (search == NULL) return throw_errno(env, ENOMEM, "calloc");
    search->job = (struct job){run_search, found_owners, discard_search, 0, NULL, NULL, NULL};
    search->own_filters = own_filters;
    snprintf(search->namespace_link, sizeof search->namespace_link, "net:[%s]", namespace);
    snprintf(search->link, sizeof search->link, "socket:[%s]", socket);
    return start_job(env, &search->job, "socketOwners");
}

/* A process and those that it descends from, as /proc shows them (proc(5)). */
#include "posix.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper chains no person reads and no rule needs; a longer one loses its far end, and with it only rights. */
#define MAX_ENTRIES 65
/* The number of fields between the state and the start time of /proc/pid/stat. */
#define FIELDS_TO_START_TIME 19

struct entry {
    int pid;
    int parent;
    char start_time[24];
    char executable[PATH_MAX];
    char fingerprint[5 * 21 + 1];
};

struct lineage {
    struct job job;
    int supervisor;
    size_t count;
    struct entry entries[MAX_ENTRIES];
};

/* The command name is the process's own choice and may hold anything: fields are counted from the last parenthesis. */
static bool parse_status(const char *text, struct entry *entry) {
    const char *field = strrchr(text, ')');
    if (field == NULL || sscanf(field, ") %*c %d", &entry->parent) != 1 || entry->parent < 0) return false;
    field += 2;
    for (int i = 0; i < FIELDS_TO_START_TIME; i++) {
        field = strchr(field, ' ');
        if (field == NULL) return false;
        field++;
    }
    return sscanf(field, "%20[0-9]", entry->start_time) == 1;
}

/* 0 or an errno. */
static int read_status(int process, struct entry *entry) {
    char text[1024];
    int file = openat(process, "stat", O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno;
    ssize_t length = read(file, text, sizeof text - 1);
    int error = length < 0 ? errno : 0;
    close(file);
    if (error != 0) return error;
    text[length] = '\0';
    return parse_status(text, entry) ? 0 : EPROTO;
}

static int read_executable(int process, struct entry *entry) {
    ssize_t length = readlinkat(process, "exe", entry->executable, sizeof entry->executable);
    if (length < 0) return errno;
    if (length == sizeof entry->executable) return ENAMETOOLONG;
    struct stat status;
    if (fstatat(process, "exe", &status, 0) != 0) return errno;
    snprintf(entry->fingerprint, sizeof entry->fingerprint, "%ju:%ju:%jd:%" PRId64 ":%" PRId64,
             (uintmax_t)status.st_dev, (uintmax_t)status.st_ino, (intmax_t)status.st_size,
             (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec,
             (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec);
    return 0;
}

/* Everything through one descriptor of the process: what comes under its number later is never mixed in. */
static int read_process(int pid, struct entry *entry, bool with_executable) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", pid);
    int process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process < 0) return errno;
    entry->pid = pid;
    int error = read_status(process, entry);
    if (error == 0 && with_executable) error = read_executable(process, entry);
    close(process);
    return error;
}

static void run_lineage(struct job *job) {
    struct lineage *lineage = (struct lineage *)job;
    struct entry supervisor;
    int error = read_process(lineage->supervisor, &supervisor, false);
    if (error != 0) return job_failed(job, error, "stat of the supervisor");
    int pid = lineage->entries[0].pid;
    /* A parent of 0 lies outside our pid namespace. The supervisor's own parent is the init that adopts orphans. */
    do {
        struct entry *entry = &lineage->entries[lineage->count];
        error = read_process(pid, entry, true);
        if (error != 0) return job_failed(job, error, "stat");
        lineage->count++;
        pid = entry->parent;
    } while (pid > 1 && pid != lineage->supervisor && pid != supervisor.parent && lineage->count < MAX_ENTRIES);
}

static napi_value found_lineage(napi_env env, struct job *job) {
    const struct lineage *lineage = (const struct lineage *)job;
    napi_value result = NULL;
    if (napi_create_array_with_length(env, lineage->count, &result) != napi_ok) return NULL;
    for (size_t i = 0; i < lineage->count; i++) {
        const struct entry *entry = &lineage->entries[i];
        napi_value object = NULL;
        if (napi_create_object(env, &object) != napi_ok) return NULL;
        set_property(env, object, "pid", make_int(env, entry->pid));
        set_property(env, object, "startTime", make_text(env, entry->start_time));
        set_property(env, object, "executable", make_text(env, entry->executable));
        set_property(env, object, "fingerprint", make_text(env, entry->fingerprint));
        napi_set_element(env, result, (uint32_t)i, object);
    }
    return result;
}

static void discard_lineage(struct job *job) {
    free(job);
}

napi_value lineage_of(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int pid;
    int supervisor;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &pid) || !get_int(env, values[1], &supervisor))
        return NULL;
    struct lineage *lineage = calloc(1, sizeof *lineage);
    if (lineage == NULL) return throw_errno(env, ENOMEM, "calloc");
    lineage->job = (struct job){run_lineage, found_lineage, discard_lineage, 0, NULL, NULL, NULL};
    lineage->supervisor = supervisor;
    lineage->entries[0].pid = pid;
    return start_job(env, &lineage->job, "lineage");
}

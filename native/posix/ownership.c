/* ownTree: gives a directory and what is below it to one owner, on the pool and on threads of its own. */
#include "ownership.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const count_names[COUNTS] = {
    [COUNT_SEEN] = "seen",
    [COUNT_CHANGED] = "changed",
    [COUNT_MOUNTS] = "mounts",
    [COUNT_READ_ONLY_MOUNTS] = "readOnlyMounts",
    [COUNT_READ_ONLY] = "readOnly",
    [COUNT_LINKED] = "linked",
    [COUNT_DEVICES] = "devices",
    [COUNT_MOVED] = "moved",
};

static void fail_at_root(struct ownership *ownership, int error, const char *call) {
    if (ownership->failure != 0) return;
    ownership->failure = error;
    ownership->failed_call = call;
}

/* Takes part itself, so that threads which could not be made only cost time. */
static void run_threads(struct ownership *ownership) {
    pthread_t threads[MAX_THREADS];
    int started = 0;
    sigset_t all, before;
    /* Node's handlers belong on Node's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < ownership->threads - 1 && pthread_create(&threads[started], NULL, walk_tree, ownership) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    walk_tree(ownership);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    /* What a failure left lying, or nobody had the memory to begin. */
    for (size_t i = 0; i < ownership->waiting_count; i++) {
        struct task *task = &ownership->waiting[i];
        close_quietly(task->directory);
        free(task->path);
        if (!ownership->tree.stopped) fail_at_root(ownership, ENOMEM, "malloc");
    }
}

/*
 * The root comes last: until everything below it is done it shows who had the tree before, which the rule about hard links
 * goes by, so that a start that was cut short is completed by the next one.
 */
static void run_ownership(struct job *job) {
    struct ownership *ownership = (struct ownership *)job;
    struct tree *tree = &ownership->tree;
    struct statx facts;
    if (look(tree->root, "", &facts) != 0) return fail_at_root(ownership, errno, "statx");
    tree->place = place_of(&facts);
    tree->previous_uid = facts.stx_uid;
    char *path = strdup("");
    int directory = openat(tree->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || path == NULL) {
        fail_at_root(ownership, errno, "openat");
        close_quietly(directory);
        free(path);
        return;
    }
    ownership->waiting[ownership->waiting_count++] = (struct task){directory, tree->place, tree->place, true, false, 0, path};
    run_threads(ownership);
    if (ownership->failure != 0 || tree->stopped) return;
    const char *call = "statx";
    int error = look(tree->root, "", &facts) == 0 ? 0 : errno;
    ownership->counts[COUNT_SEEN]++;
    if (error == 0 && judge(tree, &facts, ownership->counts) == VERDICT_CHANGE)
        error = change_owner(tree, tree->root, &facts, ownership->counts, &call);
    if (error != 0) fail_at_root(ownership, error, call);
}

static napi_value ownership_result(napi_env env, struct job *job) {
    const struct ownership *ownership = (const struct ownership *)job;
    napi_value result = NULL;
    if (napi_create_object(env, &result) != napi_ok) return NULL;
    for (size_t i = 0; i < COUNTS; i++) {
        napi_value number = NULL;
        napi_create_double(env, (double)ownership->counts[i], &number);
        set_property(env, result, count_names[i], number);
    }
    if (ownership->failure == 0) return result;
    const char *code = strerrorname_np(ownership->failure);
    napi_value failure = NULL;
    if (napi_create_object(env, &failure) != napi_ok) return NULL;
    set_property(env, failure, "code", make_text(env, code != NULL ? code : "EUNKNOWN"));
    set_property(env, failure, "syscall", make_text(env, ownership->failed_call));
    set_property(env, failure, "path", make_text(env, ownership->failed_path));
    set_property(env, result, "failure", failure);
    return result;
}

static void discard_ownership(struct job *job) {
    struct ownership *ownership = (struct ownership *)job;
    close_quietly(ownership->tree.root);
    pthread_mutex_destroy(&ownership->mutex);
    pthread_cond_destroy(&ownership->changed);
    free(ownership);
}

static bool get_id(napi_env env, napi_value value, uint32_t *id) {
    uint64_t number;
    if (!get_uint64(env, value, &number)) return false;
    /* -1 means "unchanged" to the kernel. */
    if (number < UINT32_MAX) {
        *id = (uint32_t)number;
        return true;
    }
    type_error(env, "not an id");
    return false;
}

napi_value own_tree(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int descriptor, threads, survey;
    uint32_t uid, gid;
    if (!arguments(env, info, 5, values) || !get_int(env, values[0], &descriptor) || !get_id(env, values[1], &uid) ||
        !get_id(env, values[2], &gid) || !get_int(env, values[3], &threads) || !get_int(env, values[4], &survey))
        return NULL;
    struct ownership *ownership = calloc(1, sizeof *ownership);
    if (ownership == NULL) return throw_errno(env, ENOMEM, "calloc");
    ownership->job = (struct job){run_ownership, ownership_result, discard_ownership, 0, NULL, NULL, NULL};
    ownership->tree.uid = uid;
    ownership->tree.gid = gid;
    ownership->tree.survey = survey != 0;
    ownership->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
    pthread_mutex_init(&ownership->mutex, NULL);
    pthread_cond_init(&ownership->changed, NULL);
    ownership->tree.root = duplicate(descriptor);
    if (ownership->tree.root < 0) {
        throw_errno(env, errno, "fcntl");
        discard_ownership(&ownership->job);
        return NULL;
    }
    return start_job(env, &ownership->job, "ownTree");
}

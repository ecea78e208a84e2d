/*
 * Walks a tree with several threads. Nothing is ever found by a path from the root of the file system: a directory is
 * opened below its parent's descriptor without following links, and known again by its inode, so that whoever renames
 * and replaces while we walk can hide entries from us but not send us elsewhere.
 */
#include "ownership.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each thread keeps this many directories of its way down open; the older ones are found again by "..". */
#define OPEN_FRAMES 24
/* About 1500 entries a call. */
#define BATCH_BYTES 65536
/* Names of directories yet to be entered. Who fills a disk with long names must not fill the supervisor's memory. */
#define MAX_NAME_BYTES (256u << 20)

struct frame {
    /* -1: closed to save descriptors, or lost because it was moved away. */
    int directory;
    struct place place;
    struct place parent;
    bool is_root;
    /* Another's: held from the first entry on where that can be, see hold_directory(), and changed once it is read. */
    bool to_change, tried_to_hold, held;
    mode_t mode;
    /* In the names of the frame before, or the task's. */
    const char *name;
    /* Subdirectories, each ended by NUL; entered in order. */
    char *names;
    size_t used, capacity, next;
};

struct worker {
    struct ownership *ownership;
    struct frame *frames;
    size_t depth, capacity;
    uint64_t counts[COUNTS];
    /* The last entry had to be changed. */
    bool expect_change;
    char batch[BATCH_BYTES] __attribute__((aligned(8)));
};

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static struct frame *top(struct worker *worker) {
    return &worker->frames[worker->depth - 1];
}

/* The path below the tree's root of `name` in the top directory; cut where it is longer than anybody reads. */
static void tell_path(const struct worker *worker, const char *name, char *path, size_t capacity) {
    size_t length = 0;
    path[0] = '\0';
    for (size_t i = 0; i <= worker->depth; i++) {
        const char *part = i < worker->depth ? worker->frames[i].name : name;
        if (*part == '\0') continue;
        int more = snprintf(path + length, capacity - length, "%s%s", length > 0 ? "/" : "", part);
        if (more < 0 || (size_t)more >= capacity - length) return;
        length += (size_t)more;
    }
}

/* The first failure is told; everybody stops. */
static bool failed(struct worker *worker, int error, const char *call, const char *name) {
    struct ownership *ownership = worker->ownership;
    pthread_mutex_lock(&ownership->mutex);
    if (ownership->failure == 0) {
        ownership->failure = error;
        ownership->failed_call = call;
        tell_path(worker, name, ownership->failed_path, sizeof ownership->failed_path);
    }
    atomic_store(&ownership->tree.stopped, true);
    pthread_cond_broadcast(&ownership->changed);
    pthread_mutex_unlock(&ownership->mutex);
    return false;
}

static bool stopped(const struct worker *worker) {
    return atomic_load_explicit(&worker->ownership->tree.stopped, memory_order_relaxed);
}

/* A directory that was moved away while we are in it may be anybody's by now. */
static bool is_in_place(int directory, bool is_root, const struct place *parent) {
    struct statx facts;
    if (is_root) return true;
    if (look(directory, "..", &facts) != 0) return false;
    struct place found = place_of(&facts);
    return same_place(&found, parent);
}

static void forget_names(struct worker *worker, struct frame *frame) {
    atomic_fetch_sub(&worker->ownership->name_bytes, frame->capacity);
    free(frame->names);
    frame->names = NULL;
    frame->used = frame->capacity = frame->next = 0;
}

static bool remember_name(struct worker *worker, struct frame *frame, const char *name) {
    size_t length = strlen(name) + 1;
    if (frame->capacity - frame->used < length) {
        size_t more = frame->capacity + length + 256;
        if (atomic_fetch_add(&worker->ownership->name_bytes, more) + more > MAX_NAME_BYTES) {
            atomic_fetch_sub(&worker->ownership->name_bytes, more);
            return failed(worker, E2BIG, "getdents64", name);
        }
        char *grown = realloc(frame->names, frame->capacity + more);
        if (grown == NULL) return failed(worker, ENOMEM, "realloc", name);
        frame->names = grown;
        frame->capacity += more;
    }
    memcpy(frame->names + frame->used, name, length);
    frame->used += length;
    return true;
}

/* Where little is to be changed, a look is cheaper than the descriptor that a change needs; where much is, it is one call more. */
static bool visit_other(struct worker *worker, struct frame *frame, const char *name) {
    struct tree *tree = &worker->ownership->tree;
    const char *call = "statx";
    if (frame->to_change && !frame->tried_to_hold) {
        frame->tried_to_hold = true;
        frame->held = hold_directory(tree, frame->directory, frame->mode);
    }
    struct statx facts;
    if (frame->held || !worker->expect_change) {
        if (look(frame->directory, name, &facts) != 0) {
            if (errno != ENOENT) return failed(worker, errno, call, name);
            worker->counts[COUNT_MOVED]++;
            return true;
        }
        if (is_right(tree, &facts)) {
            worker->counts[COUNT_SEEN]++;
            return true;
        }
    }
    uint64_t changed = worker->counts[COUNT_CHANGED];
    int error = frame->held ? change_held_entry(tree, frame->directory, name, &facts, worker->counts, &call)
                            : change_entry(tree, frame->directory, name, worker->counts, &call);
    worker->expect_change = worker->counts[COUNT_CHANGED] != changed;
    return error == 0 || failed(worker, error, call, name);
}

static bool visit(struct worker *worker, struct frame *frame, const struct directory_entry *entry) {
    /* Counted, judged and changed when it is entered. */
    if (entry->type == DT_DIR) return remember_name(worker, frame, entry->name);
    if (entry->type != DT_UNKNOWN) return visit_other(worker, frame, entry->name);
    struct statx facts;
    bool is_directory = look(frame->directory, entry->name, &facts) == 0 && S_ISDIR(facts.stx_mode);
    return is_directory ? remember_name(worker, frame, entry->name) : visit_other(worker, frame, entry->name);
}

static bool is_self_or_parent(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool change_directory(struct worker *worker, struct frame *frame) {
    struct tree *tree = &worker->ownership->tree;
    const struct statx directory = {.stx_mode = S_IFDIR};
    const char *call = "";
    if (!frame->to_change) return true;
    int error = change_owner(tree, frame->directory, &directory, worker->counts, &call);
    return error == 0 || failed(worker, error, call, "");
}

static bool read_entries(struct worker *worker, struct frame *frame) {
    for (;;) {
        ssize_t length = getdents64(frame->directory, worker->batch, sizeof worker->batch);
        /* Removed while we were in it. */
        if (length < 0 && errno != ENOENT) return failed(worker, errno, "getdents64", "");
        if (length <= 0) return true;
        if (!is_in_place(frame->directory, frame->is_root, &frame->parent)) {
            worker->counts[COUNT_MOVED]++;
            forget_names(worker, frame);
            return true;
        }
        for (ssize_t at = 0; at < length;) {
            const struct directory_entry *entry = (const struct directory_entry *)(worker->batch + at);
            at += entry->length;
            if (stopped(worker)) return false;
            if (!is_self_or_parent(entry->name) && !visit(worker, frame, entry)) return false;
        }
    }
}

/* Changes what is in the top directory, and notes its subdirectories. */
static bool read_top(struct worker *worker) {
    struct frame *frame = top(worker);
    bool read = read_entries(worker, frame);
    return change_directory(worker, frame) && read;
}

/* A directory's descriptor can be got again from the one below it; only the first has none below that is sure to stay. */
static void save_descriptors(struct worker *worker) {
    if (worker->depth <= OPEN_FRAMES + 1) return;
    struct frame *old = &worker->frames[worker->depth - 1 - OPEN_FRAMES];
    close_quietly(old->directory);
    old->directory = -1;
}

static bool push(struct worker *worker, const struct frame *frame) {
    if (worker->depth == worker->capacity) {
        size_t capacity = worker->capacity * 2 + 64;
        struct frame *grown = realloc(worker->frames, capacity * sizeof *grown);
        if (grown == NULL) {
            close_quietly(frame->directory);
            return failed(worker, ENOMEM, "realloc", frame->name);
        }
        worker->frames = grown;
        worker->capacity = capacity;
    }
    worker->frames[worker->depth++] = *frame;
    save_descriptors(worker);
    return true;
}

static void pop(struct worker *worker) {
    struct frame *frame = top(worker);
    struct frame *parent = worker->depth > 1 ? frame - 1 : NULL;
    if (parent != NULL && parent->directory < 0 && !stopped(worker)) {
        struct statx facts;
        int found = frame->directory < 0 ? -1 : openat(frame->directory, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (found >= 0 && look(found, "", &facts) == 0) {
            struct place place = place_of(&facts);
            if (same_place(&place, &parent->place)) {
                parent->directory = found;
                found = -1;
            }
        }
        close_quietly(found);
        if (parent->directory < 0) {
            worker->counts[COUNT_MOVED]++;
            parent->next = parent->used;
        }
    }
    close_quietly(frame->directory);
    forget_names(worker, frame);
    worker->depth--;
}

/* Hands a directory to a thread that has nothing to do; false when all are busy. */
static bool hand_over(struct worker *worker, const struct frame *frame) {
    struct ownership *ownership = worker->ownership;
    if (atomic_load_explicit(&ownership->idle, memory_order_relaxed) == 0) return false;
    char path[MAX_MESSAGE_PATH];
    tell_path(worker, frame->name, path, sizeof path);
    struct task task = {frame->directory, frame->place, frame->parent, false, frame->to_change, frame->mode, strdup(path)};
    if (task.path == NULL) return false;
    pthread_mutex_lock(&ownership->mutex);
    bool taken = ownership->waiting_count < MAX_WAITING && (int)ownership->waiting_count < ownership->idle;
    if (taken) {
        ownership->waiting[ownership->waiting_count++] = task;
        pthread_cond_signal(&ownership->changed);
    }
    pthread_mutex_unlock(&ownership->mutex);
    if (!taken) free(task.path);
    return taken;
}

static int open_directory(int parent, const char *name) {
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int descriptor = openat(parent, name, flags | O_NOATIME);
    /* Only owners, and who has CAP_FOWNER, may read without a trace. */
    return descriptor < 0 && errno == EPERM ? openat(parent, name, flags) : descriptor;
}

/* Goes down into a subdirectory, or lets another thread. */
static bool enter(struct worker *worker, const char *name) {
    struct tree *tree = &worker->ownership->tree;
    struct frame *parent = top(worker);
    if (!is_in_place(parent->directory, parent->is_root, &parent->parent)) {
        worker->counts[COUNT_MOVED]++;
        parent->next = parent->used;
        return true;
    }
    struct frame frame = {.directory = open_directory(parent->directory, name), .name = name, .parent = parent->place};
    if (frame.directory < 0) {
        /* Gone, or no directory any more. */
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return failed(worker, errno, "openat", name);
        worker->counts[COUNT_MOVED]++;
        return true;
    }
    struct statx facts;
    const char *call = "statx";
    int error = look(frame.directory, "", &facts) == 0 ? 0 : errno;
    if (error == 0) {
        frame.place = place_of(&facts);
        enum verdict verdict = judge(tree, &facts, worker->counts);
        if (verdict == VERDICT_MOUNT) {
            count_mount(frame.directory, worker->counts);
            close_quietly(frame.directory);
            return true;
        }
        worker->counts[COUNT_SEEN]++;
        frame.to_change = verdict == VERDICT_CHANGE;
        frame.mode = facts.stx_mode;
    }
    if (error != 0) {
        close_quietly(frame.directory);
        return failed(worker, error, call, name);
    }
    if (hand_over(worker, &frame)) return true;
    return push(worker, &frame) && read_top(worker);
}

static void walk(struct worker *worker, const struct task *task) {
    struct frame base = {
        .directory = task->directory,
        .place = task->place,
        .parent = task->parent,
        .is_root = task->is_root,
        .to_change = task->to_change,
        .mode = task->mode,
        .name = task->path,
    };
    if (push(worker, &base)) read_top(worker);
    while (worker->depth > 0) {
        struct frame *frame = top(worker);
        if (stopped(worker) || frame->next == frame->used) {
            pop(worker);
            continue;
        }
        const char *name = frame->names + frame->next;
        frame->next += strlen(name) + 1;
        enter(worker, name);
    }
    free(task->path);
}

/* Waits for a directory to walk; false when there is none left, and nobody who could find one. */
static bool next_task(struct ownership *ownership, struct task *task) {
    while (ownership->waiting_count == 0 && ownership->working > 0 && !ownership->tree.stopped) {
        atomic_fetch_add(&ownership->idle, 1);
        pthread_cond_wait(&ownership->changed, &ownership->mutex);
        atomic_fetch_sub(&ownership->idle, 1);
    }
    if (ownership->waiting_count == 0 || ownership->tree.stopped) return false;
    *task = ownership->waiting[--ownership->waiting_count];
    return true;
}

void *walk_tree(void *data) {
    struct ownership *ownership = data;
    struct worker *worker = calloc(1, sizeof *worker);
    struct task task;
    /* The others go on; run_ownership() sees to it that somebody did. */
    if (worker == NULL) return NULL;
    worker->ownership = ownership;
    pthread_mutex_lock(&ownership->mutex);
    while (next_task(ownership, &task)) {
        ownership->working++;
        pthread_mutex_unlock(&ownership->mutex);
        walk(worker, &task);
        pthread_mutex_lock(&ownership->mutex);
        ownership->working--;
    }
    for (size_t i = 0; i < COUNTS; i++) ownership->counts[i] += worker->counts[i];
    pthread_cond_broadcast(&ownership->changed);
    pthread_mutex_unlock(&ownership->mutex);
    free(worker->frames);
    free(worker);
    return NULL;
}

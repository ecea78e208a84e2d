/* Giving a tree to one owner: ownership.c is the job, ownership_walk.c its threads, ownership_entry.c judges and changes one inode. */
#ifndef CASTELLAN_OWNERSHIP_H
#define CASTELLAN_OWNERSHIP_H

#include "posix.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

/* More threads than this only wait for the file system's journal. */
#define MAX_THREADS 8
/* Directories handed over wait here, each with a descriptor: with all threads about 230, far below a limit of 1024. */
#define MAX_WAITING MAX_THREADS
#define MAX_MESSAGE_PATH 1024

/* What is left alone, and why, is counted apart: each number is a fact in the audit log. */
enum count {
    COUNT_SEEN,
    COUNT_CHANGED,
    COUNT_MOUNTS,
    COUNT_READ_ONLY_MOUNTS,
    COUNT_READ_ONLY,
    COUNT_LINKED,
    COUNT_DEVICES,
    COUNT_MOVED,
    COUNTS,
};

/* An inode as it can be known again; the time of birth tells it from a later one with the same number. */
struct place {
    uint64_t inode;
    int64_t born_seconds;
    uint32_t born_nanoseconds;
    uint32_t device_major, device_minor;
    uint64_t mount;
};

struct tree {
    int root;
    uid_t uid;
    gid_t gid;
    /* Only counts what would change, and ends at the first. */
    bool survey;
    struct place place;
    /* Of the root, before it is changed. */
    uid_t previous_uid;
    /* Everybody stops: something failed, or the survey has its answer. */
    atomic_bool stopped;
};

/* A directory that is open and judged, but neither changed nor read. */
struct task {
    int directory;
    struct place place;
    struct place parent;
    bool is_root;
    bool to_change;
    mode_t mode;
    char *path;
};

struct ownership {
    struct job job;
    struct tree tree;
    int threads;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct task waiting[MAX_WAITING];
    size_t waiting_count;
    int working;
    atomic_int idle;
    atomic_size_t name_bytes;
    uint64_t counts[COUNTS];
    int failure;
    const char *failed_call;
    char failed_path[MAX_MESSAGE_PATH];
};

enum verdict { VERDICT_RIGHT, VERDICT_CHANGE, VERDICT_MOUNT, VERDICT_LEAVE };

/* statx(2) of `name` below `directory`, or of the descriptor itself when the name is empty. Never follows, never mounts. */
int look(int directory, const char *name, struct statx *facts);

struct place place_of(const struct statx *facts);
bool same_place(const struct place *one, const struct place *other);

/* On the tree's mount, and its owner's already. */
bool is_right(const struct tree *tree, const struct statx *facts);

/* What is to be done with an inode; counts what is left alone. */
enum verdict judge(const struct tree *tree, const struct statx *facts, uint64_t *counts);

/*
 * Gives the inode behind `descriptor` to the tree's owner, when judge() of these very facts said so. 0, or errno with
 * `syscall` set. EROFS is no failure but counted.
 */
int change_owner(struct tree *tree, int descriptor, const struct statx *facts, uint64_t *counts, const char **syscall);

/*
 * Takes a directory that is to be changed for root while its entries are: nobody else can then put anything under the names
 * that were judged, which saves a descriptor for each. False where the mode lets others in, or the file system refuses;
 * nothing is lost, because the directory is still to be changed.
 */
bool hold_directory(const struct tree *tree, int descriptor, mode_t mode);

/* Changes a name in a held directory that was judged by `facts`. */
int change_held_entry(struct tree *tree, int directory, const char *name, const struct statx *facts, uint64_t *counts,
                      const char **syscall);

/* The same for a name in a directory that is not held, and that is no directory; the inode is held and judged again, so that it is the one that is changed. */
int change_entry(struct tree *tree, int directory, const char *name, uint64_t *counts, const char **syscall);

/* A thread of the walk; `data` is the struct ownership, whose first waiting task is the root. */
void *walk_tree(void *data);

/* Counts the mount that the descriptor is on. */
void count_mount(int descriptor, uint64_t *counts);

#endif

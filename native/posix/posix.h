/* What the files of posix.node share: reading arguments, throwing system errors, running work on libuv's pool. */
#ifndef CASTELLAN_POSIX_H
#define CASTELLAN_POSIX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NAPI_VERSION 8

#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_ARGUMENTS 6
/* The kernel's SCM_MAX_FD: no message can carry more descriptors. */
#define MAX_PER_MESSAGE 253

/* Reads exactly `count` arguments; false means that an exception is pending. */
bool arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values);

/* Each throws a TypeError and gives false when the value has another type or does not fit. */
bool get_int(napi_env env, napi_value value, int *result);
bool get_uint64(napi_env env, napi_value value, uint64_t *result);
bool get_text(napi_env env, napi_value value, char *result, size_t capacity);

napi_value type_error(napi_env env, const char *message);

/* Throws an Error with `code` and `syscall`; always gives NULL, for `return throw_errno(…)`. */
napi_value throw_errno(napi_env env, int error, const char *syscall);

napi_value make_int(napi_env env, int value);
napi_value make_text(napi_env env, const char *text);
void set_property(napi_env env, napi_value object, const char *name, napi_value value);
napi_value make_int_array(napi_env env, const int *values, size_t count);
napi_value make_bytes(napi_env env, const void *data, size_t length);

/* close(2) that keeps errno and passes over -1, for paths that already failed. */
void close_quietly(int descriptor);
void close_all(const int *descriptors, size_t count);

/* A copy for the pool, so that the caller may close its own; close-on-exec. -1 and errno. */
int duplicate(int descriptor);

/*
 * One piece of work for the pool. Embedded as the first member of the struct that carries its data, which is
 * allocated with calloc and freed by `discard`.
 */
struct job {
    /* Pool thread: sets `error` and `syscall` on failure. */
    void (*run)(struct job *job);
    /* Main thread, after success: the value to resolve with. It hands on whatever the job received. */
    napi_value (*result)(napi_env env, struct job *job);
    /* Main thread, always and last: closes what the job still owns and frees it. */
    void (*discard)(struct job *job);
    int error;
    const char *syscall;
    napi_async_work work;
    napi_deferred deferred;
};

/* Starts the job, or discards it and throws. Gives the promise. */
napi_value start_job(napi_env env, struct job *job, const char *name);

void job_failed(struct job *job, int error, const char *syscall);

/* Absolute time in milliseconds on the monotonic clock. */
int64_t now_ms(void);

/* poll(2) on one descriptor until `deadline`; 0, or an errno (ETIMEDOUT at the deadline). */
int wait_for(int descriptor, short events, int64_t deadline);

/* Sends up to MAX_PER_MESSAGE with one byte of payload, without waiting; 0 or an errno. */
int send_row(int socket, const int *descriptors, size_t count);

napi_value adopt_listener(napi_env env, napi_callback_info info);
napi_value connected(napi_env env, napi_callback_info info);
napi_value close_descriptor(napi_env env, napi_callback_info info);
napi_value follow_in_root(napi_env env, napi_callback_info info);
napi_value kill_scope(napi_env env, napi_callback_info info);
napi_value can_map_ids(napi_env env, napi_callback_info info);
napi_value map_ids(napi_env env, napi_callback_info info);
napi_value landlock_abi(napi_env env, napi_callback_info info);
napi_value lineage_of(napi_env env, napi_callback_info info);
napi_value listen_unix(napi_env env, napi_callback_info info);
napi_value make_directory_at(napi_env env, napi_callback_info info);
napi_value make_pipe(napi_env env, napi_callback_info info);
napi_value send_datagram(napi_env env, napi_callback_info info);
napi_value make_raw(napi_env env, napi_callback_info info);
napi_value open_at_2(napi_env env, napi_callback_info info);
napi_value original_destination(napi_env env, napi_callback_info info);
napi_value own_tree(napi_env env, napi_callback_info info);
napi_value peer_credentials(napi_env env, napi_callback_info info);
napi_value probe_datagram(napi_env env, napi_callback_info info);
napi_value reap(napi_env env, napi_callback_info info);
napi_value receive(napi_env env, napi_callback_info info);
napi_value receive_descriptors(napi_env env, napi_callback_info info);
napi_value scope_signals(napi_env env, napi_callback_info info);
napi_value send_descriptors(napi_env env, napi_callback_info info);
napi_value serve_connect(napi_env env, napi_callback_info info);
napi_value serve_launch(napi_env env, napi_callback_info info);
napi_value set_undumpable(napi_env env, napi_callback_info info);
napi_value signal_as_owner(napi_env env, napi_callback_info info);
napi_value socket_owners(napi_env env, napi_callback_info info);
napi_value socket_pair(napi_env env, napi_callback_info info);
napi_value reset_connection(napi_env env, napi_callback_info info);
napi_value spawn_into(napi_env env, napi_callback_info info);
napi_value splice_begin(napi_env env, napi_callback_info info);
napi_value splice_cancel(napi_env env, napi_callback_info info);
napi_value splice_start(napi_env env, napi_callback_info info);
napi_value splice_stop(napi_env env, napi_callback_info info);
napi_value splice_tunnel(napi_env env, napi_callback_info info);
napi_value take_descriptors(napi_env env, napi_callback_info info);
napi_value tcp_socket(napi_env env, napi_callback_info info);
napi_value watch_readable(napi_env env, napi_callback_info info);
napi_value watch_writable(napi_env env, napi_callback_info info);

#endif

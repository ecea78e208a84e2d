#include "posix.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

napi_value type_error(napi_env env, const char *message) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
    return NULL;
}

bool arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
    size_t given = count;
    if (napi_get_cb_info(env, info, &given, values, NULL, NULL) != napi_ok || given < count) {
        type_error(env, "too few arguments");
        return false;
    }
    return true;
}

/* Converting without a look at the value would silently truncate, and a wrong descriptor is a wrong file. */
static bool get_whole_number(napi_env env, napi_value value, double low, double high, double *result) {
    if (napi_get_value_double(env, value, result) != napi_ok || !(*result >= low && *result <= high) ||
        trunc(*result) != *result) {
        type_error(env, "not a whole number in range");
        return false;
    }
    return true;
}

bool get_int(napi_env env, napi_value value, int *result) {
    double number;
    if (!get_whole_number(env, value, INT32_MIN, INT32_MAX, &number)) return false;
    *result = (int)number;
    return true;
}

bool get_uint64(napi_env env, napi_value value, uint64_t *result) {
    double number;
    if (!get_whole_number(env, value, 0, 9007199254740991.0, &number)) return false;
    *result = (uint64_t)number;
    return true;
}

bool get_text(napi_env env, napi_value value, char *result, size_t capacity) {
    size_t length = 0;
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok || length >= capacity) {
        type_error(env, "not a string, or too long");
        return false;
    }
    if (napi_get_value_string_utf8(env, value, result, capacity, &length) != napi_ok || strlen(result) != length) {
        type_error(env, "a string with a NUL");
        return false;
    }
    return true;
}

static napi_value make_error(napi_env env, int error, const char *syscall) {
    const char *name = strerrorname_np(error);
    const char *description = strerrordesc_np(error);
    char message[160];
    if (name == NULL) name = "EUNKNOWN";
    snprintf(message, sizeof message, "%s: %s, %s", name, description != NULL ? description : "unknown error", syscall);
    napi_value result = NULL;
    if (napi_create_error(env, make_text(env, name), make_text(env, message), &result) != napi_ok) return NULL;
    set_property(env, result, "syscall", make_text(env, syscall));
    return result;
}

napi_value throw_errno(napi_env env, int error, const char *syscall) {
    napi_throw(env, make_error(env, error, syscall));
    return NULL;
}

napi_value make_int(napi_env env, int value) {
    napi_value result = NULL;
    napi_create_int32(env, value, &result);
    return result;
}

napi_value make_text(napi_env env, const char *text) {
    napi_value result = NULL;
    napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result);
    return result;
}

void set_property(napi_env env, napi_value object, const char *name, napi_value value) {
    napi_set_named_property(env, object, name, value);
}

napi_value make_int_array(napi_env env, const int *values, size_t count) {
    napi_value result = NULL;
    if (napi_create_array_with_length(env, count, &result) != napi_ok) return NULL;
    for (size_t i = 0; i < count; i++) napi_set_element(env, result, (uint32_t)i, make_int(env, values[i]));
    return result;
}

napi_value make_bytes(napi_env env, const void *data, size_t length) {
    void *memory = NULL;
    napi_value buffer = NULL;
    napi_value result = NULL;
    if (napi_create_arraybuffer(env, length, &memory, &buffer) != napi_ok) return NULL;
    if (length > 0) memcpy(memory, data, length);
    napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result);
    return result;
}

void close_quietly(int descriptor) {
    int saved = errno;
    if (descriptor >= 0) close(descriptor);
    errno = saved;
}

void close_all(const int *descriptors, size_t count) {
    for (size_t i = 0; i < count; i++) close_quietly(descriptors[i]);
}

int duplicate(int descriptor) {
    return fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int wait_for(int descriptor, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - now_ms();
        if (left <= 0) return ETIMEDOUT;
        struct pollfd waited = {.fd = descriptor, .events = events};
        int ready = poll(&waited, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (ready > 0) return waited.revents & POLLNVAL ? EBADF : 0;
        if (ready < 0 && errno != EINTR) return errno;
    }
}

void job_failed(struct job *job, int error, const char *syscall) {
    job->error = error;
    job->syscall = syscall;
}

static void execute_job(napi_env env, void *data) {
    (void)env;
    struct job *job = data;
    job->run(job);
}

static void complete_job(napi_env env, napi_status status, void *data) {
    struct job *job = data;
    if (status == napi_cancelled) job_failed(job, ECANCELED, "queue");
    napi_value value = NULL;
    if (job->error == 0) {
        value = job->result(env, job);
        if (value == NULL) job_failed(job, ENOMEM, "result");
    }
    if (job->error == 0)
        napi_resolve_deferred(env, job->deferred, value);
    else
        napi_reject_deferred(env, job->deferred, make_error(env, job->error, job->syscall));
    napi_delete_async_work(env, job->work);
    job->discard(job);
}

napi_value start_job(napi_env env, struct job *job, const char *name) {
    napi_value promise = NULL;
    napi_value label = make_text(env, name);
    if (napi_create_async_work(env, NULL, label, execute_job, complete_job, job, &job->work) != napi_ok) goto failed;
    if (napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
        napi_queue_async_work(env, job->work) != napi_ok) {
        napi_delete_async_work(env, job->work);
        goto failed;
    }
    return promise;
failed:
    job->discard(job);
    return throw_errno(env, ENOMEM, name);
}

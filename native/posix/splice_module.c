/* The tunnel relay for JavaScript: one relay is an external value, a tunnel a number, and the end of each one call. */
#include "posix.h"
#include "splice.h"

#include <stdlib.h>
#include <string.h>

/* Only what spliceStart() gave is taken for a relay. */
static const napi_type_tag RELAY_TAG = {0x8a6f0d7c51e94b23, 0x9d3e27b0c6f4a158};

/* Lives until the thread's last call has come and JavaScript has dropped the value. */
struct handle {
    struct relay relay;
    napi_threadsafe_function calls;
    struct place known;
    int64_t last_id;
    bool stopping;
    bool stopped;
    bool collected;
};

static void free_handle_when_unused(struct handle *handle) {
    if (handle->stopped && handle->collected) free(handle);
}

static void tunnel_ended(void *context, struct tunnel *tunnel) {
    struct handle *handle = context;
    /* It is refused only when the environment has ended, and with it everything that could be told. */
    napi_call_threadsafe_function(handle->calls, tunnel, napi_tsfn_nonblocking);
}

static void relay_stopped(void *context) {
    struct handle *handle = context;
    napi_release_threadsafe_function(handle->calls, napi_tsfn_release);
}

static napi_value make_number(napi_env env, double value) {
    napi_value result = NULL;
    napi_create_double(env, value, &result);
    return result;
}

static void tell_end(napi_env env, napi_value callback, const struct tunnel *tunnel) {
    static const char *const ends[] = {"closed", "broken", "idle", "half-idle", "cancelled"};
    const char *code = tunnel->error == 0 ? "" : strerrorname_np(tunnel->error);
    napi_value receiver = NULL;
    napi_value values[] = {
        make_number(env, (double)tunnel->id),
        make_text(env, ends[tunnel->end]),
        make_number(env, (double)tunnel->flows[CLIENT].given),
        make_number(env, (double)tunnel->flows[UPSTREAM].taken),
        make_text(env, tunnel->broken == CLIENT ? "client" : "upstream"),
        make_text(env, code != NULL ? code : "EUNKNOWN"),
    };
    napi_get_undefined(env, &receiver);
    napi_call_function(env, receiver, callback, sizeof values / sizeof *values, values, NULL);
}

/* Main thread, for each tunnel. Without an environment there is nobody left to tell. */
static void call_back(napi_env env, napi_value callback, void *context, void *data) {
    (void)context;
    struct tunnel *tunnel = data;
    place_leave(&tunnel->known);
    if (env != NULL) tell_end(env, callback, tunnel);
    free(tunnel);
}

static void stop(struct handle *handle) {
    if (handle->stopping) return;
    handle->stopping = true;
    relay_stop(&handle->relay);
}

static void environment_ends(void *data) {
    struct handle *handle = data;
    stop(handle);
    if (!handle->stopped) relay_join(&handle->relay);
    handle->stopped = true;
}

/* Main thread, after the last call: the thread has nothing left to do. */
static void calls_ended(napi_env env, void *data, void *hint) {
    (void)hint;
    struct handle *handle = data;
    handle->stopping = true;
    if (!handle->stopped) {
        napi_remove_env_cleanup_hook(env, environment_ends, handle);
        relay_join(&handle->relay);
        handle->stopped = true;
    }
    free_handle_when_unused(handle);
}

static void relay_collected(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    struct handle *handle = data;
    handle->collected = true;
    stop(handle);
    free_handle_when_unused(handle);
}

napi_value splice_start(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    uint64_t idle_ms[2];
    napi_valuetype type;
    napi_value result = NULL;
    if (!arguments(env, info, 3, values) || !get_uint64(env, values[0], &idle_ms[0]) ||
        !get_uint64(env, values[1], &idle_ms[1]))
        return NULL;
    if (napi_typeof(env, values[2], &type) != napi_ok || type != napi_function)
        return type_error(env, "not a function");
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) return throw_errno(env, ENOMEM, "calloc");
    place_init(&handle->known);
    handle->relay.idle_ms[0] = (int64_t)idle_ms[0];
    handle->relay.idle_ms[1] = (int64_t)idle_ms[1];
    handle->relay.ended = tunnel_ended;
    handle->relay.stopped = relay_stopped;
    handle->relay.context = handle;
    if (napi_create_threadsafe_function(env, values[2], NULL, make_text(env, "tunnel relay"), 0, 1, handle, calls_ended,
                                        handle, call_back, &handle->calls) != napi_ok) {
        free(handle);
        return throw_errno(env, ENOMEM, "napi_create_threadsafe_function");
    }
    /* What listens keeps the process alive; the relay does not. */
    napi_unref_threadsafe_function(env, handle->calls);
    int error = relay_start(&handle->relay);
    if (error != 0) {
        handle->stopping = handle->stopped = handle->collected = true;
        napi_release_threadsafe_function(handle->calls, napi_tsfn_release);
        return throw_errno(env, error, "pthread_create");
    }
    napi_add_env_cleanup_hook(env, environment_ends, handle);
    if (napi_create_external(env, handle, relay_collected, NULL, &result) == napi_ok &&
        napi_type_tag_object(env, result, &RELAY_TAG) == napi_ok)
        return result;
    handle->collected = result == NULL;
    stop(handle);
    return throw_errno(env, ENOMEM, "napi_create_external");
}

static bool get_relay(napi_env env, napi_value value, struct handle **result) {
    napi_valuetype type;
    bool is_relay = false;
    void *data = NULL;
    if (napi_typeof(env, value, &type) != napi_ok || type != napi_external ||
        napi_check_object_type_tag(env, value, &RELAY_TAG, &is_relay) != napi_ok || !is_relay ||
        napi_get_value_external(env, value, &data) != napi_ok) {
        type_error(env, "not a tunnel relay");
        return false;
    }
    *result = data;
    return true;
}

static bool get_ways(napi_env env, napi_value value, unsigned *result) {
    int ways;
    if (!get_int(env, value, &ways)) return false;
    if (ways < 0 || ways > 3) {
        type_error(env, "not ways of a tunnel");
        return false;
    }
    *result = (unsigned)ways;
    return true;
}

napi_value splice_tunnel(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct handle *handle;
    int client;
    int upstream;
    unsigned ways;
    if (!arguments(env, info, 4, values) || !get_relay(env, values[0], &handle) || !get_int(env, values[1], &client) ||
        !get_int(env, values[2], &upstream) || !get_ways(env, values[3], &ways))
        return NULL;
    if (handle->stopping) return throw_errno(env, ECANCELED, "splice");
    struct tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (tunnel == NULL) return throw_errno(env, ENOMEM, "calloc");
    place_init(&tunnel->known);
    tunnel->id = ++handle->last_id;
    /* Once it is added the thread may end it at any time, but the call that frees it comes to this thread. */
    int error = relay_add(&handle->relay, tunnel, client, upstream, ways);
    if (error != 0) {
        free(tunnel);
        return throw_errno(env, error, "fcntl");
    }
    place_before(&handle->known, &tunnel->known);
    return make_number(env, (double)tunnel->id);
}

/* The youngest first, because they are the ones that are asked for; NULL for one whose end has been told. */
static struct tunnel *find_tunnel(const struct handle *handle, uint64_t id) {
    for (struct place *place = handle->known.previous; place != &handle->known; place = place->previous) {
        struct tunnel *tunnel = (struct tunnel *)((char *)place - offsetof(struct tunnel, known));
        if (tunnel->id == (int64_t)id) return tunnel;
    }
    return NULL;
}

napi_value splice_begin(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct handle *handle;
    uint64_t id;
    unsigned ways;
    if (!arguments(env, info, 3, values) || !get_relay(env, values[0], &handle) || !get_uint64(env, values[1], &id) ||
        !get_ways(env, values[2], &ways))
        return NULL;
    struct tunnel *tunnel = find_tunnel(handle, id);
    if (tunnel != NULL) relay_begin(&handle->relay, tunnel, ways);
    return NULL;
}

napi_value splice_cancel(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct handle *handle;
    uint64_t id;
    if (!arguments(env, info, 2, values) || !get_relay(env, values[0], &handle) || !get_uint64(env, values[1], &id))
        return NULL;
    struct tunnel *tunnel = find_tunnel(handle, id);
    if (tunnel != NULL) relay_cancel(&handle->relay, tunnel);
    return NULL;
}

napi_value splice_stop(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    struct handle *handle;
    if (!arguments(env, info, 1, values) || !get_relay(env, values[0], &handle)) return NULL;
    stop(handle);
    return NULL;
}

napi_value reset_connection(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &socket)) return NULL;
    /* What is not connected any more needs no reset. */
    disconnect(socket);
    return NULL;
}

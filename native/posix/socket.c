#include "posix.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

/* linux/netfilter_ipv4.h and its IPv6 sibling, which clash with the C library's headers. */
#define ORIGINAL_DESTINATION 80
#define MAX_RECEIVE_BYTES 65536

napi_value original_destination(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    int family;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &socket) || !get_int(env, values[1], &family))
        return NULL;
    struct sockaddr_in6 address6 = {0};
    struct sockaddr_in address4 = {0};
    void *address = family == 6 ? (void *)&address6 : (void *)&address4;
    socklen_t length = family == 6 ? sizeof address6 : sizeof address4;
    if (getsockopt(socket, family == 6 ? SOL_IPV6 : SOL_IP, ORIGINAL_DESTINATION, address, &length) != 0)
        return throw_errno(env, errno, "getsockopt");
    char text[INET6_ADDRSTRLEN];
    const void *bytes = family == 6 ? (const void *)&address6.sin6_addr : (const void *)&address4.sin_addr;
    inet_ntop(family == 6 ? AF_INET6 : AF_INET, bytes, text, sizeof text);
    napi_value result = NULL;
    napi_create_object(env, &result);
    set_property(env, result, "address", make_text(env, text));
    set_property(env, result, "port", make_int(env, ntohs(family == 6 ? address6.sin6_port : address4.sin_port)));
    return result;
}

napi_value receive(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket;
    int max_bytes;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &socket) || !get_int(env, values[1], &max_bytes))
        return NULL;
    if (max_bytes < 1 || max_bytes > MAX_RECEIVE_BYTES) return throw_errno(env, EINVAL, "recv");
    uint8_t data[MAX_RECEIVE_BYTES];
    ssize_t length;
    do length = recv(socket, data, (size_t)max_bytes, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN) return NULL;
    if (length < 0) return throw_errno(env, errno, "recv");
    return make_bytes(env, data, (size_t)length);
}

/* Lives until libuv has closed the poll handle and JavaScript has dropped the function that stops it. */
struct watch {
    uv_poll_t poll;
    /* UV_READABLE or UV_WRITABLE. */
    int wanted;
    napi_env env;
    napi_ref callback;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
    bool closing;
    bool closed;
    bool collected;
};

static void free_when_unused(struct watch *watch) {
    if (watch->closed && watch->collected) free(watch);
}

static void watch_closed(uv_handle_t *handle) {
    struct watch *watch = handle->data;
    watch->closed = true;
    napi_remove_async_cleanup_hook(watch->cleanup);
    free_when_unused(watch);
}

static void stop_watch(struct watch *watch) {
    if (watch->closing) return;
    watch->closing = true;
    napi_delete_reference(watch->env, watch->callback);
    napi_async_destroy(watch->env, watch->context);
    uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

static void environment_ends(napi_async_cleanup_hook_handle handle, void *data) {
    (void)handle;
    stop_watch(data);
}

static void stop_function_collected(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    struct watch *watch = data;
    watch->collected = true;
    free_when_unused(watch);
}

static napi_value stop_watching(napi_env env, napi_callback_info info) {
    void *watch = NULL;
    napi_get_cb_info(env, info, NULL, NULL, NULL, &watch);
    stop_watch(watch);
    return NULL;
}

static void watch_ready(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct watch *watch = poll->data;
    napi_env env = watch->env;
    napi_handle_scope scope;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    napi_value callback = NULL;
    napi_value receiver = NULL;
    napi_get_reference_value(env, watch->callback, &callback);
    napi_create_object(env, &receiver);
    if (napi_make_callback(env, watch->context, receiver, callback, 0, NULL, NULL) == napi_pending_exception) {
        napi_value error = NULL;
        napi_get_and_clear_last_exception(env, &error);
        napi_fatal_exception(env, error);
    }
    /* libuv stops a handle whose socket has an error; receive() has now shown that error to the watcher. */
    if (status != 0 && !watch->closing) uv_poll_start(poll, watch->wanted, watch_ready);
    napi_close_handle_scope(env, scope);
}

static napi_value stop_function(napi_env env, struct watch *watch) {
    napi_value function = NULL;
    if (napi_create_function(env, "stop", NAPI_AUTO_LENGTH, stop_watching, watch, &function) == napi_ok &&
        napi_add_finalizer(env, function, watch, stop_function_collected, NULL, NULL) == napi_ok)
        return function;
    watch->collected = true;
    return NULL;
}

static napi_value watch(napi_env env, napi_callback_info info, int wanted) {
    napi_value values[MAX_ARGUMENTS];
    napi_valuetype type;
    int socket;
    uv_loop_t *loop;
    if (!arguments(env, info, 2, values) || !get_int(env, values[0], &socket)) return NULL;
    if (napi_typeof(env, values[1], &type) != napi_ok || type != napi_function)
        return type_error(env, "not a function");
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
        free(watch);
        return throw_errno(env, ENOMEM, "uv_poll_init");
    }
    int error = uv_poll_init(loop, &watch->poll, socket);
    if (error != 0) {
        free(watch);
        return throw_errno(env, -error, "uv_poll_init");
    }
    watch->env = env;
    watch->wanted = wanted;
    watch->poll.data = watch;
    napi_create_reference(env, values[1], 1, &watch->callback);
    napi_async_init(env, NULL, make_text(env, "watch"), &watch->context);
    napi_add_async_cleanup_hook(env, environment_ends, watch, &watch->cleanup);
    napi_value stop = stop_function(env, watch);
    error = uv_poll_start(&watch->poll, wanted, watch_ready);
    if (error == 0 && stop != NULL) return stop;
    stop_watch(watch);
    return throw_errno(env, error != 0 ? -error : ENOMEM, "uv_poll_start");
}

napi_value watch_readable(napi_env env, napi_callback_info info) {
    return watch(env, info, UV_READABLE);
}

napi_value watch_writable(napi_env env, napi_callback_info info) {
    return watch(env, info, UV_WRITABLE);
}

napi_value connected(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int socket, error;
    struct sockaddr_storage peer;
    socklen_t error_bytes = sizeof error, peer_bytes = sizeof peer;
    napi_value result = NULL;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &socket)) return NULL;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0) return throw_errno(env, errno, "getsockopt");
    if (error != 0) return throw_errno(env, error, "connect");
    bool has_peer = getpeername(socket, (struct sockaddr *)&peer, &peer_bytes) == 0;
    napi_get_boolean(env, has_peer, &result);
    return result;
}

/* posix.node: the system calls that Node lacks. The functions are described in src/kernel/posix.ts. */
#include "posix.h"

static const struct {
    const char *name;
    napi_callback function;
} functions[] = {
    {"adoptListener", adopt_listener},
    {"canMapIds", can_map_ids},
    {"close", close_descriptor},
    {"connected", connected},
    {"followInRoot", follow_in_root},
    {"killScope", kill_scope},
    {"landlockAbi", landlock_abi},
    {"lineage", lineage_of},
    {"listenUnix", listen_unix},
    {"makeRaw", make_raw},
    {"mapIds", map_ids},
    {"mkdirat", make_directory_at},
    {"openat2", open_at_2},
    {"originalDestination", original_destination},
    {"pipe", make_pipe},
    {"ownTree", own_tree},
    {"peerCredentials", peer_credentials},
    {"probeDatagram", probe_datagram},
    {"reap", reap},
    {"receive", receive},
    {"receiveDescriptors", receive_descriptors},
    {"resetConnection", reset_connection},
    {"scopeSignals", scope_signals},
    {"sendDatagram", send_datagram},
    {"sendDescriptors", send_descriptors},
    {"serveConnect", serve_connect},
    {"serveLaunch", serve_launch},
    {"setUndumpable", set_undumpable},
    {"signalAsOwner", signal_as_owner},
    {"socketOwners", socket_owners},
    {"socketPair", socket_pair},
    {"spawnInto", spawn_into},
    {"spliceBegin", splice_begin},
    {"spliceCancel", splice_cancel},
    {"spliceStart", splice_start},
    {"spliceStop", splice_stop},
    {"spliceTunnel", splice_tunnel},
    {"takeDescriptors", take_descriptors},
    {"tcpSocket", tcp_socket},
    {"watchReadable", watch_readable},
    {"watchWritable", watch_writable},
};

NAPI_MODULE_INIT() {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function = NULL;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) !=
                napi_ok ||
            napi_set_named_property(env, exports, functions[i].name, function) != napi_ok) {
            napi_throw_error(env, NULL, "posix.node could not be initialised");
            return NULL;
        }
    }
    return exports;
}

/* castellan-launch's spec, as records and as the framed stream with descriptors. */
#include "harness.h"

static void *kept_malloc(size_t size) { return kept(malloc(size)); }
static void *kept_calloc(size_t count, size_t size) { return kept(calloc(count, size)); }
#define malloc kept_malloc
#define calloc kept_calloc
/* Freed with the rest, which also covers a refusal in between. */
#define free(pointer) ((void)(pointer))
#include "../../../native/launch/spec.c"
#undef malloc
#undef calloc
#undef free

_Noreturn void fail(enum step step, const char *object) {
    CHECK(step == STEP_RECEIVE && object != NULL);
    longjmp(refused, 1);
}

static void check_target(const struct target *target) {
    switch (target->address.any.sa_family) {
    case AF_INET:
        CHECK(ntohl(target->address.ip4.sin_addr.s_addr) >> 24 == 127 && target->address.ip4.sin_port != 0);
        break;
    case AF_INET6:
        CHECK(IN6_IS_ADDR_LOOPBACK(&target->address.ip6.sin6_addr) && target->address.ip6.sin6_port != 0);
        break;
    default:
        CHECK(target->address.any.sa_family == AF_UNIX && target->address.path.sun_path[0] == '/');
        CHECK(memchr(target->address.path.sun_path, '\0', sizeof target->address.path.sun_path) != NULL);
    }
}

static void check_spec(const struct spec *spec) {
    const struct target *target = &spec->target;
    CHECK((spec->arguments[0] == NULL) == (target->bytes > 0));
    CHECK(target->bytes > 0 || spec->arguments[0][0] != '\0');
    CHECK(target->bytes == 0 || (!spec->check_only && !spec->prepare_view && spec->kept_count == 0));
    if (target->bytes > 0) check_target(target);
    CHECK(spec->directory[0] == '/');
    size_t characters = 0;
    for (char **argument = spec->arguments; *argument != NULL; argument++) characters += strlen(*argument);
    for (char **variable = spec->environment; *variable != NULL; variable++) {
        CHECK(strchr(*variable, '=') != NULL && **variable != '=');
        characters += strlen(*variable);
    }
    CHECK(characters <= MAX_SPEC_BYTES);
    CHECK(spec->group_count <= MAX_GROUPS && spec->limit_count <= MAX_LIMITS && spec->mount_count <= MAX_MOUNTS);
    CHECK(spec->rule_count <= MAX_DESCRIPTORS && spec->port_count <= MAX_PORTS && spec->kept_count <= MAX_KEPT);
    CHECK(!spec->has_credentials || (spec->uid != 0 && spec->gid != 0 && spec->uid != NO_ID && spec->gid != NO_ID));
    CHECK(spec->has_credentials || geteuid() != 0);
    for (size_t i = 0; i < spec->group_count; i++) CHECK(spec->groups[i] != 0 && spec->groups[i] != NO_ID);
    for (size_t i = 0; i < spec->mount_count; i++) CHECK(spec->mounts[i].path[0] == '/');
    for (size_t i = 0; i < spec->kept_count; i++) {
        CHECK(spec->kept[i].target >= FIRST_TARGET && spec->kept[i].target <= LAST_TARGET);
        for (size_t j = 0; j < i; j++) CHECK(spec->kept[i].target != spec->kept[j].target);
    }
    CHECK(spec->umask <= 0777 && spec->profile <= PROFILE_NETWORK_ROLE);
}

static struct spec spec;

static void take_records(const uint8_t *data, size_t size) {
    memset(&spec, 0, sizeof spec);
    descriptor_count = MAX_DESCRIPTORS;
    for (uint32_t i = 0; i < descriptor_count; i++) descriptors[i] = (int)i + 1000;
    if (setjmp(refused) == 0) {
        parse(&spec, data, (uint32_t)size);
        check_spec(&spec);
    }
    free_all();
}

static void take_stream(const uint8_t *data, size_t size) {
    memset(&spec, 0, sizeof spec);
    descriptor_count = 0;
    int from = stream_of(data, size);
    if (setjmp(refused) == 0) {
        receive_spec(from, &spec);
        check_spec(&spec);
    }
    for (uint32_t i = 0; i < descriptor_count; i++) close(descriptors[i]);
    close(from);
    free_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > MAX_STREAM_BYTES) return 0;
    if (data[0] % 2 == 0) take_records(data + 1, size - 1);
    else take_stream(data + 1, size - 1);
    return 0;
}

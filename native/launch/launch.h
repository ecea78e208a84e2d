/* What the files of castellan-launch share. The wire format and the order of the steps are in ../README.md. */
#ifndef CASTELLAN_LAUNCH_H
#define CASTELLAN_LAUNCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define MAX_SPEC_BYTES (4u << 20)
#define MAX_DESCRIPTORS 1024u
#define MAX_MOUNTS 512u
#define MAX_LIMITS 32u
/* NGROUPS_MAX is 65536; an account with more than this is not one that runs agents. */
#define MAX_GROUPS 1024u
#define MAX_KEPT 64u
#define MAX_PORTS 1024u
#define FIRST_TARGET 3
#define LAST_TARGET 255

/* Numbered as in the status record. */
enum step {
    STEP_RECEIVE = 1,
    STEP_SESSION,
    STEP_CGROUP,
    STEP_NAMESPACES,
    STEP_MOUNTS,
    STEP_LIMITS,
    STEP_GROUPS,
    STEP_GID,
    STEP_BOUNDING,
    STEP_UID,
    STEP_REGAIN,
    STEP_CAPABILITIES,
    STEP_PRIVILEGES,
    STEP_DIRECTORY,
    STEP_LANDLOCK,
    STEP_DESCRIPTORS,
    STEP_SECCOMP,
    STEP_CONNECT,
    STEP_EXECUTE,
};

enum profile { PROFILE_NONE = 0, PROFILE_AGENT = 1, PROFILE_NETWORK_ROLE = 2 };

struct mount_step {
    /* -1: hide the path; else attach the tree behind this descriptor to it. */
    int descriptor;
    /* -1: as it is; else the tree is the one at the path, and its ids are mapped by this user namespace. */
    int id_map;
    const char *path;
};

struct limit {
    uint32_t resource;
    uint64_t soft;
    uint64_t hard;
};

struct landlock_rule {
    int descriptor;
    uint64_t access;
};

/* TCP only; LANDLOCK_RULE_NET_PORT. */
struct port_rule {
    uint64_t access;
    uint64_t port;
};

struct kept {
    int descriptor;
    int target;
};

/* Where a forward leads: loopback TCP, or a Unix socket with a path. */
struct target {
    union {
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
        struct sockaddr_un path;
    } address;
    /* 0: there is a command instead. */
    socklen_t bytes;
};

/* The spec as received. Strings and arrays live as long as the process. */
struct spec {
    char **arguments;
    char **environment;
    const char *directory;
    /* R_OK and W_OK that the command must have there; entering it is always needed. */
    int directory_access;
    bool has_credentials;
    uid_t uid;
    gid_t gid;
    gid_t groups[MAX_GROUPS];
    size_t group_count;
    bool new_session;
    mode_t umask;
    struct limit limits[MAX_LIMITS];
    size_t limit_count;
    /* An open cgroup.procs, or -1. */
    int cgroup;
    int user_namespace;
    int network_namespace;
    /* A mount namespace to enter instead of making one, or -1. With `prepare_view` the mounts are made in it, and that is all. */
    int mount_namespace;
    bool prepare_view;
    struct mount_step mounts[MAX_MOUNTS];
    size_t mount_count;
    bool has_landlock;
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
    struct landlock_rule rules[MAX_DESCRIPTORS];
    size_t rule_count;
    struct port_rule ports[MAX_PORTS];
    size_t port_count;
    uint32_t restrict_flags;
    enum profile profile;
    /* Groups of seccomp.table that are left out. */
    uint32_t relaxed;
    /* Everything is done but the execve. */
    bool check_only;
    struct target target;
    struct kept kept[MAX_KEPT];
    size_t kept_count;
};

/* Writes the status record with the current errno and ends the process with 125. */
_Noreturn void fail(enum step step, const char *object);

/* spec.c: connects and reads everything, strictly. Ends the process on anything malformed. */
int connect_supervisor(const char *path);
void receive_spec(int supervisor, struct spec *spec);

/* namespaces.c: session, cgroup, namespaces, mounts, working directory */
void start_session(const struct spec *spec);
void join_cgroup(const struct spec *spec);
void enter_namespaces(const struct spec *spec);
void make_mounts(const struct spec *spec);
void enter_directory(const struct spec *spec);

/* privileges.c */
void set_limits(const struct spec *spec);
void set_groups(const struct spec *spec);
void set_gid(const struct spec *spec);
void clear_bounding_set(void);
void set_uid(const struct spec *spec);
void refuse_regain(void);
void clear_capabilities(void);
void fix_privileges(pid_t parent);

/* landlock.c */
void restrict_access(const struct spec *spec);

/* descriptors.c: moves the status socket out of the way of the kept ones. */
void keep_descriptors(const struct spec *spec, int *supervisor);

/* seccomp.c */
void filter_system_calls(const struct spec *spec);

/* connect.c: returns only where there is a command instead. */
void connect_target(const struct spec *spec, int supervisor);

#endif

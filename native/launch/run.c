/*
 * A program of a bundle by the name this one was installed under: libexec/NAME runs lib/programs/NAME by the bundle's own loader,
 * whatever libraries the image has or lacks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define CASTELLAN_BUNDLE
#include "place.h"

int main(int count, char **arguments) {
    char root[PATH_MAX];
    find_own_path(root);
    char *name = strdup(cut(root));
    cut(root);
    char **command = calloc((size_t)count + LOADER_ARGUMENTS, sizeof *command);
    if (name == NULL || command == NULL) abort();
    char *loader = through_loader(root, name, command);
    for (int i = 1; i < count; i++) command[LOADER_ARGUMENTS + i - 1] = arguments[i];
    execv(loader, command);
    incomplete(loader);
}

/* castellan's init: the environment that it strips, and /proc/PID/stat of processes that name themselves. */
#include "harness.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const uint8_t *stat_bytes;
static size_t stat_size;

static FILE *open_stat(void) { return fmemopen((void *)stat_bytes, stat_size, "r"); }

#define main init_main
#define fopen(path, mode) open_stat()
#include "../../../native/launch/init.c"

#define MAX_VARIABLES 256

static void take_environment(const uint8_t *data, size_t size) {
    extern char **environ;
    char **before = environ;
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    char *variables[MAX_VARIABLES + 1];
    size_t count = 0, expected = 0;
    for (size_t at = 0; at <= size && count < MAX_VARIABLES; at += strlen(text + at) + 1) {
        variables[count++] = text + at;
        bool stripped = false;
        for (size_t i = 0; i < sizeof stripped_prefixes / sizeof *stripped_prefixes; i++)
            if (strstr(text + at, stripped_prefixes[i]) == text + at) stripped = true;
        if (!stripped) expected++;
    }
    variables[count] = NULL;
    environ = variables;
    strip_environment();
    size_t left = 0;
    while (environ[left] != NULL) {
        CHECK(strncmp(environ[left], "LD_", 3) != 0 && strncmp(environ[left], "NODE_", 5) != 0);
        left++;
    }
    CHECK(left == expected);
    environ = before;
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > MAX_STREAM_BYTES) return 0;
    if (data[0] % 2 == 0) {
        take_environment(data + 1, size - 1);
    } else {
        stat_bytes = data + 1;
        stat_size = size - 1;
        (void)parent_of(1);
    }
    return 0;
}

/*
 * What the harnesses share. Each includes the C file that it is about, with the ends of the process replaced: a refusal jumps
 * back, and what was allocated until then is freed.
 */
#ifndef CASTELLAN_FUZZ_HARNESS_H
#define CASTELLAN_FUZZ_HARNESS_H

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "property does not hold: %s (%s:%d)\n", #condition, __FILE__, __LINE__);                  \
            abort();                                                                                                  \
        }                                                                                                             \
    } while (0)

static jmp_buf refused;

/* The shortest record that is a text takes 8 bytes. */
#define MAX_ALLOCATIONS (100000 / 8 + 2)
static void *allocations[MAX_ALLOCATIONS];
static size_t allocation_count;

static inline void *kept(void *made) {
    CHECK(allocation_count < MAX_ALLOCATIONS);
    allocations[allocation_count++] = made;
    return made;
}

static inline void free_all(void) {
    while (allocation_count > 0) free(allocations[--allocation_count]);
}

/* The reading end of a stream that holds the bytes and then ends; they have to fit into a socket's buffer. */
#define MAX_STREAM_BYTES 100000
static inline int stream_of(const uint8_t *data, size_t size) {
    int ends[2];
    CHECK(size <= MAX_STREAM_BYTES);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(write(ends[1], data, size) == (ssize_t)size);
    close(ends[1]);
    return ends[0];
}

#endif

/* Which descriptors reach the command: 0 to 2, and the kept ones at their numbers. */
#include "launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where a descriptor is out of the way of every target, so that no dup2 below overwrites what another one still needs. */
static int move_above(int descriptor, int last_target) {
    int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, last_target + 1);
    if (moved < 0) fail(STEP_DESCRIPTORS, "move");
    return moved;
}

void keep_descriptors(const struct spec *spec, int *supervisor) {
    int moved[MAX_KEPT], last_target = FIRST_TARGET - 1;
    if (syscall(SYS_close_range, FIRST_TARGET, ~0u, CLOSE_RANGE_CLOEXEC) != 0) fail(STEP_DESCRIPTORS, "close_range");
    /* A missing one would be filled by the next file that the command opens. */
    for (int stream = 0; stream < FIRST_TARGET; stream++)
        if (fcntl(stream, F_GETFD) != 0) {
            errno = EBADF;
            fail(STEP_DESCRIPTORS, "standard stream");
        }
    for (size_t i = 0; i < spec->kept_count; i++)
        if (spec->kept[i].target > last_target) last_target = spec->kept[i].target;
    *supervisor = move_above(*supervisor, last_target);
    for (size_t i = 0; i < spec->kept_count; i++) moved[i] = move_above(spec->kept[i].descriptor, last_target);
    for (size_t i = 0; i < spec->kept_count; i++) {
        /* dup2 leaves close-on-exec off. */
        if (dup2(moved[i], spec->kept[i].target) < 0) fail(STEP_DESCRIPTORS, "place");
        close(moved[i]);
    }
}

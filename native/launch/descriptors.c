/* Which descriptors reach the command: 0 to 2, and the kept ones at their numbers. */
#include "launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Above every target (they end at 255), so that no move below can overwrite what another still needs. */
#define ABOVE_TARGETS 256

void keep_descriptors(const struct spec *spec, int *supervisor) {
    int moved[MAX_KEPT];
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) != 0) fail(STEP_DESCRIPTORS, "close_range");
    for (size_t i = 0; i < spec->kept_count; i++) {
        moved[i] = fcntl(spec->kept[i].descriptor, F_DUPFD_CLOEXEC, ABOVE_TARGETS);
        if (moved[i] < 0) fail(STEP_DESCRIPTORS, "move");
    }
    int status = fcntl(*supervisor, F_DUPFD_CLOEXEC, ABOVE_TARGETS);
    if (status < 0) fail(STEP_DESCRIPTORS, "move");
    /* Its old number may be a target, its new one never is. */
    *supervisor = status;
    for (size_t i = 0; i < spec->kept_count; i++) {
        /* dup2 leaves close-on-exec off. */
        if (dup2(moved[i], spec->kept[i].target) < 0) fail(STEP_DESCRIPTORS, "place");
        close(moved[i]);
    }
}

/* The supervisor's end of a launch: the status that castellan-launch writes, whatever it is. */
#include "harness.h"
#include "../../../native/posix/launch_server.c"

int64_t now_ms(void) { return 0; }

/* The stream has ended, so there is nothing to wait for. */
int wait_for(int descriptor, short events, int64_t deadline) {
    (void)descriptor, (void)events, (void)deadline;
    return ETIMEDOUT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > MAX_STREAM_BYTES) return 0;
    static struct launch launch;
    memset(&launch, 0, sizeof launch);
    launch.connection = stream_of(data, size);
    launch.handed = -1;
    int error = read_status(&launch);
    CHECK(size <= MAX_STATUS_BYTES ? error == 0 : error == EMSGSIZE);
    CHECK(launch.status_bytes <= sizeof launch.status);
    CHECK(memcmp(launch.status, data, launch.status_bytes) == 0);
    CHECK(error != 0 || launch.status_bytes == size);
    /* No bytes alone make a connection. */
    if (error == 0) CHECK(judge_connection(&launch) == (size > 1 ? 0 : ECONNRESET));
    close(launch.connection);
    return 0;
}

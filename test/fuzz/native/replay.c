/* Runs a harness over files, where there is no libFuzzer: what `npm test` does. */
#include "harness.h"

int main(int count, char **files) {
    static uint8_t bytes[MAX_STREAM_BYTES];
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(files[i], "rb");
        CHECK(file != NULL);
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        /* A block of exactly its size: one byte beyond is seen. */
        uint8_t *exact = malloc(size > 0 ? size : 1);
        CHECK(exact != NULL);
        memcpy(exact, bytes, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%d inputs\n", count - 1);
    return 0;
}

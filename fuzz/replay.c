/* SPDX-License-Identifier: MIT OR 0BSD

   Runs files, and all files of directories, through a harness without any
   engine.

       replay PATH...

   Prints the number of inputs, and a digest of all that came out of them:
   builds of the same harness for other machines, or without SIMD, must print
   the same. */

#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern uint64_t fuzz_digest;
#ifdef __cplusplus
}
#endif

static unsigned long passed, failed;

static void replay_bytes(const uint8_t *data, size_t size)
{
    /* In memory of its own, so that a sanitizer sees where it ends. */
    uint8_t *copy = (uint8_t *)malloc(size > 0 ? size : 1);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    ++passed;
}

static void replay_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t size;
    if (file == NULL) {
        fprintf(stderr, "%s cannot be read\n", path);
        ++failed;
        return;
    }
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    /* Should it abort, this is the line above the reason. */
    fprintf(stderr, "%s\n", path);
    replay_bytes(data, size);
}

/* In the order of their names, so that the digest is the same everywhere. */
static void replay_directory(const char *path, struct dirent **names,
                             int count)
{
    int i;
    for (i = 0; i < count; ++i) {
        char file[4096];
        if (names[i]->d_name[0] != '.') {
            snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
            replay_file(file);
        }
        free(names[i]);
    }
    free(names);
}

/* strcmp, not strcoll: whatever the locale is. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; ++i) {
        struct dirent **names;
        const int count = scandir(argv[i], &names, NULL, by_name);
        if (count < 0)
            replay_file(argv[i]);
        else
            replay_directory(argv[i], names, count);
    }
    printf("digest %016" PRIx64 "\n", fuzz_digest);
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}

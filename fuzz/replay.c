/* SPDX-License-Identifier: MIT OR 0BSD

   Runs files, and all files of directories, through a harness without any
   engine.

       cc fuzz/fuzz_request.c fuzz/replay.c -o replay
       ./replay fuzz/corpus/request

   With FUZZ_EVERY it holds all harnesses, and takes the one after which the
   directory is named:

       cc -DFUZZ_EVERY fuzz/replay.c -o replay
       ./replay fuzz/corpus/... fuzz/regressions/...

   Prints for each PATH the number of inputs, and a digest of all that came out
   of them: builds for other machines, or without SIMD, print the same. */

#ifdef FUZZ_EVERY
#include "every.h"
#endif
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FUZZ_EVERY
#ifdef __cplusplus
extern "C" {
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern uint64_t fuzz_digest;
#ifdef __cplusplus
}
#endif
#endif

typedef int (*replay_harness)(const uint8_t *data, size_t size);

static const char *replay_path = ""; /* what is run now */
static unsigned long passed, failed;

/* An oracle or a sanitizer ends it: in which input. */
static void replay_aborts(int number)
{
    fprintf(stderr, "replay: in %s\n", replay_path);
    signal(number, SIG_DFL);
    raise(number);
}

/* Is this directory's name the last of path, or, of a file's, the one in
   front of it? */
static bool replay_is_named(const char *path, const char *name)
{
    const size_t len = strlen(name);
    const char *at;
    for (at = strstr(path, name); at != NULL; at = strstr(at + 1, name))
        if ((at == path || at[-1] == '/') &&
            (at[len] == '\0' ||
             (at[len] == '/' && strchr(at + len + 1, '/') == NULL)))
            return true;
    return false;
}

static replay_harness replay_find(const char *path)
{
#ifdef FUZZ_EVERY
    size_t i;
    for (i = 0; i < sizeof fuzz_every / sizeof fuzz_every[0]; ++i)
        if (replay_is_named(path, fuzz_every[i].name))
            return fuzz_every[i].run;
    return NULL;
#else
    (void)path;
    (void)replay_is_named;
    return LLVMFuzzerTestOneInput;
#endif
}

/* In memory of its own, so that a sanitizer sees where it ends. */
static void replay_bytes(replay_harness run, const uint8_t *data, size_t size)
{
    uint8_t *copy = (uint8_t *)malloc(size > 0 ? size : 1);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    (void)run(copy, size);
    free(copy);
    ++passed;
}

static void replay_file(replay_harness run, const char *path)
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
    replay_path = path;
    replay_bytes(run, data, size);
}

/* strcmp, not strcoll: the digest is the same in every locale. */
static int replay_by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void replay_all(const char *path)
{
    struct dirent **names;
    const unsigned long before = passed;
    const int count = scandir(path, &names, NULL, replay_by_name);
    replay_harness run = replay_find(path);
    int i;
    if (run == NULL) {
        fprintf(stderr, "%s: no harness of this name\n", path);
        ++failed;
        return;
    }
    fuzz_digest = 0;
    if (count < 0)
        replay_file(run, path);
    for (i = 0; i < count; ++i) {
        char file[4096];
        if (names[i]->d_name[0] != '.') {
            snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
            replay_file(run, file);
        }
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    printf("%s: %lu inputs, digest %016" PRIx64 "\n", path, passed - before,
           fuzz_digest);
}

int main(int argc, char **argv)
{
    int i;
    signal(SIGABRT, replay_aborts);
    for (i = 1; i < argc; ++i)
        replay_all(argv[i]);
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0 || passed == 0;
}

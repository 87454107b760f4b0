/* SPDX-License-Identifier: MIT OR 0BSD

   What the test programs share: checks that print what they expected and what
   they got, and the last line.  Include it behind degu.h. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define CHECK_POISON(ptr, len) __msan_allocated_memory(ptr, len)
#endif
#endif
#ifndef CHECK_POISON
#define CHECK_POISON(ptr, len) ((void)0)
#endif

static unsigned long check_passed;
static unsigned long check_failed;
static unsigned long check_shown;
/* What the checks are about at the moment, printed with a failure. */
static const char *check_about = "";
static unsigned check_about_shown;

/* Failures that are printed, of all and about one thing; the others are only
   counted. */
#define CHECK_SHOWN 100
#define CHECK_ABOUT_SHOWN 3

static inline void check_start(const char *about)
{
    check_about = about;
    check_about_shown = 0;
}

/* Memory for results, as if nobody had ever written to it: what is left so is
   seen in its value, and by MemorySanitizer when it is looked at. */
static inline void check_unset(void *ptr, size_t len)
{
    memset(ptr, 0x55, len);
    CHECK_POISON(ptr, len);
}

static int check_note(bool good, const char *file, int line)
{
    if (good) {
        ++check_passed;
        return 0;
    }
    ++check_failed;
    if (check_shown >= CHECK_SHOWN || check_about_shown >= CHECK_ABOUT_SHOWN)
        return 0;
    ++check_shown;
    if (check_about[0] != '\0')
        ++check_about_shown;
    printf("%s:%d: ", file, line);
    if (check_about[0] != '\0')
        printf("[%s] ", check_about);
    return 1;
}

static inline void check_show(const char *ptr, size_t len)
{
    size_t i;
    if (ptr == NULL) {
        printf("(not there)");
        return;
    }
    putchar('"');
    for (i = 0; i < len && i < 300; ++i) {
        unsigned char byte = (unsigned char)ptr[i];
        if (byte == '\r')
            printf("\\r");
        else if (byte == '\n')
            printf("\\n");
        else if (byte < 32 || byte > 126 || byte == '"' || byte == '\\')
            printf("\\x%02x", byte);
        else
            putchar(byte);
    }
    printf(i < len ? "\"... (%lu bytes)" : "\"", (unsigned long)len);
}

static inline bool check_true(bool good, const char *text, const char *file,
                              int line)
{
    if (check_note(good, file, line))
        printf("%s is false\n", text);
    return good;
}

static inline bool check_int(long long got, long long want, const char *text,
                             const char *file, int line)
{
    if (check_note(got == want, file, line))
        printf("%s: expected %lld, got %lld\n", text, want, got);
    return got == want;
}

static inline bool check_err(degu_err got, degu_err want, const char *text,
                             const char *file, int line)
{
    if (check_note(got == want, file, line))
        printf("%s: expected %s, got %s\n", text, degu_err_name(want),
               degu_err_name(got));
    return got == want;
}

/* want NULL: the view must be "not there". */
static inline bool check_text(const char *ptr, size_t len, const char *want,
                              const char *text, const char *file, int line)
{
    bool good = want == NULL ? ptr == NULL
                             : ptr != NULL && len == strlen(want) &&
                                   memcmp(ptr, want, len) == 0;
    if (check_note(good, file, line)) {
        printf("%s: expected ", text);
        check_show(want, want == NULL ? 0 : strlen(want));
        printf(", got ");
        check_show(ptr, len);
        printf("\n");
    }
    return good;
}

#define CHECK(expr) check_true((expr), #expr, __FILE__, __LINE__)
#define CHECK_INT(got, want)                                                  \
    check_int((long long)(got), (long long)(want), #got, __FILE__, __LINE__)
#define CHECK_ERR(got, want) check_err((got), (want), #got, __FILE__, __LINE__)
#define CHECK_OK(got) CHECK_ERR((got), DEGU_OK)
/* A degu_str against a C string. */
#define CHECK_STR(got, want)                                                  \
    check_text((got).ptr, (got).len, (want), #got, __FILE__, __LINE__)
#define CHECK_MEM(ptr, len, want)                                             \
    check_text((ptr), (len), (want), #ptr, __FILE__, __LINE__)

/* The last line, and main's result. */
static int check_done(void)
{
    if (check_failed > check_shown)
        printf("(%lu more failures not shown)\n", check_failed - check_shown);
    printf("%lu passed, %lu failed\n", check_passed, check_failed);
    return check_failed != 0;
}

#endif

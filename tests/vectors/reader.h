/* SPDX-License-Identifier: MIT OR 0BSD

   Reads the files of tests/vectors (README.md tells their form) out of
   memory.  Needs no C library: the firmware runner embeds it. */

#ifndef VECTORS_READER_H
#define VECTORS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vec_str {
    const char *ptr;
    size_t len;
} vec_str;

#define VEC_NO_MARK ((size_t)-1)

typedef struct vec_case {
    vec_str name;
    vec_str kind;
    const char *block; /* its lines */
    const char *end;
    char *in;
    size_t in_len;
    size_t mark; /* offset of ^, or VEC_NO_MARK */
    bool fits;   /* the input fitted into the space given */
    bool good;   /* the block is well formed */
} vec_case;

/* Where decoded bytes go: into dst, or, with dst NULL, against same. */
typedef struct vec_sink {
    char *dst;
    const char *same;
    size_t cap;
    size_t len;
    bool differs; /* or did not fit */
} vec_sink;

static inline void vec_put(vec_sink *sink, char byte)
{
    if (sink->len >= sink->cap)
        sink->differs = true;
    else if (sink->dst != NULL)
        sink->dst[sink->len] = byte;
    else if (sink->same[sink->len] != byte)
        sink->differs = true;
    ++sink->len;
}

static inline bool vec_is(vec_str text, const char *want)
{
    size_t i;
    for (i = 0; i < text.len; ++i)
        if (want[i] == '\0' || want[i] != text.ptr[i])
            return false;
    return want[i] == '\0';
}

static inline bool vec_line(const char **pos, const char *end, vec_str *line)
{
    if (*pos == end)
        return false;
    line->ptr = *pos;
    while (*pos < end && **pos != '\n')
        ++*pos;
    line->len = (size_t)(*pos - line->ptr);
    if (*pos < end)
        ++*pos;
    return true;
}

static inline void vec_skip(vec_str *text, size_t count)
{
    text->ptr += count;
    text->len -= count;
}

static inline void vec_trim(vec_str *text)
{
    while (text->len > 0 && text->ptr[0] == ' ')
        vec_skip(text, 1);
}

/* Takes the next word, which is followed by a blank or the end. */
static inline vec_str vec_word(vec_str *rest)
{
    vec_str word;
    vec_trim(rest);
    word.ptr = rest->ptr;
    word.len = 0;
    while (word.len < rest->len && rest->ptr[word.len] != ' ')
        ++word.len;
    vec_skip(rest, word.len);
    return word;
}

static inline uint64_t vec_number(vec_str *rest)
{
    uint64_t number = 0;
    while (rest->len > 0 && rest->ptr[0] == ' ')
        vec_skip(rest, 1);
    while (rest->len > 0 && rest->ptr[0] >= '0' && rest->ptr[0] <= '9') {
        number = number * 10 + (uint64_t)(rest->ptr[0] - '0');
        vec_skip(rest, 1);
    }
    return number;
}

static inline int vec_hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Takes one byte of a string, escapes included. */
static inline bool vec_byte(vec_str *text, char *byte)
{
    *byte = text->ptr[0];
    vec_skip(text, 1);
    if (*byte != '\\')
        return true;
    if (text->len < 1)
        return false;
    *byte = text->ptr[0];
    vec_skip(text, 1);
    switch (*byte) {
    case 'r': *byte = '\r'; return true;
    case 'n': *byte = '\n'; return true;
    case 't': *byte = '\t'; return true;
    case '\\': case '"': return true;
    case 'x':
        if (text->len < 2 || vec_hex(text->ptr[0]) < 0 ||
            vec_hex(text->ptr[1]) < 0)
            return false;
        *byte = (char)(unsigned char)(vec_hex(text->ptr[0]) * 16 +
                                      vec_hex(text->ptr[1]));
        vec_skip(text, 2);
        return true;
    default: return false;
    }
}

/* Takes "..." or "..."*N, and what + joins to it. */
static inline bool vec_string(vec_str *rest, vec_sink *sink)
{
    for (;;) {
        vec_str start, text;
        uint64_t times = 1;
        char byte;
        vec_trim(rest);
        if (rest->len == 0 || rest->ptr[0] != '"')
            return false;
        vec_skip(rest, 1);
        start = *rest;
        while (rest->len > 0 && rest->ptr[0] != '"')
            if (!vec_byte(rest, &byte))
                return false;
        if (rest->len == 0)
            return false;
        start.len = (size_t)(rest->ptr - start.ptr);
        vec_skip(rest, 1);
        if (rest->len > 0 && rest->ptr[0] == '*') {
            vec_skip(rest, 1);
            times = vec_number(rest);
        }
        while (times-- > 0)
            for (text = start; text.len > 0;) {
                if (!vec_byte(&text, &byte))
                    return false;
                vec_put(sink, byte);
            }
        vec_trim(rest);
        if (rest->len == 0 || rest->ptr[0] != '+')
            return true;
        vec_skip(rest, 1);
    }
}

/* Splits "key: rest"; a line without a colon is all key. */
static inline vec_str vec_key(vec_str *line)
{
    vec_str key = *line;
    key.len = 0;
    while (key.len < line->len && line->ptr[key.len] != ':')
        ++key.len;
    vec_skip(line, key.len);
    if (line->len > 0)
        vec_skip(line, 1);
    vec_trim(line);
    return key;
}

static inline bool vec_input(vec_case *c, vec_str rest, vec_sink *sink)
{
    for (;;) {
        vec_trim(&rest);
        if (rest.len == 0)
            return true;
        if (rest.ptr[0] == '^') {
            c->mark = sink->len;
            vec_skip(&rest, 1);
        } else if (!vec_string(&rest, sink)) {
            return false;
        }
    }
}

/* Takes the next case of [*pos, end); its input is decoded into space. */
static inline bool vec_next(const char **pos, const char *end, vec_case *c,
                            char *space, size_t cap)
{
    vec_str line, rest, key;
    vec_sink sink = {space, NULL, cap, 0, false};
    bool any = false;
    const vec_str none = {NULL, 0};
    c->name = c->kind = none;
    c->mark = VEC_NO_MARK;
    c->good = true;
    c->block = *pos;
    c->in = space;
    while (vec_line(pos, end, &line)) {
        if (line.len == 0) {
            if (any)
                break;
            c->block = *pos;
            continue;
        }
        if (line.ptr[0] == '#')
            continue;
        any = true;
        rest = line;
        key = vec_key(&rest);
        if (vec_is(key, "case"))
            c->name = rest;
        else if (vec_is(key, "kind"))
            c->kind = rest;
        else if (vec_is(key, "in"))
            c->good = vec_input(c, rest, &sink) && c->good;
    }
    c->end = *pos;
    c->in_len = sink.len;
    c->fits = !sink.differs;
    c->good = c->good && c->name.len > 0 && c->kind.len > 0;
    return any;
}

/* Takes the next line of what must come out; *at is c->block at first. */
static inline bool vec_want(const vec_case *c, const char **at, vec_str *key,
                            vec_str *rest)
{
    while (vec_line(at, c->end, rest)) {
        if (rest->len == 0 || rest->ptr[0] == '#')
            continue;
        *key = vec_key(rest);
        if (!vec_is(*key, "case") && !vec_is(*key, "kind") &&
            !vec_is(*key, "in"))
            return true;
    }
    return false;
}

#endif

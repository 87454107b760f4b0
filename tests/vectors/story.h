/* SPDX-License-Identifier: MIT OR 0BSD

   What happens on a stream, told as events in order: as a case says it, and as
   layer 6 does it.  Both stories are the same bytes if all is well.  Include
   it behind degu.h; needs no more of a C library than that does. */

#ifndef VECTORS_STORY_H
#define VECTORS_STORY_H

#include "reader.h"

#include <string.h>

typedef struct vec_story {
    char *text;
    size_t cap;
    size_t len;
    bool in_data; /* the last event is data that may go on */
    bool chunks;  /* boundaries and extensions are told */
    bool good;    /* it fitted, and nothing was as it must never be */
} vec_story;

static inline void vec_story_init(vec_story *s, char *text, size_t cap,
                                  bool chunks)
{
    s->text = text;
    s->cap = cap;
    s->len = 0;
    s->in_data = false;
    s->chunks = chunks;
    s->good = true;
}

static inline bool vec_story_same(const vec_story *a, const vec_story *b)
{
    return a->good && b->good && a->len == b->len &&
           memcmp(a->text, b->text, a->len) == 0;
}

/* ---- Telling: both sides are made with these ---- */

static inline void vec_tell_bytes(vec_story *s, const char *ptr, size_t len)
{
    if (len > s->cap - s->len) {
        s->good = false;
        return;
    }
    if (len > 0)
        memcpy(s->text + s->len, ptr, len);
    s->len += len;
}

static inline void vec_tell_word(vec_story *s, const char *word)
{
    size_t len = 0;
    while (word[len] != '\0')
        ++len;
    vec_tell_bytes(s, word, len);
}

static inline void vec_tell(vec_story *s, const char *key)
{
    vec_tell_word(s, "\n");
    vec_tell_word(s, key);
    vec_tell_word(s, " ");
    s->in_data = false;
}

static inline void vec_tell_view(vec_story *s, degu_str view)
{
    vec_tell_word(s, view.ptr == NULL ? "none" : "<");
    vec_tell_bytes(s, view.ptr, view.len);
    if (view.ptr != NULL)
        vec_tell_word(s, ">");
}

static inline void vec_tell_number(vec_story *s, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + (int)(number % 10));
        number /= 10;
    } while (number > 0);
    vec_tell_bytes(s, digits + at, sizeof digits - at);
}

static inline void vec_tell_data(vec_story *s, const char *ptr, size_t len)
{
    if (len == 0)
        return;
    if (!s->in_data)
        vec_tell(s, "data");
    s->in_data = true;
    vec_tell_bytes(s, ptr, len);
}

/* ---- The story as the case has it ---- */

static inline size_t vec_string_len(vec_str rest)
{
    vec_sink sink = {NULL, NULL, 0, 0, false};
    (void)vec_string(&rest, &sink);
    return sink.len;
}

static inline void vec_tell_string(vec_story *s, vec_str *rest)
{
    vec_sink sink = {s->text + s->len, NULL, s->cap - s->len, 0, false};
    s->good = vec_string(rest, &sink) && !sink.differs && s->good;
    if (s->good)
        s->len += sink.len;
}

static inline void vec_tell_value(vec_story *s, vec_str *rest)
{
    vec_trim(rest);
    if (rest->len >= 4 && rest->ptr[0] == 'n') {
        vec_skip(rest, 4);
        vec_tell_word(s, "none");
        return;
    }
    vec_tell_word(s, "<");
    vec_tell_string(s, rest);
    vec_tell_word(s, ">");
}

static inline void vec_want_data(vec_story *s, vec_str *rest)
{
    if (vec_string_len(*rest) == 0)
        return;
    if (!s->in_data)
        vec_tell(s, "data");
    s->in_data = true;
    vec_tell_string(s, rest);
}

static inline void vec_want_chunk(vec_story *s, vec_str key, vec_str *rest)
{
    if (!s->chunks)
        return;
    if (vec_is(key, "chunk")) {
        vec_tell(s, "chunk");
        vec_tell_number(s, vec_number(rest));
        return;
    }
    vec_tell(s, "ext");
    vec_tell_value(s, rest);
    vec_tell_value(s, rest);
}

/* Gives the offset of its error, or VEC_NO_MARK. */
static inline size_t vec_want_story(const vec_case *c, vec_story *s)
{
    const char *at = c->block;
    size_t error_at = VEC_NO_MARK;
    vec_str key, rest, word;
    while (vec_want(c, &at, &key, &rest)) {
        if (vec_is(key, "chunk") || vec_is(key, "ext")) {
            vec_want_chunk(s, key, &rest);
        } else if (vec_is(key, "data")) {
            vec_want_data(s, &rest);
        } else if (vec_is(key, "trailer")) {
            vec_tell(s, "trailer");
            vec_tell_value(s, &rest);
            vec_tell_value(s, &rest);
        } else if (vec_is(key, "trailers")) {
            vec_tell(s, "trailers");
            vec_tell_number(s, vec_number(&rest));
        } else if (vec_is(key, "request")) {
            word = vec_word(&rest);
            vec_tell(s, "request");
            vec_tell_bytes(s, word.ptr, word.len);
            vec_tell_value(s, &rest);
        } else if (vec_is(key, "response")) {
            vec_tell(s, "response");
            vec_tell_number(s, vec_number(&rest));
        } else if (vec_is(key, "ok")) {
            vec_tell(s, "ok");
        } else {
            s->good = vec_is(key, "error") && s->good;
            word = vec_word(&rest);
            vec_tell(s, "error");
            vec_tell_bytes(s, word.ptr, word.len);
            if (vec_word(&rest).len > 0)
                error_at = (size_t)vec_number(&rest);
        }
    }
    return error_at;
}

/* ---- The story as layer 6 has it ---- */

static inline void vec_tell_trailers(vec_story *s, degu_conn *conn)
{
    degu_fields fields;
    size_t i;
    if (degu_read_trailers(conn, &fields) != DEGU_OK) {
        s->good = false;
        return;
    }
    if (fields.count > 8) {
        vec_tell(s, "trailers");
        vec_tell_number(s, fields.count);
        return;
    }
    for (i = 0; i < fields.count; ++i) {
        degu_header header = degu_field_at(&fields, i);
        vec_tell(s, "trailer");
        vec_tell_view(s, header.name);
        vec_tell_view(s, header.value);
    }
}

static inline void vec_tell_chunk(vec_story *s, const degu_chunk *chunk)
{
    degu_str rest = chunk->extensions;
    degu_extension extension;
    char text[64];
    vec_tell(s, "chunk");
    vec_tell_number(s, chunk->size);
    while (degu_next_extension(&rest, &extension)) {
        if (extension.escaped && extension.value.len <= sizeof text) {
            extension.value.len = degu_unescape(extension.value, text);
            extension.value.ptr = text;
        }
        vec_tell(s, "ext");
        vec_tell_view(s, extension.key);
        vec_tell_view(s, extension.value);
    }
}

/* Reads the body chunk by chunk. */
static inline degu_err vec_tell_chunks(vec_story *s, degu_conn *conn)
{
    char data[7];
    degu_chunk chunk;
    size_t len;
    for (;;) {
        degu_err err = degu_read_chunk(conn, &chunk);
        if (err != DEGU_OK)
            return err;
        vec_tell_chunk(s, &chunk);
        while ((err = degu_read_chunk_data(conn, data, sizeof data, &len)) ==
               DEGU_OK)
            vec_tell_data(s, data, len);
        if (err != DEGU_END)
            return err;
        s->in_data = false;
    }
}

static inline degu_err vec_tell_plain(vec_story *s, degu_conn *conn)
{
    char data[11];
    size_t len;
    degu_err err;
    while ((err = degu_read_body(conn, data, sizeof data, &len)) == DEGU_OK)
        vec_tell_data(s, data, len);
    s->good = len == 0 && s->good;
    return err;
}

/* Reads a body in the story's way; DEGU_OK at its end. */
static inline degu_err vec_tell_body(vec_story *s, degu_conn *conn)
{
    bool chunked = degu_body_framing(conn) == DEGU_CHUNKED;
    degu_err err = s->chunks && chunked ? vec_tell_chunks(s, conn)
                                        : vec_tell_plain(s, conn);
    if (err != DEGU_END)
        return err;
    s->good = degu_body_is_read(conn) && s->good;
    if (chunked)
        vec_tell_trailers(s, conn);
    return DEGU_OK;
}

static inline degu_err vec_tell_requests(vec_story *s, degu_conn *conn)
{
    degu_request r;
    for (;;) {
        degu_str method;
        degu_err err = degu_read_request(conn, &r);
        if (err != DEGU_OK)
            return err;
        method = degu_method_name(r.method);
        vec_tell(s, "request");
        vec_tell_bytes(s, method.ptr, method.len);
        vec_tell_view(s, r.target);
        err = vec_tell_body(s, conn);
        if (err != DEGU_OK)
            return err;
        err = degu_reply(conn, 200, "OK", NULL);
        if (err != DEGU_OK)
            return err;
    }
}

static inline degu_err vec_tell_responses(vec_story *s, degu_conn *conn,
                                          degu_method asked)
{
    degu_response r;
    for (;;) {
        degu_err err = degu_send_request(conn, asked, degu_string("/"), NULL,
                                         0, degu_no_body());
        if (err != DEGU_OK)
            return err;
        err = degu_read_response(conn, &r);
        if (err != DEGU_OK)
            return err;
        vec_tell(s, "response");
        vec_tell_number(s, (uint64_t)r.status);
        err = vec_tell_body(s, conn);
        if (err != DEGU_OK)
            return err;
    }
}

/* The body's framing behind "body ". */
static inline degu_err vec_expect_body(const vec_case *c, degu_conn *conn)
{
    vec_str rest = c->kind, word;
    (void)vec_word(&rest);
    word = vec_word(&rest);
    if (vec_is(word, "chunked"))
        return degu_expect_body(conn, DEGU_CHUNKED, 0);
    if (vec_is(word, "until-close"))
        return degu_expect_body(conn, DEGU_UNTIL_CLOSE, 0);
    return degu_expect_body(conn, DEGU_LENGTH, vec_number(&rest));
}

/* Is the other end of this stream a server, which speaks when asked? */
static inline bool vec_is_client(const vec_case *c)
{
    vec_str rest = c->kind;
    return vec_is(vec_word(&rest), "responses");
}

/* Runs the stream, which comes over a new connection of that end. */
static inline void vec_tell_stream(const vec_case *c, degu_conn *conn,
                                   vec_story *s)
{
    vec_str rest = c->kind;
    degu_err err;
    if (vec_is_client(c)) {
        err = vec_tell_responses(s, conn, vec_asked(c));
    } else if (vec_is(vec_word(&rest), "requests")) {
        err = vec_tell_requests(s, conn);
    } else {
        err = vec_expect_body(c, conn);
        s->good = err == DEGU_OK && s->good;
        err = vec_tell_body(s, conn);
    }
    if (err == DEGU_OK) {
        vec_tell(s, "ok");
    } else {
        vec_tell(s, "error");
        vec_tell_word(s, degu_err_name(err));
    }
}

#endif

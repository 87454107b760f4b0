/* SPDX-License-Identifier: MIT OR 0BSD

   Compares what layers 3 and 4 made of a case with what the case says must
   come out.  Include it behind degu.h; needs no C library.  The functions
   return NULL, or the key of the line that is not so. */

#ifndef VECTORS_OUTCOME_H
#define VECTORS_OUTCOME_H

#include "reader.h"

/* Keys with a value that a missing line stands for. */
enum {
    VEC_QUERY = 1,
    VEC_FRAMING = 2,
    VEC_CLOSE = 4,
    VEC_EXPECT = 8,
    VEC_RANGE = 16
};

/* Does the next value equal text?  none: it is not there. */
static inline bool vec_same(vec_str *rest, degu_str text)
{
    vec_sink sink = {NULL, text.ptr, text.len, 0, false};
    vec_trim(rest);
    if (rest->len >= 4 && rest->ptr[0] == 'n') {
        vec_skip(rest, 4);
        return text.ptr == NULL;
    }
    return vec_string(rest, &sink) && !sink.differs && sink.len == text.len &&
           text.ptr != NULL;
}

static inline bool vec_says(vec_str rest, bool value)
{
    return vec_is(rest, value ? "yes" : "no");
}

/* The first line: ok, more, or an error and where. */
static inline const char *vec_verdict(const vec_case *c, degu_err err,
                                      size_t error_at)
{
    const char *at = c->block;
    vec_str key, rest, word;
    if (!vec_want(c, &at, &key, &rest))
        return "no verdict in the case";
    if (vec_is(key, "ok"))
        return err == DEGU_OK ? NULL : "ok";
    if (vec_is(key, "more"))
        return err == DEGU_MORE ? NULL : "more";
    word = vec_word(&rest);
    if (!vec_is(key, "error") || !vec_is(word, degu_err_name(err)))
        return "error";
    word = vec_word(&rest);
    if (word.len == 0)
        return NULL;
    vec_trim(&rest);
    if (vec_is(rest, "^"))
        return error_at == c->mark ? NULL : "error at";
    return error_at == vec_number(&rest) ? NULL : "error at";
}

static inline bool vec_framing(vec_str rest, degu_framing framing,
                               uint64_t length)
{
    vec_str word = vec_word(&rest);
    switch (framing) {
    case DEGU_NO_BODY: return vec_is(word, "none");
    case DEGU_LENGTH:
        return vec_is(word, "length") && vec_number(&rest) == length;
    case DEGU_CHUNKED: return vec_is(word, "chunked");
    case DEGU_UNTIL_CLOSE: return vec_is(word, "until-close");
    case DEGU_PRIV_FRAMING_LAST: break;
    }
    return false;
}

static inline bool vec_range(vec_str rest, uint64_t start, uint64_t stop)
{
    return vec_number(&rest) == start && vec_number(&rest) == stop;
}

static inline bool vec_content_range(vec_str rest, degu_content_range range)
{
    return vec_number(&rest) == range.start &&
           vec_number(&rest) == range.stop &&
           vec_number(&rest) == range.total;
}

/* The header and fields lines, all of them against all fields. */
static inline const char *vec_differs_fields(const vec_case *c,
                                             const degu_fields *fields)
{
    const char *at = c->block;
    vec_str key, rest;
    size_t i = 0;
    while (vec_want(c, &at, &key, &rest)) {
        if (vec_is(key, "fields"))
            return vec_number(&rest) == fields->count ? NULL : "fields";
        if (vec_is(key, "header")) {
            degu_header header = degu_field_at(fields, i++);
            if (!vec_same(&rest, header.name) ||
                !vec_same(&rest, header.value))
                return "header";
        }
    }
    return i == fields->count ? NULL : "number of headers";
}

static inline const char *vec_differs_parts(const vec_case *c, degu_str path)
{
    const char *at = c->block;
    vec_str key, rest;
    degu_str part;
    bool any = false;
    while (vec_want(c, &at, &key, &rest)) {
        if (!vec_is(key, "part"))
            continue;
        any = true;
        if (!degu_next_part(&path, &part) || !vec_same(&rest, part))
            return "part";
    }
    return any && degu_next_part(&path, &part) ? "number of parts" : NULL;
}

/* head: number of bytes used. */
static inline const char *vec_differs_request(const vec_case *c, degu_err err,
                                              const degu_request *r,
                                              size_t head)
{
    const char *bad = vec_verdict(c, err, r->error_at);
    const char *at = c->block;
    unsigned said = 0;
    vec_str key, rest;
    degu_range range;
    bool has_range;
    if (bad != NULL || err != DEGU_OK)
        return bad;
    has_range = degu_find_range(&r->fields, &range);
    while (vec_want(c, &at, &key, &rest)) {
        bool same = true;
        if (vec_is(key, "method"))
            same = degu_equal(degu_bytes(rest.ptr, rest.len),
                              degu_method_name(r->method));
        else if (vec_is(key, "target"))
            same = vec_same(&rest, r->target);
        else if (vec_is(key, "path"))
            same = vec_same(&rest, r->path);
        else if (vec_is(key, "query"))
            same = vec_same(&rest, r->query), said |= VEC_QUERY;
        else if (vec_is(key, "host"))
            same = vec_same(&rest, r->host);
        else if (vec_is(key, "framing"))
            same = vec_framing(rest, r->framing, r->content_length),
            said |= VEC_FRAMING;
        else if (vec_is(key, "close"))
            same = vec_says(rest, r->close), said |= VEC_CLOSE;
        else if (vec_is(key, "expect"))
            same = vec_says(rest, r->expect_continue), said |= VEC_EXPECT;
        else if (vec_is(key, "range"))
            same = has_range && vec_range(rest, range.start, range.stop),
            said |= VEC_RANGE;
        else if (vec_is(key, "head"))
            same = vec_number(&rest) == head;
        if (!same)
            return key.ptr;
    }
    if ((said & VEC_QUERY) == 0 && r->query.ptr != NULL)
        return "query (not said)";
    if ((said & VEC_FRAMING) == 0 && r->framing != DEGU_NO_BODY)
        return "framing (not said)";
    if ((said & VEC_CLOSE) == 0 && r->close)
        return "close (not said)";
    if ((said & VEC_EXPECT) == 0 && r->expect_continue)
        return "expect (not said)";
    if ((said & VEC_RANGE) == 0 && has_range)
        return "range (not said)";
    bad = vec_differs_parts(c, r->path);
    return bad != NULL ? bad : vec_differs_fields(c, &r->fields);
}

static inline const char *vec_differs_response(const vec_case *c,
                                               degu_err err,
                                               const degu_response *r,
                                               size_t head)
{
    const char *bad = vec_verdict(c, err, r->error_at);
    const char *at = c->block;
    unsigned said = 0;
    vec_str key, rest;
    degu_content_range range;
    bool has_range;
    if (bad != NULL || err != DEGU_OK)
        return bad;
    has_range = degu_find_content_range(&r->fields, &range);
    while (vec_want(c, &at, &key, &rest)) {
        bool same = true;
        if (vec_is(key, "status"))
            same = vec_number(&rest) == (uint64_t)r->status;
        else if (vec_is(key, "reason"))
            same = vec_same(&rest, r->reason);
        else if (vec_is(key, "framing"))
            same = vec_framing(rest, r->framing, r->content_length),
            said |= VEC_FRAMING;
        else if (vec_is(key, "close"))
            same = vec_says(rest, r->close), said |= VEC_CLOSE;
        else if (vec_is(key, "content-range"))
            same = has_range && vec_content_range(rest, range),
            said |= VEC_RANGE;
        else if (vec_is(key, "head"))
            same = vec_number(&rest) == head;
        if (!same)
            return key.ptr;
    }
    if ((said & VEC_FRAMING) == 0 && r->framing != DEGU_NO_BODY)
        return "framing (not said)";
    if ((said & VEC_CLOSE) == 0 && r->close)
        return "close (not said)";
    if ((said & VEC_RANGE) == 0 && has_range)
        return "content-range (not said)";
    return vec_differs_fields(c, &r->fields);
}

/* Scans and parses a head that lies whole at head. */
static inline degu_err vec_parse_request(char *head, size_t len,
                                         degu_request *r, size_t *used)
{
    degu_err err;
    *used = 0;
    err = degu_scan_head(head, len, used);
    r->error_at = *used;
    return err != DEGU_OK ? err : degu_parse_request(head, *used, r);
}

static inline degu_err vec_parse_response(char *head, size_t len,
                                          degu_method asked, degu_response *r,
                                          size_t *used)
{
    degu_err err;
    *used = 0;
    err = degu_scan_head(head, len, used);
    r->error_at = *used;
    return err != DEGU_OK ? err : degu_parse_response(head, *used, asked, r);
}

static inline const char *vec_differs_target(const vec_case *c, degu_str in)
{
    degu_str path, query;
    size_t error_at = 0;
    degu_err err = degu_parse_target(in, &path, &query, &error_at);
    const char *bad = vec_verdict(c, err, error_at);
    const char *at = c->block;
    vec_str key, rest;
    bool said = false;
    if (bad != NULL || err != DEGU_OK)
        return bad;
    while (vec_want(c, &at, &key, &rest)) {
        if (vec_is(key, "path") && !vec_same(&rest, path))
            return "path";
        if (vec_is(key, "query")) {
            said = true;
            if (!vec_same(&rest, query))
                return "query";
        }
    }
    if (!said && query.ptr != NULL)
        return "query (not said)";
    return vec_differs_parts(c, path);
}

static inline const char *vec_differs_chunk_line(const vec_case *c,
                                                 degu_str in)
{
    degu_chunk chunk;
    degu_extension extension;
    degu_err err = degu_parse_chunk_line(in.ptr, in.len, &chunk);
    const char *bad = vec_verdict(c, err, chunk.error_at);
    const char *at = c->block;
    vec_str key, rest;
    char text[512];
    if (bad != NULL || err != DEGU_OK)
        return bad;
    while (vec_want(c, &at, &key, &rest)) {
        if (vec_is(key, "size") && vec_number(&rest) != chunk.size)
            return "size";
        if (!vec_is(key, "ext"))
            continue;
        if (!degu_next_extension(&chunk.extensions, &extension))
            return "number of extensions";
        if (extension.escaped && extension.value.len <= sizeof text) {
            extension.value.len = degu_unescape(extension.value, text);
            extension.value.ptr = text;
        }
        if (!vec_same(&rest, extension.key) ||
            !vec_same(&rest, extension.value))
            return "ext";
    }
    return degu_next_extension(&chunk.extensions, &extension)
               ? "number of extensions"
               : NULL;
}

static inline const char *vec_differs_value(const vec_case *c, degu_str in)
{
    uint64_t length = 0;
    degu_range range = {0, 0};
    degu_content_range content = {0, 0, 0};
    degu_method method = DEGU_GET;
    degu_err err;
    const char *at = c->block;
    const char *bad;
    vec_str key, rest;
    if (vec_is(c->kind, "length"))
        err = degu_parse_length(in, &length);
    else if (vec_is(c->kind, "range"))
        err = degu_parse_range(in, &range);
    else if (vec_is(c->kind, "content-range"))
        err = degu_parse_content_range(in, &content);
    else
        err = degu_parse_method(in, &method);
    bad = vec_verdict(c, err, 0);
    if (bad != NULL || err != DEGU_OK)
        return bad;
    while (vec_want(c, &at, &key, &rest))
        if ((vec_is(key, "value") && vec_number(&rest) != length) ||
            (vec_is(key, "range") &&
             !vec_range(rest, range.start, range.stop)) ||
            (vec_is(key, "content-range") &&
             !vec_content_range(rest, content)) ||
            (vec_is(key, "method") &&
             !degu_equal(degu_bytes(rest.ptr, rest.len),
                         degu_method_name(method))))
            return key.ptr;
    return NULL;
}

/* The method behind "response " or "responses ". */
static inline degu_method vec_asked(const vec_case *c)
{
    vec_str rest = c->kind, word;
    degu_method method = DEGU_GET;
    (void)vec_word(&rest);
    word = vec_word(&rest);
    if (degu_parse_method(degu_bytes(word.ptr, word.len), &method) != DEGU_OK)
        return DEGU_GET;
    return method;
}

static inline bool vec_is_kind(const vec_case *c, const char *kind)
{
    vec_str rest = c->kind;
    return vec_is(vec_word(&rest), kind);
}

/* Runs one case whole through layers 3 and 4.  *ran is false for the kinds
   that need layer 6. */
static inline const char *vec_differs(const vec_case *c, bool *ran)
{
    static const char other[] = "unknown kind";
    degu_str in = degu_bytes(c->in, c->in_len);
    size_t used = 0, error_at = 0;
    *ran = true;
    if (vec_is_kind(c, "request")) {
        degu_request request;
        degu_err err = vec_parse_request(c->in, c->in_len, &request, &used);
        return vec_differs_request(c, err, &request, used);
    }
    if (vec_is_kind(c, "response")) {
        degu_response response;
        degu_err err = vec_parse_response(c->in, c->in_len, vec_asked(c),
                                          &response, &used);
        return vec_differs_response(c, err, &response, used);
    }
    if (vec_is_kind(c, "fields") || vec_is_kind(c, "trailer")) {
        degu_fields fields;
        degu_err err = degu_parse_fields(c->in, c->in_len,
                                         vec_is_kind(c, "trailer"), &fields,
                                         &error_at);
        const char *bad = vec_verdict(c, err, error_at);
        return bad != NULL || err != DEGU_OK ? bad
                                             : vec_differs_fields(c, &fields);
    }
    if (vec_is_kind(c, "target"))
        return vec_differs_target(c, in);
    if (vec_is_kind(c, "chunk-line"))
        return vec_differs_chunk_line(c, in);
    if (vec_is_kind(c, "length") || vec_is_kind(c, "range") ||
        vec_is_kind(c, "content-range") || vec_is_kind(c, "method"))
        return vec_differs_value(c, in);
    *ran = false;
    return vec_is_kind(c, "requests") || vec_is_kind(c, "responses") ||
                   vec_is_kind(c, "body")
               ? NULL
               : other;
}

#endif

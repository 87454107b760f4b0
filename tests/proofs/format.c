/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 5: format. */

#include <stddef.h>
static void *copy(void *dst, const void *src, size_t len);
#define __builtin_memcpy copy
#include "prove.h"

/* A buffer, what it was, and one of its bytes: any one, if it has any. */
typedef struct space {
    degu_buffer dst;
    degu_buffer old;
    size_t at;
    char byte;
} space;

/* With nothing to look at copies are made.  Else only the byte that is looked at
   is written, though both ends are checked; nothing that formats reads what it
   has written. */
static void *copy(void *dst, const void *src, size_t len)
{
    char *to = dst;
    if (!looked_at)
        return memcpy(dst, src, len);
    proved(__CPROVER_r_ok(src, len) && __CPROVER_w_ok(dst, len));
    if (__CPROVER_same_object(to, looked_at) &&
        __CPROVER_POINTER_OFFSET(to) <= __CPROVER_POINTER_OFFSET(looked_at) &&
        (size_t)(looked_at - to) < len)
        touched = true;
    return dst;
}

static space any_space(void)
{
    static char nothing;
    space s;
    s.dst.cap = up_to(ANY);
    s.dst.len = up_to(s.dst.cap);
    s.dst.ptr = nondet_bool() ? NULL : any_bytes(s.dst.cap);
    s.old = s.dst;
    s.at = nondet_size();
    looked_at = s.dst.ptr && s.at < s.dst.cap ? s.dst.ptr + s.at : &nothing;
    s.byte = *looked_at;
    touched = false;
    return s;
}

/* What is true of every function that appends. */
static void check_space(const space *s, degu_err err, size_t least)
{
    bool is_there = s->dst.ptr && s->at < s->dst.cap;
    bool is_new = s->at >= s->old.len && s->at < s->dst.len;
    proved(s->dst.ptr == s->old.ptr && s->dst.cap == s->old.cap);
    if (err)
        proved(s->dst.len == s->old.len);
    else
        proved(s->dst.ptr && s->dst.len <= s->dst.cap &&
               s->dst.len >= s->old.len && s->dst.len - s->old.len >= least);
    if (is_there && (s->at < s->old.len || (!err && !is_new)))
        proved(*looked_at == s->byte && !touched);
    reached(err == DEGU_E_SPACE && s->dst.ptr);
    reached(err == DEGU_E_SPACE && !s->dst.ptr);
    reached(err == DEGU_OK && is_there && s->at < s->old.len);
    reached(err == DEGU_OK && is_there && s->at >= s->dst.len);
    reached(err == DEGU_OK && is_new && touched);
}

/* What functions that append do, as far as callers are concerned. */
#define APPENDS                                                               \
    __CPROVER_ensures(w->need > __CPROVER_old(w->need) || w->need == SIZE_MAX)\
    __CPROVER_ensures(touched == __CPROVER_old(touched) ||              \
                      (__CPROVER_old(w->need) <= w->room &&                   \
                       __CPROVER_same_object(w->ptr, looked_at) &&            \
                       looked_at >= w->ptr + __CPROVER_old(w->need) &&        \
                       (w->need > w->room || looked_at < w->ptr + w->need)))

void some_digits(degu_priv_writer *w, uint64_t n)
    __CPROVER_requires(n <= DEGU_LENGTH_MAX)
    __CPROVER_assigns(w->need, touched)
    APPENDS
    __CPROVER_ensures(w->need - __CPROVER_old(w->need) <= 16);
void some_hex(degu_priv_writer *w, uint64_t n)
    __CPROVER_assigns(w->need, touched)
    APPENDS
    __CPROVER_ensures(w->need - __CPROVER_old(w->need) <= 16);
void some_field(degu_priv_writer *w, const degu_header *header)
    __CPROVER_assigns(w->need, touched)
    APPENDS;
/* With the headers unread: their validity is the business of its own proof. */
degu_err some_fields(degu_priv_writer *w, degu_priv_head *h,
                     const degu_header *headers, size_t count)
    __CPROVER_requires(h->lines == 0)
    __CPROVER_assigns(w->need, touched, h->seen, h->lines, h->framing_at,
                      h->length, h->close, h->host, h->range, h->range_at,
                      h->content_range, h->content_range_at)
    __CPROVER_ensures(w->need >= __CPROVER_old(w->need))
    __CPROVER_ensures(h->lines <= count)
    __CPROVER_ensures(touched == __CPROVER_old(touched) ||
                      (__CPROVER_old(w->need) <= w->room &&
                       __CPROVER_same_object(w->ptr, looked_at) &&
                       looked_at >= w->ptr + __CPROVER_old(w->need) &&
                       (w->need > w->room || looked_at < w->ptr + w->need)));

/* These are called for what they write into h: the formatters go by seen,
   close and length, of which any will do. */
degu_err some_meaning(degu_priv_head *h, unsigned id, degu_str value, size_t at)
    __CPROVER_requires(id <= DEGU_PRIV_IF_UNMODIFIED_SINCE)
    __CPROVER_requires(value.len == 0 || __CPROVER_r_ok(value.ptr, value.len))
    __CPROVER_assigns(h->framing_at, h->length, h->close, h->host, h->range,
                      h->range_at, h->content_range, h->content_range_at);

/* And these for an outcome. */
#define READABLE(ptr, len)                                                    \
    __CPROVER_requires((len) == 0 || __CPROVER_r_ok((ptr), (len)))

degu_err some_name(degu_str name)
    READABLE(name.ptr, name.len)
    __CPROVER_assigns()
    __CPROVER_ensures(__CPROVER_return_value != DEGU_OK ||
                      (name.len >= 1 && name.len <= DEGU_NAME_MAX));
degu_err some_value(degu_str value)
    READABLE(value.ptr, value.len)
    __CPROVER_assigns();
unsigned some_id(const char *name, size_t len)
    READABLE(name, len)
    __CPROVER_requires(len >= 1)
    __CPROVER_assigns()
    __CPROVER_ensures(__CPROVER_return_value <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
degu_err some_target(degu_str target, degu_str *path, degu_str *query,
                     size_t *error_at)
    READABLE(target.ptr, target.len)
    __CPROVER_assigns(*path, *query, *error_at)
    __CPROVER_ensures(__CPROVER_return_value != DEGU_OK || target.len >= 1);
degu_err some_query(const char *ptr, size_t len, size_t *i)
    READABLE(ptr, len)
    __CPROVER_requires(*i <= len)
    __CPROVER_assigns(*i)
    __CPROVER_ensures(*i <= len);

BOUND("any text")
PROOF(degu_priv_check_name)
{
    degu_str name = any_view(ANY);
    degu_err err = degu_priv_check_name(name);
    if (err == DEGU_OK)
        proved(name.len >= 1 && name.len <= DEGU_NAME_MAX);
    reached(err == DEGU_OK && name.len == DEGU_NAME_MAX);
    reached(err == DEGU_E_NAME_SIZE && name.len > 100000);
    reached(err == DEGU_E_NAME);
}

BOUND("any text")
PROOF(degu_priv_check_value)
{
    degu_str value = any_view(ANY);
    degu_err err = degu_priv_check_value(value);
    proved(err == DEGU_OK || (err == DEGU_E_VALUE && value.len));
    reached(err == DEGU_OK && value.len > 100000);
    reached(err == DEGU_E_VALUE && value.len > 100000);
}

BOUND("any text")
PROOF(degu_priv_name_id)
{
    degu_str name = any_text(ANY);
    unsigned id;
    given(name.len);
    id = degu_priv_name_id(name.ptr, name.len);
    proved(id <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
    reached(id == DEGU_PRIV_IF_UNMODIFIED_SINCE);
    reached(id == 0 && name.len > 100000);
}

/* Does w append as the contracts say? */
static void check_append(const space *s, degu_priv_writer old,
                         degu_priv_writer w)
{
    proved(w.ptr == old.ptr && w.room == old.room && w.need >= old.need);
    if (touched)
        proved(old.need <= w.room && s->at - s->dst.len >= old.need &&
               s->at >= s->dst.len &&
               (w.need > w.room || s->at - s->dst.len < w.need));
    reached(touched);
    reached(w.need == SIZE_MAX);
    reached(w.need > w.room && old.need < w.room);
}

BOUND("any number that is sent, any buffer")
LONG
UNWIND(9)
PROOF(degu_priv_put_decimal)
{
    space s = any_space();
    degu_priv_writer w = degu_priv_write_to(&s.dst), old;
    uint64_t n = nondet_u64();
    given(n <= DEGU_LENGTH_MAX);
    w.need = nondet_size();
    old = w;
    degu_priv_put_decimal(&w, n);
    check_append(&s, old, w);
    proved(w.need > old.need || w.need == SIZE_MAX);
    proved(w.need - old.need <= 16);
}

BOUND("any number, any buffer")
UNWIND(17)
PROOF(degu_priv_put_hex)
{
    space s = any_space();
    degu_priv_writer w = degu_priv_write_to(&s.dst), old;
    w.need = nondet_size();
    old = w;
    degu_priv_put_hex(&w, nondet_u64());
    check_append(&s, old, w);
    proved(w.need > old.need || w.need == SIZE_MAX);
}

BOUND("any number, any buffer")
CONTRACT(degu_priv_put_decimal/some_digits)
PROOF(degu_format_length)
{
    space s = any_space();
    uint64_t length = nondet_u64();
    degu_err err = degu_format_length(&s.dst, length);
    check_space(&s, err, 1);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_LENGTH);
    proved((err == DEGU_E_LENGTH) == (length > DEGU_LENGTH_MAX));
    reached(err == DEGU_OK && s.dst.len - s.old.len == 16);
}

BOUND("any texts, any buffer")
CONTRACT(degu_parse_target/some_target, degu_priv_take_query/some_query)
PROOF(degu_format_target)
{
    space s = any_space();
    degu_str path = any_view(ANY), query = any_view(ANY);
    degu_err err = degu_format_target(&s.dst, path, query);
    check_space(&s, err, 1);
    if (err == DEGU_OK)
        proved(s.dst.len - s.old.len ==
               path.len + (query.ptr ? 1 + query.len : 0));
    reached(err == DEGU_OK && query.ptr && path.len > 1000);
    reached(err == DEGU_E_TARGET_SIZE && path.len > 100000);
    reached(err == DEGU_E_PERCENT && path.len > 100000);
}

BOUND("any range, any buffer")
CONTRACT(degu_priv_put_decimal/some_digits)
PROOF(degu_format_range)
{
    space s = any_space();
    degu_range range;
    degu_err err;
    range.start = nondet_u64();
    range.stop = nondet_u64();
    err = degu_format_range(&s.dst, range);
    check_space(&s, err, 9);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_RANGE);
    proved((err == DEGU_E_RANGE) == (range.start >= range.stop ||
                                     range.stop > DEGU_LENGTH_MAX));
    reached(err == DEGU_E_RANGE);
}

BOUND("any range, any buffer")
CONTRACT(degu_priv_put_decimal/some_digits)
PROOF(degu_format_content_range)
{
    space s = any_space();
    degu_content_range range;
    degu_err err;
    range.start = nondet_u64();
    range.stop = nondet_u64();
    range.total = nondet_u64();
    err = degu_format_content_range(&s.dst, range);
    check_space(&s, err, 11);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_RANGE);
    proved((err == DEGU_E_RANGE) ==
           (range.start >= range.stop || range.stop > range.total ||
            range.total > DEGU_LENGTH_MAX));
    reached(err == DEGU_E_RANGE);
}

static void any_headers(degu_header *headers)
{
    int i;
    for (i = 0; i < 3; i++) {
        headers[i].name = any_view(ANY);
        headers[i].value = any_view(ANY);
    }
}

BOUND("any header, any buffer")
PROOF(degu_priv_put_field)
{
    space s = any_space();
    degu_priv_writer w = degu_priv_write_to(&s.dst), old;
    degu_header header;
    header.name = any_view(ANY);
    header.value = any_view(ANY);
    w.need = nondet_size();
    old = w;
    degu_priv_put_field(&w, &header);
    check_append(&s, old, w);
    proved(w.need > old.need || w.need == SIZE_MAX);
}

BOUND("up to 3 headers of any length, any buffer")
UNWIND(4)
CONTRACT(degu_priv_check_name/some_name, degu_priv_check_value/some_value, degu_priv_name_id/some_id, degu_priv_note_field/some_meaning, degu_priv_put_field/some_field)
PROOF(degu_priv_put_fields)
{
    space s = any_space();
    degu_priv_writer w = degu_priv_write_to(&s.dst), old;
    degu_priv_head h;
    degu_header headers[3];
    size_t count = up_to(3);
    degu_err err;
    any_headers(headers);
    w.need = nondet_size();
    old = w;
    degu_priv_head_init(&h, NULL, NULL);
    err = degu_priv_put_fields(&w, &h, headers, count);
    check_append(&s, old, w);
    proved(h.lines <= count);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_HOP_FIELD && count == 3);
}

BOUND("any headers, any buffer")
UNWIND(4)
CONTRACT(degu_priv_check_name/some_name, degu_priv_check_value/some_value, degu_priv_name_id/some_id, degu_priv_put_field/some_field)
PROOF(degu_format_trailers)
{
    space s = any_space();
    degu_header headers[DEGU_HEADER_MAX]; /* with more none is looked at */
    size_t count = nondet_size();
    degu_err err;
    any_headers(headers);
    err = degu_format_trailers(&s.dst, headers, count);
    check_space(&s, err, 2);
    if (count > DEGU_HEADER_MAX)
        proved(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_HEADER_COUNT && count > 100000);
    reached(err == DEGU_E_TRAILER_SIZE);
    reached(err == DEGU_E_TRAILER);
    reached(err == DEGU_E_VALUE);
}

static degu_frame any_frame(void)
{
    degu_frame frame;
    frame.framing = (degu_framing)nondet_int();
    frame.length = nondet_u64();
    frame.close = nondet_bool();
    return frame;
}

BOUND("any texts, any headers (see degu_priv_put_fields), any buffer")
UNWIND(8)
CONTRACT(degu_priv_put_fields/some_fields, degu_priv_put_decimal/some_digits, degu_parse_target/some_target)
PROOF(degu_format_request)
{
    space s = any_space();
    degu_header headers[3];
    size_t count = up_to(ANY);
    degu_err err;
    err = degu_format_request(
        &s.dst, (degu_method)nondet_int(), any_view(ANY), headers,
        count, any_frame());
    check_space(&s, err, 18);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_PREAMBLE_SIZE && count == 1);
    reached(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_E_BODY_METHOD);
}

BOUND("any texts, any headers (see degu_priv_put_fields), any buffer")
UNWIND(8)
CONTRACT(degu_priv_put_fields/some_fields, degu_priv_put_decimal/some_digits)
PROOF(degu_format_response)
{
    space s = any_space();
    degu_header headers[3];
    size_t count = up_to(ANY);
    degu_err err;
    err = degu_format_response(
        &s.dst, (degu_method)nondet_int(), nondet_int(), any_view(ANY),
        headers, count, any_frame());
    check_space(&s, err, 15);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_PREAMBLE_SIZE && count == 1);
    reached(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_E_NO_CONTENT);
}

BOUND("any size, up to 2 extensions of any length, any buffer")
UNWIND(4)
CONTRACT(degu_priv_put_hex/some_hex)
PROOF(degu_format_chunk_line)
{
    space s = any_space();
    degu_extension extensions[2];
    size_t count = up_to(2), i;
    degu_err err;
    for (i = 0; i < 2; i++) {
        extensions[i].key = any_view(ANY);
        extensions[i].value = any_view(ANY);
        extensions[i].escaped = nondet_bool();
    }
    err = degu_format_chunk_line(&s.dst, nondet_u64(), extensions, count);
    check_space(&s, err, 3);
    reached(err == DEGU_OK && count == 2);
    reached(err == DEGU_E_CHUNK_LINE_SIZE);
    reached(err == DEGU_E_CHUNK_EXTENSION);
}

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

/* With nothing to look at copies are made.  Else only the byte that is looked
   at is written, though both ends are checked; nothing that formats reads what
   it has written. */
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

/* Where appending begins, and how far behind that the byte is. */
static degu_priv_writer begun;
static size_t behind;

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
    begun = degu_priv_write_to(&s.dst);
    behind = s.at >= s.dst.len ? s.at - s.dst.len : SIZE_MAX;
    return s;
}

/* What is true of every function that appends. */
static void check_space(const space *s, degu_err err, size_t least,
                        size_t most)
{
    bool is_there = s->dst.ptr && s->at < s->dst.cap;
    bool is_new = s->at >= s->old.len && s->at < s->dst.len;
    proved(s->dst.ptr == s->old.ptr && s->dst.cap == s->old.cap);
    if (err)
        proved(s->dst.len == s->old.len);
    else
        proved(s->dst.ptr && s->dst.len <= s->dst.cap &&
               s->dst.len >= s->old.len && s->dst.len - s->old.len >= least &&
               s->dst.len - s->old.len <= most);
    if (is_there && (s->at < s->old.len || (!err && !is_new)))
        proved(*looked_at == s->byte && !touched);
    reached(err == DEGU_E_SPACE && s->dst.ptr);
    reached(err == DEGU_E_SPACE && !s->dst.ptr);
    reached(err == DEGU_OK && is_there && s->at < s->old.len);
    reached(err == DEGU_OK && is_there && s->at >= s->dst.len);
    reached(err == DEGU_OK && is_new && touched);
}

/* ---- What stands for functions that have a proof of their own ---- */

/* From least to most bytes are appended, of which one may be looked at. */
static void append_some(degu_priv_writer *w, size_t least, size_t most)
{
    size_t old = w->need, n = up_to(most);
    given(n >= least);
    proved(w->ptr == begun.ptr && w->room == begun.room);
    w->need += DEGU_PRIV_MIN(n, SIZE_MAX - old);
    if (behind >= old && behind < DEGU_PRIV_MIN(w->room, w->need) &&
        nondet_bool())
        touched = true;
}

static bool is_readable(degu_str text)
{
    return text.len == 0 || __CPROVER_r_ok(text.ptr, text.len);
}

void sum_degu_priv_put(degu_priv_writer *w, const char *ptr, size_t len)
{
    proved(is_readable(degu_bytes(ptr, len)));
    proved(w->ptr || w->need || len); /* NULL + 0 is not defined in C */
    append_some(w, len, len);
}

void sum_degu_priv_put_decimal(degu_priv_writer *w, uint64_t n)
{
    proved(n <= DEGU_LENGTH_MAX);
    append_some(w, 1, 16);
}

void sum_degu_priv_put_hex(degu_priv_writer *w, uint64_t n)
{
    (void)n;
    append_some(w, 1, 16);
}

void sum_degu_priv_put_field(degu_priv_writer *w, const degu_header *header)
{
    proved(is_readable(header->name) && is_readable(header->value));
    proved(header->name.len >= 1);
    append_some(w, 4, SIZE_MAX);
}

degu_err sum_degu_priv_put_quoted(degu_priv_writer *w, degu_str value)
{
    degu_err err = any_error();
    proved(is_readable(value));
    append_some(w, err ? 0 : 2, SIZE_MAX);
    return err;
}

size_t sum_degu_span(const char *ptr, size_t len, unsigned bit)
{
    (void)bit;
    proved(is_readable(degu_bytes(ptr, len)));
    return up_to(len);
}

size_t sum_degu_priv_span_value(const char *base, const char *ptr, size_t len)
{
    proved(base == ptr);
    return sum_degu_span(ptr, len, DEGU_VALUE);
}

bool sum_degu_is(degu_str a, const char *text)
{
    (void)text;
    proved(is_readable(a));
    return nondet_bool();
}

degu_err sum_degu_priv_check_name(degu_str name)
{
    degu_err err = any_error();
    proved(is_readable(name));
    given(err || (name.len >= 1 && name.len <= DEGU_NAME_MAX));
    return err;
}

degu_err sum_degu_priv_check_value(degu_str value)
{
    proved(is_readable(value));
    return any_error();
}

unsigned sum_degu_priv_name_id(const char *name, size_t len)
{
    unsigned id = nondet_unsigned();
    proved(is_readable(degu_bytes(name, len)));
    given(id <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
    given(id == 0 || (len >= 1 && len <= DEGU_NAME_MAX));
    return id;
}

degu_err sum_degu_parse_target(degu_str target, degu_str *path,
                               degu_str *query, size_t *error_at)
{
    degu_err err = any_error();
    proved(is_readable(target));
    given(err || target.len >= 1);
    *path = degu_bytes(target.ptr, up_to(target.len));
    *query = nondet_bool() ? degu_bytes(NULL, 0) : *path;
    *error_at = up_to(target.len);
    return err;
}

/* Where a host was is nothing to those who format. */
degu_err sum_degu_priv_note_field(degu_priv_head *h, unsigned id,
                                  degu_str value)
{
    proved(id >= 1 && id <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
    proved(is_readable(value));
    h->length = up_to(DEGU_LENGTH_MAX);
    h->close = nondet_bool();
    return any_error();
}

degu_err sum_degu_priv_put_fields(degu_priv_writer *w, degu_priv_head *h,
                                  const degu_header *headers, size_t count)
{
    proved(h->lines == 0 && h->seen == 0);
    proved(count <= 3 && __CPROVER_r_ok(headers, count * sizeof *headers));
    append_some(w, 0, SIZE_MAX);
    h->lines = up_to(count);
    h->seen = nondet_unsigned();
    h->length = up_to(DEGU_LENGTH_MAX);
    h->close = nondet_bool();
    return any_error();
}

/* ---- Numbers, targets ---- */

/* Does w append, and at least so much, as append_some() has it? */
static void check_append(const space *s, degu_priv_writer old,
                         degu_priv_writer w, size_t least)
{
    proved(w.ptr == old.ptr && w.room == old.room && w.need >= old.need);
    proved(w.need - old.need >= least || w.need == SIZE_MAX);
    if (touched)
        proved(old.need <= w.room && s->at >= s->dst.len &&
               s->at - s->dst.len >= old.need &&
               s->at - s->dst.len < DEGU_PRIV_MIN(w.room, w.need));
    reached(touched);
    reached(w.need == SIZE_MAX);
    reached(w.need > w.room && old.need < w.room);
}

BOUND("any text, any buffer")
LONG
PROOF(degu_priv_put)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    degu_str text = any_view(ANY);
    w.need = nondet_size();
    old = w;
    given(w.ptr || w.need || text.len);
    degu_priv_put(&w, text.ptr, text.len);
    check_append(&s, old, w, text.len);
    proved(w.need - old.need <= text.len);
}

BOUND("any number that is sent, any buffer")
LONG
UNWIND(9)
SUMMED(degu_priv_put)
PROOF(degu_priv_put_decimal)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    uint64_t n = nondet_u64();
    given(n <= DEGU_LENGTH_MAX);
    w.need = nondet_size();
    old = w;
    degu_priv_put_decimal(&w, n);
    check_append(&s, old, w, 1);
    proved(w.need - old.need <= 16);
}

BOUND("any number, any buffer")
UNWIND(17)
SUMMED(degu_priv_put)
PROOF(degu_priv_put_hex)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    w.need = nondet_size();
    old = w;
    degu_priv_put_hex(&w, nondet_u64());
    check_append(&s, old, w, 1);
    proved(w.need - old.need <= 16);
}

BOUND("any number, any buffer")
SUMMED(degu_priv_put_decimal)
PROOF(degu_format_length)
{
    space s = any_space();
    uint64_t length = nondet_u64();
    degu_err err = degu_format_length(&s.dst, length);
    check_space(&s, err, 1, 16);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_LENGTH);
    proved((err == DEGU_E_LENGTH) == (length > DEGU_LENGTH_MAX));
    reached(err == DEGU_OK && s.dst.len - s.old.len == 16);
}

BOUND("any texts, any buffer")
SUMMED(degu_priv_put, degu_parse_target, degu_priv_take_escaped)
PROOF(degu_format_target)
{
    space s = any_space();
    degu_str path = any_view(ANY), query = any_view(ANY);
    degu_err err = degu_format_target(&s.dst, path, query);
    check_space(&s, err, 1, DEGU_PREAMBLE_MAX);
    if (err == DEGU_OK)
        proved(s.dst.len - s.old.len ==
               path.len + (query.ptr ? 1 + query.len : 0));
    reached(err == DEGU_OK && query.ptr && path.len > 1000);
    reached(err == DEGU_E_TARGET_SIZE && path.len > 100000);
    reached(err == DEGU_E_PERCENT && path.len > 100000);
}

BOUND("any range, any buffer")
SUMMED(degu_priv_put, degu_priv_put_decimal)
PROOF(degu_format_range)
{
    space s = any_space();
    degu_range range;
    degu_err err;
    range.start = nondet_u64();
    range.stop = nondet_u64();
    err = degu_format_range(&s.dst, range);
    check_space(&s, err, 9, 64);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_RANGE);
    proved((err == DEGU_E_RANGE) == (range.start >= range.stop ||
                                     range.stop > DEGU_LENGTH_MAX));
    reached(err == DEGU_E_RANGE);
}

BOUND("any range, any buffer")
LONG
SUMMED(degu_priv_put, degu_priv_put_decimal)
PROOF(degu_format_content_range)
{
    space s = any_space();
    degu_content_range range;
    degu_err err;
    range.start = nondet_u64();
    range.stop = nondet_u64();
    range.total = nondet_u64();
    err = degu_format_content_range(&s.dst, range);
    check_space(&s, err, 11, 64);
    proved(err == DEGU_OK || err == DEGU_E_SPACE || err == DEGU_E_RANGE);
    proved((err == DEGU_E_RANGE) ==
           (range.start >= range.stop || range.stop > range.total ||
            range.total > DEGU_LENGTH_MAX));
    reached(err == DEGU_E_RANGE);
}

/* ---- Field lines ---- */

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

BOUND("texts of up to 12 bytes")
UNWOUND
PROOF(degu_priv_check_name__result)
{
    degu_str name = any_text(12);
    degu_err err = degu_priv_check_name(name);
    size_t k = nondet_size();
    if (err == DEGU_OK && k < name.len)
        proved(degu_priv_in(name.ptr[k], DEGU_TOKEN) &&
               !(name.ptr[k] >= 'A' && name.ptr[k] <= 'Z'));
    reached(err == DEGU_OK && name.len == 12);
}

BOUND("any text")
SUMMED(degu_priv_span_value)
PROOF(degu_priv_check_value)
{
    degu_str value = any_view(ANY);
    degu_err err = degu_priv_check_value(value);
    proved(err == DEGU_OK || (err == DEGU_E_VALUE && value.len));
    reached(err == DEGU_OK && value.len > 100000);
    reached(err == DEGU_E_VALUE && value.len > 100000);
}

BOUND("any text, or none")
LONG
PROOF(degu_priv_name_id)
{
    degu_str name = any_view(ANY);
    unsigned id = degu_priv_name_id(name.ptr, name.len);
    proved(id <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
    proved(id == 0 || (name.len >= 1 && name.len <= DEGU_NAME_MAX));
    reached(id == 0 && !name.ptr);
    reached(id == DEGU_PRIV_IF_UNMODIFIED_SINCE);
    reached(id == 0 && name.len > 100000);
}

BOUND("texts of up to 12 bytes")
UNWOUND
PROOF(degu_priv_check_value__result)
{
    degu_str value = any_text(12);
    degu_err err = degu_priv_check_value(value);
    size_t k = nondet_size();
    if (err == DEGU_OK && k < value.len)
        proved(degu_priv_in(value.ptr[k], DEGU_VALUE) &&
               !(degu_priv_is_blank(value.ptr[k]) &&
                 (k == 0 || k == value.len - 1)));
    reached(err == DEGU_OK && value.len == 12);
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
SUMMED(degu_priv_put)
PROOF(degu_priv_put_field)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    degu_header header;
    header.name = any_view(ANY);
    header.value = any_view(ANY);
    w.need = nondet_size();
    old = w;
    given(header.name.len >= 1);
    degu_priv_put_field(&w, &header);
    check_append(&s, old, w, 4);
}

/* What parse.c shows of received heads, here of values that lie anywhere. */
BOUND("any value that lies anywhere, or is absent")
SUMMED(degu_priv_is_host)
PROOF(degu_priv_note_field__sent)
{
    degu_priv_head h;
    degu_str value = any_view(ANY);
    unsigned id = nondet_unsigned();
    degu_err err;
    degu_priv_head_init(&h, NULL, NULL);
    given(id >= 1 && id <= DEGU_PRIV_IF_UNMODIFIED_SINCE);
    h.length = up_to(DEGU_LENGTH_MAX);
    h.seen = nondet_unsigned();
    err = degu_priv_note_field(&h, id, value);
    proved(h.length <= DEGU_LENGTH_MAX && h.lines == 0);
    reached(!err && id == DEGU_PRIV_HOST);
    reached(!err && id == DEGU_PRIV_HOST && !value.ptr);
    reached(err == DEGU_E_HOST && value.len > 1000);
    reached(err == DEGU_E_LENGTH && value.len > 1000);
}

BOUND("up to 3 headers of any length, any buffer")
LONG
UNWIND(4)
SUMMED(degu_priv_check_name, degu_priv_check_value, degu_priv_name_id,
       degu_priv_note_field, degu_priv_put_field, degu_is)
PROOF(degu_priv_put_fields)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    degu_priv_head h;
    degu_header headers[3];
    size_t count = up_to(3);
    degu_err err;
    any_headers(headers);
    w.need = nondet_size();
    old = w;
    degu_priv_head_init(&h, NULL, NULL);
    err = degu_priv_put_fields(&w, &h, headers, count);
    check_append(&s, old, w, 0);
    proved(h.lines <= count && h.length <= DEGU_LENGTH_MAX);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_HOP_FIELD && count == 3);
}

BOUND("any headers, any buffer")
UNWIND(4)
SUMMED(degu_priv_put, degu_priv_check_name, degu_priv_check_value,
       degu_priv_name_id, degu_priv_put_field)
PROOF(degu_format_trailers)
{
    space s = any_space();
    degu_header headers[DEGU_HEADER_MAX]; /* with more none is looked at */
    size_t count = nondet_size();
    degu_err err;
    any_headers(headers);
    err = degu_format_trailers(&s.dst, headers, count);
    check_space(&s, err, 2, DEGU_TRAILER_MAX);
    if (count > DEGU_HEADER_MAX)
        proved(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_HEADER_COUNT && count > 100000);
    reached(err == DEGU_E_TRAILER_SIZE);
    reached(err == DEGU_E_TRAILER);
    reached(err == DEGU_E_VALUE);
}

/* ---- Heads ---- */

static degu_frame any_frame(void)
{
    degu_frame frame;
    frame.framing = (degu_framing)nondet_int();
    frame.length = nondet_u64();
    frame.close = nondet_bool();
    return frame;
}

BOUND("any texts, up to 3 headers of any length, any buffer")
UNWIND(8)
SUMMED(degu_priv_put, degu_priv_put_fields, degu_priv_put_decimal,
       degu_parse_target)
PROOF(degu_format_request)
{
    space s = any_space();
    degu_header headers[3];
    size_t count = up_to(3);
    degu_err err;
    err = degu_format_request(
        &s.dst, (degu_method)nondet_int(), any_view(ANY), headers,
        count, any_frame());
    check_space(&s, err, 18, DEGU_PREAMBLE_MAX);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_PREAMBLE_SIZE && count == 1);
    reached(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_E_BODY_METHOD);
}

BOUND("any texts, up to 3 headers of any length, any buffer")
SUMMED(degu_priv_put, degu_priv_put_fields, degu_priv_put_decimal,
       degu_priv_span_value)
PROOF(degu_format_response)
{
    space s = any_space();
    degu_header headers[3];
    size_t count = up_to(3);
    degu_err err;
    err = degu_format_response(
        &s.dst, (degu_method)nondet_int(), nondet_int(), any_view(ANY),
        headers, count, any_frame());
    check_space(&s, err, 15, DEGU_PREAMBLE_MAX);
    reached(err == DEGU_OK && count == 3);
    reached(err == DEGU_E_PREAMBLE_SIZE && count == 1);
    reached(err == DEGU_E_HEADER_COUNT);
    reached(err == DEGU_E_NO_CONTENT);
}

/* ---- Chunk lines ---- */

BOUND("any text, any buffer")
LONG
SUMMED(degu_priv_put, degu_span)
PROOF(degu_priv_put_quoted)
{
    space s = any_space();
    degu_priv_writer w = begun, old;
    degu_err err;
    w.need = nondet_size();
    old = w;
    err = degu_priv_put_quoted(&w, any_view(ANY));
    check_append(&s, old, w, err ? 0 : 2);
    reached(err == DEGU_E_CHUNK_EXTENSION);
}

BOUND("any size, up to 2 extensions of any length, any buffer")
UNWIND(4)
SUMMED(degu_priv_put, degu_priv_put_hex, degu_priv_put_quoted, degu_span)
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
    check_space(&s, err, 3, DEGU_CHUNK_LINE_MAX);
    reached(err == DEGU_OK && count == 2);
    reached(err == DEGU_E_CHUNK_LINE_SIZE);
    reached(err == DEGU_E_CHUNK_EXTENSION);
}

/* SPDX-License-Identifier: MIT OR 0BSD

   What every harness needs: degu.h itself, with limits that short inputs
   reach (FUZZ_DEFAULT_LIMITS: with its own); choices and texts taken from the
   input; oracles that several share.  An oracle that fails prints a line that
   says what differed, and aborts. */

#ifndef FUZZ_HARNESS_H
#define FUZZ_HARNESS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FUZZ_DEFAULT_LIMITS
#define DEGU_PREAMBLE_MAX 1024
#define DEGU_HEADER_MAX 12
#define DEGU_NAME_MAX 32
#define DEGU_CHUNK_LINE_MAX 128
#define DEGU_TRAILER_MAX 256
#define DEGU_INTERIM_MAX 3
#define DEGU_COPY_MAX 64
#define DEGU_STEP_BYTES 512
#endif
#ifndef FUZZ_WITH_SOCKETS
#define DEGU_NO_SOCKETS
#endif
#ifndef FUZZ_WITH_SERVER
#define DEGU_NO_SERVER
#endif
#define DEGU_STATIC
#define DEGU_IMPLEMENTATION
#define DEGU_ASSERT(x) fuzz_require((x), "DEGU_ASSERT(" #x ")")

/* For what is a view or a number, fuzz_same_... tells both. */
#if defined(__GNUC__)
__attribute__((unused))
#endif
static void fuzz_require(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fuzz: not so: %s\n", what);
    abort();
}

#include "../degu.h"

#ifdef __cplusplus
extern "C" {
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Mixed from all results since the start: equal for every build of the same
   harness over the same inputs.  replay.c prints it. */
uint64_t fuzz_digest;
#ifdef __cplusplus
}
#endif

static inline void fuzz_note(uint64_t number)
{
    fuzz_digest = (fuzz_digest ^ number) * UINT64_C(0x100000001b3);
    fuzz_digest ^= fuzz_digest >> 29;
}

static inline void fuzz_note_view(degu_str view)
{
    size_t i;
    fuzz_note(view.ptr == NULL ? UINT64_C(1) << 40 : view.len);
    for (i = 0; i < view.len; ++i)
        fuzz_note((unsigned char)view.ptr[i]);
}

/* ---- Oracles ---- */

static inline void fuzz_same_number(uint64_t a, uint64_t b, const char *what)
{
    if (a == b)
        return;
    fprintf(stderr, "fuzz: differs: %s: %" PRIu64 " and %" PRIu64 "\n", what,
            a, b);
    abort();
}

static inline void fuzz_same_err(degu_err a, degu_err b, const char *what)
{
    if (a == b)
        return;
    fprintf(stderr, "fuzz: differs: %s: %s and %s\n", what, degu_err_name(a),
            degu_err_name(b));
    abort();
}

static inline void fuzz_show(degu_str view)
{
    size_t i;
    fputs(view.ptr == NULL ? "none" : "\"", stderr);
    for (i = 0; i < view.len; ++i) {
        const unsigned byte = (unsigned char)view.ptr[i];
        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
            fprintf(stderr, "\\x%02x", byte);
        else
            fputc((int)byte, stderr);
    }
    fputs(view.ptr == NULL ? "" : "\"", stderr);
}

static inline void fuzz_same_view(degu_str a, degu_str b, const char *what)
{
    if (degu_equal(a, b) && (a.ptr == NULL) == (b.ptr == NULL))
        return;
    fprintf(stderr, "fuzz: differs: %s: ", what);
    fuzz_show(a);
    fputs(" and ", stderr);
    fuzz_show(b);
    fputc('\n', stderr);
    abort();
}

/* Views lie inside what was parsed. */
static inline void fuzz_inside(degu_str view, const char *ptr, size_t len,
                               const char *what)
{
    if (view.ptr == NULL) {
        fuzz_same_number(view.len, 0, what);
        return;
    }
    fuzz_require(view.ptr >= ptr && view.ptr <= ptr + len, what);
    fuzz_require(view.len <= (size_t)(ptr + len - view.ptr), what);
}

/* ---- Input ---- */

typedef struct fuzz_input {
    const char *ptr;
    size_t len;
} fuzz_input;

static inline fuzz_input fuzz_from(const uint8_t *data, size_t size)
{
    fuzz_input input;
    input.ptr = (const char *)data;
    input.len = size;
    return input;
}

/* Takes off what stands in front of the next stop, all without one. */
static inline fuzz_input fuzz_until(fuzz_input *input, char stop)
{
    fuzz_input front = *input;
    size_t used = 0;
    while (used < input->len && input->ptr[used] != stop)
        ++used;
    front.len = used;
    used += used < input->len;
    input->ptr += used;
    input->len -= used;
    return front;
}

/* The first line of an input may be its script: one byte a choice, readable
   as a digit.  Behind its end every choice is 0, the plainest. */
static inline unsigned fuzz_choose(fuzz_input *script, unsigned count)
{
    unsigned byte = '0';
    if (script->len > 0) {
        byte = (unsigned char)script->ptr[0];
        ++script->ptr;
        --script->len;
    }
    return ((byte - '0') & 0xffu) % count;
}

/* A copy that ends where its memory ends, so that a sanitizer sees a byte
   read too many.  To be freed. */
static inline char *fuzz_copy(const char *ptr, size_t len)
{
    char *copy = (char *)malloc(len > 0 ? len : 1);
    fuzz_require(copy != NULL, "memory");
    if (len > 0)
        memcpy(copy, ptr, len);
    return copy;
}

static inline uint32_t fuzz_hash(const char *ptr, size_t len)
{
    uint32_t hash = UINT32_C(2166136261);
    size_t i;
    for (i = 0; i < len; ++i)
        hash = (hash ^ (unsigned char)ptr[i]) * UINT32_C(16777619);
    return hash;
}

/* ---- Layer 3 against a loop over its table ---- */

static inline size_t fuzz_slow_span(const char *ptr, size_t len, unsigned bit)
{
    size_t i = 0;
    while (i < len && (degu_class((unsigned char)ptr[i]) & bit) != 0)
        ++i;
    return i;
}

/* One span behind the other, up to the end. */
static inline void fuzz_spans(const char *ptr, size_t len, unsigned bit)
{
    size_t at, span, lf;
    for (at = 0; at <= len; at += span + 1) {
        span = degu_span(ptr + at, len - at, bit);
        fuzz_same_number(span, fuzz_slow_span(ptr + at, len - at, bit),
                         "degu_span and the table");
    }
    for (at = 0; at <= len; at += lf + 1) {
        for (lf = 0; at + lf < len && ptr[at + lf] != '\n'; ++lf)
            ;
        fuzz_same_number(degu_priv_find_lf(ptr + at, len - at), lf,
                         "degu_priv_find_lf and a loop");
    }
}

/* Every kernel, from every offset of the first 33, so that each byte was in
   each lane. */
static inline void fuzz_kernels(const char *ptr, size_t len)
{
    size_t at;
    unsigned bit;
    for (bit = 1; bit <= 128; bit <<= 1)
        fuzz_spans(ptr, len, bit);
    for (at = 1; at <= len && at < 33; ++at)
        fuzz_spans(ptr + at, len - at, DEGU_VALUE);
}

/* degu_scan_head by the letter, a byte at a time. */
static inline degu_err fuzz_slow_scan(const char *buf, size_t len, size_t *pos)
{
    size_t i;
    bool line = false;
    *pos = 0;
    if (len >= 1 && buf[0] == '\n')
        return DEGU_E_LINE_END;
    if (len >= 2 && buf[0] == '\r')
        return buf[1] == '\n' ? DEGU_E_EMPTY_LINE : DEGU_E_LINE_END;
    for (i = 0; i < len && i < DEGU_PREAMBLE_MAX; ++i) {
        *pos = i;
        if (buf[i] != '\n')
            continue;
        if (buf[i - 1] != '\r')
            return DEGU_E_LINE_END;
        *pos = i + 1;
        if (i >= 3 && memcmp(buf + i - 3, "\r\n\r\n", 4) == 0)
            return DEGU_OK;
        line = true;
    }
    *pos = i;
    if (i < DEGU_PREAMBLE_MAX)
        return DEGU_MORE;
    return line ? DEGU_E_PREAMBLE_SIZE : DEGU_E_TARGET_SIZE;
}

/* Whole, by the letter, and byte by byte, all the same; *pos as the scan
   left it. */
static inline degu_err fuzz_scan(const char *buf, size_t len, size_t *pos)
{
    size_t slow, step = 0, have;
    degu_err err, again = DEGU_MORE;
    *pos = 0;
    err = degu_scan_head(buf, len, pos);
    fuzz_require(*pos <= len, "degu_scan_head stays inside");
    fuzz_same_err(fuzz_slow_scan(buf, len, &slow), err, "scan by the letter");
    fuzz_same_number(slow, *pos, "scan by the letter, its offset");
    for (have = 0; have <= len && again == DEGU_MORE; ++have)
        again = degu_scan_head(buf, have, &step);
    fuzz_same_err(again, err, "scan byte by byte");
    fuzz_same_number(step, *pos, "scan byte by byte, its offset");
    return err;
}

/* ---- Fields and heads ---- */

static inline void fuzz_fields_inside(const degu_fields *fields,
                                      const char *ptr, size_t len)
{
    size_t i, k;
    fuzz_require(fields->count <= DEGU_HEADER_MAX, "number of fields");
    for (i = 0; i < fields->count; ++i) {
        degu_header field = degu_field_at(fields, i);
        fuzz_inside(field.name, ptr, len, "a name inside its head");
        fuzz_inside(field.value, ptr, len, "a value inside its head");
        fuzz_require(field.name.len >= 1 && field.name.len <= DEGU_NAME_MAX,
                     "length of a name");
        for (k = 0; k < field.name.len; ++k)
            fuzz_require(field.name.ptr[k] < 'A' || field.name.ptr[k] > 'Z',
                         "a name in lower case");
        fuzz_note_view(field.name);
        fuzz_note_view(field.value);
    }
}

static inline void fuzz_same_fields(const degu_fields *a, const degu_fields *b,
                                    const char *what)
{
    size_t i;
    fuzz_same_number(a->count, b->count, what);
    for (i = 0; i < a->count; ++i) {
        degu_header was = degu_field_at(a, i), is = degu_field_at(b, i);
        fuzz_same_view(was.name, is.name, what);
        fuzz_same_view(was.value, is.value, what);
    }
}

static inline size_t fuzz_headers_of(const degu_fields *fields,
                                     degu_header *headers)
{
    size_t i;
    for (i = 0; i < fields->count; ++i)
        headers[i] = degu_field_at(fields, i);
    return fields->count;
}

/* A head that is accepted holds nothing but visible ASCII, blanks and CR LF,
   and ends with its only empty line; parsing has folded letters and changed
   nothing else. */
static inline void fuzz_head_is_clean(const char *was, const char *is,
                                      size_t len)
{
    size_t i;
    fuzz_require(len >= 4 && memcmp(was + len - 4, "\r\n\r\n", 4) == 0,
                 "an accepted head ends with an empty line");
    for (i = 0; i < len; ++i) {
        const bool end = was[i] == '\r' && i + 1 < len && was[i + 1] == '\n';
        fuzz_require(end || (was[i] == '\n' && i > 0 && was[i - 1] == '\r') ||
                         was[i] == '\t' || (was[i] >= ' ' && was[i] <= '~'),
                     "no other byte in an accepted head");
        fuzz_require(!end || i + 4 >= len ||
                         memcmp(was + i, "\r\n\r\n", 4) != 0,
                     "one empty line in an accepted head");
        fuzz_require(is[i] == was[i] || (was[i] >= 'A' && was[i] <= 'Z' &&
                                         is[i] == was[i] + 32),
                     "only letters are folded");
    }
}

static inline void fuzz_same_request(const degu_request *a,
                                     const degu_request *b, const char *what)
{
    fuzz_same_number(a->method, b->method, what);
    fuzz_same_number(a->framing, b->framing, what);
    if (a->framing == DEGU_LENGTH)
        fuzz_same_number(a->content_length, b->content_length, what);
    fuzz_same_view(a->target, b->target, what);
    fuzz_same_view(a->path, b->path, what);
    fuzz_same_view(a->query, b->query, what);
    fuzz_same_view(a->host, b->host, what);
    fuzz_same_number(a->close, b->close, what);
    fuzz_same_fields(&a->fields, &b->fields, what);
}

static inline void fuzz_same_response(const degu_response *a,
                                      const degu_response *b,
                                      const char *what)
{
    fuzz_same_number((uint64_t)a->status, (uint64_t)b->status, what);
    fuzz_same_number(a->framing, b->framing, what);
    if (a->framing == DEGU_LENGTH)
        fuzz_same_number(a->content_length, b->content_length, what);
    fuzz_same_view(a->reason, b->reason, what);
    fuzz_same_number(a->close, b->close, what);
    fuzz_same_fields(&a->fields, &b->fields, what);
}

/* Space to format into that ends where its memory ends.  To be freed. */
static inline degu_buffer fuzz_buffer(size_t cap)
{
    degu_buffer buffer;
    buffer.ptr = (char *)malloc(cap > 0 ? cap : 1);
    fuzz_require(buffer.ptr != NULL, "memory");
    buffer.cap = cap;
    buffer.len = 0;
    return buffer;
}

#endif

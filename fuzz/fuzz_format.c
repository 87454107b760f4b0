/* SPDX-License-Identifier: MIT OR 0BSD

   The formatter.  The input's first line is a script: what is to be made, and
   how.  The byte behind it separates the texts that follow: a target or
   reason, and then names and values in turn.

   What is written can be parsed and says the same; what is refused as wrong
   in itself, the parser refuses too when it is written raw. */

#include "harness.h"

#define TEXTS (2 * (DEGU_HEADER_MAX + 4) + 1)
#define RAW_MAX (1 << 16)

typedef struct format_order {
    degu_str first; /* target or reason */
    degu_header headers[TEXTS / 2];
    size_t count;
    degu_method method;
    int status;
    degu_frame frame;
    uint64_t number[3];
} format_order;

static uint64_t format_number(fuzz_input *script)
{
    static const uint64_t numbers[] = {
        0, 1, 9, 10, UINT64_C(99999999), UINT64_C(100000000),
        DEGU_LENGTH_MAX - 1, DEGU_LENGTH_MAX, DEGU_LENGTH_MAX + 1, UINT64_MAX};
    return numbers[fuzz_choose(script, 10)];
}

static void format_read(format_order *order, fuzz_input input)
{
    static const degu_framing framings[] = {DEGU_NO_BODY, DEGU_LENGTH,
                                            DEGU_CHUNKED, DEGU_UNTIL_CLOSE};
    static const int statuses[] = {200, 100, 204, 304, 404, 599, 99, 600, 0,
                                   -1, 1000};
    fuzz_input script = fuzz_until(&input, '\n'), text;
    char stop;
    memset(order, 0, sizeof *order);
    order->method = (degu_method)(1 << fuzz_choose(&script, 8));
    order->status = statuses[fuzz_choose(&script, 11)];
    order->frame.framing = framings[fuzz_choose(&script, 4)];
    order->frame.length = format_number(&script);
    order->frame.close = fuzz_choose(&script, 2) != 0;
    order->number[0] = format_number(&script);
    order->number[1] = format_number(&script);
    order->number[2] = format_number(&script);
    if (input.len == 0)
        return;
    stop = input.ptr[0];
    ++input.ptr;
    --input.len;
    text = fuzz_until(&input, stop);
    order->first = degu_bytes(text.ptr, text.len);
    while (input.len > 0 && order->count < TEXTS / 2) {
        degu_header *header = &order->headers[order->count++];
        text = fuzz_until(&input, stop);
        header->name = degu_bytes(text.ptr, text.len);
        text = fuzz_until(&input, stop);
        header->value = degu_bytes(text.ptr, text.len);
    }
}

/* ---- Raw ---- */

static void raw(degu_buffer *dst, const char *ptr, size_t len)
{
    fuzz_require(len <= dst->cap - dst->len, "room for what is written raw");
    if (len > 0)
        memcpy(dst->ptr + dst->len, ptr, len);
    dst->len += len;
}

static void raw_text(degu_buffer *dst, const char *text)
{
    raw(dst, text, strlen(text));
}

static void raw_fields(degu_buffer *dst, const format_order *order)
{
    size_t i;
    for (i = 0; i < order->count; ++i) {
        const degu_header *h = &order->headers[i];
        raw(dst, h->name.ptr, h->name.len);
        raw_text(dst, ": ");
        raw(dst, h->value.ptr, h->value.len);
        raw_text(dst, "\r\n");
    }
}

static bool has_any(degu_str text, const char *bytes)
{
    size_t i;
    for (i = 0; i < text.len; ++i)
        if (text.ptr[i] != '\0' && strchr(bytes, text.ptr[i]) != NULL)
            return true;
    return false;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Written raw these would read as something else that may be right: texts
   with line ends are more lines, a colon ends a name, a capital is folded,
   blanks around a value are taken off. */
static bool raw_is_same(const format_order *order, const char *not_in_first)
{
    size_t i;
    if (has_any(order->first, not_in_first))
        return false;
    for (i = 0; i < order->count; ++i) {
        const degu_str name = order->headers[i].name;
        const degu_str value = order->headers[i].value;
        if (has_any(name, "\r\n:ABCDEFGHIJKLMNOPQRSTUVWXYZ") ||
            has_any(value, "\r\n") ||
            (value.len > 0 && (is_blank(value.ptr[0]) ||
                               is_blank(value.ptr[value.len - 1]))))
            return false;
    }
    return true;
}

/* Errors of a text or a combination that no reader may accept either.  Not
   among them: what only a sender may not do (hop-by-hop fields, a framing
   field that does not fit the body, content where there is none, an expect
   without a body), a length that has no spelling, and a lack of space. */
static bool wrong_for_both(degu_err err, const format_order *order)
{
    switch ((int)err) {
    case DEGU_E_LENGTH:
        return order->frame.length <= DEGU_LENGTH_MAX;
    case DEGU_E_TARGET: case DEGU_E_TARGET_FORM: case DEGU_E_PERCENT:
    case DEGU_E_PATH_EMPTY: case DEGU_E_PATH_DOTS: case DEGU_E_PATH_ESCAPE:
    case DEGU_E_REASON: case DEGU_E_NAME: case DEGU_E_VALUE:
    case DEGU_E_HOST: case DEGU_E_CODING_SYNTAX:
    case DEGU_E_CODING: case DEGU_E_RANGE_PLACE: case DEGU_E_NAME_SIZE:
    case DEGU_E_TRAILER: case DEGU_E_TRAILER_SIZE:
        return true;
    default:
        return false;
    }
}

/* ---- Parsed again ---- */

/* The fields that were asked for, in order, but for those that belong to the
   library; and behind them what it has added.  A field named close goes with
   connection: close, for which RFC 9112 12.1 keeps the name. */
static void fields_are(const degu_fields *fields, const format_order *order,
                       bool close)
{
    size_t i, at = 0;
    for (i = 0; i < order->count; ++i) {
        const degu_header *want = &order->headers[i];
        degu_header is;
        if (degu_is(want->name, "connection") ||
            degu_is(want->name, "expect") ||
            (degu_is(want->name, "close") && close) ||
            (degu_is(want->name, "content-length") &&
             (degu_is(want->value, "0") || order->status == 204)))
            continue;
        is = degu_field_at(fields, at++);
        fuzz_same_view(is.name, want->name, "name, parsed again");
        fuzz_require(degu_equal(is.value, want->value), "value, parsed again");
    }
    fuzz_require(fields->count <= at + 1, "at most one field is added");
}

static void format_in_less(const format_order *order, degu_buffer *dst,
                           bool request)
{
    degu_buffer less = fuzz_buffer(dst->len - 1);
    degu_err err;
    if (request)
        err = degu_format_request(&less, order->method, order->first,
                                  order->headers, order->count, order->frame);
    else
        err = degu_format_response(&less, order->method, order->status,
                                   order->first, order->headers, order->count,
                                   order->frame);
    fuzz_same_err(err, DEGU_E_SPACE, "formatting into a byte less");
    fuzz_same_number(less.len, 0, "what was not formatted");
    free(less.ptr);
}

static void format_request(const format_order *order)
{
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX);
    degu_request r;
    degu_err err = degu_format_request(&dst, order->method, order->first,
                                       order->headers, order->count,
                                       order->frame);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_require(dst.len <= DEGU_PREAMBLE_MAX, "a head is bounded");
        fuzz_note(fuzz_hash(dst.ptr, dst.len));
        format_in_less(order, &dst, true);
        fuzz_same_err(degu_parse_request(dst.ptr, dst.len, &r), DEGU_OK,
                      "parsing what was formatted");
        fuzz_same_number(r.method, order->method, "method, parsed again");
        fuzz_same_view(r.target, order->first, "target, parsed again");
        fuzz_require(!order->frame.close || r.close, "close, parsed again");
        if (order->frame.framing != DEGU_LENGTH || order->frame.length > 0)
            fuzz_same_number(r.framing, order->frame.framing, "framing");
        if (r.framing == DEGU_LENGTH)
            fuzz_same_number(r.content_length, order->frame.length, "length");
        fields_are(&r.fields, order, r.close);
    } else {
        fuzz_same_number(dst.len, 0, "what was refused");
    }
    if (wrong_for_both(err, order) && raw_is_same(order, "\r\n ")) {
        degu_buffer head = fuzz_buffer(RAW_MAX);
        raw(&head, "PUT ", 4);
        raw(&head, order->first.ptr, order->first.len);
        raw_text(&head, " HTTP/1.1\r\n");
        raw_fields(&head, order);
        raw_text(&head, "\r\n");
        fuzz_require(degu_parse_request(head.ptr, head.len, &r) < 0,
                     "a request that is refused here is refused there");
        free(head.ptr);
    }
    free(dst.ptr);
}

static void format_response(const format_order *order)
{
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX);
    degu_response r;
    degu_err err = degu_format_response(&dst, order->method, order->status,
                                        order->first, order->headers,
                                        order->count, order->frame);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_require(dst.len <= DEGU_PREAMBLE_MAX, "a head is bounded");
        fuzz_note(fuzz_hash(dst.ptr, dst.len));
        format_in_less(order, &dst, false);
        fuzz_same_err(degu_parse_response(dst.ptr, dst.len, order->method, &r),
                      DEGU_OK, "parsing what was formatted");
        fuzz_same_number((uint64_t)r.status, (uint64_t)order->status,
                         "status, parsed again");
        fuzz_require(degu_equal(r.reason, order->first), "reason");
        fuzz_require(!order->frame.close || r.close, "close, parsed again");
        if (order->frame.framing != DEGU_LENGTH || order->frame.length > 0)
            fuzz_same_number(r.framing, order->frame.framing, "framing");
        fields_are(&r.fields, order, r.close);
    } else {
        fuzz_same_number(dst.len, 0, "what was refused");
    }
    if (wrong_for_both(err, order) && raw_is_same(order, "\r\n")) {
        degu_buffer head = fuzz_buffer(RAW_MAX);
        raw_text(&head, "HTTP/1.1 200 ");
        raw(&head, order->first.ptr, order->first.len);
        raw_text(&head, "\r\n");
        raw_fields(&head, order);
        raw_text(&head, "\r\n");
        fuzz_require(degu_parse_response(head.ptr, head.len, DEGU_GET, &r) < 0,
                     "a response that is refused here is refused there");
        free(head.ptr);
    }
    free(dst.ptr);
}

static void format_trailers(const format_order *order)
{
    degu_buffer dst = fuzz_buffer(2 * DEGU_TRAILER_MAX), lines;
    degu_fields fields;
    size_t at, i;
    degu_err err = degu_format_trailers(&dst, order->headers, order->count);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_require(dst.len <= DEGU_TRAILER_MAX, "trailers are bounded");
        fuzz_same_err(degu_parse_fields(dst.ptr, dst.len - 2, true, &fields,
                                        &at),
                      DEGU_OK, "parsing what was formatted");
        fuzz_same_number(fields.count, order->count, "number of trailers");
        for (i = 0; i < fields.count; ++i) {
            degu_header is = degu_field_at(&fields, i);
            fuzz_same_view(is.name, order->headers[i].name, "name");
            fuzz_require(degu_equal(is.value, order->headers[i].value),
                         "value, parsed again");
        }
    } else if (wrong_for_both(err, order) && raw_is_same(order, "")) {
        lines = fuzz_buffer(RAW_MAX);
        raw_fields(&lines, order);
        fuzz_require(degu_parse_fields(lines.ptr, lines.len, true, &fields,
                                       &at) < 0,
                     "a trailer that is refused here is refused there");
        free(lines.ptr);
    }
    free(dst.ptr);
}

static void format_chunk_line(const format_order *order)
{
    degu_buffer dst = fuzz_buffer(2 * DEGU_CHUNK_LINE_MAX);
    degu_extension extensions[TEXTS / 2], e;
    degu_chunk chunk;
    degu_err err;
    size_t i;
    for (i = 0; i < order->count; ++i) {
        extensions[i].key = order->headers[i].name;
        extensions[i].value = order->headers[i].value;
        if (extensions[i].value.len == 0 && i % 2 != 0)
            extensions[i].value.ptr = NULL;
        extensions[i].escaped = false;
    }
    err = degu_format_chunk_line(&dst, order->number[0], extensions,
                                 order->count);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_same_err(degu_parse_chunk_line(dst.ptr, dst.len, &chunk), DEGU_OK,
                      "parsing what was formatted");
        fuzz_same_number(chunk.size, order->number[0], "size, parsed again");
        for (i = 0; degu_next_extension(&chunk.extensions, &e); ++i) {
            char *text = fuzz_buffer(e.value.len).ptr;
            fuzz_require(i < order->count, "number of extensions");
            fuzz_same_view(e.key, extensions[i].key, "key, parsed again");
            if (e.value.ptr != NULL)
                e.value = degu_bytes(text, degu_unescape(e.value, text));
            fuzz_same_view(e.value, extensions[i].value, "extension's value");
            free(text);
        }
        fuzz_same_number(i, order->count, "number of extensions");
    } else {
        fuzz_same_number(dst.len, 0, "what was refused");
    }
    free(dst.ptr);
}

/* A number that is refused has no spelling that is accepted, so there is
   nothing to write raw. */
static void format_numbers(const format_order *order)
{
    char space[64];
    degu_buffer dst = {space, sizeof space, 0};
    degu_range range = {order->number[0], order->number[1]}, range_is;
    degu_content_range content = {order->number[0], order->number[1],
                                  order->number[2]},
                       content_is;
    uint64_t length;
    degu_str text;
    if (degu_format_length(&dst, order->number[0]) == DEGU_OK) {
        text = degu_bytes(dst.ptr, dst.len);
        fuzz_same_err(degu_parse_length(text, &length), DEGU_OK, "length");
        fuzz_same_number(length, order->number[0], "length, parsed again");
    }
    dst.len = 0;
    if (degu_format_range(&dst, range) == DEGU_OK) {
        text = degu_bytes(dst.ptr, dst.len);
        fuzz_same_err(degu_parse_range(text, &range_is), DEGU_OK, "range");
        fuzz_same_number(range.start, range_is.start, "range, parsed again");
        fuzz_same_number(range.stop, range_is.stop, "range, parsed again");
    }
    dst.len = 0;
    if (degu_format_content_range(&dst, content) == DEGU_OK) {
        text = degu_bytes(dst.ptr, dst.len);
        fuzz_same_err(degu_parse_content_range(text, &content_is), DEGU_OK,
                      "content-range");
        fuzz_same_number(content.start, content_is.start, "content-range");
        fuzz_same_number(content.stop, content_is.stop, "content-range");
        fuzz_same_number(content.total, content_is.total, "content-range");
    }
    fuzz_note(dst.len);
}

static void format_target(const format_order *order)
{
    const degu_str path = order->first;
    const degu_str query =
        order->count > 0 ? order->headers[0].name : degu_bytes(NULL, 0);
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX);
    degu_str path_is, query_is;
    size_t at;
    degu_err err = degu_format_target(&dst, path, query);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_same_err(degu_parse_target(degu_bytes(dst.ptr, dst.len), &path_is,
                                        &query_is, &at),
                      DEGU_OK, "parsing what was formatted");
        fuzz_same_view(path_is, path, "path, parsed again");
        fuzz_same_view(query_is, query, "query, parsed again");
    } else if (!has_any(path, "?")) {
        degu_buffer text = fuzz_buffer(RAW_MAX);
        raw(&text, path.ptr, path.len);
        raw(&text, "?", query.ptr != NULL);
        raw(&text, query.ptr, query.len);
        fuzz_require(err == DEGU_E_TARGET_SIZE ||
                         degu_parse_target(degu_bytes(text.ptr, text.len),
                                           &path_is, &query_is, &at) < 0,
                     "a target that is refused here is refused there");
        free(text.ptr);
    }
    free(dst.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    format_order order;
    if (size > RAW_MAX / 2)
        return 0; /* more than the space for what is written raw */
    format_read(&order, fuzz_from(data, size));
    format_request(&order);
    format_response(&order);
    format_trailers(&order);
    format_chunk_line(&order);
    format_numbers(&order);
    format_target(&order);
    return 0;
}

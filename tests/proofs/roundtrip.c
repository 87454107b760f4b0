/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layers 5 and 4: what is written is read as it was. */

#include "prove.h"

static degu_buffer short_buffer(void)
{
    degu_buffer dst = {NULL, SHORT, 0};
    dst.ptr = short_bytes(SHORT);
    return dst;
}

BOUND("numbers of up to 5 digits")
UNWOUND
UNWIND(7)
PROOF(degu_format_length__parsed)
{
    degu_buffer dst = short_buffer();
    uint64_t length = up_to(99999), n;
    proved(degu_format_length(&dst, length) == DEGU_OK);
    proved(degu_parse_length(degu_bytes(dst.ptr, dst.len), &n) == DEGU_OK);
    proved(n == length);
    reached(n == 99999);
}

BOUND("numbers of up to 2 digits")
UNWOUND
UNWIND(8)
LONG
PROOF(degu_format_range__parsed)
{
    degu_buffer dst = short_buffer();
    degu_range range, r;
    range.start = up_to(99);
    range.stop = up_to(99);
    given(range.start < range.stop);
    proved(degu_format_range(&dst, range) == DEGU_OK);
    proved(degu_parse_range(degu_bytes(dst.ptr, dst.len), &r) == DEGU_OK);
    proved(r.start == range.start && r.stop == range.stop);
    reached(r.start == 10 && r.stop == 99);
}

BOUND("numbers of up to 2 digits")
UNWOUND
UNWIND(8)
LONG
PROOF(degu_format_content_range__parsed)
{
    degu_buffer dst = short_buffer();
    degu_content_range range, r;
    range.start = up_to(99);
    range.stop = up_to(99);
    range.total = up_to(99);
    given(range.start < range.stop && range.stop <= range.total);
    proved(degu_format_content_range(&dst, range) == DEGU_OK);
    proved(degu_parse_content_range(degu_bytes(dst.ptr, dst.len), &r) ==
           DEGU_OK);
    proved(r.start == range.start && r.stop == range.stop &&
           r.total == range.total);
    reached(r.start == 10 && r.stop == 98 && r.total == 99);
}

/* There is none. */
degu_err sum_degu_priv_take_extension(degu_priv_cursor *c)
{
    (void)c;
    proved(false);
    return DEGU_OK;
}

BOUND("any size, no extension")
UNWOUND
UNWIND(18)
SUMMED(degu_priv_take_extension)
PROOF(degu_format_chunk_line__parsed)
{
    degu_buffer dst = short_buffer();
    uint64_t size = nondet_u64();
    degu_chunk chunk;
    proved(degu_format_chunk_line(&dst, size, NULL, 0) == DEGU_OK);
    proved(degu_parse_chunk_line(dst.ptr, dst.len, &chunk) == DEGU_OK);
    proved(chunk.size == size && chunk.extensions.len == 0);
    reached(size == UINT64_MAX);
    reached(size == 0);
}

BOUND("sizes of 1 digit, a key of 1 byte, a value of up to 1 or none")
LONG
UNWOUND
UNWIND(7)
PROOF(degu_format_chunk_line__extension)
{
    degu_buffer dst = short_buffer();
    uint64_t size = up_to(15);
    degu_extension sent, e;
    degu_chunk chunk;
    char plain[2];
    size_t n;
    sent.key = any_text(1);
    sent.value = any_view(1);
    given(degu_format_chunk_line(&dst, size, &sent, 1) == DEGU_OK);
    proved(degu_parse_chunk_line(dst.ptr, dst.len, &chunk) == DEGU_OK);
    proved(chunk.size == size);
    proved(degu_next_extension(&chunk.extensions, &e));
    proved(chunk.extensions.len == 0);
    proved(degu_equal(e.key, sent.key));
    proved((e.value.ptr == NULL) == (sent.value.ptr == NULL));
    proved(e.value.len <= sizeof plain);
    n = degu_unescape(e.value, plain);
    proved(degu_equal(degu_bytes(plain, n), sent.value));
    reached(e.escaped);
    reached(e.value.ptr && e.value.len == 0);
    reached(!e.value.ptr);
}

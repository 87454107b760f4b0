/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 3: scan. */

#include "parsers.h"

BOUND("any bytes, any class")
PROOF(degu_span)
{
    degu_str text = any_text(ANY);
    size_t n = degu_span(text.ptr, text.len, nondet_unsigned());
    proved(n <= text.len);
    reached(n == text.len && n > 100000);
    reached(n < text.len && n > 100000);
}

BOUND("texts of up to 20 bytes")
UNWOUND
PROOF(degu_span__result)
{
    degu_str text = any_text(20);
    unsigned bit = 1u << (nondet_unsigned() & 7);
    size_t n = degu_span(text.ptr, text.len, bit), k = nondet_size();
    if (k < n)
        proved(degu_class((unsigned char)(text.ptr[k] & 0xff)) & bit);
    if (n < text.len)
        proved(!(degu_class((unsigned char)(text.ptr[n] & 0xff)) & bit));
    reached(n == 20);
}

BOUND("any bytes, any place to go on from")
LONG
ENFORCED(degu_scan_head)
PROOF(degu_scan_head)
{
    degu_str buf = any_text(ANY);
    size_t end = DEGU_PRIV_MIN(buf.len, DEGU_PREAMBLE_MAX);
    size_t start = up_to(buf.len), pos = start;
    degu_err err = degu_scan_head(buf.ptr, buf.len, &pos);
    proved(pos <= end);
    if (!err)
        proved(pos >= 4 && buf.ptr[pos - 1] == '\n' &&
               buf.ptr[pos - 2] == '\r' && buf.ptr[pos - 3] == '\n');
    if (err == DEGU_MORE)
        proved(pos == buf.len);
    reached(!err && start > 1000 && pos > start + 1000);
    reached(start > end && err == DEGU_E_TARGET_SIZE);
    reached(err == DEGU_MORE && pos > 1000);
    reached(err == DEGU_E_LINE_END && pos > 1000);
    reached(err == DEGU_E_PREAMBLE_SIZE);
    reached(err == DEGU_E_TARGET_SIZE);
    reached(err == DEGU_E_EMPTY_LINE);
}

BOUND("any bytes")
ENFORCED(degu_priv_head_too_large)
PROOF(degu_priv_head_too_large)
{
    degu_str buf = any_text(ANY);
    degu_err err = degu_priv_head_too_large(buf.ptr, buf.len);
    reached(err == DEGU_E_PREAMBLE_SIZE && buf.len > 100000);
    reached(err == DEGU_E_TARGET_SIZE && buf.len > 100000);
}

BOUND("any bytes")
PROOF(degu_priv_span_value)
{
    degu_str text = any_view(ANY);
    size_t n = degu_priv_span_value(text.ptr, text.len);
    proved(n <= text.len);
    reached(n == text.len && n > 100000);
    reached(n < text.len && n > 100000);
}

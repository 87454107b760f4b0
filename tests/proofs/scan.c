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
SUMMED(degu_priv_find_lf)
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
    size_t n = degu_priv_span_value(text.ptr, text.ptr, text.len);
    proved(n <= text.len);
    reached(n == text.len && n > 100000);
    reached(n < text.len && n > 100000);
}

BOUND("any bytes")
PROOF(degu_priv_find_lf)
{
    degu_str text = any_text(ANY);
    size_t n = degu_priv_find_lf(text.ptr, text.len);
    proved(n <= text.len);
    if (n < text.len)
        proved(text.ptr[n] == '\n');
    reached(n == text.len && n > 100000);
    reached(n < text.len && n > 100000);
}

BOUND("texts of up to 20 bytes")
UNWOUND
PROOF(degu_priv_find_lf__result)
{
    degu_str text = any_text(20);
    size_t n = degu_priv_find_lf(text.ptr, text.len), k = nondet_size();
    proved(n <= text.len);
    if (k < n)
        proved(text.ptr[k] != '\n');
    if (n < text.len)
        proved(text.ptr[n] == '\n');
    reached(n == 20);
    reached(n == 18 && text.len == 19);
}

BOUND("any eight bytes")
UNWOUND
PROOF(degu_priv_fold_word)
{
    char bytes[8], before[8];
    size_t k = up_to(7);
    bool plain = true, folds;
    memcpy(before, bytes, 8);
    folds = degu_priv_fold_word(bytes);
    proved(bytes[k] == (folds ? degu_priv_lower(before[k]) : before[k]));
    for (k = 0; k < 8; k++)
        plain = plain && is_plain(before[k]);
    proved(folds == plain);
    reached(folds && before[0] == 'Z' && before[7] == '-');
    reached(!folds && before[5] == 'z');
}

BOUND("any bytes")
LONG
SUMMED(degu_priv_fold_word)
PROOF(degu_priv_fold)
{
    degu_str text = any_text(ANY);
    size_t n;
    watch(text);
    n = degu_priv_fold((char *)text.ptr, text.len);
    proved(n <= text.len);
    proved(*watched ==
           (distance(text.ptr, watched) < n ? degu_priv_lower(was) : was));
    reached(n == text.len && n > 100000);
    reached(n < text.len && n > 100000 && *watched != was);
}

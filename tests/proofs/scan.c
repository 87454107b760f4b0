/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 3: scan. */

#include "prove.h"

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

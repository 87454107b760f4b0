/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 4: parse. */

#include "prove.h"

/* ---- Values ---- */

BOUND("any text")
PROOF(degu_parse_length)
{
    degu_str text = any_view(ANY);
    uint64_t n;
    degu_err err = degu_parse_length(text, &n);
    proved(err == DEGU_OK || err == DEGU_E_LENGTH);
    proved(err ? n == 0 : n <= DEGU_LENGTH_MAX);
    if (!err)
        proved(text.len >= 1 && text.len <= 16);
    reached(!err && n == DEGU_LENGTH_MAX);
    reached(!err && n == 0);
    reached(err && text.len == 16);
}

BOUND("any text")
PROOF(degu_parse_range)
{
    degu_str text = any_view(ANY);
    degu_range range;
    degu_err err = degu_parse_range(text, &range);
    proved(err == DEGU_OK || err == DEGU_E_RANGE);
    if (!err)
        proved(range.start < range.stop && range.stop <= DEGU_LENGTH_MAX);
    reached(!err && range.stop == DEGU_LENGTH_MAX);
    reached(err && text.len > 1000);
}

BOUND("any text")
PROOF(degu_parse_content_range)
{
    degu_str text = any_view(ANY);
    degu_content_range range;
    degu_err err = degu_parse_content_range(text, &range);
    proved(err == DEGU_OK || err == DEGU_E_RANGE);
    if (!err)
        proved(range.start < range.stop && range.stop <= range.total &&
               range.total <= DEGU_LENGTH_MAX);
    reached(!err && range.stop == range.total);
    reached(err && text.len > 1000);
}

/* ---- Targets ---- */

/* Functions that move along a text, *i being where they are: never back, and
   never beyond its end. */
typedef degu_err walk(const char *ptr, size_t len, size_t *i);

static void prove_walk(walk *step)
{
    degu_str text = any_text(ANY);
    size_t start = up_to(text.len), i = start;
    degu_err err = step(text.ptr, text.len, &i);
    proved(start <= i && i <= text.len);
    proved(err == DEGU_OK || err < DEGU_END);
    reached(!err && i > start + 1000);
    reached(err && i > start + 1000);
}

static degu_err sum_walk(const char *ptr, size_t len, size_t *i)
{
    size_t start = *i;
    proved(start <= len && __CPROVER_r_ok(ptr, len));
    *i = nondet_size();
    given(start <= *i && *i <= len);
    return any_error();
}

degu_err sum_degu_priv_parse_part(const char *ptr, size_t len,
                                         size_t *i)
{
    return sum_walk(ptr, len, i);
}

degu_err sum_degu_priv_take_query(const char *ptr, size_t len,
                                         size_t *i)
{
    return sum_walk(ptr, len, i);
}

BOUND("any text")
PROOF(degu_priv_is_dots)
{
    degu_str text = any_text(ANY);
    bool dots = degu_priv_is_dots(text.ptr, text.len);
    if (dots)
        proved(text.len >= 1 && text.len <= 6);
    reached(dots && text.len == 6);
    reached(!dots && text.len > 1000);
}

bool sum_degu_priv_is_dots(const char *ptr, size_t len)
{
    proved(__CPROVER_r_ok(ptr, len));
    return nondet_bool();
}

BOUND("any text")
SUMMED(degu_priv_is_dots)
PROOF(degu_priv_parse_part)
{
    prove_walk(degu_priv_parse_part);
}

BOUND("any text")
PROOF(degu_priv_take_query)
{
    prove_walk(degu_priv_take_query);
}

BOUND("any text")
SUMMED(degu_priv_parse_part, degu_priv_take_query)
PROOF(degu_parse_target)
{
    degu_str target = any_view(ANY), path, query;
    size_t at;
    degu_err err = degu_parse_target(target, &path, &query, &at);
    proved(at <= target.len);
    proved(err || at == 0);
    proved(is_absent(target) || is_inside(path, target));
    proved(query.ptr == NULL ? query.len == 0 : is_inside(query, target));
    if (!err)
        proved(path.len >= 1 && path.ptr == target.ptr && path.ptr[0] == '/');
    if (!err && query.ptr)
        proved(path.len + 1 + query.len == target.len);
    if (!err && !query.ptr)
        proved(path.len == target.len);
    reached(!err && query.len > 1000);
    reached(err && at > 1000);
}

BOUND("any path, whether it was parsed or not")
PROOF(degu_next_part)
{
    degu_str path = any_view(ANY), whole = path, part;
    bool more = degu_next_part(&path, &part);
    if (more)
        proved(is_inside(part, whole));
    else
        proved(is_absent(part));
    proved(is_absent(path) || is_inside(path, whole));
    proved(path.len < whole.len || whole.len == 0);
    reached(more && part.len > 1000 && path.len > 1000);
    reached(!more && whole.len == 1);
}

/* ---- Fields ---- */

static void prove_fields(const degu_fields *fields, size_t len)
{
    size_t k = up_to(DEGU_HEADER_MAX - 1);
    const degu_field *f = &fields->at[k];
    proved(fields->count <= DEGU_HEADER_MAX);
    if (k >= fields->count)
        return;
    proved(f->name_len >= 1 && f->name_len <= DEGU_NAME_MAX);
    proved(f->name + f->name_len < f->value);
    proved((size_t)f->value + f->value_len + 2 <= len);
}

/* Any byte of the text, to see how it changes. */
static void watch(degu_str text)
{
    size_t k = up_to(text.len);
    given(k < text.len);
    watched = text.ptr + k;
    was = *watched;
}

#define prove_only_folded()                                                   \
    proved(*watched == was ||                                                 \
           (was >= 'A' && was <= 'Z' && *watched == was + 32))

BOUND("any lines, up to 3 of them")
PROOF(degu_parse_fields)
{
    size_t len = up_to(ANY), at;
    char *lines = any_bytes(len);
    degu_fields fields;
    bool trailer = nondet_bool();
    degu_err err;
    watch(degu_bytes(lines, len));
    err = degu_parse_fields(lines, len, trailer, &fields, &at);
    proved(at <= len);
    proved(err || at == 0);
    proved(fields.base == lines);
    prove_fields(&fields, len);
    prove_only_folded();
    reached(!err && fields.count == 3 && len > 1000);
    reached(err == DEGU_E_TRAILER);
    reached(err == DEGU_E_REPEATED);
    reached(err == DEGU_E_HEADER_COUNT);
}

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

/* ---- Hosts ---- */

static bool sum_is(degu_str text)
{
    proved(__CPROVER_r_ok(text.ptr, text.len));
    return nondet_bool();
}

bool sum_degu_priv_is_ipv4(degu_str text)
{
    return sum_is(text);
}

bool sum_degu_priv_is_ipv6(degu_str text)
{
    return sum_is(text);
}

bool sum_degu_priv_is_host(degu_str text)
{
    return sum_is(text);
}

BOUND("any text")
PROOF(degu_priv_is_ipv4)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_ipv4(text);
    if (is)
        proved(text.len >= 7 && text.len <= 15);
    reached(is && text.len == 15);
    reached(!is && text.len > 1000);
}

BOUND("any text")
SUMMED(degu_priv_is_ipv4)
PROOF(degu_priv_is_ipv6)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_ipv6(text);
    if (is)
        proved(text.len >= 2);
    reached(is);
    reached(!is && text.len > 1000);
}

BOUND("any text")
SUMMED(degu_priv_is_ipv6)
PROOF(degu_priv_is_host)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_host(text);
    reached(is && text.len > 1000);
    reached(!is && text.len > 1000);
}

/* ---- Lists ---- */

/* The next word lies inside the list; what is left ends where it ended. */
BOUND("any text")
PROOF(degu_priv_next_word)
{
    degu_str list = any_text(ANY), whole = list, word;
    bool more = degu_priv_next_word(&list, &word);
    proved(more == (whole.len > 0));
    if (more)
        proved(is_inside(word, whole) && is_inside(list, whole) &&
               list.len < whole.len &&
               list.ptr + list.len == whole.ptr + whole.len);
    reached(more && word.len > 1000 && list.len > 1000);
    reached(more && word.len == 0 && list.len > 1000);
}

bool sum_degu_priv_next_word(degu_str *list, degu_str *word)
{
    degu_str whole = *list;
    size_t taken = up_to(whole.len), at = up_to(taken);
    proved(__CPROVER_r_ok(whole.ptr, whole.len));
    if (whole.len == 0)
        return false;
    given(taken > 0);
    list->ptr = whole.ptr + taken;
    list->len = whole.len - taken;
    word->ptr = whole.ptr + at;
    word->len = up_to(taken - at);
    return true;
}

BOUND("any text")
SUMMED(degu_priv_next_word)
PROOF(degu_priv_says_close)
{
    degu_str list = any_text(ANY);
    bool close = degu_priv_says_close(list);
    if (close)
        proved(list.len > 0);
    reached(close && list.len > 1000);
    reached(!close && list.len > 1000);
}

bool sum_degu_priv_says_close(degu_str text)
{
    return sum_is(text);
}

/* ---- Fields ---- */

/* Any field of a head of len bytes. */
static bool is_field(const degu_field *f, size_t len)
{
    return f->name_len >= 1 && f->name_len <= DEGU_NAME_MAX &&
           f->name + f->name_len < f->value &&
           (size_t)f->value + f->value_len + 2 <= len;
}

static void prove_fields(const degu_fields *fields, size_t len)
{
    size_t k = up_to(DEGU_HEADER_MAX - 1);
    proved(fields->count <= DEGU_HEADER_MAX);
    if (k < fields->count)
        proved(is_field(&fields->at[k], len));
}

/* Any byte of the text, to see how it changes. */
static void watch(degu_str text)
{
    size_t k = up_to(text.len);
    given(k < text.len);
    watched = text.ptr + k;
    was = *watched;
}

static bool is_only_folded(void)
{
    return *watched == was ||
           (was >= 'A' && was <= 'Z' && *watched == was + 32);
}

BOUND("any line")
PROOF(degu_priv_take_name)
{
    size_t len = up_to(ANY), start = up_to(len), i = start, n;
    char *line = any_bytes(len);
    degu_err err;
    given(start < len);
    watch(degu_bytes(line, len));
    err = degu_priv_take_name(line, len, &i, &n);
    proved(start <= i && i <= len);
    if (!err)
        proved(n >= 1 && n <= DEGU_NAME_MAX && i == start + n + 1 &&
               line[i - 1] == ':');
    proved(is_only_folded());
    reached(!err && n == DEGU_NAME_MAX && start > 1000);
    reached(err == DEGU_E_NAME_SIZE);
    reached(err == DEGU_E_FOLDED);
    reached(err == DEGU_E_COLON);
    reached(*watched != was);
}

degu_err sum_degu_priv_take_name(char *line, size_t len, size_t *i,
                                 size_t *name_len)
{
    size_t start = *i;
    degu_err err = any_error();
    proved(start < len && __CPROVER_rw_ok(line, len));
    __CPROVER_havoc_slice(line, len);
    given(is_only_folded());
    *i = nondet_size();
    *name_len = nondet_size();
    given(start <= *i && *i <= len);
    given(err || (*name_len >= 1 && *name_len <= DEGU_NAME_MAX &&
                  *i == start + *name_len + 1));
    return err;
}

BOUND("any line")
PROOF(degu_priv_take_value)
{
    size_t len = up_to(ANY), start = up_to(len), i = start;
    degu_str line = degu_bytes(any_bytes(len), len), value;
    degu_err err = degu_priv_take_value(line.ptr, len, &i, &value);
    proved(start <= i && i <= len);
    if (!err)
        proved(is_inside(value, line) && value.ptr >= line.ptr + start &&
               value.ptr + value.len + 2 <= line.ptr + i);
    reached(!err && value.len > 1000 && start > 1000);
    reached(!err && value.len == 0);
    reached(err == DEGU_E_VALUE);
    reached(err == DEGU_E_LINE_END && i == len);
}

degu_err sum_degu_priv_take_value(const char *line, size_t len, size_t *i,
                                  degu_str *value)
{
    size_t start = *i, at = up_to(len), n = up_to(len);
    degu_err err = any_error();
    proved(start <= len && __CPROVER_r_ok(line, len));
    *i = nondet_size();
    given(start <= *i && *i <= len);
    if (err)
        return err;
    given(start <= at && at <= *i && n + 2 <= *i - at);
    *value = degu_bytes(line + at, n);
    return DEGU_OK;
}

/* What has been noted of a head lies in it. */
static degu_priv_head any_head(const char *base, size_t len,
                               degu_fields *fields)
{
    degu_priv_head h;
    size_t at = up_to(len);
    h.base = base;
    h.fields = fields;
    h.lines = up_to(DEGU_HEADER_MAX);
    h.seen = nondet_unsigned();
    h.close = nondet_bool();
    h.length = nondet_u64();
    h.host = nondet_bool() ? degu_bytes(NULL, 0)
                           : degu_bytes(base + at, up_to(len - at));
    h.framing_at = up_to(len);
    h.range = h.content_range = degu_bytes(base + at, up_to(len - at));
    h.range_at = h.content_range_at = up_to(len);
    if (fields) {
        fields->base = base;
        fields->count = up_to(h.lines);
    }
    return h;
}

static bool is_head(const degu_priv_head *h, degu_str head)
{
    return (is_absent(h->host) || is_inside(h->host, head)) &&
           h->framing_at <= head.len && h->length <= DEGU_LENGTH_MAX &&
           (!degu_priv_saw(h, DEGU_PRIV_RANGE) ||
            (is_inside(h->range, head) && h->range_at <= head.len)) &&
           (!degu_priv_saw(h, DEGU_PRIV_CONTENT_RANGE) ||
            (is_inside(h->content_range, head) &&
             h->content_range_at <= head.len));
}

BOUND("any value in any head")
SUMMED(degu_priv_is_host, degu_priv_says_close)
PROOF(degu_priv_note_field)
{
    degu_str head = any_text(ANY), value;
    degu_priv_head h = any_head(head.ptr, head.len, NULL);
    size_t at = up_to(head.len), field_at = up_to(at);
    unsigned id = nondet_unsigned();
    degu_err err;
    given(is_head(&h, head) && id >= 1 && id <= 20);
    value = degu_bytes(head.ptr + at, up_to(head.len - at));
    h.seen |= DEGU_PRIV_BIT(id);
    err = degu_priv_note_field(&h, id, value, field_at);
    if (!err)
        proved(is_head(&h, head));
    reached(!err && id == DEGU_PRIV_HOST && h.host.len > 1000);
    reached(!err && h.length == DEGU_LENGTH_MAX);
    reached(err == DEGU_E_LENGTH_AND_CODING);
    reached(err == DEGU_E_EXPECT);
    reached(err == DEGU_E_CODING);
}

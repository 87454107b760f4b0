/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 4: parse. */

#include "parsers.h"

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
LONG
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
LONG
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
LONG
SUMMED(degu_priv_is_dots)
PROOF(degu_priv_parse_part)
{
    prove_walk(degu_priv_parse_part);
}

BOUND("any text")
LONG
PROOF(degu_priv_take_query)
{
    prove_walk(degu_priv_take_query);
}

BOUND("any text")
LONG
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

bool sum_degu_priv_is_ipv4(degu_str text)
{
    return sum_is(text);
}

bool sum_degu_priv_is_ipv6(degu_str text)
{
    return sum_is(text);
}

BOUND("any text")
PROOF(degu_priv_is_ipv4)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_ipv4(text);
    reached(is && text.len == 15);
    reached(!is && text.len > 1000);
}

BOUND("any text")
LONG
SUMMED(degu_priv_is_ipv4)
PROOF(degu_priv_is_ipv6)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_ipv6(text);
    reached(is && text.len == 39);
    reached(!is && text.len > 1000);
}

BOUND("any text, or none")
LONG
SUMMED(degu_priv_is_ipv6)
PROOF(degu_priv_is_host)
{
    degu_str text = any_view(ANY);
    bool is = degu_priv_is_host(text);
    reached(is && !text.ptr);
    reached(is && text.len > 1000);
    reached(!is && text.len > 1000);
}

/* ---- Lists ---- */

/* The next word lies inside the list; what is left ends where it ended. */
BOUND("any text")
LONG
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

BOUND("a list that is absent")
PROOF(degu_priv_next_word__absent)
{
    degu_str list = degu_bytes(NULL, 0), word;
    bool more = degu_priv_next_word(&list, &word);
    proved(!more && is_absent(list));
    reached(!more);
}

bool sum_degu_priv_next_word(degu_str *list, degu_str *word)
{
    degu_str whole = *list;
    size_t taken = up_to(whole.len), at = up_to(taken);
    proved(is_absent(whole) || __CPROVER_r_ok(whole.ptr, whole.len));
    if (whole.len == 0)
        return false;
    given(taken > 0);
    list->ptr = whole.ptr + taken;
    list->len = whole.len - taken;
    word->ptr = whole.ptr + at;
    word->len = up_to(taken - at);
    return true;
}

BOUND("any text, or none")
LONG
SUMMED(degu_priv_next_word)
PROOF(degu_priv_says_close)
{
    degu_str list = any_view(ANY);
    bool close = degu_priv_says_close(list);
    if (close)
        proved(list.len > 0);
    reached(close && list.len > 1000);
    reached(!close && !list.ptr);
    reached(!close && list.len > 1000);
}

/* ---- Fields ---- */

static degu_str any_view_of(degu_str whole)
{
    size_t at = up_to(whole.len);
    return nondet_bool() ? degu_bytes(NULL, 0)
                         : degu_bytes(whole.ptr + at, up_to(whole.len - at));
}

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

/* The bytes stay as they are here: what is left of them to look at is summed up
   as well. */
degu_err sum_degu_priv_take_name(char *line, size_t len, size_t *i,
                                 size_t *name_len)
{
    size_t start = *i;
    degu_err err = any_error();
    proved(start < len && __CPROVER_rw_ok(line, len));
    *i = nondet_size();
    *name_len = nondet_size();
    given(start <= *i && *i <= len);
    given(err || (*name_len >= 1 && *name_len <= DEGU_NAME_MAX &&
                  *i == start + *name_len + 1));
    return err;
}

BOUND("any line")
LONG
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
LONG
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

/* What degu_priv_note_field() does to a head; it keeps its base, fields,
   lines and seen. */
degu_err sum_degu_priv_note_field(degu_priv_head *h, unsigned id,
                                  degu_str value, size_t at)
{
    degu_priv_head after = any_head(value.ptr, value.len, NULL);
    bool in_value = nondet_bool();
    (void)id;
    proved(__CPROVER_r_ok(value.ptr, value.len));
    h->close = after.close;
    h->length = up_to(DEGU_LENGTH_MAX);
    if (in_value) {
        h->host = h->range = h->content_range = value;
        h->framing_at = h->range_at = h->content_range_at = at;
    }
    return any_error();
}

unsigned sum_degu_priv_name_id(const char *name, size_t len)
{
    unsigned id = nondet_unsigned();
    proved(__CPROVER_r_ok(name, len));
    given(id <= 20);
    return id;
}

/* In front of the line that is taken up to HEADER_MAX - 1 fields have been. */
BOUND("any line in any head")
SUMMED(degu_priv_take_name, degu_priv_take_value, degu_priv_note_field,
       degu_priv_name_id)
PROOF(degu_priv_take_field)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), start = up_to(len), i = start;
    char *head = any_bytes(len);
    degu_fields fields;
    degu_priv_head h =
        any_head(head, len, nondet_bool() ? NULL : &fields);
    size_t lines = h.lines, count = fields.count;
    degu_err err;
    given(start < len);
    err = degu_priv_take_field(&h, head, len, &i);
    proved(start <= i && i <= len);
    proved(h.lines <= DEGU_HEADER_MAX && h.lines <= lines + 1);
    if (h.fields) {
        proved(fields.count <= h.lines);
        proved(fields.count == count || fields.count == count + 1);
        if (fields.count > count)
            proved(is_field(&fields.at[count], i));
    }
    if (!err)
        proved(i >= start + 4);
    reached(!err && h.fields && fields.count == DEGU_HEADER_MAX);
    reached(!err && h.fields && fields.count == count);
}

degu_err sum_degu_priv_take_field(degu_priv_head *h, char *head, size_t len,
                                  size_t *i)
{
    size_t start = *i;
    degu_priv_head after = any_head(head, len, NULL);
    degu_err err = any_error();
    proved(start < len && h->base == head && __CPROVER_rw_ok(head, len));
    __CPROVER_havoc_object(head);
    *i = nondet_size();
    given(start <= *i && *i <= len && (err || *i - start >= 4));
    after.base = head;
    after.fields = h->fields;
    after.lines = h->lines + (nondet_bool() ? 1 : 0);
    given(after.lines <= DEGU_HEADER_MAX && (err || after.lines > h->lines));
    given(is_head(&after, degu_bytes(head, len)));
    *h = after;
    if (h->fields && h->fields->count < h->lines && nondet_bool()) {
        degu_field f;
        given(is_field(&f, *i));
        h->fields->at[h->fields->count++] = f;
    }
    return err;
}

/* What is hidden goes, and the others move up in their order. */
static void any_fields(degu_fields *fields, size_t len)
{
    size_t k;
    fields->count = up_to(DEGU_HEADER_MAX);
    for (k = 0; k < DEGU_HEADER_MAX; k++)
        given(k >= fields->count || is_field(&fields->at[k], len));
}

BOUND("any 3 fields, any word")
PROOF(degu_priv_hide_word)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), k = up_to(2);
    degu_fields fields;
    degu_field before;
    fields.base = any_bytes(len);
    any_fields(&fields, len);
    before = fields.at[k];
    degu_priv_hide_word(&fields, any_text(ANY));
    proved(fields.at[k].name == before.name &&
           fields.at[k].value == before.value &&
           fields.at[k].name_len == before.name_len &&
           fields.at[k].value_len == before.value_len);
    reached(fields.count == 3 && fields.at[2].id != 0);
}

/* It is called in a loop: one field at a time is as good as all. */
void sum_degu_priv_hide_word(degu_fields *fields, degu_str word)
{
    proved(__CPROVER_r_ok(word.ptr, word.len));
    if (nondet_bool())
        fields->at[up_to(2)].id = DEGU_PRIV_KEEP_ALIVE;
}

BOUND("any 3 fields")
LONG
SUMMED(degu_priv_next_word, degu_priv_hide_word)
PROOF(degu_priv_hide_hops)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), count;
    degu_fields fields;
    fields.base = any_bytes(len);
    any_fields(&fields, len);
    count = fields.count;
    degu_priv_hide_hops(&fields);
    proved(fields.count <= count);
    prove_fields(&fields, len);
    reached(count == 3 && fields.count == 1);
}

/* As the proof above, of fields that have no byte to spare. */
void sum_degu_priv_hide_hops(degu_fields *fields)
{
    size_t k, kept = 0;
    proved(fields->count <= DEGU_HEADER_MAX);
    for (k = 0; k < fields->count; k++)
        if (nondet_bool())
            fields->at[kept++] = fields->at[k];
    fields->count = kept;
}

BOUND("any lines, up to 3 of them, of up to 64 bytes")
LONG
UNWIND(6)
SUMMED(degu_priv_take_field, degu_priv_hide_hops, degu_priv_name_id)
PROOF(degu_parse_fields)
{
    size_t len = up_to(SHORT), at;
    char *lines = short_bytes(len);
    degu_fields fields;
    bool trailer = nondet_bool();
    degu_err err;
    err = degu_parse_fields(lines, len, trailer,
                            nondet_bool() ? NULL : &fields, &at);
    proved(ARE_FIELDS(err, at, len));
    proved(err || at == 0);
    reached(!err && len > 40);
    reached(err == DEGU_E_TRAILER);
}

BOUND("any lines that are too long")
UNWIND(1)
SUMMED(degu_priv_take_field, degu_priv_hide_hops, degu_priv_name_id)
PROOF(degu_parse_fields__long)
{
    degu_str lines = any_text(ANY);
    degu_fields fields;
    size_t at;
    bool trailer = nondet_bool();
    degu_err err;
    given(lines.len > (trailer ? DEGU_TRAILER_MAX - 2 : DEGU_PREAMBLE_MAX));
    err = degu_parse_fields((char *)lines.ptr, lines.len, trailer,
                            nondet_bool() ? NULL : &fields, &at);
    proved(ARE_FIELDS(err, at, lines.len));
    proved(err == DEGU_E_TRAILER_SIZE || err == DEGU_E_PREAMBLE_SIZE);
    reached(err == DEGU_E_TRAILER_SIZE);
    reached(err == DEGU_E_PREAMBLE_SIZE);
}

BOUND("any head of up to 64 bytes and 3 fields")
LONG
UNWIND(6)
SUMMED(degu_priv_take_field, degu_priv_hide_hops)
PROOF(degu_priv_take_fields)
{
    size_t len = up_to(SHORT), start = up_to(len), i = start;
    char *head = short_bytes(len);
    degu_fields fields;
    degu_priv_head h;
    degu_err err;
    degu_priv_head_init(&h, head, &fields);
    err = degu_priv_take_fields(&h, head, len, &i);
    proved(start <= i && i <= len);
    proved(fields.base == head);
    prove_fields(&fields, len);
    if (!err)
        proved(i + 2 == len && is_head(&h, degu_bytes(head, len)));
    reached(!err && fields.count == 3);
    reached(err == DEGU_E_TRUNCATED);
}

degu_err sum_degu_priv_take_fields(degu_priv_head *h, char *head, size_t len,
                                   size_t *i)
{
    size_t start = *i;
    degu_err err = any_error();
    degu_priv_head after = any_head(head, len, NULL);
    proved(start <= len && h->base == head && __CPROVER_rw_ok(head, len));
    __CPROVER_havoc_object(head);
    *i = nondet_size();
    given(start <= *i && *i <= len && (err || *i + 2 == len));
    given(is_head(&after, degu_bytes(head, len)));
    after.fields = h->fields;
    *h = after;
    any_fields(h->fields, len);
    return err;
}

BOUND("any fields")
PROOF(degu_field_at)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), i = nondet_size();
    degu_fields fields;
    degu_header h;
    fields.base = any_bytes(len);
    any_fields(&fields, len);
    h = degu_field_at(&fields, i);
    if (i < fields.count)
        proved(is_inside(h.name, degu_bytes(fields.base, len)) &&
               is_inside(h.value, degu_bytes(fields.base, len)));
    else
        proved(is_absent(h.name) && is_absent(h.value));
    reached(i == 2 && h.value.len > 1000);
}

BOUND("any fields, up to 3 of them; any name")
PROOF(degu_find)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), n = up_to(DEGU_PREAMBLE_MAX);
    char *name = any_bytes(n + 1);
    degu_fields fields;
    degu_str value;
    name[n] = 0;
    fields.base = any_bytes(len);
    any_fields(&fields, len);
    value = degu_find(&fields, name);
    proved(is_absent(value) ||
           is_inside(value, degu_bytes(fields.base, len)));
    reached(value.len > 1000);
    reached(is_absent(value) && fields.count == 3);
}

/* ---- Heads ---- */

BOUND("any text")
SUMMED(degu_priv_parse_part, degu_priv_take_query)
PROOF(degu_priv_take_target)
{
    degu_str text = any_text(ANY), path, query;
    size_t i;
    degu_err err =
        degu_priv_take_target(text.ptr, text.len, &path, &query, &i);
    proved(i <= text.len && is_inside(path, text));
    proved(is_absent(query) || is_inside(query, text));
    if (!err)
        proved(i >= 1 && path.len >= 1 && path.len <= i);
    reached(!err && query.len > 1000);
    reached(err && i > 1000);
}

degu_err sum_degu_priv_take_target(const char *ptr, size_t len,
                                   degu_str *path, degu_str *query, size_t *i)
{
    degu_err err = any_error();
    size_t at = up_to(len);
    proved(__CPROVER_r_ok(ptr, len));
    *i = up_to(len);
    *path = degu_bytes(ptr, up_to(*i));
    *query = nondet_bool() ? degu_bytes(NULL, 0)
                           : degu_bytes(ptr + at, up_to(len - at));
    given(err || path->len >= 1);
    return err;
}

static bool is_view(degu_str view, degu_str whole)
{
    return is_absent(view) || is_inside(view, whole);
}

BOUND("any head")
LONG
SUMMED(degu_priv_take_target)
PROOF(degu_priv_take_request_line)
{
    degu_str head = any_text(DEGU_PREAMBLE_MAX);
    static degu_request r;
    size_t i = 0;
    degu_err err;
    degu_priv_reset_request(&r);
    err = degu_priv_take_request_line(head.ptr, head.len, &r, &i);
    proved(i <= head.len);
    proved(is_view(r.target, head) && is_view(r.path, head) &&
           is_view(r.query, head));
    proved(degu_method_name(r.method).ptr != NULL);
    if (!err)
        proved(r.path.len >= 1 && r.target.len >= r.path.len && i >= 16);
    reached(!err && r.target.len > 1000 && r.method == DEGU_OPTIONS);
    reached(err == DEGU_E_VERSION);
    reached(err == DEGU_E_METHOD);
}

degu_err sum_degu_priv_take_request_line(const char *head, size_t len,
                                         degu_request *r, size_t *i)
{
    degu_err err = any_error();
    proved(__CPROVER_r_ok(head, len) && *i == 0);
    *i = up_to(len);
    r->method = (degu_method)(1 << (nondet_unsigned() % 7));
    r->target = any_view_of(degu_bytes(head, len));
    r->path = any_view_of(degu_bytes(head, len));
    r->query = any_view_of(degu_bytes(head, len));
    given(err || (r->path.len >= 1 && r->target.len >= r->path.len));
    return err;
}

static bool is_framing(degu_framing framing, uint64_t length)
{
    return framing == DEGU_LENGTH ? length >= 1 && length <= DEGU_LENGTH_MAX
                                  : framing <= DEGU_UNTIL_CLOSE;
}

BOUND("any head of up to 64 bytes and 3 fields")
LONG
UNWIND(6)
SUMMED(degu_priv_take_request_line, degu_priv_take_fields)
PROOF(degu_parse_request)
{
    degu_str head = short_text();
    static degu_request r;
    degu_err err;
    err = degu_parse_request((char *)head.ptr, head.len, &r);
    proved(IS_REQUEST(err, &r, head.len));
    proved(err || r.error_at == 0);
    proved(is_view(r.target, head) && is_view(r.path, head) &&
           is_view(r.query, head) && is_view(r.host, head));
    proved(r.fields.base == head.ptr);
    prove_fields(&r.fields, head.len);
    if (!err) {
        proved(is_framing(r.framing, r.content_length));
        proved(!r.framing || (r.method & (DEGU_PUT | DEGU_POST | DEGU_PATCH)));
        proved(!r.has_range || r.range.start < r.range.stop);
        proved(!r.has_range || !r.framing);
    }
    reached(!err && r.framing == DEGU_LENGTH && r.fields.count == 3);
    reached(!err && r.has_range);
}

BOUND("any head that is too long")
UNWIND(1)
SUMMED(degu_priv_take_request_line, degu_priv_take_fields)
PROOF(degu_parse_request__long)
{
    degu_str head = any_text(ANY);
    static degu_request r;
    degu_err err;
    given(head.len > DEGU_PREAMBLE_MAX);
    err = degu_parse_request((char *)head.ptr, head.len, &r);
    proved(IS_REQUEST(err, &r, head.len));
    proved(err == DEGU_E_PREAMBLE_SIZE || err == DEGU_E_TARGET_SIZE);
    reached(err == DEGU_E_PREAMBLE_SIZE);
    reached(err == DEGU_E_TARGET_SIZE);
}

BOUND("any head")
PROOF(degu_priv_take_status_line)
{
    degu_str head = any_text(DEGU_PREAMBLE_MAX);
    static degu_response r;
    size_t i = 0;
    degu_err err;
    degu_priv_reset_response(&r);
    err = degu_priv_take_status_line(head.ptr, head.len, &r, &i);
    proved(i <= head.len);
    proved(is_view(r.reason, head));
    if (!err)
        proved(i >= 15);
    reached(!err && r.reason.len > 1000);
    reached(err == DEGU_E_STATUS);
    reached(err == DEGU_E_REASON);
}

/* The status is the bytes 9 to 11. */
BOUND("heads of up to 18 bytes")
UNWOUND
PROOF(degu_priv_take_status_line__status)
{
    degu_str head = any_text(18);
    static degu_response r;
    size_t i = 0;
    degu_err err = degu_priv_take_status_line(head.ptr, head.len, &r, &i);
    if (!err)
        proved(r.status >= 100 && r.status <= 599);
    reached(!err && r.status == 100);
    reached(!err && r.status == 599);
}

degu_err sum_degu_priv_take_status_line(const char *head, size_t len,
                                        degu_response *r, size_t *i)
{
    degu_err err = any_error();
    proved(__CPROVER_r_ok(head, len) && *i == 0);
    *i = up_to(len);
    given(err || *i >= 15);
    r->status = nondet_int();
    given(r->status >= 0 && r->status <= 599 && (err || r->status >= 100));
    r->reason = any_view_of(degu_bytes(head, len));
    r->close = nondet_bool();
    return err;
}

BOUND("any head of up to 64 bytes and 3 fields; any method")
LONG
UNWIND(6)
SUMMED(degu_priv_take_status_line, degu_priv_take_fields)
PROOF(degu_parse_response)
{
    degu_str head = short_text();
    static degu_response r;
    degu_method asked = (degu_method)(1 << (nondet_unsigned() % 7));
    degu_err err;
    err = degu_parse_response((char *)head.ptr, head.len, asked, &r);
    proved(IS_RESPONSE(err, &r, head.len));
    proved(err || r.error_at == 0);
    proved(is_view(r.reason, head));
    proved(r.fields.base == head.ptr);
    prove_fields(&r.fields, head.len);
    if (!err) {
        proved(r.status >= 100 && r.status <= 599);
        proved(is_framing(r.framing, r.content_length));
        if (asked == DEGU_HEAD || r.status < 200 || r.status == 204 ||
            r.status == 304)
            proved(r.framing == DEGU_NO_BODY);
        proved(!r.has_content_range ||
               r.content_range.stop <= r.content_range.total);
    }
    reached(!err && r.framing == DEGU_UNTIL_CLOSE);
    reached(!err && r.framing == DEGU_LENGTH && r.fields.count == 3);
}

BOUND("any head that is too long")
UNWIND(1)
SUMMED(degu_priv_take_status_line, degu_priv_take_fields)
PROOF(degu_parse_response__long)
{
    degu_str head = any_text(ANY);
    static degu_response r;
    degu_err err;
    given(head.len > DEGU_PREAMBLE_MAX);
    err = degu_parse_response((char *)head.ptr, head.len, DEGU_GET, &r);
    proved(IS_RESPONSE(err, &r, head.len));
    proved(err == DEGU_E_PREAMBLE_SIZE || err == DEGU_E_TARGET_SIZE);
    reached(err == DEGU_E_PREAMBLE_SIZE);
    reached(err == DEGU_E_TARGET_SIZE);
}

/* ---- Chunk lines ---- */

BOUND("any line")
LONG
PROOF(degu_priv_take_extension)
{
    degu_str text = any_text(ANY);
    size_t start = up_to(text.len), i = start;
    degu_err err;
    given(start < text.len);
    err = degu_priv_take_extension(text.ptr, text.len, &i);
    proved(start <= i && i <= text.len);
    if (!err)
        proved(i >= start + 2);
    reached(!err && i > start + 1000);
    reached(err && i == text.len);
}

degu_err sum_degu_priv_take_extension(const char *ptr, size_t len, size_t *i)
{
    size_t start = *i;
    degu_err err;
    proved(start < len);
    err = sum_walk(ptr, len, i);
    given(err || *i - start >= 2);
    return err;
}

BOUND("any line")
SUMMED(degu_priv_take_extension)
ENFORCED(degu_parse_chunk_line)
PROOF(degu_parse_chunk_line)
{
    degu_str line = any_text(ANY);
    degu_chunk chunk;
    degu_err err = degu_parse_chunk_line(line.ptr, line.len, &chunk);
    proved(chunk.error_at <= line.len);
    proved(err || chunk.error_at == 0);
    if (err)
        proved(chunk.size == 0 && is_absent(chunk.extensions));
    else
        proved(is_inside(chunk.extensions, line) &&
               line.len <= DEGU_CHUNK_LINE_MAX);
    reached(!err && chunk.size == UINT64_MAX);
    reached(!err && chunk.extensions.len > 1000);
    reached(err == DEGU_E_CHUNK_EXTENSION);
    reached(err == DEGU_E_CHUNK_LINE_SIZE);
    reached(err == DEGU_E_LINE_END && line.len == 0);
}

/* It counts on degu_span() giving the same twice. */
BOUND("texts of up to 8 bytes, whether they were parsed or not")
LONG
UNWOUND
PROOF(degu_next_extension)
{
    degu_str text = any_view(8), whole = text;
    degu_extension e;
    bool more = degu_next_extension(&text, &e);
    if (more) {
        proved(is_inside(e.key, whole) && e.key.len >= 1);
        proved(is_view(e.value, whole));
        proved(is_inside(text, whole) && text.len < whole.len);
    } else {
        proved(is_absent(e.key) && is_absent(e.value));
        proved(text.ptr == whole.ptr && text.len == whole.len);
    }
    reached(more && e.escaped && text.len);
    reached(more && e.value.ptr && e.value.len == 0);
    reached(!more && whole.len == 8);
}

BOUND("any text, in place or not")
PROOF(degu_unescape)
{
    degu_str text = any_text(ANY);
    bool in_place = nondet_bool();
    char *dst = in_place ? (char *)text.ptr : any_bytes(text.len);
    size_t n = degu_unescape(text, dst);
    proved(n <= text.len);
    reached(n > 1000 && n < text.len && in_place);
}

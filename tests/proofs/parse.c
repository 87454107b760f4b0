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

/* ---- Cursors ---- */

BOUND("any text")
PROOF(degu_priv_take_number)
{
    degu_str text = any_text(ANY);
    degu_priv_cursor c = any_cursor(text), from = c;
    int32_t max = (int32_t)up_to(65535), n = degu_priv_take_number(&c, max);
    proved(has_moved_on(&c, &from));
    proved(n >= -1 && n <= max);
    reached(n == 65535 && c.at < c.end);
    reached(n == 0 && distance(from.at, c.at) > 1000);
    reached(n < 0 && max > 1000);
}

int32_t sum_degu_priv_take_number(degu_priv_cursor *c, int32_t max)
{
    int32_t n = nondet_int();
    proved(max >= 0 && max <= 65535);
    given(n >= -1 && n <= max);
    move_on(c);
    return n;
}

BOUND("texts of up to 4 bytes")
UNWOUND
PROOF(degu_priv_take_number__result)
{
    degu_str text = any_text(4);
    degu_priv_cursor c = degu_priv_over(text);
    int32_t max = (int32_t)up_to(999), n = degu_priv_take_number(&c, max);
    int wanted = 0;
    size_t k = 0;
    while (k < text.len && text.ptr[k] >= '0' && text.ptr[k] <= '9')
        wanted = wanted * 10 + (text.ptr[k++] - '0');
    proved(wanted > max ? n == -1 : n == wanted && c.at == text.ptr + k);
    reached(n == 599 && k < text.len);
    reached(n == -1 && max == 599);
}

/* ---- Targets ---- */

typedef degu_err walk(degu_priv_cursor *c);

static void prove_walk(walk *step)
{
    degu_str text = any_text(ANY);
    degu_priv_cursor c = any_cursor(text), from = c;
    degu_err err = step(&c);
    proved(has_moved_on(&c, &from));
    proved(err == DEGU_OK || err < DEGU_END);
    reached(!err && distance(from.at, c.at) > 1000);
    reached(err && distance(from.at, c.at) > 1000);
}

static degu_err sum_walk(degu_priv_cursor *c)
{
    move_on(c);
    return any_error();
}

BOUND("any text")
PROOF(degu_priv_is_dots)
{
    degu_str text = any_text(ANY);
    bool dots = degu_priv_is_dots(text.ptr, text.ptr + text.len);
    if (dots)
        proved(text.len >= 1 && text.len <= 6);
    reached(dots && text.len == 6);
    reached(!dots && text.len > 1000);
}

bool sum_degu_priv_is_dots(const char *ptr, const char *end)
{
    proved(is_in_front(ptr, end));
    proved(__CPROVER_r_ok(ptr, distance(ptr, end)));
    return nondet_bool();
}

static degu_err take_path_bytes(degu_priv_cursor *c)
{
    return degu_priv_take_escaped(c, DEGU_PATH);
}

static degu_err take_query_bytes(degu_priv_cursor *c)
{
    return degu_priv_take_escaped(c, DEGU_QUERY);
}

BOUND("any text, in a path")
LONG
PROOF(degu_priv_take_escaped__path)
{
    prove_walk(take_path_bytes);
}

BOUND("any text, in a query")
LONG
PROOF(degu_priv_take_escaped__query)
{
    prove_walk(take_query_bytes);
}

/* What has been taken is of the class, and its escapes are whole. */
BOUND("texts of up to 7 bytes, any class")
UNWOUND
PROOF(degu_priv_take_escaped__result)
{
    degu_str text = any_text(7);
    unsigned bit = nondet_bool() ? DEGU_PATH : DEGU_QUERY;
    degu_priv_cursor c = degu_priv_over(text);
    degu_err err = degu_priv_take_escaped(&c, bit);
    size_t n = degu_priv_since(&c, text.ptr).len, k = nondet_size();
    if (k < n) {
        proved(degu_priv_in(text.ptr[k], bit));
        if (text.ptr[k] == '%')
            proved(k + 3 <= n && degu_priv_in(text.ptr[k + 1], DEGU_HEX) &&
                   degu_priv_in(text.ptr[k + 2], DEGU_HEX));
        if (text.ptr[k] == '%' && bit == DEGU_PATH)
            proved(text.ptr[k + 1] != '0' || text.ptr[k + 2] != '0');
    }
    if (err)
        proved(n < text.len && text.ptr[n] == '%');
    else
        proved(n == text.len || !degu_priv_in(text.ptr[n], bit));
    reached(!err && n == 7 && text.ptr[4] == '%');
    reached(err == DEGU_E_PERCENT && n == 5);
    reached(err == DEGU_E_PATH_ESCAPE && n == 4);
}

/* A fault may lie in front of where it was found, behind the slash. */
BOUND("any text")
SUMMED(degu_priv_take_escaped, degu_priv_is_dots)
PROOF(degu_priv_take_path)
{
    degu_str text = any_text(ANY);
    degu_priv_cursor c = any_cursor(text), from = c;
    degu_err err = degu_priv_take_path(&c);
    proved(has_moved_on(&c, &from));
    if (!err)
        proved(c.at > from.at && *from.at == '/');
    reached(!err && distance(from.at, c.at) > 1000);
    reached(err && distance(from.at, c.at) > 1000);
}

degu_err sum_degu_priv_take_path(degu_priv_cursor *c)
{
    const char *start = c->at;
    degu_err err = sum_walk(c);
    given(err || (c->at != start && *start == '/'));
    return err;
}

BOUND("any text, or none")
SUMMED(degu_priv_take_escaped, degu_priv_take_path)
PROOF(degu_parse_target)
{
    degu_str target = any_view(ANY), path, query;
    size_t at;
    degu_err err = degu_parse_target(target, &path, &query, &at);
    proved(at <= target.len);
    proved(err || at == 0);
    proved(target.len == 0 ? err != DEGU_OK
                           : is_inside(path, target));
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

static bool sum_whole(degu_priv_cursor *c)
{
    move_on(c);
    return c->at == c->end && nondet_bool();
}

bool sum_degu_priv_is_ipv4(degu_priv_cursor *c)
{
    return sum_whole(c);
}

bool sum_degu_priv_is_ipv6(degu_priv_cursor *c)
{
    return sum_whole(c);
}

BOUND("any text")
SUMMED(degu_priv_take_number)
PROOF(degu_priv_is_ipv4)
{
    degu_str text = any_text(ANY);
    degu_priv_cursor c = any_cursor(text), from = c;
    bool is = degu_priv_is_ipv4(&c);
    proved(has_moved_on(&c, &from));
    if (is)
        proved(c.at == c.end && c.at > from.at);
    reached(is && text.len == 15 && from.at == text.ptr);
    reached(!is && text.len > 1000);
}

BOUND("any text")
LONG
SUMMED(degu_priv_is_ipv4)
PROOF(degu_priv_is_ipv6)
{
    degu_str text = any_text(ANY);
    degu_priv_cursor c = any_cursor(text), from = c;
    bool is = degu_priv_is_ipv6(&c);
    proved(has_moved_on(&c, &from));
    if (is)
        proved(c.at == c.end && c.at > from.at);
    reached(is && text.len == 39 && from.at == text.ptr);
    reached(!is && text.len > 1000);
}

BOUND("any text, or none")
LONG
SUMMED(degu_priv_is_ipv6, degu_priv_take_escaped, degu_priv_take_number)
PROOF(degu_priv_is_host)
{
    degu_str text = any_view(ANY);
    bool is = degu_priv_is_host(text);
    reached(is && !text.ptr);
    reached(is && text.len > 1000);
    reached(!is && text.len > 1000);
}

/* ---- Lists ---- */

/* The next word lies inside the list, in what was taken. */
BOUND("any text")
LONG
PROOF(degu_priv_take_word)
{
    degu_str list = any_text(ANY), word;
    degu_priv_cursor c = any_cursor(list), from = c;
    bool more = degu_priv_take_word(&c, &word);
    proved(has_moved_on(&c, &from));
    proved(more == (word.len > 0));
    proved(is_inside(word, list) && is_in_front(from.at, word.ptr) &&
           word.len <= distance(word.ptr, c.at));
    if (more)
        proved(from.at < c.at);
    reached(more && word.len > 1000 && degu_priv_left(&c) > 1000);
    reached(more && distance(from.at, word.ptr) > 1000);
    reached(!more && distance(from.at, word.ptr) > 1000);
}

BOUND("lists of up to 6 bytes")
UNWOUND
PROOF(degu_priv_take_word__result)
{
    degu_str list = any_text(6), word;
    degu_priv_cursor c = degu_priv_over(list);
    bool more = degu_priv_take_word(&c, &word);
    size_t start = distance(list.ptr, word.ptr), k = nondet_size();
    size_t taken = degu_priv_since(&c, list.ptr).len;
    if (k < start || (k >= start + word.len && k < taken))
        proved(list.ptr[k] == ',' || degu_priv_is_blank(list.ptr[k]));
    if (k < word.len)
        proved(word.ptr[k] != ',');
    if (more)
        proved(!degu_priv_is_blank(word.ptr[0]) &&
               !degu_priv_is_blank(word.ptr[word.len - 1]));
    proved(c.at == c.end || (more && *c.at == ','));
    reached(more && word.len == 3 && start == 1 && c.at == c.end - 1);
    reached(!more && list.len == 6);
}

bool sum_degu_priv_take_word(degu_priv_cursor *c, degu_str *word)
{
    const char *start = c->at;
    size_t at;
    move_on(c);
    at = up_to(distance(start, c->at));
    *word = degu_bytes(start + at, up_to(distance(start, c->at) - at));
    return word->len > 0;
}

BOUND("any texts that are as long")
PROOF(degu_priv_is_folded)
{
    degu_str text = any_text(ANY);
    bool is = degu_priv_is_folded(text, any_bytes(text.len));
    if (text.len == 0)
        proved(is);
    reached(is && text.len > 1000);
    reached(!is && text.len > 1000);
}

BOUND("texts of up to 12 bytes")
UNWOUND
PROOF(degu_priv_is_folded__result)
{
    degu_str text = any_text(12);
    const char *wanted = any_bytes(text.len);
    bool is = degu_priv_is_folded(text, wanted), same = true;
    size_t k;
    for (k = 0; k < text.len; k++)
        same = same && degu_priv_lower(text.ptr[k]) == wanted[k];
    proved(is == same);
    reached(is && text.len == 12 && text.ptr[3] != wanted[3]);
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
           (size_t)f->value + f->value_len + 2 <= len &&
           f->id <= DEGU_PRIV_IF_UNMODIFIED_SINCE;
}

static void prove_fields(const degu_fields *fields, size_t len)
{
    size_t k = up_to(DEGU_HEADER_MAX - 1);
    proved(fields->count <= DEGU_HEADER_MAX);
    if (k < fields->count)
        proved(is_field(&fields->at[k], len));
}

/* A field of this number is among them. */
static bool has_id(const degu_fields *fields, unsigned id)
{
    return (fields->count > 0 && fields->at[0].id == id) ||
           (fields->count > 1 && fields->at[1].id == id) ||
           (fields->count > 2 && fields->at[2].id == id);
}

/* What a message is framed and refused by was seen, if it is shown, and is
   shown, if it was seen. */
static bool are_shown(const degu_priv_head *h)
{
#define IS_SHOWN(id) (degu_priv_saw(h, id) == has_id(h->fields, id))
    return IS_SHOWN(DEGU_PRIV_RANGE) && IS_SHOWN(DEGU_PRIV_CONTENT_RANGE) &&
           IS_SHOWN(DEGU_PRIV_CONTENT_LENGTH) &&
           IS_SHOWN(DEGU_PRIV_TRANSFER_ENCODING);
}

/* What scan.c shows of these two. */
size_t sum_degu_priv_fold(char *ptr, size_t len)
{
    size_t n = up_to(len);
    proved(__CPROVER_rw_ok(ptr, len));
    if (is_in_front(ptr, watched) && distance(ptr, watched) < n)
        *(char *)watched = degu_priv_lower(*watched);
    return n;
}

size_t sum_degu_priv_span_value(const char *base, const char *ptr, size_t len)
{
    proved(is_in_front(base, ptr) && __CPROVER_r_ok(ptr, len));
    return up_to(len);
}

BOUND("any line")
SUMMED(degu_priv_fold)
PROOF(degu_priv_take_name)
{
    degu_str head = any_text(ANY);
    degu_priv_cursor c = any_cursor(head), from = c;
    degu_priv_head h;
    size_t n;
    degu_err err;
    h.base = (char *)head.ptr;
    given(c.at < c.end);
    watch(head);
    err = degu_priv_take_name(&h, &c);
    proved(has_moved_on(&c, &from));
    n = distance(from.at, c.at);
    if (!err)
        proved(n >= 2 && n <= DEGU_NAME_MAX + 1 && c.at[-1] == ':');
    proved(is_only_folded());
    proved(*watched == was || (is_in_front(from.at, watched) &&
                               (err == DEGU_E_NAME_SIZE || watched < c.at)));
    reached(!err && n == DEGU_NAME_MAX + 1 &&
            distance(head.ptr, from.at) > 1000);
    reached(err == DEGU_E_NAME_SIZE);
    reached(err == DEGU_E_FOLDED);
    reached(err == DEGU_E_COLON);
    reached(*watched != was);
}

/* The bytes stay as they are here: what is left of them to look at is summed up
   as well. */
degu_err sum_degu_priv_take_name(degu_priv_head *h, degu_priv_cursor *c)
{
    const char *start = c->at;
    degu_err err = any_error();
    proved(c->at < c->end && __CPROVER_same_object(h->base, c->at));
    proved(__CPROVER_rw_ok(h->base, distance(h->base, c->end)));
    move_on(c);
    given(err || (c->at - start >= 2 && c->at - start <= DEGU_NAME_MAX + 1));
    return err;
}

BOUND("any line")
LONG
SUMMED(degu_priv_span_value)
PROOF(degu_priv_take_value)
{
    degu_str head = any_text(ANY), value;
    degu_priv_cursor c = any_cursor(head), from = c;
    degu_priv_head h;
    degu_err err;
    h.base = (char *)head.ptr;
    err = degu_priv_take_value(&h, &c, &value);
    proved(has_moved_on(&c, &from));
    proved(is_inside(value, head) && is_in_front(from.at, value.ptr));
    if (!err)
        proved(value.len + 2 <= distance(value.ptr, c.at));
    reached(!err && value.len > 1000 && distance(head.ptr, value.ptr) > 1000);
    reached(!err && value.len == 0);
    reached(err == DEGU_E_VALUE);
    reached(err == DEGU_E_LINE_END && c.at == c.end);
}

/* Nothing but blanks and the CR LF stand around the value. */
BOUND("lines of up to 9 bytes")
UNWOUND
UNWIND(11)
PROOF(degu_priv_take_value__result)
{
    char bytes[9];
    degu_str line = degu_bytes(bytes, up_to(9)), value;
    degu_priv_cursor c = degu_priv_over(line);
    degu_priv_head h;
    size_t k = up_to(8), at, taken;
    h.base = bytes;
    if (degu_priv_take_value(&h, &c, &value))
        return;
    at = distance(bytes, value.ptr);
    taken = distance(bytes, c.at);
    proved(bytes[taken - 2] == '\r' && bytes[taken - 1] == '\n');
    if (k < at || (k >= at + value.len && k + 2 < taken))
        proved(degu_priv_is_blank(bytes[k]));
    else if (k + 2 < taken)
        proved(degu_priv_in(bytes[k], DEGU_VALUE));
    if (value.len)
        proved(!degu_priv_is_blank(value.ptr[0]) &&
               !degu_priv_is_blank(value.ptr[value.len - 1]));
    reached(value.len == 5 && at == 1 && taken == 9);
    reached(value.len == 0 && taken == 9);
}

degu_err sum_degu_priv_take_value(const degu_priv_head *h, degu_priv_cursor *c,
                                  degu_str *value)
{
    const char *start = c->at;
    size_t room, at;
    degu_err err = any_error();
    proved(__CPROVER_same_object(h->base, c->at) && h->base <= c->at);
    move_on(c);
    room = distance(start, c->at);
    at = up_to(room);
    *value = degu_bytes(start + at, up_to(room - at));
    given(err || value->len + 2 <= room - at);
    return err;
}

/* What has been noted of a head lies in it. */
static degu_priv_head any_head(char *base, size_t len, degu_fields *fields)
{
    degu_priv_head h;
    h.base = base;
    h.fields = fields;
    h.lines = up_to(DEGU_HEADER_MAX);
    h.seen = nondet_unsigned();
    h.barred = nondet_unsigned();
    h.close = nondet_bool();
    h.hops = nondet_bool();
    h.length = degu_priv_saw_length(&h) ? up_to(DEGU_LENGTH_MAX) : 0;
    h.host = any_view_of(degu_bytes(base, len));
    if (fields) {
        fields->base = base;
        fields->count = up_to(h.lines);
    }
    return h;
}

static bool is_head(const degu_priv_head *h, degu_str head)
{
    return (is_absent(h->host) || is_inside(h->host, head)) &&
           h->length <= DEGU_LENGTH_MAX &&
           (h->length == 0 || degu_priv_saw_length(h));
}

BOUND("any value in any head")
LONG
SUMMED(degu_priv_is_host)
PROOF(degu_priv_note_field)
{
    degu_str head = any_text(ANY), value;
    degu_priv_head h = any_head((char *)head.ptr, head.len, NULL);
    size_t at = up_to(head.len);
    unsigned id = nondet_unsigned();
    uint32_t seen;
    uint64_t length;
    bool hops;
    degu_err err;
    given(id >= 1 && id <= 20);
    value = degu_bytes(head.ptr + at, up_to(head.len - at));
    h.seen |= DEGU_PRIV_BIT(id);
    seen = h.seen;
    length = h.length;
    hops = h.hops;
    err = degu_priv_note_field(&h, id, value);
    proved(is_head(&h, head) && h.seen == seen);
    if (id != DEGU_PRIV_CONTENT_LENGTH)
        proved(h.length == length);
    if (id != DEGU_PRIV_CONNECTION)
        proved(h.hops == hops);
    reached(!err && id == DEGU_PRIV_HOST && h.host.len > 1000);
    reached(!err && h.length == DEGU_LENGTH_MAX);
    reached(!err && id == DEGU_PRIV_CONNECTION && !h.hops);
    reached(!err && id == DEGU_PRIV_CONNECTION && h.hops);
    reached(err == DEGU_E_LENGTH_AND_CODING);
    reached(err == DEGU_E_EXPECT);
    reached(err == DEGU_E_CODING);
}

/* What degu_priv_note_field() does to a head; it keeps its base, fields,
   lines and seen. */
degu_err sum_degu_priv_note_field(degu_priv_head *h, unsigned id,
                                  degu_str value)
{
    proved(__CPROVER_r_ok(value.ptr, value.len));
    proved(id >= 1 && id <= 20 && degu_priv_saw(h, id));
    if (id == DEGU_PRIV_CONNECTION)
        h->hops = h->hops || nondet_bool();
    if (id == DEGU_PRIV_CONTENT_LENGTH)
        h->length = up_to(DEGU_LENGTH_MAX);
    if (nondet_bool())
        h->host = value;
    return any_error();
}

unsigned sum_degu_priv_name_id(const char *name, size_t len)
{
    unsigned id = nondet_unsigned();
    proved(len >= 1 && __CPROVER_r_ok(name, len));
    given(id <= 20);
    return id;
}

/* In a line behind which the cursor is: at a fault it goes back. */
BOUND("any known field in any head")
SUMMED(degu_priv_note_field)
PROOF(degu_priv_take_known)
{
    degu_str head = any_text(DEGU_PREAMBLE_MAX), name, value;
    degu_priv_head h = any_head((char *)head.ptr, head.len, NULL), old = h;
    degu_priv_cursor c = any_cursor(head), from = c;
    size_t taken = distance(head.ptr, c.at), at = up_to(taken);
    unsigned id = 1 + (unsigned)up_to(19);
    degu_err err;
    name = degu_bytes(head.ptr + at, up_to(taken - at));
    at += name.len;
    value = degu_bytes(head.ptr + at, up_to(taken - at));
    err = degu_priv_take_known(&h, &c, id, name, value);
    proved(c.end == from.end);
    proved(err ? c.at == name.ptr || c.at == value.ptr : c.at == from.at);
    proved(is_head(&h, head) && h.lines == old.lines);
    proved(h.seen == old.seen || h.seen == (old.seen | DEGU_PRIV_BIT(id)));
    if (!err)
        proved(degu_priv_saw(&h, id) && !(old.barred & DEGU_PRIV_BIT(id)) &&
               !(old.seen & DEGU_PRIV_BIT(id) & ~DEGU_PRIV_LISTS));
    reached(!err && id == DEGU_PRIV_CONNECTION && h.seen == old.seen);
    reached(err == DEGU_E_REPEATED && value.len > 1000);
    reached(err == DEGU_E_TRAILER);
    reached(err == DEGU_E_VALUE && c.at == value.ptr && value.ptr > name.ptr);
    reached(err == DEGU_E_LENGTH_AND_CODING && value.ptr > name.ptr);
}

degu_err sum_degu_priv_take_known(degu_priv_head *h, degu_priv_cursor *c,
                                  unsigned id, degu_str name, degu_str value)
{
    degu_err err = any_error();
    proved(id >= 1 && id <= 20);
    proved(__CPROVER_r_ok(name.ptr, name.len) &&
           __CPROVER_r_ok(value.ptr, value.len));
    if (!err || nondet_bool()) {
        h->seen |= DEGU_PRIV_BIT(id);
        sum_degu_priv_note_field(h, id, value);
    }
    if (err)
        c->at = nondet_bool() ? name.ptr : value.ptr;
    return err;
}

/* In front of the line that is taken up to HEADER_MAX - 1 fields have been. */
BOUND("any line in any head")
LONG
SUMMED(degu_priv_take_name, degu_priv_take_value, degu_priv_take_known,
       degu_priv_name_id)
PROOF(degu_priv_take_field)
{
    degu_str head = any_text(DEGU_PREAMBLE_MAX);
    degu_priv_cursor c = any_cursor(head), from = c;
    degu_fields fields;
    degu_priv_head h = any_head((char *)head.ptr, head.len,
                                nondet_bool() ? NULL : &fields);
    size_t lines = h.lines, count = fields.count;
    bool hops = h.hops;
    degu_err err;
    given(c.at < c.end);
    given(!h.fields || are_shown(&h));
    err = degu_priv_take_field(&h, &c);
    proved(has_moved_on(&c, &from));
    proved(is_head(&h, head));
    proved(h.lines <= DEGU_HEADER_MAX && h.lines <= lines + 1);
    if (h.fields) {
        proved(fields.count <= h.lines);
        proved(fields.count == count || fields.count == count + 1);
        if (fields.count > count)
            proved(is_field(&fields.at[count], distance(head.ptr, c.at)));
        proved(err || are_shown(&h));
        proved(err || h.hops == hops ||
               has_id(&fields, DEGU_PRIV_CONNECTION));
    }
    if (!err)
        proved(c.at - from.at >= 4 && h.lines == lines + 1);
    reached(!err && h.fields && fields.count == DEGU_HEADER_MAX);
    reached(!err && h.fields && fields.count == count);
    reached(!err && !h.fields);
    reached(err && err != DEGU_E_HEADER_COUNT &&
            distance(from.at, c.at) > 1000);
}

degu_err sum_degu_priv_take_field(degu_priv_head *h, degu_priv_cursor *c)
{
    const char *start = c->at;
    size_t len = distance(h->base, c->end);
    degu_priv_head after = any_head(h->base, len, NULL);
    degu_err err = any_error();
    proved(c->at < c->end && __CPROVER_same_object(h->base, c->at));
    proved(__CPROVER_rw_ok(h->base, len));
    __CPROVER_havoc_object(h->base);
    move_on(c);
    given(err || c->at - start >= 4);
    after.fields = h->fields;
    after.barred = h->barred;
    after.lines = h->lines + (nondet_bool() ? 1 : 0);
    given(after.lines <= DEGU_HEADER_MAX && (err || after.lines > h->lines));
    *h = after;
    if (h->fields && h->fields->count < h->lines && nondet_bool()) {
        degu_field f;
        given(is_field(&f, distance(h->base, c->at)));
        h->fields->at[h->fields->count++] = f;
    }
    given(err || !h->fields || are_shown(h));
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
    proved(fields.at[k].id == before.id ||
           (before.id == 0 && fields.at[k].id == DEGU_PRIV_KEEP_ALIVE));
    reached(fields.count == 3 && fields.at[2].id != before.id && k == 2);
}

/* It is called in a loop: one field at a time is as good as all. */
void sum_degu_priv_hide_word(degu_fields *fields, degu_str word)
{
    size_t k = up_to(2);
    proved(__CPROVER_r_ok(word.ptr, word.len));
    if (fields->at[k].id == 0 && nondet_bool())
        fields->at[k].id = DEGU_PRIV_KEEP_ALIVE;
}

BOUND("any 3 fields")
LONG
SUMMED(degu_priv_take_word, degu_priv_hide_word)
PROOF(degu_priv_heed_connection)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX), count;
    degu_fields fields;
    degu_priv_head h;
    bool close, shown;
    h = any_head(any_bytes(len), len, &fields);
    any_fields(&fields, len);
    count = fields.count;
    close = h.close;
    shown = are_shown(&h);
    degu_priv_heed_connection(&h);
    proved(fields.count <= count);
    proved(!close || h.close);
    prove_fields(&fields, len);
    proved(!shown || are_shown(&h));
    reached(count == 3 && fields.count == 1);
    reached(shown && has_id(&fields, DEGU_PRIV_RANGE));
    reached(h.close && !close);
}

/* As the proof above, of fields that have no byte to spare. */
void sum_degu_priv_heed_connection(degu_priv_head *h)
{
    degu_fields *fields = h->fields;
    size_t k, kept = 0;
    bool shown = are_shown(h);
    proved(fields->count <= DEGU_HEADER_MAX);
    for (k = 0; k < fields->count; k++)
        if (nondet_bool())
            fields->at[kept++] = fields->at[k];
    fields->count = kept;
    h->close = h->close || nondet_bool();
    given(!shown || are_shown(h));
}

BOUND("any lines, up to 3 of them, of up to 64 bytes")
LONG
UNWIND(6)
SUMMED(degu_priv_take_field, degu_priv_heed_connection)
PROOF(degu_parse_fields)
{
    size_t len = up_to(SHORT), at;
    char *lines = short_bytes(len);
    degu_fields fields, *wanted = nondet_bool() ? NULL : &fields;
    bool trailer = nondet_bool();
    degu_err err = degu_parse_fields(lines, len, trailer, wanted, &at);
    proved(ARE_FIELDS(err, at, len));
    proved(err || at == 0);
    if (wanted) {
        proved(fields.base == lines);
        prove_fields(&fields, len);
    }
    reached(!err && len > 40);
    reached(!err && wanted && fields.count == 3);
    reached(err == DEGU_E_TRAILER);
}

BOUND("any lines that are too long")
UNWIND(1)
SUMMED(degu_priv_take_field, degu_priv_heed_connection)
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
SUMMED(degu_priv_take_field, degu_priv_heed_connection)
PROOF(degu_priv_take_fields)
{
    size_t len = up_to(SHORT);
    degu_str head = degu_bytes(short_bytes(len), len);
    degu_priv_cursor c = any_cursor(head), from = c;
    degu_fields fields;
    degu_priv_head h;
    degu_err err;
    degu_priv_head_init(&h, (char *)head.ptr, &fields);
    err = degu_priv_take_fields(&h, &c);
    proved(has_moved_on(&c, &from));
    proved(fields.base == head.ptr);
    prove_fields(&fields, len);
    if (!err)
        proved(c.at == c.end && is_head(&h, head) && are_shown(&h));
    reached(!err && fields.count == 3);
    reached(err == DEGU_E_TRUNCATED);
    reached(err == DEGU_E_ARGUMENT);
}

degu_err sum_degu_priv_take_fields(degu_priv_head *h, degu_priv_cursor *c)
{
    size_t len = distance(h->base, c->end);
    degu_err err = any_error();
    degu_priv_head after = any_head(h->base, len, NULL);
    proved(__CPROVER_same_object(h->base, c->at) && h->base <= c->at);
    proved(h->lines == 0 && h->fields->count == 0);
    proved(__CPROVER_rw_ok(h->base, len));
    __CPROVER_havoc_object(h->base);
    move_on(c);
    after.fields = h->fields;
    *h = after;
    any_fields(h->fields, len);
    given(err || (c->at == c->end && are_shown(h)));
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

/* In place of degu_find(): a value, as the head's fields have it. */
static degu_str found;

degu_str sum_degu_find(const degu_fields *fields, const char *name)
{
    (void)fields;
    proved(name[0] == 'r' || name[0] == 'c');
    return found;
}

BOUND("any value, or none")
LONG
SUMMED(degu_find)
PROOF(degu_find_range)
{
    degu_fields fields;
    degu_range range;
    bool is;
    found = any_view(ANY);
    is = degu_find_range(&fields, &range);
    if (is)
        proved(range.start < range.stop && range.stop <= DEGU_LENGTH_MAX);
    proved(!is || found.ptr);
    reached(is && range.stop == DEGU_LENGTH_MAX);
    reached(!is && !found.ptr);
    reached(!is && found.len > 1000);
}

BOUND("any value, or none")
LONG
SUMMED(degu_find)
PROOF(degu_find_content_range)
{
    degu_fields fields;
    degu_content_range range;
    bool is;
    found = any_view(ANY);
    is = degu_find_content_range(&fields, &range);
    if (is)
        proved(range.start < range.stop && range.stop <= range.total &&
               range.total <= DEGU_LENGTH_MAX);
    proved(!is || found.ptr);
    reached(is && range.stop == range.total);
    reached(!is && !found.ptr);
    reached(!is && found.len > 1000);
}

/* ---- Heads ---- */

BOUND("any text")
SUMMED(degu_priv_take_escaped, degu_priv_take_path)
PROOF(degu_priv_take_target)
{
    degu_str text = any_text(ANY), path, query;
    degu_priv_cursor c = any_cursor(text), from = c;
    degu_err err = degu_priv_take_target(&c, &path, &query);
    size_t n;
    proved(has_moved_on(&c, &from));
    n = distance(from.at, c.at);
    proved(is_inside(path, text) && path.ptr == from.at && path.len <= n);
    proved(is_absent(query) ||
           (is_inside(query, text) && query.ptr > from.at && query.len < n));
    if (!err)
        proved(path.len >= 1);
    reached(!err && query.len > 1000);
    reached(err && n > 1000);
}

degu_err sum_degu_priv_take_target(degu_priv_cursor *c, degu_str *path,
                                   degu_str *query)
{
    degu_str taken = degu_bytes(c->at, 0);
    degu_err err = any_error();
    move_on(c);
    taken.len = distance(taken.ptr, c->at);
    *path = degu_bytes(taken.ptr, up_to(taken.len));
    *query = any_view_of(taken);
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
    degu_priv_cursor c = degu_priv_over(head), from = c;
    static degu_request r;
    degu_err err;
    degu_priv_reset_request(&r);
    err = degu_priv_take_request_line(&c, &r);
    proved(has_moved_on(&c, &from));
    proved(is_view(r.target, head) && is_view(r.path, head) &&
           is_view(r.query, head));
    proved(degu_method_name(r.method).ptr != NULL);
    if (!err)
        proved(r.path.len >= 1 && r.target.len >= r.path.len &&
               c.at - from.at >= 16);
    reached(!err && r.target.len > 1000 && r.method == DEGU_OPTIONS);
    reached(err == DEGU_E_VERSION);
    reached(err == DEGU_E_METHOD);
}

degu_err sum_degu_priv_take_request_line(degu_priv_cursor *c, degu_request *r)
{
    degu_str head = degu_bytes(c->at, degu_priv_left(c));
    degu_err err = any_error();
    move_on(c);
    r->method = (degu_method)(1 << (nondet_unsigned() % 7));
    r->target = any_view_of(head);
    r->path = any_view_of(head);
    r->query = any_view_of(head);
    given(err || (r->path.len >= 1 && r->target.len >= r->path.len &&
                  c->at - head.ptr >= 16));
    return err;
}

static bool is_framing(degu_framing framing, uint64_t length)
{
    return framing == DEGU_LENGTH ? length >= 1 && length <= DEGU_LENGTH_MAX
                                  : framing <= DEGU_UNTIL_CLOSE;
}

BOUND("any head of up to 3 fields; any number that is among them")
PROOF(degu_priv_place)
{
    size_t len = up_to(DEGU_PREAMBLE_MAX);
    degu_fields fields;
    unsigned id = (unsigned)up_to(20);
    const char *place;
    fields.base = any_bytes(len);
    any_fields(&fields, len);
    given(has_id(&fields, id));
    place = degu_priv_place(&fields, id);
    proved(__CPROVER_same_object(place, fields.base) &&
           __CPROVER_r_ok(place, 1));
    reached(distance(fields.base, place) == fields.at[2].name &&
            fields.count == 3 && fields.at[0].id != id &&
            fields.at[1].id != id);
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
        proved(!r.framing || !has_id(&r.fields, DEGU_PRIV_RANGE));
        proved(!has_id(&r.fields, DEGU_PRIV_CONTENT_RANGE));
    }
    reached(!err && r.framing == DEGU_LENGTH && r.fields.count == 3);
    reached(!err && has_id(&r.fields, DEGU_PRIV_RANGE));
    reached(err == DEGU_E_BODY_METHOD && r.error_at > 20);
    reached(err == DEGU_E_RANGE_PLACE && r.error_at > 20);
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
SUMMED(degu_priv_take_number, degu_priv_span_value)
PROOF(degu_priv_take_status_line)
{
    degu_str head = any_text(DEGU_PREAMBLE_MAX);
    degu_priv_cursor c = degu_priv_over(head), from = c;
    static degu_response r;
    degu_err err;
    degu_priv_reset_response(&r);
    err = degu_priv_take_status_line(&c, &r);
    proved(has_moved_on(&c, &from));
    proved(is_view(r.reason, head));
    if (!err)
        proved(c.at - from.at >= 15);
    reached(!err && r.reason.len > 1000);
    reached(err == DEGU_E_STATUS);
    reached(err == DEGU_E_REASON);
}

/* The status is the bytes 9 to 11. */
BOUND("heads of up to 18 bytes")
UNWOUND
UNWIND(12)
SUMMED(degu_priv_span_value)
PROOF(degu_priv_take_status_line__status)
{
    char bytes[18];
    degu_priv_cursor c = degu_priv_over(degu_bytes(bytes, up_to(18)));
    static degu_response r;
    degu_err err = degu_priv_take_status_line(&c, &r);
    if (!err)
        proved(r.status >= 100 && r.status <= 599 &&
               r.status == (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 +
                               (bytes[11] - '0'));
    reached(!err && r.status == 100);
    reached(!err && r.status == 599);
}

degu_err sum_degu_priv_take_status_line(degu_priv_cursor *c, degu_response *r)
{
    degu_str head = degu_bytes(c->at, degu_priv_left(c));
    degu_err err = any_error();
    move_on(c);
    given(err || c->at - head.ptr >= 15);
    r->status = nondet_int();
    given(r->status >= -1 && r->status <= 599 && (err || r->status >= 100));
    r->reason = any_view_of(head);
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
        proved(!has_id(&r.fields, DEGU_PRIV_RANGE));
    }
    reached(!err && r.framing == DEGU_UNTIL_CLOSE);
    reached(!err && r.framing == DEGU_LENGTH && r.fields.count == 3);
    reached(!err && has_id(&r.fields, DEGU_PRIV_CONTENT_RANGE));
    reached(err == DEGU_E_INTERIM && r.error_at > 20);
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
    degu_priv_cursor c = any_cursor(text), from = c;
    degu_err err;
    given(c.at < c.end);
    err = degu_priv_take_extension(&c);
    proved(has_moved_on(&c, &from));
    if (!err)
        proved(c.at - from.at >= 2);
    reached(!err && distance(from.at, c.at) > 1000);
    reached(err && c.at == c.end);
}

degu_err sum_degu_priv_take_extension(degu_priv_cursor *c)
{
    const char *start = c->at;
    degu_err err;
    proved(c->at < c->end);
    err = sum_walk(c);
    given(err || c->at - start >= 2);
    return err;
}

BOUND("any line, without its CR LF")
SUMMED(degu_priv_take_extension)
PROOF(degu_priv_take_chunk_line)
{
    degu_str line = any_text(ANY);
    degu_priv_cursor c = degu_priv_over(line), from = c;
    degu_chunk chunk;
    degu_err err;
    chunk.size = 0;
    err = degu_priv_take_chunk_line(&c, &chunk);
    proved(has_moved_on(&c, &from));
    if (!err)
        proved(c.at == c.end && chunk.extensions.ptr > line.ptr &&
               is_in_front(chunk.extensions.ptr, c.end) &&
               chunk.extensions.len == distance(chunk.extensions.ptr, c.end));
    reached(!err && chunk.size == UINT64_MAX);
    reached(!err && chunk.extensions.len > 1000);
    reached(err == DEGU_E_CHUNK_SIZE && c.at == c.end);
    reached(err == DEGU_E_CHUNK_EXTENSION);
}

degu_err sum_degu_priv_take_chunk_line(degu_priv_cursor *c, degu_chunk *chunk)
{
    degu_str line = degu_bytes(c->at, degu_priv_left(c));
    size_t digits = up_to(line.len);
    degu_err err = any_error();
    proved(chunk->size == 0);
    move_on(c);
    chunk->size = nondet_u64();
    if (err)
        return err;
    given(c->at == c->end && digits >= 1);
    chunk->extensions = degu_bytes(line.ptr + digits, line.len - digits);
    return DEGU_OK;
}

BOUND("any line")
SUMMED(degu_priv_take_chunk_line)
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
               distance(line.ptr, chunk.extensions.ptr) +
                       chunk.extensions.len + 2 == line.len &&
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

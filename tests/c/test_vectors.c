/* SPDX-License-Identifier: MIT OR 0BSD

   Runs tests/vectors through the layers 3 to 6: whole at the end of a page,
   byte by byte, and cut at every point, always with the same outcome.  What is
   accepted is formatted again and parsed again; what is refused the formatter
   refuses too, where it can be asked.  Then every byte is changed in some ways:
   whatever comes out is the same byte by byte, and survives a round trip.

       test_vectors FILE...          (tests/vectors/ *.txt by default) */

#define DEGU_IMPLEMENTATION
#include "../../degu.h"

#include "../vectors/outcome.h"
#include "../vectors/story.h"
#include "check.h"
#include "page.h"
#include "wire.h"

#include <glob.h>

#define INPUT_MAX (256 * 1024)
/* Inputs up to this are cut everywhere, longer ones at some places. */
#define CUT_ALL 400

static page_area page;        /* where inputs stand */
static page_area receive;     /* the receive buffer of layer 6 */
static char sends[DEGU_SEND_BUFFER];
static char sent[INPUT_MAX];
static char space[INPUT_MAX];
static char formatted[2 * DEGU_PREAMBLE_MAX];
static unsigned cases_run;
static char about[160];

/* bad: what vec_differs_... said. */
static void says(const char *bad, degu_err err, size_t error_at,
                 const char *how, size_t where)
{
    size_t len = 0;
    if (!check_note(bad == NULL, __FILE__, __LINE__))
        return;
    while (bad[len] != '\0' && bad[len] != ':' && bad[len] != '\n')
        ++len;
    printf("%s %lu: not as said: %.*s; got %s at %lu\n", how,
           (unsigned long)where, (int)len, bad, degu_err_name(err),
           (unsigned long)error_at);
}

static void says_request(const vec_case *c, degu_err err,
                         const degu_request *r, size_t used, const char *how,
                         size_t where)
{
    says(vec_differs_request(c, err, r, used), err, r->error_at, how, where);
}

static void says_response(const vec_case *c, degu_err err,
                          const degu_response *r, size_t used,
                          const char *how, size_t where)
{
    says(vec_differs_response(c, err, r, used), err, r->error_at, how, where);
}

/* The next place to cut at, of len: all for short inputs, for long ones some
   and the last. */
static size_t next_cut(size_t cut, size_t len)
{
    if (len <= CUT_ALL || cut < 40 || cut + 40 > len)
        return cut + 1;
    return cut + len / 16 < len - 40 ? cut + len / 16 : len - 39;
}

/* ---- Layer 3: the scan, resumed ---- */

/* Looks at every prefix, each at the end of the page, with the hint; and
   checks that the first answer is the one for the whole. */
static void scan_in_steps(const vec_case *c)
{
    size_t whole = 0, pos = 0, len;
    char *in = page_put(page, c->in, c->in_len);
    degu_err want = degu_scan_head(in, c->in_len, &whole);
    degu_err err = DEGU_MORE;
    for (len = 0; len <= c->in_len && err == DEGU_MORE; ++len) {
        if (c->in_len <= CUT_ALL)
            in = page_put(page, c->in, len);
        err = degu_scan_head(in, len, &pos);
        if (err == DEGU_MORE)
            CHECK(pos <= len);
    }
    CHECK_ERR(err, want);
    if (want != DEGU_MORE)
        CHECK_INT(pos, whole);
}

/* In two pieces, for every cut. */
static void scan_in_pieces(const vec_case *c)
{
    size_t whole = 0, cut;
    char *in = page_put(page, c->in, c->in_len);
    degu_err want = degu_scan_head(in, c->in_len, &whole);
    for (cut = 0; cut <= c->in_len; cut = next_cut(cut, c->in_len)) {
        size_t pos = 0;
        degu_err err = degu_scan_head(in, cut, &pos);
        if (err == DEGU_MORE)
            err = degu_scan_head(in, c->in_len, &pos);
        CHECK_ERR(err, want);
        if (want != DEGU_MORE)
            CHECK_INT(pos, whole);
    }
}

/* ---- Layer 5: again what was parsed ---- */

static size_t headers_of(const degu_fields *fields, degu_header *headers)
{
    size_t i;
    for (i = 0; i < fields->count; ++i)
        headers[i] = degu_field_at(fields, i);
    return fields->count;
}

static void same_fields(const degu_fields *a, const degu_fields *b)
{
    size_t i;
    CHECK_INT(b->count, a->count);
    for (i = 0; i < a->count && i < b->count; ++i) {
        degu_header was = degu_field_at(a, i), is = degu_field_at(b, i);
        CHECK(degu_equal(was.name, is.name));
        CHECK(degu_equal(was.value, is.value));
    }
}

static bool same_view(degu_str a, degu_str b)
{
    return degu_equal(a, b) && (a.ptr == NULL) == (b.ptr == NULL);
}

static void round_trip_request(const degu_request *r)
{
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_header headers[DEGU_HEADER_MAX + 1];
    size_t count = headers_of(&r->fields, headers), used;
    degu_frame frame = {r->framing, r->content_length, r->close};
    degu_request again;
    if (r->expect_continue && r->framing != DEGU_NO_BODY) {
        headers[count].name = degu_string("expect");
        headers[count++].value = degu_string("100-continue");
    }
    if (!CHECK_OK(degu_format_request(&dst, r->method, r->target, headers,
                                      count, frame)))
        return;
    check_unset(&again, sizeof again);
    if (!CHECK_OK(vec_parse_request(page_put(page, dst.ptr, dst.len), dst.len,
                                    &again, &used)))
        return;
    CHECK_INT(used, dst.len);
    CHECK_INT(again.method, r->method);
    CHECK_INT(again.framing, r->framing);
    if (r->framing == DEGU_LENGTH)
        CHECK_INT(again.content_length, r->content_length);
    CHECK(same_view(again.target, r->target));
    CHECK(same_view(again.path, r->path));
    CHECK(same_view(again.query, r->query));
    CHECK(same_view(again.host, r->host));
    CHECK_INT(again.close, r->close);
    CHECK_INT(again.expect_continue,
              r->expect_continue && r->framing != DEGU_NO_BODY);
    same_fields(&r->fields, &again.fields);
}

static void round_trip_response(const degu_response *r, degu_method asked)
{
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_header headers[DEGU_HEADER_MAX];
    size_t count = headers_of(&r->fields, headers), used;
    degu_frame frame = {r->framing, r->content_length, r->close};
    degu_response again;
    if (r->framing == DEGU_UNTIL_CLOSE)
        return; /* never sent: chunks say more */
    if (!CHECK_OK(degu_format_response(&dst, asked, r->status, r->reason,
                                       headers, count, frame)))
        return;
    check_unset(&again, sizeof again);
    if (!CHECK_OK(vec_parse_response(page_put(page, dst.ptr, dst.len),
                                     dst.len, asked, &again, &used)))
        return;
    CHECK_INT(used, dst.len);
    CHECK_INT(again.status, r->status);
    CHECK_INT(again.framing, r->framing);
    if (r->framing == DEGU_LENGTH)
        CHECK_INT(again.content_length, r->content_length);
    CHECK(same_view(again.reason, r->reason));
    CHECK_INT(again.close, r->close);
    same_fields(&r->fields, &again.fields);
}

/* ---- Layer 6: one head, delivered in every way ---- */

static void conn_over(degu_conn *conn, degu_role role, wire *w)
{
    check_unset(conn, sizeof *conn);
    degu_conn_init(conn, role, wire_io(w), page_last(receive, DEGU_RECV_BUFFER),
                   DEGU_RECV_BUFFER, sends, sizeof sends);
}

/* more: the end of the stream makes an error of it. */
static bool is_cut(const vec_case *c, degu_err err)
{
    degu_err want = c->in_len == 0 ? DEGU_E_CLOSED : DEGU_E_TRUNCATED;
    if (vec_verdict(c, DEGU_MORE, 0) != NULL)
        return false;
    CHECK_ERR(err, want);
    return true;
}

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
}

/* The bytes at an error are those of the input; names may be folded. */
static void shows_error(const vec_case *c, const degu_conn *conn)
{
    degu_str bytes = degu_conn_error_bytes(conn);
    size_t at = degu_conn_error_at(conn), i;
    CHECK(bytes.len <= 32);
    CHECK(bytes.ptr == NULL || at + bytes.len <= c->in_len);
    for (i = 0; bytes.ptr != NULL && i < bytes.len; ++i)
        if (lower(bytes.ptr[i]) != lower(c->in[at + i]))
            CHECK_INT(i, -1);
}

static void read_request(const vec_case *c, size_t cut, size_t step)
{
    degu_conn conn;
    degu_request r;
    degu_err err;
    wire w;
    wire_init(&w, c->in, c->in_len, sent, sizeof sent);
    w.cut = cut;
    w.step = step;
    conn_over(&conn, DEGU_SERVER, &w);
    check_unset(&r, sizeof r);
    err = degu_read_request(&conn, &r);
    if (is_cut(c, err))
        return;
    r.error_at = degu_conn_error_at(&conn);
    if (err != DEGU_OK)
        shows_error(c, &conn);
    says_request(c, err, &r, err == DEGU_OK ? conn.in_pos : 0,
                 step != 0 ? "layer 6 byte by byte" : "layer 6 cut at", cut);
    CHECK_INT(degu_conn_is_open(&conn), err == DEGU_OK && !r.close);
}

/* 1xx are never an answer to degu_read_response(); their cases stay with
   layer 4 and the kind "responses". */
static void read_response(const vec_case *c, size_t cut, size_t step)
{
    degu_conn conn;
    degu_response r;
    degu_err err;
    wire w;
    wire_init(&w, c->in, c->in_len, sent, sizeof sent);
    w.gated = true;
    w.cut = cut;
    w.step = step;
    conn_over(&conn, DEGU_CLIENT, &w);
    check_unset(&r, sizeof r);
    CHECK_OK(degu_send_request(&conn, vec_asked(c), degu_string("/"), NULL, 0,
                               degu_no_body()));
    err = degu_read_response(&conn, &r);
    if (is_cut(c, err))
        return;
    r.error_at = degu_conn_error_at(&conn);
    says_response(c, err, &r, err == DEGU_OK ? conn.in_pos : 0,
                  step != 0 ? "layer 6 byte by byte" : "layer 6 cut at", cut);
}

static void in_every_way(const vec_case *c,
                         void (*run)(const vec_case *, size_t, size_t))
{
    size_t cut;
    for (cut = 0; cut <= c->in_len; cut = next_cut(cut, c->in_len))
        run(c, cut, 0);
    run(c, 0, 1);
}

/* ---- Kinds: heads ---- */

static void run_request(const vec_case *c)
{
    char *in = page_put(page, c->in, c->in_len);
    degu_request r;
    degu_err err;
    size_t used;
    check_unset(&r, sizeof r);
    err = vec_parse_request(in, c->in_len, &r, &used);
    says_request(c, err, &r, used, "whole", 0);
    if (err == DEGU_OK) {
        /* Alone at the end of the page, without what stands behind it. */
        in = page_put(page, c->in, used);
        err = vec_parse_request(in, used, &r, &used);
        says_request(c, err, &r, used, "alone", 0);
        memcpy(space + INPUT_MAX - used, in, used);
        CHECK_OK(vec_parse_request(space + INPUT_MAX - used, used, &r, &used));
        round_trip_request(&r);
    }
    scan_in_steps(c);
    scan_in_pieces(c);
    in_every_way(c, read_request);
}

static void run_response(const vec_case *c)
{
    char *in = page_put(page, c->in, c->in_len);
    degu_method asked = vec_asked(c);
    degu_response r;
    degu_err err;
    size_t used;
    check_unset(&r, sizeof r);
    err = vec_parse_response(in, c->in_len, asked, &r, &used);
    says_response(c, err, &r, used, "whole", 0);
    if (err == DEGU_OK) {
        memcpy(space + INPUT_MAX - used, c->in, used);
        CHECK_OK(vec_parse_response(space + INPUT_MAX - used, used, asked, &r,
                                    &used));
        round_trip_response(&r, asked);
    }
    scan_in_steps(c);
    scan_in_pieces(c);
    if (err != DEGU_OK || r.status >= 200)
        in_every_way(c, read_response);
}

/* ---- Kinds: lines and values ---- */

static void run_fields(const vec_case *c)
{
    bool trailer = vec_is_kind(c, "trailer");
    char *in = page_put(page, c->in, c->in_len);
    degu_header headers[DEGU_HEADER_MAX];
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_fields fields, again;
    size_t error_at = SIZE_MAX, count;
    degu_err err;
    const char *bad;
    check_unset(&fields, sizeof fields);
    err = degu_parse_fields(in, c->in_len, trailer, &fields, &error_at);
    bad = vec_verdict(c, err, error_at);
    says(bad, err, error_at, "whole", 0);
    if (err != DEGU_OK || bad != NULL)
        return;
    says(vec_differs_fields(c, &fields), err, 0, "whole", 0);
    count = headers_of(&fields, headers);
    if (!trailer || !CHECK_OK(degu_format_trailers(&dst, headers, count)))
        return;
    CHECK(dst.len >= 2);
    memcpy(space + INPUT_MAX - dst.len, dst.ptr, dst.len);
    CHECK_OK(degu_parse_fields(space + INPUT_MAX - dst.len, dst.len - 2,
                               trailer, &again, &error_at));
    same_fields(&fields, &again);
}

/* A target that is refused by itself is refused in a head and by the
   formatter, with the same error. */
static void run_target(const vec_case *c)
{
    degu_str in = degu_bytes(page_put(page, c->in, c->in_len), c->in_len);
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_frame frame = {DEGU_NO_BODY, 0, false};
    degu_str path = in, query = in;
    size_t error_at = SIZE_MAX;
    degu_err err = degu_parse_target(in, &path, &query, &error_at);
    says(vec_differs_target(c, in), err, error_at, "whole", 0);
    CHECK_ERR(degu_format_request(&dst, DEGU_GET, in, NULL, 0, frame), err);
    if (err != DEGU_OK) {
        CHECK_INT(dst.len, 0);
        return;
    }
    dst.len = 0;
    CHECK_OK(degu_format_target(&dst, path, query));
    CHECK(degu_equal(in, degu_bytes(dst.ptr, dst.len)));
}

/* The extensions of a line, unquoted, kept in text. */
static size_t extensions_of(degu_str rest, degu_extension *all, char *text)
{
    size_t count = 0;
    while (count < 16 && degu_next_extension(&rest, &all[count])) {
        degu_extension *e = &all[count++];
        if (!e->escaped)
            continue;
        e->value.len = degu_unescape(e->value, text);
        e->value.ptr = text;
        text += e->value.len;
    }
    return count;
}

static void run_chunk_line(const vec_case *c)
{
    static char text[2][DEGU_CHUNK_LINE_MAX];
    degu_str in = degu_bytes(page_put(page, c->in, c->in_len), c->in_len);
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_extension was[16], is[16];
    degu_chunk chunk, again;
    size_t count, i;
    degu_err err;
    check_unset(&chunk, sizeof chunk);
    err = degu_parse_chunk_line(in.ptr, in.len, &chunk);
    says(vec_differs_chunk_line(c, in), err, chunk.error_at, "whole", 0);
    if (err != DEGU_OK)
        return;
    count = extensions_of(chunk.extensions, was, text[0]);
    if (!CHECK_OK(degu_format_chunk_line(&dst, chunk.size, was, count)))
        return;
    CHECK_OK(degu_parse_chunk_line(dst.ptr, dst.len, &again));
    CHECK_INT(again.size, chunk.size);
    CHECK_INT(extensions_of(again.extensions, is, text[1]), count);
    for (i = 0; i < count; ++i) {
        CHECK(same_view(is[i].key, was[i].key));
        CHECK(same_view(is[i].value, was[i].value));
    }
}

/* Numbers have one spelling: what is accepted is written the same way. */
static void run_value(const vec_case *c)
{
    degu_str in = degu_bytes(page_put(page, c->in, c->in_len), c->in_len);
    degu_buffer dst = {formatted, sizeof formatted, 0};
    degu_content_range content;
    degu_range range;
    uint64_t length;
    bool accepted = false;
    says(vec_differs_value(c, in), DEGU_OK, 0, "value", 0);
    if (vec_is(c->kind, "length") &&
        degu_parse_length(in, &length) == DEGU_OK) {
        accepted = true;
        CHECK_OK(degu_format_length(&dst, length));
    } else if (vec_is(c->kind, "range") &&
               degu_parse_range(in, &range) == DEGU_OK) {
        accepted = true;
        CHECK_OK(degu_format_range(&dst, range));
    } else if (vec_is(c->kind, "content-range") &&
               degu_parse_content_range(in, &content) == DEGU_OK) {
        accepted = true;
        CHECK_OK(degu_format_content_range(&dst, content));
    }
    if (accepted)
        CHECK(degu_equal(in, degu_bytes(dst.ptr, dst.len)));
}

/* ---- Kinds: streams, told as events ---- */

static char told_text[INPUT_MAX], wanted_text[INPUT_MAX];
static vec_story told, wanted;

/* Runs the stream and tells what happened.  Gives the offset of its error. */
static size_t stream_runs(const vec_case *c, size_t cut, size_t step,
                          bool chunks, vec_story *story, char *text)
{
    degu_conn conn;
    wire w;
    wire_init(&w, c->in, c->in_len, sent, sizeof sent);
    w.cut = cut;
    w.step = step;
    w.gated = vec_is_client(c);
    vec_story_init(story, text, INPUT_MAX, chunks);
    conn_over(&conn, w.gated ? DEGU_CLIENT : DEGU_SERVER, &w);
    vec_tell_stream(c, &conn, story);
    return degu_conn_error_at(&conn);
}

static void tell_stream(const vec_case *c, size_t cut, size_t step,
                        bool chunks)
{
    size_t want_at, error_at;
    vec_story_init(&wanted, wanted_text, sizeof wanted_text, chunks);
    want_at = vec_want_story(c, &wanted);
    error_at = stream_runs(c, cut, step, chunks, &told, told_text);
    if (check_note(vec_story_same(&told, &wanted), __FILE__, __LINE__)) {
        printf("cut at %lu, step %lu, %s\n  expected ", (unsigned long)cut,
               (unsigned long)step, chunks ? "chunks" : "bytes");
        check_show(wanted.text, wanted.len);
        printf("\n  got      ");
        check_show(told.text, told.len);
        printf("\n");
    }
    if (want_at != VEC_NO_MARK)
        CHECK_INT(error_at, want_at);
}

static void tell_with_chunks(const vec_case *c, size_t cut, size_t step)
{
    tell_stream(c, cut, step, true);
}

static void tell_bytes_only(const vec_case *c, size_t cut, size_t step)
{
    tell_stream(c, cut, step, false);
}

/* ---- Every case with one byte changed ---- */

static const char changes[] = {'\0', '\r', '\n', ' ', ':', '%', '0', 'a',
                               ',', ';', '"', '/', '.', (char)0x80};

/* Whatever came out: the same byte by byte, and if it is accepted the
   formatter accepts it too and the same is parsed again. */
static void try_request(const vec_case *c)
{
    degu_request r;
    size_t used;
    char *in = page_put(page, c->in, c->in_len);
    degu_err err = vec_parse_request(in, c->in_len, &r, &used);
    CHECK(err <= 0 || err == DEGU_MORE);
    CHECK(err >= 0 || r.error_at <= c->in_len);
    scan_in_steps(c);
    if (err != DEGU_OK)
        return;
    memcpy(space + INPUT_MAX - used, c->in, used);
    CHECK_OK(vec_parse_request(space + INPUT_MAX - used, used, &r, &used));
    round_trip_request(&r);
}

static void try_response(const vec_case *c)
{
    degu_response r;
    size_t used;
    char *in = page_put(page, c->in, c->in_len);
    degu_method asked = vec_asked(c);
    degu_err err = vec_parse_response(in, c->in_len, asked, &r, &used);
    CHECK(err <= 0 || err == DEGU_MORE);
    CHECK(err >= 0 || r.error_at <= c->in_len);
    scan_in_steps(c);
    if (err != DEGU_OK)
        return;
    memcpy(space + INPUT_MAX - used, c->in, used);
    CHECK_OK(vec_parse_response(space + INPUT_MAX - used, used, asked, &r,
                                &used));
    round_trip_response(&r, asked);
}

static void try_stream(const vec_case *c)
{
    stream_runs(c, 0, 0, true, &wanted, wanted_text);
    stream_runs(c, 0, 1, true, &told, told_text);
    CHECK(vec_story_same(&told, &wanted));
    stream_runs(c, 0, 0, false, &wanted, wanted_text);
    stream_runs(c, 0, 1, false, &told, told_text);
    CHECK(vec_story_same(&told, &wanted));
}

static void change_bytes(const vec_case *c, void (*try_it)(const vec_case *))
{
    size_t i, k;
    for (i = 0; i < c->in_len; ++i) {
        char was = c->in[i];
        for (k = 0; k < sizeof changes; ++k) {
            c->in[i] = changes[k];
            try_it(c);
        }
        c->in[i] = was;
    }
}

static void run_changed(const vec_case *c)
{
    if (c->in_len > CUT_ALL)
        return;
    if (vec_is_kind(c, "request"))
        change_bytes(c, try_request);
    else if (vec_is_kind(c, "response"))
        change_bytes(c, try_response);
    else if (vec_is_kind(c, "body") || vec_is_kind(c, "requests") ||
             vec_is_kind(c, "responses"))
        change_bytes(c, try_stream);
}

/* ---- All cases of all files ---- */

static void run_case(const vec_case *c)
{
    ++cases_run;
    if (!CHECK(c->good) || !CHECK(c->fits))
        return;
    if (vec_is_kind(c, "request"))
        run_request(c);
    else if (vec_is_kind(c, "response"))
        run_response(c);
    else if (vec_is_kind(c, "fields") || vec_is_kind(c, "trailer"))
        run_fields(c);
    else if (vec_is_kind(c, "target"))
        run_target(c);
    else if (vec_is_kind(c, "chunk-line"))
        run_chunk_line(c);
    else if (vec_is_kind(c, "body") || vec_is_kind(c, "requests") ||
             vec_is_kind(c, "responses")) {
        in_every_way(c, tell_with_chunks);
        in_every_way(c, tell_bytes_only);
    } else {
        run_value(c);
    }
}

static void run_file(const char *path)
{
    static char text[INPUT_MAX], in[INPUT_MAX / 2];
    FILE *file = fopen(path, "rb");
    const char *pos = text;
    size_t len;
    vec_case c;
    if (!CHECK(file != NULL)) {
        printf("    %s cannot be read\n", path);
        return;
    }
    len = fread(text, 1, sizeof text, file);
    CHECK(len > 0 && len < sizeof text);
    fclose(file);
    while (vec_next(&pos, text + len, &c, in, sizeof in)) {
        if (vec_is_kind(&c, "tls")) /* tests/tls plays these */
            continue;
        snprintf(about, sizeof about, "%.*s", (int)c.name.len, c.name.ptr);
        check_start(about);
        run_case(&c);
        run_changed(&c);
    }
    check_start("");
}

int main(int argc, char **argv)
{
    glob_t found;
    size_t i;
    page = page_map(INPUT_MAX);
    receive = page_map(DEGU_RECV_BUFFER);
    if (argc > 1) {
        for (i = 1; i < (size_t)argc; ++i)
            run_file(argv[i]);
    } else if (glob("tests/vectors/*.txt", 0, NULL, &found) == 0) {
        for (i = 0; i < found.gl_pathc; ++i)
            run_file(found.gl_pathv[i]);
        globfree(&found);
    }
    CHECK(argc > 1 || cases_run > 500);
    printf("%u cases\n", cases_run);
    return check_done();
}

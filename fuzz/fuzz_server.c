/* SPDX-License-Identifier: MIT OR 0BSD

   A server's side of a connection.  The input's first line is a script: how
   the transport behaves, then what the app does with each request.  Behind it
   stands all that the client sends.

   The connection is run whole and in pieces, which must tell the same story;
   what was sent is read back, and must be whole responses, or cut where the
   server knows that it is cut. */

#include "harness.h"
#include "transport.h"
#include "bodies.h"

#define EXCHANGES 8
#define SERVER_SENT_MAX (1 << 16)

typedef struct server_exchange {
    degu_method method;
    int status;
    bool closes;       /* told to by us */
    bool relays;       /* and then, what: */
    size_t at;         /* where the request's body stands in the stream */
    degu_framing framing;
    uint64_t length;
} server_exchange;

typedef struct server_run {
    fuzz_transport t;
    fuzz_conn c;
    fuzz_story story;
    server_exchange exchange[EXCHANGES];
    size_t count;     /* of whole exchanges */
    degu_err ended;   /* how the last one went */
    unsigned expects; /* requests that may get a 100 */
    unsigned manner;
    int ending;
    fuzz_way ways[2];
} server_run;

/* The transport's share of the script. */
static void server_transport(server_run *run, fuzz_input *script,
                             fuzz_input stream, bool pieces)
{
    static const ptrdiff_t ends[] = {0, DEGU_E_TRUNCATED, DEGU_E_RESET,
                                     DEGU_E_TIMEOUT};
    static const size_t caps[] = {0, 64, 100, 300};
    const unsigned most = 1 + 3 * fuzz_choose(script, 6);
    const size_t in_cap = caps[fuzz_choose(script, 4)];
    const size_t out_cap = caps[fuzz_choose(script, 4)];
    unsigned fails;
    fuzz_transport_init(&run->t, stream.ptr, stream.len);
    run->t.out = fuzz_buffer(SERVER_SENT_MAX).ptr;
    run->t.out_cap = SERVER_SENT_MAX;
    run->t.most = pieces ? most : 0;
    run->t.random = fuzz_hash(stream.ptr, stream.len);
    run->t.hesitates = pieces;
    run->t.at_end = ends[fuzz_choose(script, 4)];
    fails = fuzz_choose(script, 10 * FUZZ_MANNERS);
    run->manner = fails / 10;
    fails %= 10;
    run->t.send_error = fails != 0 ? DEGU_E_RESET : DEGU_OK;
    run->t.fail_behind = fails * fails * 3;
    fuzz_conn_init(&run->c, DEGU_SERVER, &run->t,
                   in_cap != 0 ? in_cap : DEGU_RECV_BUFFER,
                   out_cap != 0 ? out_cap : DEGU_SEND_BUFFER);
    run->c.conn.ending = &run->ending;
}

static degu_err server_read(server_run *run, degu_request *r)
{
    degu_conn *conn = &run->c.conn;
    const unsigned begins = run->t.begins;
    degu_err err;
    run->t.may_wait = true;
    do
        err = degu_read_request(conn, r);
    while (err == DEGU_MORE);
    run->t.may_wait = false;
    if (!run->t.hesitates)
        fuzz_require(run->t.begins - begins <= 1, "a head is one step");
    fuzz_error_is_inside(conn);
    fuzz_tell_err(&run->story, "request", err);
    if (err != DEGU_OK) {
        fuzz_tell(&run->story, "error at", degu_conn_error_at(conn));
        return err;
    }
    fuzz_inside(r->target, conn->in, conn->in_cap, "target in the buffer");
    fuzz_fields_inside(&r->fields, conn->in, conn->in_cap);
    fuzz_require(!degu_conn_is_idle(conn), "a request waits for its answer");
    fuzz_same_err(degu_conn_check(conn), DEGU_E_ORDER, "a server asks nothing");
    fuzz_tell_view(&run->story, "method", degu_method_name(r->method));
    fuzz_tell_view(&run->story, "target", r->target);
    fuzz_tell_fields(&run->story, &r->fields);
    return DEGU_OK;
}

/* What may not be sent is refused, and leaves everything as it was; but when a
   100 Continue could not be sent, nothing can. */
static void server_refuses(server_run *run)
{
    const size_t before = run->t.out_len;
    degu_conn *conn = &run->c.conn;
    const degu_err gone = conn->broken ? DEGU_E_FINISHED : DEGU_OK;
    degu_header header;
    header.name = degu_string("a");
    header.value = degu_string("b\r\nc: d");
    fuzz_same_err(degu_send_response(conn, 200, degu_string("OK"), &header, 1,
                                     degu_no_body()),
                  gone ? gone : DEGU_E_VALUE, "a line end in a value");
    fuzz_same_err(degu_send_response(conn, 200, degu_string("O\nK"), NULL, 0,
                                     degu_no_body()),
                  gone ? gone : DEGU_E_REASON, "a line end in a reason");
    fuzz_same_err(degu_send_response(conn, 101, degu_string("OK"), NULL, 0,
                                     degu_no_body()),
                  gone ? gone : DEGU_E_INTERIM_ANSWER, "an interim answer");
    fuzz_same_number(run->t.out_len, before, "bytes of what was refused");
}

/* Of the second exchange: what is told before its answer, or its error. */
static void server_manner(server_run *run, server_exchange *e)
{
    e->closes = run->count == 1 && (run->manner == FUZZ_MANNER_CLOSES ||
                                    run->manner == FUZZ_MANNER_ENDS);
    if (e->closes && run->manner == FUZZ_MANNER_CLOSES)
        degu_conn_close_after(&run->c.conn);
    if (e->closes && run->manner == FUZZ_MANNER_ENDS)
        run->ending = 1;
    if (run->manner == FUZZ_MANNER_MOVES)
        fuzz_change_way(run->ways, &run->t, &run->c.conn);
}

static degu_err server_answer(server_run *run, fuzz_input *script,
                              server_exchange *e, bool relay)
{
    static const int statuses[] = {200, 404, 204, 304, 500};
    const unsigned kind = fuzz_choose(script, FUZZ_BODY_KINDS + 2);
    degu_conn *conn = &run->c.conn;
    fuzz_source source;
    degu_body body;
    e->status = statuses[fuzz_choose(script, 5)];
    if (!relay && kind == FUZZ_BODY_KINDS)
        return degu_reply(conn, e->status, "OK", "hello");
    if (!relay && kind > FUZZ_BODY_KINDS) {
        server_refuses(run);
        return DEGU_E_NO_RESPONSE;
    }
    body = relay ? degu_body_relay(conn) : fuzz_body(kind, &source, &run->t,
                                                      script);
    return degu_send_response(conn, e->status, degu_string("OK"), NULL, 0,
                              body);
}

static degu_err server_app(server_run *run, fuzz_input *script,
                           server_exchange *e)
{
    const unsigned kind = fuzz_choose(script, FUZZ_READ_KINDS);
    degu_conn *conn = &run->c.conn;
    degu_err err;
    e->relays = kind == FUZZ_READ_RELAY;
    e->at = fuzz_used(conn, &run->t);
    e->length = conn->left;
    server_manner(run, e);
    err = fuzz_read(kind, &run->story, conn, script);
    if (err != DEGU_OK) {
        fuzz_error_is_inside(conn);
        fuzz_tell(&run->story, "error at", degu_conn_error_at(conn));
        if (fuzz_choose(script, 2) == 0)
            return err;
        /* An app that swallows the error may answer; then it is over. */
        err = server_answer(run, script, e, false);
        fuzz_require(!degu_conn_is_open(conn), "the end after a bad body");
        return err;
    }
    err = server_answer(run, script, e, e->relays);
    if (err == DEGU_OK && !degu_body_is_read(conn))
        fuzz_require(!degu_conn_is_open(conn), "the end behind half a body");
    if (err == DEGU_OK)
        fuzz_same_number(degu_conn_is_idle(conn), degu_body_is_read(conn),
                         "an exchange that is done");
    if (err == DEGU_OK)
        fuzz_same_err(degu_conn_check(conn), DEGU_E_ORDER,
                      "a server asks nothing");
    if (err == DEGU_OK && e->closes)
        fuzz_require(!degu_conn_is_open(conn), "the end that was told");
    return err;
}

/* Nothing is read or sent any more, whatever is tried. */
static void server_is_dead(server_run *run)
{
    degu_conn *conn = &run->c.conn;
    const size_t sent = run->t.out_len, received = run->t.in_pos;
    degu_request r;
    char buf[16];
    size_t len;
    fuzz_require(!degu_conn_is_open(conn), "it is closed");
    fuzz_require(degu_read_request(conn, &r) < 0, "no request any more");
    fuzz_require(degu_reply(conn, 200, "OK", "more") < 0, "no answer any more");
    fuzz_require(degu_read_body(conn, buf, sizeof buf, &len) != DEGU_OK,
                 "no body after the end");
    if (degu_err_status(run->ended) != 0)
        (void)degu_send_error(conn, DEGU_E_HANDLER);
    fuzz_same_number(run->t.in_pos, received, "received after the end");
    fuzz_same_number(run->t.out_len, sent, "sent after the end");
}

static void server_loop(server_run *run, fuzz_input *script)
{
    degu_conn *conn = &run->c.conn;
    degu_request r;
    for (run->count = 0; run->count < EXCHANGES; ++run->count) {
        server_exchange *e = &run->exchange[run->count];
        degu_err err = server_read(run, &r);
        e->method = err == DEGU_OK ? r.method : DEGU_GET;
        e->status = 0;
        e->relays = e->closes = false;
        if (err == DEGU_OK) {
            e->framing = r.framing;
            run->expects += r.expect_continue;
            err = server_app(run, script, e);
            fuzz_tell_err(&run->story, "answer", err);
        }
        run->ended = err;
        if (err != DEGU_OK) {
            const bool none = !degu_conn_has_sent(conn);
            const size_t before = run->t.out_len;
            err = degu_send_error(conn, err);
            fuzz_tell_err(&run->story, "error answer", err);
            if (!none)
                fuzz_same_number(run->t.out_len, before,
                                 "no error answer inside another");
            e->status = degu_err_status(run->ended);
            break;
        }
    }
    if (run->ended != DEGU_OK)
        server_is_dead(run);
}

static void server_runs(server_run *run, fuzz_input input, bool pieces)
{
    fuzz_input script = fuzz_until(&input, '\n');
    memset(run, 0, sizeof *run);
    fuzz_story_init(&run->story);
    server_transport(run, &script, input, pieces);
    server_loop(run, &script);
    /* A piece of a byte becomes a chunk of 20, or so. */
    fuzz_require(run->t.out_len <= input.len + (run->count + 1) *
                                                   (DEGU_PREAMBLE_MAX +
                                                    64 * sizeof fuzz_text),
                 "what is sent is bounded");
}

static void server_free(server_run *run)
{
    fuzz_conn_free(&run->c);
    free(run->t.out);
    free(run->story.text);
}

/* ---- What was sent, read back ---- */

/* Takes interim responses off; DEGU_OK, or DEGU_MORE if nothing is whole. */
static degu_err server_sent_head(fuzz_input *sent, degu_method asked,
                                 degu_response *r)
{
    for (;;) {
        size_t len = 0;
        degu_err err = degu_scan_head(sent->ptr, sent->len, &len);
        if (err != DEGU_OK)
            return err;
        fuzz_same_err(degu_parse_response((char *)(uintptr_t)sent->ptr, len,
                                          asked, r),
                      DEGU_OK, "what is sent can be read");
        sent->ptr += len;
        sent->len -= len;
        if (r->status >= 200)
            return DEGU_OK;
        fuzz_same_number((uint64_t)r->status, 100, "interim status");
    }
}

/* A body that was handed back is the one that came in. */
static void server_relayed(const server_run *run, const server_exchange *e,
                           const fuzz_content *got)
{
    fuzz_content was;
    if (!e->relays || e->framing == DEGU_NO_BODY)
        return;
    was = fuzz_body_at(run->t.in + e->at, run->t.in_len - e->at, e->framing,
                       e->length);
    fuzz_same_content(&was, got, e->framing == DEGU_CHUNKED,
                      "a body that was handed back");
}

/* Whole exchanges gave whole responses, in order; behind them stands nothing,
   or the bare error, or what is cut. */
static void server_sent(const server_run *run)
{
    fuzz_input sent;
    size_t i;
    sent.ptr = run->t.out;
    sent.len = run->t.out_len;
    for (i = 0; i < run->count; ++i) {
        const server_exchange *e = &run->exchange[i];
        degu_response r;
        fuzz_content content;
        fuzz_same_err(server_sent_head(&sent, e->method, &r), DEGU_OK,
                      "a whole response");
        fuzz_same_number((uint64_t)r.status, (uint64_t)e->status, "status");
        fuzz_require(r.framing != DEGU_UNTIL_CLOSE, "a response has an end");
        content = fuzz_body_at(sent.ptr, sent.len, r.framing,
                               r.content_length);
        fuzz_same_err(content.err, DEGU_END, "a response's body is whole");
        server_relayed(run, e, &content);
        sent.ptr += content.used;
        sent.len -= content.used;
        fuzz_require(r.close || !e->closes, "a response says its end");
        fuzz_require(!r.close || i + 1 == run->count || run->ended != DEGU_OK,
                     "nothing follows close");
    }
    if (sent.len > 0) {
        degu_response r;
        degu_err err;
        fuzz_require(run->ended != DEGU_OK, "nothing behind what was sent");
        err = server_sent_head(&sent, run->exchange[run->count].method, &r);
        fuzz_require(err == DEGU_OK || err == DEGU_MORE,
                     "a response, or its beginning");
    }
}

static bool server_comparable(const server_run *a, const server_run *b)
{
    /* A 100 depends on what has come in by the time the body is read, and
       moves the place at which sending fails. */
    return a->t.send_error == DEGU_OK || (a->expects == 0 && b->expects == 0);
}

/* Every call counts against the deadline of its step, so nothing here is to
   be compared: it comes to its end, and stays there. */
static void server_with_deadlines(fuzz_input input)
{
    fuzz_input script = fuzz_until(&input, '\n');
    server_run run;
    memset(&run, 0, sizeof run);
    fuzz_story_init(&run.story);
    run.t.patience = 0;
    server_transport(&run, &script, input, true);
    run.t.hesitates = false;
    run.t.patience = 1 + run.t.random % 40;
    server_loop(&run, &script);
    server_sent(&run);
    server_free(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    server_run whole, pieces;
    server_runs(&whole, input, false);
    server_runs(&pieces, input, true);
    server_sent(&whole);
    server_sent(&pieces);
    if (server_comparable(&whole, &pieces)) {
        fuzz_same_story(&whole.story, &pieces.story, "a server in pieces");
        if (whole.expects == 0)
            fuzz_same_view(degu_bytes(whole.t.out, whole.t.out_len),
                           degu_bytes(pieces.t.out, pieces.t.out_len),
                           "what a server sent in pieces");
    }
    fuzz_note(fuzz_hash(whole.story.text, whole.story.len));
    fuzz_note(fuzz_hash(whole.t.out, whole.t.out_len));
    server_free(&whole);
    server_free(&pieces);
    server_with_deadlines(input);
    return 0;
}

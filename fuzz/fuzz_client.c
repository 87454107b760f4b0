/* SPDX-License-Identifier: MIT OR 0BSD

   A client's side of a connection.  The input's first line is a script: how
   the transport behaves, then what is asked and how it is read.  Behind it
   stands what the server sends, up to "<<<" and a line end as the answer to
   the first request, then to the second, and so on.

   The connection is run whole and in pieces, which must tell the same story;
   what was sent is read back by a server. */

#include "harness.h"
#include "transport.h"
#include "bodies.h"

#define ANSWERS 6
#define CLIENT_SENT_MAX (1 << 16)

typedef struct client_run {
    fuzz_transport t;
    fuzz_conn c;
    fuzz_story story;
    char *in;
    size_t ends[ANSWERS]; /* of the answers in it */
    size_t answers;
    size_t asked;    /* requests that were sent whole */
    bool cut;        /* and one that was not */
    bool surplus;    /* all of it has left, and its source had still more */
    unsigned manner;
    bool closes; /* told to by us */
    fuzz_way ways[2];
} client_run;

/* Joins the answers, and notes where each ends. */
static size_t client_answers(client_run *run, fuzz_input input)
{
    static const char mark[] = "<<<\n";
    size_t len = 0, i = 0;
    run->in = fuzz_buffer(input.len).ptr;
    run->answers = 0;
    while (i < input.len) {
        if (run->answers + 1 < ANSWERS && input.len - i >= 4 &&
            memcmp(input.ptr + i, mark, 4) == 0) {
            run->ends[run->answers++] = len;
            i += 4;
        } else {
            run->in[len++] = input.ptr[i++];
        }
    }
    run->ends[run->answers++] = len;
    return len;
}

static void client_transport(client_run *run, fuzz_input *script,
                             fuzz_input input, bool pieces)
{
    static const ptrdiff_t ends[] = {0, DEGU_E_TRUNCATED, DEGU_E_RESET,
                                     DEGU_E_AGAIN};
    static const size_t caps[] = {0, 64, 100, 300};
    const unsigned most = 1 + 3 * fuzz_choose(script, 6);
    const size_t in_cap = caps[fuzz_choose(script, 4)];
    const size_t out_cap = caps[fuzz_choose(script, 4)];
    const ptrdiff_t at_end = ends[fuzz_choose(script, 4)];
    const unsigned last = fuzz_choose(script, 10 * FUZZ_MANNERS);
    const unsigned fails = last % 10;
    const size_t len = client_answers(run, input);
    fuzz_transport_init(&run->t, run->in, len);
    run->manner = last / 10;
    run->t.shown = 0;
    run->t.out = fuzz_buffer(CLIENT_SENT_MAX).ptr;
    run->t.out_cap = CLIENT_SENT_MAX;
    run->t.most = pieces ? most : 0;
    run->t.random = fuzz_hash(input.ptr, input.len);
    run->t.at_end = at_end;
    run->t.send_error = fails != 0 ? DEGU_E_RESET : DEGU_OK;
    run->t.fail_behind = fails * fails * 3;
    fuzz_conn_init(&run->c, DEGU_CLIENT, &run->t,
                   in_cap != 0 ? in_cap : DEGU_RECV_BUFFER,
                   out_cap != 0 ? out_cap : DEGU_SEND_BUFFER);
}

/* What may not be sent is refused, and leaves everything as it was. */
static void client_refuses(client_run *run)
{
    const size_t before = run->t.out_len;
    degu_conn *conn = &run->c.conn;
    degu_header header;
    header.name = degu_string("a\r\nb");
    header.value = degu_string("c");
    fuzz_require(degu_send_request(conn, DEGU_GET, degu_string("/"), &header,
                                   1, degu_no_body()) < 0,
                 "a line end in a name");
    fuzz_require(degu_send_request(conn, DEGU_GET, degu_string("/ HTTP/1.1"),
                                   NULL, 0, degu_no_body()) < 0,
                 "a space in a target");
    fuzz_require(degu_send_request(conn, DEGU_GET, degu_string("/"), NULL, 0,
                                   degu_body_bytes("x", 1)) < 0,
                 "a body with GET");
    fuzz_same_number(run->t.out_len, before, "bytes of what was refused");
}

/* With the second request on its way: its answer is still read. */
static void client_manner(client_run *run)
{
    run->closes = run->closes ||
                  (run->asked == 2 && run->manner == FUZZ_MANNER_CLOSES);
    if (run->closes) {
        degu_conn_close_after(&run->c.conn);
        fuzz_require(!degu_conn_is_open(&run->c.conn), "the end that was told");
    }
    if (run->manner == FUZZ_MANNER_MOVES)
        fuzz_change_way(run->ways, &run->t, &run->c.conn);
}

static degu_err client_asks(client_run *run, fuzz_input *script)
{
    static const degu_method methods[] = {DEGU_GET, DEGU_PUT, DEGU_HEAD,
                                          DEGU_DELETE, DEGU_POST};
    const degu_method method = methods[fuzz_choose(script, 5)];
    const unsigned kind = fuzz_choose(script, FUZZ_BODY_KINDS);
    const bool may = method == DEGU_PUT || method == DEGU_POST;
    degu_conn *conn = &run->c.conn;
    fuzz_source source;
    degu_body body = fuzz_body(may ? kind : FUZZ_BODY_NONE, &source, &run->t,
                               script);
    const bool idle = degu_conn_is_idle(conn);
    degu_err err = degu_conn_check(conn), sent;
    const size_t before = run->t.out_len;
    fuzz_tell(&run->story, "method", method);
    fuzz_tell_err(&run->story, "check", err);
    if (err == DEGU_OK)
        client_refuses(run);
    /* The answer comes once the request does. */
    sent = degu_send_request(conn, method, degu_string("/a?b"), NULL, 0, body);
    fuzz_tell_err(&run->story, "request", sent);
    fuzz_require(err == DEGU_OK || sent == err, "degu_conn_check tells");
    fuzz_require(idle || err != DEGU_OK, "an exchange is not done");
    if (sent != DEGU_OK && run->t.out_len > before) {
        fuzz_require(!degu_conn_is_open(conn), "the end after a cut request");
        run->cut = true;
        run->surplus = sent == DEGU_E_BODY_LONG;
    }
    run->asked += sent == DEGU_OK;
    fuzz_require(err != DEGU_OK || !run->closes, "nothing behind the end");
    client_manner(run);
    return sent;
}

/* The body goes on through a server's connection to somebody else, and must
   be the same there. */
static degu_err client_relays(client_run *run)
{
    static const char ask[] = "GET / HTTP/1.1\r\n\r\n";
    const size_t at = fuzz_used(&run->c.conn, &run->t);
    const degu_framing framing = degu_body_framing(&run->c.conn);
    const uint64_t length = run->c.conn.left;
    const size_t shown = run->t.shown;
    fuzz_transport to;
    fuzz_conn front;
    degu_request r;
    degu_response seen;
    degu_err err;
    size_t len = 0;
    fuzz_transport_init(&to, ask, sizeof ask - 1);
    to.out = fuzz_buffer(CLIENT_SENT_MAX).ptr;
    to.out_cap = CLIENT_SENT_MAX;
    to.most = run->t.most;
    fuzz_conn_init(&front, DEGU_SERVER, &to, DEGU_RECV_BUFFER,
                   DEGU_SEND_BUFFER);
    fuzz_same_err(degu_read_request(&front.conn, &r), DEGU_OK, "a request");
    err = degu_send_response(&front.conn, 200, degu_string("OK"), NULL, 0,
                             degu_body_relay(&run->c.conn));
    fuzz_tell_err(&run->story, "relay", err);
    if (err == DEGU_OK) {
        fuzz_content was, is;
        was = fuzz_body_at(run->in + at, shown - at, framing, length);
        fuzz_same_err(degu_scan_head(to.out, to.out_len, &len), DEGU_OK,
                      "a whole response");
        fuzz_same_err(degu_parse_response(to.out, len, DEGU_GET, &seen),
                      DEGU_OK, "what is sent can be read");
        is = fuzz_body_at(to.out + len, to.out_len - len, seen.framing,
                          seen.content_length);
        if (framing != DEGU_NO_BODY)
            fuzz_same_content(&was, &is, framing == DEGU_CHUNKED,
                              "a body that was handed on");
        fuzz_same_number(len + is.used, to.out_len, "end of a relayed body");
    } else if (to.out_len > 0) {
        fuzz_require(!degu_conn_is_open(&front.conn),
                     "the end after a cut response");
    }
    fuzz_conn_free(&front);
    free(to.out);
    return err;
}

static degu_err client_reads(client_run *run, fuzz_input *script)
{
    const unsigned kind = fuzz_choose(script, FUZZ_READ_KINDS);
    const unsigned begins = run->t.begins;
    degu_conn *conn = &run->c.conn;
    degu_response r;
    degu_err err = degu_read_response(conn, &r);
    fuzz_require(run->t.begins - begins <= 1, "responses are one step");
    fuzz_error_is_inside(conn);
    fuzz_tell_err(&run->story, "response", err);
    if (err != DEGU_OK) {
        fuzz_tell(&run->story, "error at", degu_conn_error_at(conn));
        return err;
    }
    fuzz_inside(r.reason, conn->in, conn->in_cap, "reason in the buffer");
    fuzz_fields_inside(&r.fields, conn->in, conn->in_cap);
    fuzz_require(r.status >= 200, "an interim response is no answer");
    fuzz_tell(&run->story, "status", (uint64_t)r.status);
    fuzz_tell_view(&run->story, "reason", r.reason);
    fuzz_tell_fields(&run->story, &r.fields);
    if (kind == FUZZ_READ_RELAY)
        return client_relays(run);
    err = fuzz_read(kind, &run->story, conn, script);
    if (err != DEGU_OK) {
        fuzz_error_is_inside(conn);
        fuzz_tell(&run->story, "error at", degu_conn_error_at(conn));
        fuzz_require(!degu_conn_is_open(conn), "the end after a bad body");
    }
    return err;
}

/* Neither asks nor reads any more, whatever is tried. */
static void client_is_dead(client_run *run)
{
    degu_conn *conn = &run->c.conn;
    const size_t sent = run->t.out_len, received = run->t.in_pos;
    degu_response r;
    char buf[16];
    size_t len;
    fuzz_require(degu_send_request(conn, DEGU_GET, degu_string("/"), NULL, 0,
                                   degu_no_body()) < 0,
                 "no request after the end");
    if (conn->failed != DEGU_OK) {
        fuzz_same_err(degu_read_response(conn, &r), conn->failed,
                      "no response after the end");
        fuzz_require(degu_read_body(conn, buf, sizeof buf, &len) != DEGU_OK,
                     "no body after the end");
    }
    fuzz_same_number(run->t.out_len, sent, "sent after the end");
    fuzz_same_number(run->t.in_pos, received, "received after the end");
}

static void client_runs(client_run *run, fuzz_input input, bool pieces,
                        bool hurried)
{
    fuzz_input script = fuzz_until(&input, '\n');
    degu_err err = DEGU_OK;
    size_t i;
    memset(run, 0, sizeof *run);
    fuzz_story_init(&run->story);
    client_transport(run, &script, input, pieces);
    run->t.patience = hurried ? 1 + run->t.random % 40 : 0;
    for (i = 0; i < run->answers && err == DEGU_OK; ++i) {
        err = client_asks(run, &script);
        run->t.shown = run->ends[i];
        /* Who was cut off while sending may have been answered already. */
        if (err == DEGU_OK || err == DEGU_E_RESET)
            err = client_reads(run, &script);
    }
    if (err != DEGU_OK && !degu_conn_is_open(&run->c.conn))
        client_is_dead(run);
}

/* A server reads what was sent: as many requests as were whole. */
static void client_sent(const client_run *run)
{
    fuzz_transport t;
    fuzz_conn c;
    fuzz_content content;
    degu_request r;
    size_t i;
    degu_err err = DEGU_OK;
    char *answers = fuzz_buffer(4096).ptr;
    fuzz_transport_init(&t, run->t.out, run->t.out_len);
    t.out = answers;
    t.out_cap = 4096;
    fuzz_conn_init(&c, DEGU_SERVER, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    for (i = 0; err == DEGU_OK; ++i) {
        err = degu_read_request(&c.conn, &r);
        if (err != DEGU_OK)
            break;
        fuzz_same_view(r.target, degu_string("/a?b"), "target of a request");
        content = fuzz_read_all(&c.conn);
        if (content.err != DEGU_END)
            break;
        err = degu_reply(&c.conn, 200, "OK", NULL);
    }
    if (!run->surplus || i != run->asked + 1)
        fuzz_same_number(i, run->asked, "requests that were sent whole");
    if (!run->cut)
        fuzz_same_err(err, DEGU_E_CLOSED, "the end of what was sent");
    fuzz_conn_free(&c);
    free(answers);
}

static void client_free(client_run *run)
{
    fuzz_conn_free(&run->c);
    free(run->t.out);
    free(run->in);
    free(run->story.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    client_run whole, pieces, hurried;
    client_runs(&whole, input, false, false);
    client_runs(&pieces, input, true, false);
    client_runs(&hurried, input, true, true);
    client_sent(&whole);
    client_sent(&pieces);
    client_sent(&hurried);
    fuzz_same_story(&whole.story, &pieces.story, "a client in pieces");
    fuzz_same_view(degu_bytes(whole.t.out, whole.t.out_len),
                   degu_bytes(pieces.t.out, pieces.t.out_len),
                   "what a client sent in pieces");
    fuzz_note(fuzz_hash(whole.story.text, whole.story.len));
    fuzz_note(fuzz_hash(whole.t.out, whole.t.out_len));
    client_free(&whole);
    client_free(&pieces);
    client_free(&hurried);
    return 0;
}

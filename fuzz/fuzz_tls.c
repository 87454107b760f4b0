/* SPDX-License-Identifier: MIT OR 0BSD

   degu_tls.h.  The input's first line is a script whose first byte says what
   stands behind it:

   0 an exchange  what a peer does that has done its handshake: the data that
                  it sends, with marks in it.  <<<k and <<<K change the keys (K:
                  and want the same of us), <<<r begins another handshake,
                  <<<! puts what stands behind it on the wire as it is, <<<c
                  says close_notify.  At the end of the input it just goes
   1 records      all that a peer sends
   2 DER          a certificate
   3 texts        certificate | key | authorities | name, "@" for good ones

   Links with OpenSSL, so it is in no program with the others (every.h).
   Random numbers are the same in each run, and so is all that is sent. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FUZZ_WITH_SOCKETS
#define FUZZ_WITH_SERVER
#include "harness.h"
#include "transport.h"
#include "bodies.h"
#include "tls_peer.h"

/* Whom our end trusts. */
enum {
    TLS_TRUST_AUTHORITY,
    TLS_TRUST_PIN,
    TLS_TRUST_BOTH,
    TLS_TRUST_NOBODY,  /* signed by the authority, with a stranger's key */
    TLS_TRUST_ANYBODY, /* that connects; of servers any that is signed */
    TLS_TRUSTS
};

static const char *const tls_names[] = {"localhost", "127.0.0.1", "[::1%lo]",
                                        "elsewhere", NULL, "192.0.2.1"};

/* ---- Our end ---- */

static void tls_open(degu_tls *tls, unsigned profile, degu_role role,
                     unsigned trust)
{
    degu_tls_config config;
    degu_tls_pin pin;
    memset(&config, 0, sizeof config);
    config.profile = (degu_tls_profile)profile;
    config.cert = degu_string(fuzz_good);
    config.key = degu_string(fuzz_good_key);
    config.pin_count = trust != TLS_TRUST_AUTHORITY &&
                       trust != TLS_TRUST_ANYBODY;
    memcpy(pin.sha256,
           trust == TLS_TRUST_NOBODY ? fuzz_stranger_pin : fuzz_good_pin, 32);
    config.pins = config.pin_count > 0 ? &pin : NULL;
    config.any_host_name = trust == TLS_TRUST_ANYBODY && role == DEGU_CLIENT;
    config.allow_unauthenticated_clients =
        trust == TLS_TRUST_ANYBODY && role == DEGU_SERVER;
    if (trust != TLS_TRUST_PIN && !config.allow_unauthenticated_clients)
        config.ca = degu_string(fuzz_authority);
    fuzz_same_err(role == DEGU_SERVER ? degu_tls_open_server(tls, &config)
                                      : degu_tls_open_client(tls, &config),
                  DEGU_OK, "a configuration that is good");
}

/* Opened once. */
static degu_tls *tls_ours(unsigned profile, degu_role role, unsigned trust)
{
    static degu_tls all[2][2][TLS_TRUSTS];
    degu_tls *tls = &all[profile][role][trust];
    if (tls->context == NULL)
        tls_open(tls, profile, role, trust);
    return tls;
}

/* May such a peer be let in? */
static bool tls_is_right(const tls_run *run, const char *name)
{
    const bool named = name != NULL && strcmp(name, "elsewhere") != 0 &&
                       strcmp(name, "192.0.2.1") != 0;
    if (run->alpn == TLS_ALPN_OTHER || run->alpn == TLS_ALPN_PREFIX ||
        (run->alpn == TLS_ALPN_BOTH && run->role == DEGU_CLIENT))
        return false;
    if (run->role == DEGU_SERVER && run->trust == TLS_TRUST_ANYBODY)
        return true;
    if (run->certificate != TLS_CERT_GOOD || run->trust == TLS_TRUST_NOBODY)
        return false;
    return run->role == DEGU_SERVER || run->trust == TLS_TRUST_PIN ||
           run->trust == TLS_TRUST_ANYBODY || named;
}

static void tls_run_init(tls_run *run, fuzz_input *script, fuzz_input input)
{
    static const ptrdiff_t ends[] = {0, DEGU_E_RESET, DEGU_E_TIMEOUT};
    const unsigned most = 3 * fuzz_choose(script, 8);
    memset(run, 0, sizeof *run);
    run->profile = fuzz_choose(script, 2);
    run->role = fuzz_choose(script, 2) == 0 ? DEGU_SERVER : DEGU_CLIENT;
    run->trust = fuzz_choose(script, TLS_TRUSTS);
    run->wire = fuzz_buffer(TLS_WIRE_MAX).ptr;
    run->plain = fuzz_buffer(input.len).ptr;
    run->said = fuzz_buffer(TLS_WIRE_MAX).ptr;
    fuzz_transport_init(&run->t, run->wire, 0);
    run->t.most = most * most * most;
    run->t.random = fuzz_hash(input.ptr, input.len);
    run->t.at_end = ends[fuzz_choose(script, 3)];
    run->t.hesitates = fuzz_choose(script, 2) != 0;
    run->t.out = fuzz_buffer(TLS_WIRE_MAX).ptr;
    run->t.out_cap = TLS_WIRE_MAX;
    run->socket.fd = -1;
    run->events = input;
    tls_begin_random();
    ERR_clear_error();
}

static void tls_run_free(tls_run *run)
{
    SSL_free(run->peer);
    free(run->wire);
    free(run->plain);
    free(run->said);
    free(run->t.out);
    ERR_clear_error();
}

static degu_err tls_shake(tls_run *run)
{
    degu_err err;
    run->socket.nonblocking = run->t.hesitates;
    do
        err = degu_tls_handshake(&run->io);
    while (err == DEGU_E_AGAIN);
    run->socket.nonblocking = false;
    return err;
}

/* Who has failed gets no further, and no data come or go. */
static void tls_is_barred(tls_run *run, degu_err err)
{
    const size_t sent = run->t.out_len;
    degu_str piece = degu_string("secret");
    degu_conn conn;
    char buf[64];
    degu_conn_init(&conn, run->role, run->io, buf, 64, buf, 64);
    fuzz_require(degu_tls_peer_of(&conn) == NULL, "no peer before its time");
    fuzz_require(err == DEGU_E_TIMEOUT || err == DEGU_E_CLOSED ||
                     err == DEGU_E_RESET || degu_tls_error(&conn)[0] != '\0',
                 "an error has words");
    fuzz_same_err((degu_err)run->io.recv(run->io.ctx, buf, 8, DEGU_IO_BEGIN),
                  DEGU_E_HANDSHAKE, "nothing comes without a handshake");
    fuzz_same_err((degu_err)run->io.send(run->io.ctx, &piece, 1, 0),
                  DEGU_E_HANDSHAKE, "nothing goes without a handshake");
    fuzz_require(tls_shake(run) != DEGU_OK, "who has failed stays so");
    degu_tls_end(&run->io, true);
    /* An end of the way is answered with an alert, by who tries again. */
    if (err != DEGU_E_CLOSED && err != DEGU_E_TIMEOUT)
        fuzz_same_number(run->t.out_len, sent, "sent after the end");
}

/* ---- Who the peer is ---- */

static const degu_tls_name tls_good_names[] = {
    {DEGU_TLS_DNS, {"localhost", 9}},
    {DEGU_TLS_IP, {"127.0.0.1", 9}},
    {DEGU_TLS_IP, {"::1", 3}},
    {DEGU_TLS_URI, {"urn:degu:device:7", 17}},
    {DEGU_TLS_EMAIL, {"a@example.com", 13}},
};

static void tls_knows_good(const tls_run *run, const degu_tls_peer *peer)
{
    const size_t count = sizeof tls_good_names / sizeof tls_good_names[0];
    size_t i;
    fuzz_same_number(peer->chain_count, run->trust == TLS_TRUST_PIN ? 1 : 2,
                     "certificates up to the authority");
    fuzz_same_view(peer->chain[0], peer->certificate, "the first of a chain");
    fuzz_require(memcmp(peer->key_sha256, fuzz_good_pin, 32) == 0,
                 "what a pin is made of");
    fuzz_same_view(peer->subject, degu_string("O=Acme\\, Inc.,CN=device-7"),
                   "the peer's subject");
    fuzz_same_number(peer->name_count, count, "number of names");
    for (i = 0; i < count; ++i) {
        fuzz_same_number(peer->names[i].kind, tls_good_names[i].kind,
                         "kind of a name");
        fuzz_same_view(peer->names[i].text, tls_good_names[i].text, "a name");
    }
}

static void tls_knows_peer(const tls_run *run)
{
    const bool newer = run->profile == DEGU_TLS_1_3;
    const degu_tls_peer *peer;
    degu_conn conn;
    char buf[64];
    degu_conn_init(&conn, run->role, run->io, buf, 64, buf, 64);
    peer = degu_tls_peer_of(&conn);
    fuzz_require(peer != NULL, "a peer after its handshake");
    fuzz_same_view(degu_string(peer->protocol),
                   degu_string(newer ? "TLSv1.3" : "TLSv1.2"), "protocol");
    fuzz_same_view(degu_string(peer->cipher),
                   degu_string(newer ? "TLS_AES_256_GCM_SHA384"
                                     : "ECDHE-RSA-AES256-GCM-SHA384"),
                   "cipher");
    if (run->role == DEGU_SERVER && run->trust == TLS_TRUST_ANYBODY)
        fuzz_require(peer->certificate.ptr == NULL && peer->name_count == 0 &&
                         peer->chain_count == 0 && peer->subject.ptr == NULL,
                     "nobody was asked who he is");
    else
        tls_knows_good(run, peer);
}

/* ---- HTTP over it ---- */

/* Between the connection and TLS: what comes is what was written, and its end
   is certain where it says so. */
static ptrdiff_t tls_tap_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    tls_run *run = (tls_run *)ctx;
    const ptrdiff_t n = run->io.recv(run->io.ctx, buf, len, flags);
    if ((flags & DEGU_IO_PEEK) != 0 || n == DEGU_E_AGAIN)
        return n;
    fuzz_require(!run->ended, "nothing is read behind an end");
    run->ended = n <= 0;
    run->end = n;
    if (n == 0)
        fuzz_require(run->notified && run->got == run->plain_len,
                     "an end that is certain");
    if (n > 0) {
        fuzz_require((size_t)n <= len &&
                         (size_t)n <= run->plain_len - run->got &&
                         memcmp(run->plain + run->got, buf, (size_t)n) == 0,
                     "what comes is what was written");
        run->got += (size_t)n;
    }
    return n;
}

static ptrdiff_t tls_tap_send(void *ctx, const degu_str *pieces, size_t count,
                              unsigned flags)
{
    tls_run *run = (tls_run *)ctx;
    const size_t before = run->said_len;
    ptrdiff_t n;
    size_t i;
    for (i = 0; i < count; ++i) {
        memcpy(run->said + run->said_len, pieces[i].ptr, pieces[i].len);
        run->said_len += pieces[i].len;
    }
    n = run->io.send(run->io.ctx, pieces, count, flags);
    fuzz_require(n <= (ptrdiff_t)(run->said_len - before),
                 "no more goes than there is");
    fuzz_require(n != 0, "sending gives a number or an error");
    /* What was begun may arrive, whatever became of it. */
    if (n > 0)
        run->said_len = before + (size_t)n;
    return n;
}

typedef struct tls_app {
    degu_role role;
    fuzz_conn c;
    fuzz_story story;
    bool *may_wait;
} tls_app;

static void tls_app_init(tls_app *app, degu_role role, degu_io io,
                         bool *may_wait)
{
    fuzz_transport none;
    fuzz_transport_init(&none, NULL, 0);
    fuzz_conn_init(&app->c, role, &none, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    degu_conn_set_io(&app->c.conn, io);
    fuzz_story_init(&app->story);
    app->role = role;
    app->may_wait = may_wait;
}

static void tls_app_free(tls_app *app)
{
    fuzz_conn_free(&app->c);
    free(app->story.text);
}

static degu_err tls_app_body(tls_app *app, fuzz_input *script)
{
    const unsigned kind = fuzz_choose(script, FUZZ_READ_RELAY);
    degu_conn *conn = &app->c.conn;
    const degu_framing framing = degu_body_framing(conn);
    const degu_err err = fuzz_read(kind, &app->story, conn, script);
    fuzz_tell(&app->story, "framing", framing);
    fuzz_tell(&app->story, "whole", degu_body_is_read(conn));
    return err;
}

/* With a body that fits into a record, or does not. */
static degu_err tls_app_answers(degu_conn *conn, fuzz_input *script)
{
    static const char large[20000] = {0};
    const bool is_large = fuzz_choose(script, 2) != 0;
    return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                              is_large ? degu_body_bytes(large, sizeof large)
                                       : degu_body_bytes(fuzz_text, 100));
}

static void tls_app_serves(tls_app *app, bool hesitates, fuzz_input script)
{
    degu_conn *conn = &app->c.conn;
    degu_request r;
    degu_err err = DEGU_OK;
    int i;
    for (i = 0; i < 4 && err == DEGU_OK; ++i) {
        *app->may_wait = hesitates;
        do
            err = degu_read_request(conn, &r);
        while (err == DEGU_MORE);
        *app->may_wait = false;
        fuzz_tell_err(&app->story, "request", err);
        if (err != DEGU_OK)
            break;
        fuzz_tell_view(&app->story, "target", r.target);
        fuzz_tell_fields(&app->story, &r.fields);
        err = tls_app_body(app, &script);
        if (err == DEGU_OK)
            err = tls_app_answers(conn, &script);
        fuzz_tell_err(&app->story, "answer", err);
    }
    if (err != DEGU_OK)
        (void)degu_send_error(conn, err);
}

static void tls_app_asks(tls_app *app, fuzz_input script)
{
    degu_conn *conn = &app->c.conn;
    degu_response r;
    degu_err err = degu_send_request(conn, DEGU_PUT, degu_string("/a"), NULL, 0,
                                     degu_body_bytes(fuzz_text, 100));
    fuzz_tell_err(&app->story, "request", err);
    if (err == DEGU_OK)
        err = degu_read_response(conn, &r);
    fuzz_tell_err(&app->story, "response", err);
    if (err != DEGU_OK)
        return;
    fuzz_tell(&app->story, "status", (uint64_t)r.status);
    fuzz_tell_fields(&app->story, &r.fields);
    (void)tls_app_body(app, &script);
}

static void tls_app_runs(tls_app *app, bool hesitates, fuzz_input script)
{
    if (app->role == DEGU_SERVER)
        tls_app_serves(app, hesitates, script);
    else
        tls_app_asks(app, script);
}

/* A way without TLS, on which nothing comes before something was sent. */
static ptrdiff_t tls_clear_recv(void *ctx, void *buf, size_t len,
                                unsigned flags)
{
    const fuzz_transport *t = (const fuzz_transport *)ctx;
    if ((flags & DEGU_IO_PEEK) != 0 && t->out_len == 0)
        return DEGU_E_AGAIN;
    return fuzz_recv(ctx, buf, len, flags);
}

/* The same over such a way, where what came out stands in one piece, and ends
   as it did. */
static void tls_same_in_the_clear(const tls_run *run, const tls_app *app,
                                  fuzz_input script)
{
    fuzz_transport t;
    tls_app other;
    degu_io io;
    bool may_wait;
    fuzz_transport_init(&t, run->plain,
                        run->ended ? run->got : run->plain_len);
    t.at_end = run->end < 0 ? run->end : 0;
    t.out = fuzz_buffer(TLS_WIRE_MAX).ptr;
    t.out_cap = TLS_WIRE_MAX;
    io = fuzz_io(&t);
    io.recv = tls_clear_recv;
    tls_app_init(&other, run->role, io, &may_wait);
    tls_app_runs(&other, false, script);
    fuzz_same_story(&app->story, &other.story, "with TLS and without");
    tls_app_free(&other);
    free(t.out);
}

/* Without damage an end is told as what it was, and the handshake was the only
   one. */
static void tls_ended_right(const tls_run *run)
{
    const degu_priv_tls *t = (const degu_priv_tls *)run->io.ctx;
    ptrdiff_t want = run->t.at_end;
    fuzz_same_number((uint64_t)SSL_total_renegotiations(t->ssl), 0,
                     "no other handshake");
    if (!run->ended || run->upset || run->damage != TLS_WHOLE || run->stuck)
        return;
    if (run->notified)
        want = 0;
    else if (want == 0)
        want = DEGU_E_TRUNCATED;
    fuzz_same_err((degu_err)run->end, (degu_err)want, "how it ended");
}

/* The peer hears all, and whether it was all. */
static void tls_ends(tls_run *run, bool clean)
{
    const bool well = !run->upset && run->damage == TLS_WHOLE &&
                      run->shaken && (!run->ended || run->end == 0);
    bool notified;
    tls_ended_right(run);
    degu_tls_end(&run->io, clean);
    fuzz_require(run->socket.over.send == NULL, "the socket has no way left");
    tls_peer_hears(run);
    if (!well)
        return;
    fuzz_same_number(run->heard, run->said_len, "what the peer has heard");
    notified = (SSL_get_shutdown(run->peer) & SSL_RECEIVED_SHUTDOWN) != 0;
    fuzz_require(notified ? clean : !clean || run->stuck,
                 "close_notify where it ends cleanly");
}

static void tls_talks(tls_run *run, fuzz_input *script)
{
    const bool clean = fuzz_choose(script, 2) == 0;
    tls_app app;
    degu_io tap;
    tap.ctx = run;
    tap.recv = tls_tap_recv;
    tap.send = tls_tap_send;
    tls_knows_peer(run);
    tls_app_init(&app, run->role, tap, &run->socket.nonblocking);
    tls_app_runs(&app, run->t.hesitates, *script);
    fuzz_note(fuzz_hash(app.story.text, app.story.len));
    tls_same_in_the_clear(run, &app, *script);
    /* But for who was cut off because he took no answers. */
    if (run->ended && !run->stuck) {
        char buf[16];
        fuzz_require(run->io.recv(run->io.ctx, buf, 16, DEGU_IO_BEGIN) <= 0,
                     "no data behind an end");
    }
    tls_app_free(&app);
    tls_ends(run, clean);
}

static void tls_exchange(fuzz_input *script, fuzz_input input)
{
    tls_run run;
    unsigned profile;
    const char *name;
    degu_err err;
    bool right;
    tls_run_init(&run, script, input);
    profile = run.profile ^ fuzz_choose(script, 2);
    run.certificate = fuzz_choose(script, TLS_CERTS);
    if (run.role == DEGU_CLIENT && run.certificate == TLS_CERT_NONE)
        run.certificate = TLS_CERT_GOOD;
    run.alpn = fuzz_choose(script, TLS_ALPNS);
    name = run.role == DEGU_SERVER ? NULL : tls_names[fuzz_choose(script, 6)];
    run.record = fuzz_choose(script, 8);
    run.record = run.record * run.record * run.record;
    run.damage = fuzz_choose(script, TLS_DAMAGES);
    run.damage_at = fuzz_choose(script, 64) * 64;
    run.damage_at += fuzz_choose(script, 64);
    run.stuck = fuzz_choose(script, 2) != 0;
    right = tls_is_right(&run, name) && profile == run.profile;
    err = degu_tls_start(tls_ours(run.profile, run.role, run.trust),
                         &run.socket, name, &run.io);
    if (err == DEGU_OK) {
        tls_peer_init(&run, profile);
        err = tls_shake(&run);
        fuzz_require(right || err != DEGU_OK, "who may not come in does not");
        fuzz_require(!right || err == DEGU_OK || run.damage != TLS_WHOLE,
                     "who may come in does");
        if (err == DEGU_OK)
            tls_talks(&run, script);
        else
            tls_is_barred(&run, err);
    } else {
        fuzz_require(err == DEGU_E_ARGUMENT && name == NULL, "a name is good");
    }
    fuzz_note((uint64_t)-err);
    tls_run_free(&run);
}

/* ---- Records that no TLS has made ---- */

static degu_err tls_records_run(fuzz_input script, fuzz_input input)
{
    tls_run run;
    degu_err err;
    tls_run_init(&run, &script, input);
    run.gone = true;
    tls_on_wire(&run, input.ptr, input.len);
    fuzz_same_err(degu_tls_start(tls_ours(run.profile, run.role, run.trust),
                                 &run.socket, "localhost", &run.io),
                  DEGU_OK, "degu_tls_start");
    err = tls_shake(&run);
    if (err != DEGU_OK)
        tls_is_barred(&run, err);
    else
        degu_tls_end(&run.io, true);
    tls_run_free(&run);
    return err;
}

static void tls_records(fuzz_input script, fuzz_input input)
{
    fuzz_input whole = script;
    char *copy = fuzz_copy(script.ptr, script.len);
    const degu_err err = tls_records_run(script, input);
    /* The first choice is that of the pieces: none. */
    copy[0] = '0';
    whole.ptr = copy;
    fuzz_same_err(tls_records_run(whole, input), err, "records in pieces");
    free(copy);
    fuzz_note((uint64_t)-err);
}

/* ---- A certificate ---- */

/* What OpenSSL's own types say of a name: is it one to be told? */
static bool tls_der_tells(const GENERAL_NAME *name, degu_str *bytes)
{
    int type;
    const void *value = GENERAL_NAME_get0_value(name, &type);
    size_t i;
    if (type != GEN_DNS && type != GEN_URI && type != GEN_EMAIL &&
        type != GEN_IPADD)
        return false;
    *bytes = degu_bytes(ASN1_STRING_get0_data((const ASN1_STRING *)value),
                        (size_t)ASN1_STRING_length((const ASN1_STRING *)value));
    if (type == GEN_IPADD)
        return bytes->len == 4 || bytes->len == 16;
    for (i = 0; i < bytes->len; ++i)
        if (bytes->ptr[i] <= ' ' || bytes->ptr[i] > '~')
            return false;
    return bytes->len > 0;
}

static void tls_der_name(const degu_tls_name *name, degu_str bytes)
{
    char ip[16];
    char *text;
    if (name->kind != DEGU_TLS_IP) {
        fuzz_same_view(name->text, bytes, "a name in a certificate");
        return;
    }
    text = fuzz_buffer(name->text.len + 1).ptr;
    memcpy(text, name->text.ptr, name->text.len);
    text[name->text.len] = '\0';
    fuzz_require(inet_pton(bytes.len == 4 ? AF_INET : AF_INET6, text, ip) == 1,
                 "an address is one");
    fuzz_same_view(degu_bytes(ip, bytes.len), bytes,
                   "an address in a certificate");
    free(text);
}

/* All that are to be told, in their order. */
static void tls_der_names(const degu_tls_peer *peer, X509 *certificate)
{
    GENERAL_NAMES *all = (GENERAL_NAMES *)X509_get_ext_d2i(
        certificate, NID_subject_alt_name, NULL, NULL);
    const int count = all != NULL ? sk_GENERAL_NAME_num(all) : 0;
    size_t told = 0;
    int i;
    for (i = 0; i < count; ++i) {
        degu_str bytes;
        if (!tls_der_tells(sk_GENERAL_NAME_value(all, i), &bytes))
            continue;
        fuzz_require(told < peer->name_count, "no name is missing");
        fuzz_note_view(peer->names[told].text);
        tls_der_name(&peer->names[told++], bytes);
    }
    fuzz_same_number(told, peer->name_count, "number of names");
    GENERAL_NAMES_free(all);
}

static void tls_der_facts(degu_priv_tls *t, X509 *certificate)
{
    const bool good =
        degu_priv_tls_keep_der(t, &t->peer.certificate, certificate) &&
        degu_priv_tls_note_subject(t, certificate) &&
        degu_priv_tls_note_names(t, certificate);
    size_t i;
    fuzz_note(good);
    if (!good)
        return;
    tls_der_names(&t->peer, certificate);
    for (i = 0; i < t->peer.subject.len; ++i)
        fuzz_require(t->peer.subject.ptr[i] != '\0', "a subject is text");
    fuzz_note_view(t->peer.subject);
}

/* Is a key pinned by its own hash, and by no other? */
static void tls_der_pin(X509 *certificate)
{
    degu_priv_tls_context context;
    degu_tls_pin pins[2];
    memset(&context, 0, sizeof context);
    memset(pins, 0, sizeof pins);
    context.pins = pins;
    context.pin_count = 2;
    fuzz_require(!degu_priv_tls_is_pinned(&context, certificate),
                 "pinned by no hash");
    if (!degu_priv_tls_hash_key(certificate, pins[1].sha256))
        return;
    fuzz_require(degu_priv_tls_is_pinned(&context, certificate), "pinned");
    fuzz_note_view(degu_bytes(pins[1].sha256, 32));
    pins[1].sha256[31] ^= 1;
    fuzz_require(!degu_priv_tls_is_pinned(&context, certificate),
                 "pinned by another hash");
    fuzz_note(degu_priv_tls_is_strong(certificate));
}

static void tls_der(fuzz_input input)
{
    const unsigned char *at = (const unsigned char *)input.ptr;
    X509 *certificate = d2i_X509(NULL, &at, (long)input.len);
    degu_priv_tls *t;
    ERR_clear_error();
    if (certificate == NULL)
        return;
    t = (degu_priv_tls *)OPENSSL_zalloc(sizeof *t);
    fuzz_require(t != NULL, "memory");
    tls_der_facts(t, certificate);
    tls_der_pin(certificate);
    degu_priv_tls_free(t);
    X509_free(certificate);
    ERR_clear_error();
}

/* ---- A configuration ---- */

static degu_str tls_text(fuzz_input text, const char *good)
{
    if (text.len == 0)
        return degu_bytes(NULL, 0);
    return text.len == 1 && text.ptr[0] == '@' ? degu_string(good)
                                               : degu_bytes(text.ptr, text.len);
}

static void tls_starts_by_name(degu_tls *tls, fuzz_input text)
{
    char *name = fuzz_buffer(text.len + 1).ptr;
    degu_socket socket;
    degu_io io;
    degu_err err;
    memset(&socket, 0, sizeof socket);
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    err = degu_tls_start(tls, &socket, name, &io);
    fuzz_note((uint64_t)-err);
    fuzz_require(err == DEGU_OK || err == DEGU_E_ARGUMENT ||
                     (err == DEGU_E_SPACE && text.len > 0),
                 "a name is good or not");
    if (err == DEGU_OK)
        degu_tls_end(&io, true);
    free(name);
}

static void tls_configuration(fuzz_input *script, fuzz_input input)
{
    degu_tls_config config;
    degu_tls tls;
    degu_tls_pin pin;
    const bool server = fuzz_choose(script, 2) != 0;
    degu_err err;
    memset(&config, 0, sizeof config);
    memset(&pin, 0, sizeof pin);
    config.profile = (degu_tls_profile)fuzz_choose(script, 3);
    config.any_host_name = fuzz_choose(script, 2) != 0;
    config.allow_unauthenticated_clients = fuzz_choose(script, 2) != 0;
    config.pin_count = fuzz_choose(script, 2);
    config.pins = fuzz_choose(script, 2) != 0 ? &pin : NULL;
    config.cert = tls_text(fuzz_until(&input, '|'), fuzz_good);
    config.key = tls_text(fuzz_until(&input, '|'), fuzz_good_key);
    config.ca = tls_text(fuzz_until(&input, '|'), fuzz_authority);
    err = server ? degu_tls_open_server(&tls, &config)
                 : degu_tls_open_client(&tls, &config);
    fuzz_note((uint64_t)-err);
    fuzz_require((err == DEGU_OK) == (degu_tls_why(&tls)[0] == '\0'),
                 "a sentence about what is wrong");
    fuzz_require(err != DEGU_OK || !server || config.cert.ptr != NULL,
                 "a server has a certificate");
    fuzz_require(err != DEGU_OK || !server || config.ca.ptr != NULL ||
                     config.pin_count > 0 ||
                     config.allow_unauthenticated_clients,
                 "nobody is trusted unasked");
    fuzz_require(err != DEGU_OK || server || !config.any_host_name ||
                     config.ca.ptr != NULL || config.pin_count > 0,
                 "not any name of any authority");
    if (err == DEGU_OK)
        tls_starts_by_name(&tls, input);
    else
        fuzz_require(tls.context == NULL, "nothing is left to close");
    degu_tls_close(&tls);
    fuzz_require(ERR_peek_error() == 0, "no error is left behind");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    fuzz_input script = fuzz_until(&input, '\n');
    switch (fuzz_choose(&script, 4)) {
    case 0: tls_exchange(&script, input); break;
    case 1: tls_records(script, input); break;
    case 2: tls_der(input); break;
    default: tls_configuration(&script, input);
    }
    return 0;
}

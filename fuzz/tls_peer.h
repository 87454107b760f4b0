/* SPDX-License-Identifier: MIT OR 0BSD

   degu_tls.h over memory: its two calls of a socket are replaced by a
   fuzz_transport, and at the other end of that stands OpenSSL itself, which
   does what the script says.  Include it behind transport.h. */

#ifndef FUZZ_TLS_PEER_H
#define FUZZ_TLS_PEER_H

#define OPENSSL_SUPPRESS_DEPRECATED
#include "certificates.h"

static ptrdiff_t tls_wire_recv(void *ctx, void *buf, size_t len,
                               unsigned flags);
static ptrdiff_t tls_wire_send(void *ctx, const degu_str *pieces, size_t count,
                               unsigned flags);
#define degu_socket_recv tls_wire_recv
#define degu_socket_send tls_wire_send
#define DEGU_TLS_IMPLEMENTATION
#include "../degu_tls.h"
#undef degu_socket_recv
#undef degu_socket_send
#include <openssl/rand.h>

#define TLS_WIRE_MAX (1 << 17)

enum { TLS_CERT_GOOD, TLS_CERT_STRANGER, TLS_CERT_NONE, TLS_CERTS };
enum {
    TLS_ALPN_HTTP,
    TLS_ALPN_NONE,
    TLS_ALPN_BOTH,
    TLS_ALPN_OTHER,
    TLS_ALPN_PREFIX, /* of ours */
    TLS_ALPNS
};
enum { TLS_WHOLE, TLS_CUT, TLS_FLIPPED, TLS_DOUBLED, TLS_DAMAGES };

typedef struct tls_run {
    degu_socket socket; /* comes first: what the wire's functions are given */
    degu_io io;         /* what degu_tls.h makes */
    fuzz_transport t;   /* the wire between the two ends */
    char *wire;
    SSL *peer; /* NULL: the wire was full from the start */
    BIO *hears;
    BIO *says;
    size_t heard_to;      /* of what we sent, what the peer has been given */
    unsigned profile;     /* ours */
    degu_role role;       /* ours */
    unsigned trust;       /* ours: fuzz_tls.c */
    unsigned certificate; /* the peer's, */
    unsigned alpn;        /* and what it offers or chooses */
    unsigned record;      /* how much it puts into a record; 0: all it can */
    unsigned damage;      /* what happens to its bytes, */
    size_t damage_at;     /* and where */
    fuzz_input events;    /* what the peer does after its handshake */
    bool shaken;          /* the peer's is done */
    bool gone;            /* the peer does nothing any more */
    bool upset;           /* it did what is against the rules */
    bool notified;        /* it has said close_notify */
    bool stuck;           /* it takes nothing from who does not wait */
    char *plain;          /* the data that it wrote */
    size_t plain_len;
    size_t got; /* how much of it came out at our end */
    bool ended; /* and how that ended */
    ptrdiff_t end;
    char *said; /* the data that we wrote, */
    size_t said_len;
    size_t heard; /* and how much of it came out at the peer */
} tls_run;

/* ---- Random numbers that are the same in each run ---- */

static uint32_t tls_random;

static int tls_random_bytes(unsigned char *buf, int len)
{
    int i;
    for (i = 0; i < len; ++i) {
        tls_random = tls_random * UINT32_C(1664525) + UINT32_C(1013904223);
        buf[i] = (unsigned char)(tls_random >> 24);
    }
    return 1;
}

static int tls_random_status(void)
{
    return 1;
}

static void tls_begin_random(void)
{
    static const RAND_METHOD method = {NULL,
                                       tls_random_bytes,
                                       NULL,
                                       NULL,
                                       tls_random_bytes,
                                       tls_random_status};
    RAND_set_rand_method(&method);
    tls_random = 1;
}

/* ---- The peer's contexts ---- */

static void tls_use_certificate(SSL_CTX *ctx, const char *certificate,
                                const char *key)
{
    BIO *bio = BIO_new_mem_buf(certificate, -1);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *k;
    BIO_free(bio);
    bio = BIO_new_mem_buf(key, -1);
    k = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    fuzz_require(SSL_CTX_use_certificate(ctx, x) == 1 &&
                     SSL_CTX_use_PrivateKey(ctx, k) == 1,
                 "a certificate for the peer");
    X509_free(x);
    EVP_PKEY_free(k);
}

static const unsigned char *tls_alpn(unsigned alpn, size_t *len)
{
    static const char *const lists[TLS_ALPNS] = {
        "\10http/1.1", "", "\2h2\10http/1.1", "\2h2", "\7http/1."};
    *len = strlen(lists[alpn]);
    return (const unsigned char *)lists[alpn];
}

/* As a server the peer chooses the first of its own, offered or not. */
static int tls_peer_chooses(SSL *ssl, const unsigned char **out,
                            unsigned char *out_len, const unsigned char *in,
                            unsigned in_len, void *ctx)
{
    const tls_run *run = (const tls_run *)SSL_get_app_data(ssl);
    size_t len;
    const unsigned char *list = tls_alpn(run->alpn, &len);
    (void)in;
    (void)in_len;
    (void)ctx;
    if (len == 0)
        return SSL_TLSEXT_ERR_NOACK;
    *out = list + 1;
    *out_len = list[0];
    return SSL_TLSEXT_ERR_OK;
}

static int tls_peer_trusts_all(int good, X509_STORE_CTX *store)
{
    (void)good;
    (void)store;
    return 1;
}

static SSL_CTX *tls_make_peer_context(unsigned profile, bool server,
                                      unsigned certificate)
{
    SSL_CTX *ctx =
        SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    const int version =
        profile == DEGU_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    fuzz_require(ctx != NULL, "memory");
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (certificate == TLS_CERT_GOOD)
        tls_use_certificate(ctx, fuzz_good, fuzz_good_key);
    if (certificate == TLS_CERT_STRANGER)
        tls_use_certificate(ctx, fuzz_stranger, fuzz_stranger_key);
    if (server) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_peer_trusts_all);
        SSL_CTX_set_alpn_select_cb(ctx, tls_peer_chooses, NULL);
    }
    return ctx;
}

/* Made once: a handshake takes long enough. */
static SSL_CTX *tls_peer_context(unsigned profile, bool server,
                                 unsigned certificate)
{
    static SSL_CTX *made[2][2][TLS_CERTS];
    SSL_CTX **ctx = &made[profile][server][certificate];
    if (*ctx == NULL)
        *ctx = tls_make_peer_context(profile, server, certificate);
    return *ctx;
}

static void tls_peer_init(tls_run *run, unsigned profile)
{
    const bool server = run->role == DEGU_CLIENT;
    size_t len;
    const unsigned char *list = tls_alpn(run->alpn, &len);
    run->peer = SSL_new(tls_peer_context(profile, server, run->certificate));
    run->hears = BIO_new(BIO_s_mem());
    run->says = BIO_new(BIO_s_mem());
    fuzz_require(run->peer != NULL && run->hears != NULL && run->says != NULL,
                 "memory");
    SSL_set_bio(run->peer, run->hears, run->says);
    SSL_set_app_data(run->peer, run);
    if (server) {
        SSL_set_accept_state(run->peer);
    } else {
        SSL_set_connect_state(run->peer);
        if (len > 0)
            (void)SSL_set_alpn_protos(run->peer, list, (unsigned)len);
    }
}

/* ---- What it does ---- */

/* Puts its bytes on the wire, as they are or damaged. */
static void tls_on_wire(tls_run *run, const char *ptr, size_t len)
{
    size_t i;
    for (i = 0; i < len && run->t.in_len + 2 <= TLS_WIRE_MAX; ++i) {
        const bool here = run->t.in_len == run->damage_at;
        char byte = ptr[i];
        if (here && run->damage == TLS_CUT) {
            run->gone = true;
            break;
        }
        if (here && run->damage == TLS_FLIPPED)
            byte = (char)(byte ^ 0x20);
        if (here && run->damage == TLS_DOUBLED)
            run->wire[run->t.in_len++] = byte;
        run->wire[run->t.in_len++] = byte;
    }
    run->t.shown = run->t.in_len;
}

static void tls_peer_flushes(tls_run *run)
{
    char buf[1024];
    int len;
    while ((len = BIO_read(run->says, buf, sizeof buf)) > 0)
        tls_on_wire(run, buf, (size_t)len);
}

/* Takes what we sent: as much as came through, it is what we wrote. */
static void tls_peer_hears(tls_run *run)
{
    char buf[512];
    int n;
    if (run->heard_to < run->t.out_len)
        BIO_write(run->hears, run->t.out + run->heard_to,
                  (int)(run->t.out_len - run->heard_to));
    run->heard_to = run->t.out_len;
    if (!run->shaken)
        return;
    while ((n = SSL_read(run->peer, buf, sizeof buf)) > 0) {
        fuzz_require((size_t)n <= run->said_len - run->heard &&
                         memcmp(run->said + run->heard, buf, (size_t)n) == 0,
                     "the peer gets what was written");
        run->heard += (size_t)n;
    }
}

static void tls_peer_shakes(tls_run *run)
{
    const int n = SSL_do_handshake(run->peer);
    run->shaken = n == 1;
    /* It waits for more, as we do. */
    if (n != 1 && BIO_pending(run->says) == 0)
        run->gone = true;
}

static void tls_peer_writes(tls_run *run, fuzz_input data)
{
    while (data.len > 0 && !run->gone) {
        size_t len = data.len;
        if (run->record != 0) {
            run->t.random = run->t.random * UINT32_C(1664525) +
                            UINT32_C(1013904223);
            len = 1 + (run->t.random >> 16) % run->record;
            len = len < data.len ? len : data.len;
        }
        if (SSL_write(run->peer, data.ptr, (int)len) != (int)len) {
            run->gone = true;
            return;
        }
        memcpy(run->plain + run->plain_len, data.ptr, len);
        run->plain_len += len;
        data.ptr += len;
        data.len -= len;
    }
}

/* Is this one of the marks <<<k <<<K <<<r <<<c <<<! ? */
static char tls_mark_at(fuzz_input input)
{
    if (input.len < 4 || memcmp(input.ptr, "<<<", 3) != 0 ||
        input.ptr[3] == '\0')
        return '\0';
    return strchr("kKrc!", input.ptr[3]) != NULL ? input.ptr[3] : '\0';
}

/* What stands in front of the next mark. */
static fuzz_input tls_until_mark(fuzz_input *input)
{
    fuzz_input front = *input;
    front.len = 0;
    while (input->len > 0 && tls_mark_at(*input) == '\0') {
        ++input->ptr;
        --input->len;
        ++front.len;
    }
    return front;
}

static void tls_peer_marks(tls_run *run, char mark)
{
    fuzz_input raw;
    run->events.ptr += 4;
    run->events.len -= 4;
    switch (mark) {
    case 'k':
    case 'K':
        if (SSL_key_update(run->peer, mark == 'K'
                                          ? SSL_KEY_UPDATE_REQUESTED
                                          : SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
            (void)SSL_do_handshake(run->peer);
        break;
    case 'r':
        run->upset = true;
        if (SSL_renegotiate(run->peer) == 1)
            (void)SSL_do_handshake(run->peer);
        break;
    case '!':
        run->upset = true;
        raw = tls_until_mark(&run->events);
        tls_peer_flushes(run);
        tls_on_wire(run, raw.ptr, raw.len);
        break;
    default:
        run->notified = SSL_shutdown(run->peer) >= 0;
        run->gone = true;
    }
}

static void tls_peer_goes_on(tls_run *run)
{
    const char mark = tls_mark_at(run->events);
    if (run->events.len == 0)
        run->gone = true;
    else if (mark != '\0')
        tls_peer_marks(run, mark);
    else
        tls_peer_writes(run, tls_until_mark(&run->events));
}

/* A server says nothing before it is asked. */
static bool tls_peer_holds(const tls_run *run)
{
    return run->role == DEGU_CLIENT && run->shaken && run->said_len == 0;
}

/* Until there is something on the wire.  Its errors are not ours, though both
   ends are in one thread. */
static void tls_peer_acts(tls_run *run)
{
    ERR_set_mark();
    while (run->t.in_pos == run->t.in_len && !run->gone &&
           !tls_peer_holds(run)) {
        tls_peer_hears(run);
        if (run->shaken)
            tls_peer_goes_on(run);
        else
            tls_peer_shakes(run);
        tls_peer_flushes(run);
    }
    ERR_pop_to_mark();
}

/* ---- In the place of a socket ---- */

static ptrdiff_t tls_wire_recv(void *ctx, void *buf, size_t len,
                               unsigned flags)
{
    tls_run *run = (tls_run *)ctx;
    run->t.may_wait = run->socket.nonblocking;
    if ((flags & DEGU_IO_PEEK) == 0)
        tls_peer_acts(run);
    if (run->t.in_pos == run->t.in_len && !run->gone)
        return DEGU_E_AGAIN;
    return fuzz_recv(&run->t, buf, len, flags);
}

static ptrdiff_t tls_wire_send(void *ctx, const degu_str *pieces, size_t count,
                               unsigned flags)
{
    tls_run *run = (tls_run *)ctx;
    if (run->stuck && (run->socket.nonblocking || (flags & DEGU_IO_NOWAIT)))
        return DEGU_E_AGAIN;
    return fuzz_send(&run->t, pieces, count, flags);
}

#endif

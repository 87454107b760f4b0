/* bulk.c - large bodies, and TLS, at the least cost there is (bare) and
   through degu.h and degu_tls.h
   SPDX-License-Identifier: MIT OR 0BSD

       bulk WHO WORK AMOUNT FAMILY PROFILE CORES FILES

   WHO     bare: send() and recv() of 64 KiB each on blocking sockets, under TLS
           SSL_write() and SSL_read() of 16 KiB, with read-ahead, which makes
           it faster;
           degu: a client and a server of degu.h, pieces and reads of 64 KiB
   WORK    down, up: one body of AMOUNT MiB
           trips=REQUEST,RESPONSE: round trips for AMOUNT ms, of so many bytes
           if bare, of 108 in each body if degu
           shakes: connect, handshake, one GET, close, again for AMOUNT ms
           count: so many round trips, for strace; bytes: how many bytes one is
   FAMILY  unix or inet6
   PROFILE plain, TLSv1.2 or TLSv1.3
   CORES   SERVER,CLIENT
   FILES   AUTHORITY CERTIFICATE KEY of the server and the same of the client

   Under TLS both have the same protocol, cipher, groups and certificates, and
   each end verifies the other.  Prints what is done in a second, GiB, round
   trips or connections, and the seconds of CPU time that both ends take for
   one. */
#define _GNU_SOURCE
#define DEGU_IMPLEMENTATION
#include "degu_tls.h"
#include "pair.h"
#include <signal.h>
#include <sys/wait.h>

enum { BODY = 108, BATCH = 16, RECORD = 16384 };

/* Command line. */
static const char *work, *family, *profile;
static char **files;
static double amount;
static int server_core, client_core;

/* What goes up and comes down in one exchange. */
static size_t up, down;

static char buffer[1 << 16];
static bool shaking; /* connections are what is measured */
static bool plain;   /* no TLS */
static double started;

/* A server's account runs from the end of the handshake, or if handshakes are
   what is measured from its start. */
static void open_books(void)
{
    if (!shaking)
        started = cpu();
}

static void close_books(long served)
{
    account->cpu = cpu() - started;
    account->served += served;
}

/* ---- bare ---- */

static struct place place;
static SSL_CTX *context;

/* A connection; ssl is NULL if it is plain. */
static struct line {
    int fd;
    SSL *ssl;
} session;

static void need(long good)
{
    if (good == 1)
        return;
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void bare_context(bool server)
{
    const bool newer = !strcmp(profile, "TLSv1.3");
    const int version = newer ? TLS1_3_VERSION : TLS1_2_VERSION;
    char groups[] = "X25519:P-256:P-384";
    char **own = files + (server ? 0 : 3);

    context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    need(context != NULL);
    need(SSL_CTX_set_min_proto_version(context, version));
    need(SSL_CTX_set_max_proto_version(context, version));
    need(SSL_CTX_set_cipher_list(context, "ECDHE-RSA-AES256-GCM-SHA384"));
    need(SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384"));
    need(SSL_CTX_set1_groups_list(context, groups) == 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    need(SSL_CTX_set_num_tickets(context, 0));
    need(SSL_CTX_load_verify_locations(context, own[0], NULL));
    need(SSL_CTX_use_certificate_file(context, own[1], SSL_FILETYPE_PEM));
    need(SSL_CTX_use_PrivateKey_file(context, own[2], SSL_FILETYPE_PEM));
    SSL_CTX_set_verify(context,
                       SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_read_ahead(context, 1); /* one recv() a record, not two */
}

static struct line bare_line(int fd)
{
    struct line line = {fd, plain ? NULL : SSL_new(context)};

    if (!plain)
        need(SSL_set_fd(line.ssl, fd));
    return line;
}

static ssize_t bare_put(struct line *line, size_t len)
{
    if (plain)
        return send(line->fd, buffer, len, MSG_NOSIGNAL);
    return SSL_write(line->ssl, buffer, (int)(len < RECORD ? len : RECORD));
}

static ssize_t bare_get(struct line *line, size_t len)
{
    if (plain)
        return recv(line->fd, buffer, len, 0);
    return SSL_read(line->ssl, buffer, (int)(len < RECORD ? len : RECORD));
}

/* All of it, in pieces that fit the buffer. */
static bool bare_all(struct line *line, size_t total,
                     ssize_t (*move)(struct line *line, size_t len))
{
    while (total) {
        const size_t len = total < sizeof buffer ? total : sizeof buffer;
        const ssize_t n = move(line, len);
        if (n <= 0)
            return false;
        total -= (size_t)n;
    }
    return true;
}

static void bare_close(struct line *line)
{
    if (!plain) {
        SSL_shutdown(line->ssl);
        SSL_free(line->ssl);
    }
    close(line->fd);
}

static void bare_serve(void)
{
    for (;;) {
        struct line line = bare_line(accept(place.listener, NULL, NULL));
        long served = 0;

        no_delay(line.fd);
        if (!plain)
            need(SSL_accept(line.ssl));
        open_books();
        while (bare_all(&line, up, bare_get) &&
               bare_all(&line, down, bare_put))
            served++;
        bare_close(&line);
        close_books(served);
    }
}

static void bare_listen(void)
{
    place = raw_listen(family);
}

static void bare_start(bool server)
{
    if (!plain)
        bare_context(server);
    if (server)
        bare_serve();
}

static void bare_open(void)
{
    session = bare_line(raw_connect(&place));
    if (!plain)
        need(SSL_connect(session.ssl));
}

static bool bare_trip(void)
{
    return bare_all(&session, up, bare_put) &&
           bare_all(&session, down, bare_get);
}

static void bare_end(void)
{
    bare_close(&session);
}

/* ---- degu ---- */

static degu_server server;
static degu_client client;
static degu_tls tls;
static char address_text[DEGU_ADDRESS_TEXT];

static degu_err next_piece(void *ctx, degu_str *piece)
{
    size_t *left = ctx;
    const size_t len = *left < sizeof buffer ? *left : sizeof buffer;

    *piece = degu_bytes(buffer, len);
    *left -= len;
    return DEGU_OK;
}

static degu_body make_body(size_t *left)
{
    if (*left == 0)
        return degu_no_body();
    return *left <= sizeof buffer ? degu_body_bytes(buffer, *left)
                                  : degu_body_pull(next_piece, left, *left);
}

static degu_err read_all(degu_conn *conn, size_t want)
{
    size_t have = 0, len;
    degu_err err;

    while (!(err = degu_read_body(conn, buffer, sizeof buffer, &len)))
        have += len;
    if (err != DEGU_END)
        return err;
    return have == want ? DEGU_OK : DEGU_E_ARGUMENT;
}

static degu_err answer(degu_session *its, const degu_request *request)
{
    size_t left = down;
    degu_err err = DEGU_OK;

    if (request->framing != DEGU_NO_BODY)
        err = read_all(its->conn, up);
    if (err)
        return err;
    return degu_send_response(its->conn, 200, degu_string("OK"), NULL, 0,
                              make_body(&left));
}

static degu_err connected(degu_session *its)
{
    (void)its;
    open_books();
    return DEGU_OK;
}

static void closed(degu_session *its, degu_err why)
{
    (void)why;
    close_books((long)its->requests);
}

static void ours_context(bool is_server)
{
    char **own = files + (is_server ? 0 : 3);
    degu_tls_config config = {0};

    config.profile = strcmp(profile, "TLSv1.3") ? DEGU_TLS_1_2 : DEGU_TLS_1_3;
    config.ca_file = own[0];
    config.cert_file = own[1];
    config.key_file = own[2];
    check(is_server ? degu_tls_open_server(&tls, &config)
                    : degu_tls_open_client(&tls, &config));
}

static void ours_listen(void)
{
    static degu_slot slots[4];
    degu_address address;
    degu_server_config config = degu_server_defaults(answer, slots, 4);

    if (!plain) {
        ours_context(true);
        config.transport = degu_tls_transport(&tls);
    }
    config.on_connect = connected;
    config.on_close = closed;
    check(degu_server_open(&server, strcmp(family, "inet6") ? "@" : "[::1]:0",
                           &config));
    check(degu_server_address(&server, &address));
    degu_format_address(&address, address_text);
}

static void ours_start(bool is_server)
{
    if (is_server)
        check(degu_serve(&server, NULL));
    if (!plain) {
        degu_tls_close(&tls);
        ours_context(false);
    }
}

static void ours_open(void)
{
    check(degu_client_open(&client, address_text, -1));
    if (!plain)
        check(degu_tls_connect(&tls, &client, "localhost"));
}

static bool ours_trip(void)
{
    degu_response response;
    size_t left = up;

    check(degu_client_request(&client, up ? DEGU_POST : DEGU_GET, "/", NULL, 0,
                              make_body(&left), &response));
    if (response.framing == DEGU_NO_BODY)
        return down == 0;
    return read_all(&client.conn, down) == DEGU_OK;
}

static void ours_close(void)
{
    degu_client_close(&client);
}

/* Its way, with the bytes counted, those inside TLS. */
static degu_io way;
static size_t sent, received;

static ptrdiff_t count_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    ptrdiff_t n = way.recv(ctx, buf, len, flags);
    if (n > 0 && !(flags & DEGU_IO_PEEK))
        received += (size_t)n;
    return n;
}

static ptrdiff_t count_send(void *ctx, const degu_str *pieces, size_t count,
                            unsigned flags)
{
    ptrdiff_t n = way.send(ctx, pieces, count, flags);
    if (n > 0)
        sent += (size_t)n;
    return n;
}

static void print_bytes(void)
{
    degu_io io = way = degu_conn_io(&client.conn);

    io.recv = count_recv;
    io.send = count_send;
    degu_conn_set_io(&client.conn, io);
    if (!ours_trip())
        die("trip");
    printf("%lu %lu\n", (unsigned long)sent, (unsigned long)received);
}

/* ---- both ---- */

static const struct contestant {
    void (*listen)(void);
    void (*start)(bool server);
    void (*open)(void);
    bool (*trip)(void);
    void (*close)(void);
} bare = {bare_listen, bare_start, bare_open, bare_trip, bare_end},
  ours = {ours_listen, ours_start, ours_open, ours_trip, ours_close};

static const struct contestant *who;

static void trip(void)
{
    if (!who->trip())
        die("trip");
}

static long connections(double seconds)
{
    double end = now() + seconds;
    long n = 0;

    do {
        who->open();
        trip();
        who->close();
        n++;
    } while (now() < end);
    return n;
}

static long trips(double seconds)
{
    double end = now() + seconds;
    long n = 0;

    do {
        for (int i = 0; i < BATCH; i++, n++)
            trip();
    } while (now() < end);
    return n;
}

/* Which the server ends with in any place, its account complete. */
static void quit(int number)
{
    (void)number;
    _exit(0);
}

static void finish(pid_t pid, long served)
{
    int status;

    for (int i = 0; i < 2000 && account->served < served; i++)
        usleep(1000);
    kill(pid, SIGTERM);
    if (waitpid(pid, &status, 0) != pid || status)
        die("server");
}

/* units: of what one exchange counts for; what came before is served too. */
static void report(pid_t pid, long n, double units, double t, double c,
                   long before)
{
    double all = (double)n * units;

    finish(pid, n + before);
    printf("%.6f %.12f\n", all / t,
           c / all + account->cpu / ((double)account->served * units));
}

static void measure(pid_t pid)
{
    const bool bulk = !strcmp(work, "down") || !strcmp(work, "up");
    double t, c;
    long n = 1, before = 0;

    if (!shaking)
        who->open();
    if (!shaking && !bulk)
        before = trips(amount / 1e4);
    t = now();
    c = cpu();
    if (shaking)
        n = connections(amount / 1e3);
    else if (bulk)
        trip();
    else
        n = trips(amount / 1e3);
    t = now() - t;
    c = cpu() - c;
    if (!shaking)
        who->close();
    report(pid, n, bulk ? amount / 1024 : 1, t, c, before);
}

static void understand(void)
{
    const size_t total = (size_t)amount << 20;

    shaking = !strcmp(work, "shakes");
    plain = !strcmp(profile, "plain");
    up = down = BODY;
    if (shaking)
        up = who == &bare ? BODY : 0;
    else if (!strcmp(work, "down"))
        up = who == &bare, down = total;
    else if (!strcmp(work, "up"))
        up = total, down = who == &bare;
    else if (who == &bare)
        sscanf(work, "trips=%zu,%zu", &up, &down);
}

int main(int argc, char **argv)
{
    pid_t pid;

    if (argc != 13 || sscanf(argv[6], "%d,%d", &server_core, &client_core) != 2)
        return 2;
    who = strcmp(argv[1], "bare") ? &ours : &bare;
    work = argv[2];
    amount = atof(argv[3]);
    family = argv[4];
    profile = argv[5];
    files = argv + 7;
    understand();
    open_account();
    signal(SIGPIPE, SIG_IGN);
    who->listen();
    pid = fork();
    if (pid == 0) {
        signal(SIGTERM, quit);
        pin(server_core);
        who->start(true);
        _exit(0);
    }
    pin(client_core);
    who->start(false);
    if (strcmp(work, "count") && strcmp(work, "bytes")) {
        measure(pid);
        return 0;
    }
    who->open();
    for (long n = (long)amount; n > 0 && strcmp(work, "bytes"); n--)
        trip();
    if (!strcmp(work, "bytes"))
        print_bytes();
    who->close();
    finish(pid, 1);
    return 0;
}

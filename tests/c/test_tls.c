/* degu_tls.h: configurations, exchanges, deadlines, ends, threads, memory.
   SPDX-License-Identifier: MIT OR 0BSD

       test_tls DIRECTORY      of tests/tls/make_certificates.py */

#define DEGU_IMPLEMENTATION
#include "../../degu_tls.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "waiting.h"

static int passed, failed;
static const char *about = ""; /* what the checks are about */

static bool check(bool good, const char *text, int line)
{
    if (good) {
        __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
        return true;
    }
    if (__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED) < 100)
        fprintf(stderr, "%s:%d: %s%s%s\n", __FILE__, line, about,
                about[0] ? ": " : "", text);
    return false;
}

static bool check_err(degu_err got, degu_err want, const char *text, int line)
{
    if (!check(got == want, text, line) && load(&failed) < 100)
        fprintf(stderr, "    expected %s, got %s\n", degu_err_name(want),
                degu_err_name(got));
    return got == want;
}

#define CHECK(x) check((x), #x, __LINE__)
#define CHECK_ERR(x, want) check_err((x), (want), #x, __LINE__)
#define CHECK_OK(x) CHECK_ERR(x, DEGU_OK)
/* What every public function promises about the thread's error queue. */
#define CHECK_QUEUE() CHECK(ERR_peek_error() == 0)

/* ---- Small things that the tests share ---- */

static const char *certificates;
static char scratch[64];

/* Paths, which stay. */
static const char *in_folder(const char *folder, const char *name)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char paths[128][512];
    char text[512];
    size_t i;

    snprintf(text, sizeof text, "%s/%s", folder, name);
    pthread_mutex_lock(&lock);
    for (i = 0; i < 127 && paths[i][0] && strcmp(paths[i], text); i++)
        continue;
    strcpy(paths[i], text);
    pthread_mutex_unlock(&lock);
    return paths[i];
}

static const char *path_of(const char *name)
{
    return in_folder(certificates, name);
}

static char *load_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);

    *len = 0;
    if (CHECK(file && text)) {
        *len = fread(text, 1, (1 << 20) - 1, file);
        fclose(file);
    }
    return text;
}

/* A byte that depends on where it stands. */
static char pattern(size_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void fill(char *dst, size_t from, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        dst[i] = pattern(from + i);
}

static bool is_filled(const char *src, size_t from, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        if (src[i] != pattern(from + i))
            return false;
    return true;
}

/* ---- Memory that runs out ---- */

static __thread bool fragile; /* only threads that say so are hit */
static int memory_left = -1;  /* allocations that succeed; -1: all */
static bool memory_returns;   /* only one fails, not all from there on */
static int memory_calls;
static int memory_live;

static bool memory_fails(void)
{
    int left;

    if (!fragile)
        return false;
    add(&memory_calls, 1);
    if (load(&memory_left) < 0)
        return false;
    left = add(&memory_left, -1);
    if (left >= 0)
        return false;
    if (!memory_returns)
        store(&memory_left, 0);
    return true;
}

static void *take_memory(size_t len, const char *file, int line)
{
    void *ptr = memory_fails() ? NULL : malloc(len);

    (void)file;
    (void)line;
    if (ptr)
        add(&memory_live, 1);
    return ptr;
}

static void give_memory(void *ptr, const char *file, int line)
{
    (void)file;
    (void)line;
    if (ptr)
        add(&memory_live, -1);
    free(ptr);
}

static void *change_memory(void *ptr, size_t len, const char *file, int line)
{
    if (!ptr)
        return take_memory(len, file, line);
    if (len == 0) {
        give_memory(ptr, file, line);
        return NULL;
    }
    return memory_fails() ? NULL : realloc(ptr, len);
}

/* ---- Configurations ---- */

/* The certificate and key of an identity of the folder. */
static void become(degu_tls_config *config, const char *name)
{
    char text[128];

    snprintf(text, sizeof text, "%s.pem", name);
    config->cert_file = path_of(text);
    snprintf(text, sizeof text, "%s.key", name);
    config->key_file = path_of(text);
}

static degu_tls_config files_of(degu_tls_profile profile, const char *name,
                                const char *authority)
{
    degu_tls_config config;

    memset(&config, 0, sizeof config);
    config.profile = profile;
    become(&config, name);
    config.ca_file = path_of(authority);
    return config;
}

static degu_tls_config server_files(degu_tls_profile profile)
{
    return files_of(profile, "server", "client-authority.pem");
}

static degu_tls_config client_files(degu_tls_profile profile)
{
    return files_of(profile, "client", "server-authority.pem");
}

static degu_tls_pin pin_of(const char *name)
{
    degu_tls_pin pin;
    char file[128];
    size_t len, i;
    char *text;

    snprintf(file, sizeof file, "%s.pin", name);
    text = load_file(path_of(file), &len);
    memset(&pin, 0, sizeof pin);
    for (i = 0; i < 32; i++) {
        unsigned byte = 0;
        CHECK(sscanf(text + 2 * i, "%2x", &byte) == 1);
        pin.sha256[i] = (unsigned char)byte;
    }
    free(text);
    return pin;
}

static void refused(const degu_tls_config *config, bool server, degu_err want,
                    const char *word, int line)
{
    degu_tls_config good = server ? server_files(config->profile == DEGU_TLS_1_3
                                                     ? DEGU_TLS_1_3
                                                     : DEGU_TLS_1_2)
                                  : client_files(DEGU_TLS_1_2);
    const int fds = count_fds();
    degu_tls tls;
    void *before;
    degu_err err = server ? degu_tls_open_server(&tls, config)
                          : degu_tls_open_client(&tls, config);

    check_err(err, want, word, line);
    check(ERR_peek_error() == 0, "the queue is empty", line);
    if (!check(strstr(degu_tls_why(&tls), word) != NULL, word, line))
        fprintf(stderr, "    it says: %s\n", degu_tls_why(&tls));
    check(!tls.context && !tls.lock && count_fds() == fds, "nothing left",
          line);
    degu_tls_close(&tls);
    /* The same as a reload leaves all as it was. */
    err = server ? degu_tls_open_server(&tls, &good)
                 : degu_tls_open_client(&tls, &good);
    if (!check_err(err, DEGU_OK, "the good one", line)) {
        fprintf(stderr, "    %s\n", degu_tls_why(&tls));
        return;
    }
    before = tls.context;
    check_err(degu_tls_reload(&tls, config), want, "reload", line);
    check(tls.context == before && strstr(degu_tls_why(&tls), word) &&
          ERR_peek_error() == 0 && count_fds() == fds, "the old stays", line);
    check_err(degu_tls_reload(&tls, &good), DEGU_OK, "reload of a good one",
              line);
    check(degu_tls_why(&tls)[0] == '\0', "no reason any more", line);
    degu_tls_close(&tls);
    degu_tls_close(&tls);
}

#define REFUSED(change, err, word)                                            \
    do {                                                                      \
        c = server_files(DEGU_TLS_1_2);                                       \
        change;                                                               \
        refused(&c, true, (err), (word), __LINE__);                           \
    } while (0)
#define CLIENT_REFUSED(change, err, word)                                     \
    do {                                                                      \
        c = client_files(DEGU_TLS_1_2);                                       \
        change;                                                               \
        refused(&c, false, (err), (word), __LINE__);                          \
    } while (0)

static void test_bad_certificates(void)
{
    static const char *const bad[] = {"empty.pem", "text.pem", "malformed.pem",
                                      "cut.pem", "der.pem",
                                      "broken-chain.pem", "folder.pem"};
    degu_tls_config c;
    char name[64];
    size_t i;

    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(name, sizeof name, "bad/%s", bad[i]);
        about = bad[i];
        REFUSED(c.cert_file = path_of(name), DEGU_E_TLS_FILE, name);
        REFUSED(c.cert_file = path_of(name), DEGU_E_TLS_FILE, "cert: ");
        REFUSED(c.ca_file = path_of(name), DEGU_E_TLS_FILE, "ca: ");
        REFUSED(c.ca_file = path_of(name), DEGU_E_TLS_FILE, name);
        CLIENT_REFUSED(c.cert_file = path_of(name), DEGU_E_TLS_FILE, name);
        CLIENT_REFUSED(c.ca_file = path_of(name), DEGU_E_TLS_FILE, name);
    }
    about = "";
    REFUSED(c.cert_file = "/none/c.pem", DEGU_E_TLS_FILE,
            "cert: /none/c.pem: No such file");
    REFUSED(c.ca_file = "/none/a.pem", DEGU_E_TLS_FILE,
            "ca: /none/a.pem: No such file");
    REFUSED(c.ca_path = "/none", DEGU_E_TLS_FILE, "ca_path: /none");
    REFUSED(c.ca_path = path_of("server.pem"), DEGU_E_TLS_FILE, "ca_path: ");
    REFUSED(become(&c, "server-short"), DEGU_E_TLS_FILE, "key too small");
    REFUSED(c.cert_file = in_folder(scratch, "fifo"), DEGU_E_TLS_FILE,
            "is no file");
    REFUSED(c.ca_file = in_folder(scratch, "fifo"), DEGU_E_TLS_FILE,
            "is no file");
    REFUSED(c.ca_file = "/dev/zero", DEGU_E_TLS_FILE, "is no file");
    if (geteuid() != 0) {
        REFUSED(c.cert_file = path_of("bad/unreadable.pem"), DEGU_E_TLS_FILE,
                "Permission denied");
        REFUSED(c.key_file = path_of("bad/unreadable.key"), DEGU_E_TLS_FILE,
                "Permission denied");
    }
}

static void test_bad_keys(void)
{
    static const char *const bad[] = {"empty.key", "malformed.key", "cut.key",
                                      "der.key", "encrypted.key",
                                      "folder.key", "group.key", "others.key"};
    degu_tls_config c;
    char name[64];
    size_t i;

    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(name, sizeof name, "bad/%s", bad[i]);
        about = bad[i];
        REFUSED(c.key_file = path_of(name), DEGU_E_TLS_FILE, name);
        REFUSED(c.key_file = path_of(name), DEGU_E_TLS_FILE, "key: ");
        CLIENT_REFUSED(c.key_file = path_of(name), DEGU_E_TLS_FILE, name);
    }
    about = "";
    REFUSED(c.key_file = path_of("bad/encrypted.key"), DEGU_E_TLS_FILE,
            "without a password");
    REFUSED(c.key_file = path_of("bad/group.key"), DEGU_E_TLS_FILE,
            "allow_readable_key");
    REFUSED(c.key_file = "/none/k", DEGU_E_TLS_FILE, "key: /none/k: No such");
    REFUSED(c.key_file = in_folder(scratch, "fifo"), DEGU_E_TLS_FILE,
            "is no file");
    REFUSED(c.key_file = path_of("client.key"), DEGU_E_TLS_FILE,
            "does not go with the certificate");
    REFUSED(c.key_file = path_of("server-p256.key"), DEGU_E_TLS_FILE,
            "does not go with the certificate");
    REFUSED(c.key_file = path_of("server.pem"), DEGU_E_TLS_FILE, "key: ");
    /* No key in the certificate's file. */
    REFUSED(c.key_file = NULL, DEGU_E_TLS_FILE, "cert: ");
    CLIENT_REFUSED(c.key_file = NULL, DEGU_E_TLS_FILE, "cert: ");
}

static void test_contradictions(void)
{
    degu_tls_pin pin;
    degu_tls_config c;

    memset(&pin, 0, sizeof pin);
    REFUSED(c.cert_file = NULL, DEGU_E_ARGUMENT, "cert: ");
    REFUSED(c.cert_file = c.key_file = NULL, DEGU_E_ARGUMENT, "cert: ");
    CLIENT_REFUSED(c.cert_file = NULL, DEGU_E_ARGUMENT, "to the key");
    REFUSED(c.cert = degu_string("x"), DEGU_E_ARGUMENT, "not both");
    REFUSED(c.key = degu_string("x"), DEGU_E_ARGUMENT, "not both");
    REFUSED(c.ca = degu_string("x"), DEGU_E_ARGUMENT, "not both");
    REFUSED(c.ca_file = NULL, DEGU_E_TLS_TRUST, "ca_file");
    REFUSED(c.pins = &pin, DEGU_E_ARGUMENT, "pins: ");
    REFUSED(c.pin_count = 1, DEGU_E_ARGUMENT, "pins: ");
    REFUSED((c.pins = &pin, c.pin_count = SIZE_MAX), DEGU_E_ARGUMENT, "pins");
    REFUSED((c.ca_file = NULL, c.pins = &pin), DEGU_E_ARGUMENT, "pins: ");
    REFUSED(c.allow_unauthenticated_clients = true, DEGU_E_ARGUMENT,
            "allow_unauthenticated_clients: ");
    REFUSED((c.ca_file = NULL, c.allow_unauthenticated_clients = true,
             c.pins = &pin, c.pin_count = 1), DEGU_E_ARGUMENT,
            "allow_unauthenticated_clients: ");
    CLIENT_REFUSED(c.allow_unauthenticated_clients = true, DEGU_E_ARGUMENT,
                   "allow_unauthenticated_clients: ");
    REFUSED(c.any_host_name = true, DEGU_E_ARGUMENT, "any_host_name: ");
    CLIENT_REFUSED((c.ca_file = NULL, c.any_host_name = true),
                   DEGU_E_TLS_TRUST, "any_host_name: ");
    REFUSED(c.profile = (degu_tls_profile)2, DEGU_E_ARGUMENT, "profile: ");
    REFUSED(c.profile = (degu_tls_profile)-1, DEGU_E_ARGUMENT, "profile: ");
    REFUSED((c.cert_file = NULL, c.cert = degu_string("")), DEGU_E_TLS_FILE,
            "cert: (in memory)");
    REFUSED((c.key_file = NULL, c.key = degu_string("")), DEGU_E_TLS_FILE,
            "key: (in memory)");
    REFUSED((c.ca_file = NULL, c.ca = degu_string("")), DEGU_E_TLS_FILE,
            "ca: (in memory)");
    REFUSED((c.ca_file = NULL, c.ca = degu_bytes("x", SIZE_MAX)),
            DEGU_E_ARGUMENT, "ca: too long");
    /* A key that this profile's only cipher cannot use. */
    REFUSED(become(&c, "server-p256"), DEGU_E_TLS_FILE, "RSA");
    REFUSED(become(&c, "server-ed25519"), DEGU_E_TLS_FILE, "RSA");
}

static void opens(const degu_tls_config *config, bool server, int line)
{
    degu_tls tls;
    degu_err err = server ? degu_tls_open_server(&tls, config)
                          : degu_tls_open_client(&tls, config);

    if (!check_err(err, DEGU_OK, "opens", line))
        fprintf(stderr, "    %s\n", degu_tls_why(&tls));
    check(ERR_peek_error() == 0 && degu_tls_why(&tls)[0] == '\0', "clean",
          line);
    if (!err)
        degu_tls_close(&tls);
}

#define OPENS(change)                                                         \
    do {                                                                      \
        c = server_files(DEGU_TLS_1_3);                                       \
        change;                                                               \
        opens(&c, true, __LINE__);                                            \
    } while (0)

static void test_good_configurations(void)
{
    const int fds = count_fds();
    degu_tls_config c;
    degu_tls_pin pin = pin_of("client");
    size_t cert_len, key_len, ca_len;
    char *cert = load_file(path_of("server.pem"), &cert_len);
    char *key = load_file(path_of("server.key"), &key_len);
    char *ca = load_file(path_of("client-authority.pem"), &ca_len);
    const char *both = in_folder(scratch, "both.pem");
    FILE *file = fopen(both, "wb");

    OPENS((void)0);
    OPENS((c.key_file = path_of("bad/group.key"), c.allow_readable_key = true));
    OPENS((c.key_file = path_of("bad/others.key"),
           c.allow_readable_key = true));
    OPENS(become(&c, "server-p256"));
    OPENS(become(&c, "server-ed25519"));
    OPENS((c.pins = &pin, c.pin_count = 1));
    OPENS((c.ca_file = NULL, c.pins = &pin, c.pin_count = 1));
    OPENS((c.ca_file = NULL, c.allow_unauthenticated_clients = true));
    OPENS((c.ca_file = NULL,
           c.ca_path = path_of("folders/client-authority")));
    OPENS((c.cert_file = NULL, c.cert = degu_bytes(cert, cert_len),
           c.key_file = NULL, c.key = degu_bytes(key, key_len),
           c.ca_file = NULL, c.ca = degu_bytes(ca, ca_len)));
    OPENS((c.cert_file = NULL, c.cert = degu_bytes(cert, cert_len)));
    /* The key in the certificate's file, in front of it or behind. */
    CHECK(fwrite(key, 1, key_len, file) == key_len &&
          fwrite(cert, 1, cert_len, file) == cert_len && !fclose(file));
    CHECK(!chmod(both, 0600));
    OPENS((c.cert_file = both, c.key_file = NULL));
    CHECK(!chmod(both, 0644));
    refused((c = server_files(DEGU_TLS_1_2), c.cert_file = both,
             c.key_file = NULL, &c), true, DEGU_E_TLS_FILE,
            "allow_readable_key", __LINE__);
    OPENS((c.cert_file = both, c.key_file = NULL, c.allow_readable_key = true));
    memset(&c, 0, sizeof c);
    opens(&c, false, __LINE__);
    unlink(both);
    free(cert);
    free(key);
    free(ca);
    CHECK(count_fds() == fds);
}

/* ---- The server under test ---- */

#define BODY_MAX (2u << 20)

struct fixture {
    degu_tls tls;
    degu_server server;
    degu_server_config config;
    degu_slot *slots;
    pthread_t threads[8];
    degu_err results[8];
    int started;
    char address[DEGU_ADDRESS_TEXT];
    degu_tls_profile profile;
    struct fixture *behind; /* where /relay gets its body */
    int calls;
    int inside; /* handlers that wait at the gate, or send for ever */
    int greeted;
    int closed;
    int broken; /* handshakes */
    int refusals;
    int why; /* of the last connection that closed, */
    int why_broken; /* or handshake that broke */
    int gate[2];
    bool fragile; /* its threads are */
};

static degu_err read_all(degu_conn *conn, char *buf, size_t cap, size_t *len)
{
    *len = 0;
    for (;;) {
        size_t n;
        degu_err err = degu_read_body(conn, buf + *len, cap - *len, &n);
        if (err == DEGU_END)
            return DEGU_OK;
        if (err)
            return err;
        if (n == 0)
            return DEGU_E_BODY_LIMIT;
        *len += n;
    }
}

/* A body that is made as it goes, in pieces of odd lengths. */
struct source {
    size_t at;
    size_t len;
    size_t turn;
    char piece[40000];
};

static degu_str take_piece(struct source *source)
{
    static const size_t sizes[] = {1, 16383, 16384, 16385, 40000, 7};
    size_t n = sizes[source->turn++ % 6];

    if (n > source->len - source->at)
        n = source->len - source->at;
    fill(source->piece, source->at, n);
    source->at += n;
    return degu_bytes(source->piece, n);
}

static degu_err pull(void *ctx, degu_str *piece)
{
    *piece = take_piece(ctx);
    return DEGU_OK;
}

static degu_err next(void *ctx, degu_chunk_out *chunk)
{
    static const degu_extension extension = {{"key", 3}, {"a value", 7},
                                             false};
    struct source *source = ctx;

    chunk->data = take_piece(source);
    chunk->extensions = &extension;
    chunk->count = 1;
    return DEGU_OK;
}

static degu_err endless(void *ctx, degu_chunk_out *chunk)
{
    struct source *source = ctx;

    fill(source->piece, 0, sizeof source->piece);
    chunk->data = degu_bytes(source->piece, sizeof source->piece);
    return DEGU_OK;
}

/* Reads the body, which must be the pattern, and sends it again: as /echo
   with its length, as /pull in pieces, as /chunks, or as /file. */
static degu_err echo(degu_session *session, const degu_request *request)
{
    degu_conn *conn = session->conn;
    degu_str ok = degu_string("OK");
    char *bytes = malloc(BODY_MAX);
    struct source *source = calloc(1, sizeof *source);
    degu_file file = {session->socket, -1};
    degu_body body = degu_no_body();
    FILE *temporary = NULL;
    size_t len;
    degu_err err = read_all(conn, bytes, BODY_MAX, &len);

    source->len = len;
    if (!err)
        CHECK(is_filled(bytes, 0, len));
    if (degu_is(request->path, "/echo")) {
        body = degu_body_bytes(bytes, len);
    } else if (degu_is(request->path, "/pull")) {
        body = degu_body_pull(pull, source, len);
    } else if (degu_is(request->path, "/chunks")) {
        body = degu_body_chunks(next, source);
    } else {
        temporary = tmpfile();
        CHECK(fwrite(bytes, 1, len, temporary) == len);
        rewind(temporary);
        file.fd = fileno(temporary);
        body = degu_body_file(&file, len);
    }
    if (!err)
        err = degu_send_response(conn, 200, ok, NULL, 0, body);
    if (temporary)
        fclose(temporary);
    free(source);
    free(bytes);
    return err;
}

/* The body goes to the server behind over TLS, what it answers goes back. */
static degu_err relay(degu_session *session)
{
    struct fixture *f = session->user;
    degu_tls_config config = client_files(f->profile);
    degu_client *client = malloc(sizeof *client);
    degu_response response;
    degu_tls tls;
    degu_err err = degu_tls_open_client(&tls, &config);

    if (!err)
        err = degu_client_open(client, f->behind->address, PATIENCE);
    if (!err)
        err = degu_tls_connect(&tls, client, "localhost");
    if (!err)
        err = degu_client_request(client, DEGU_POST, "/chunks", NULL, 0,
                                  degu_body_relay(session->conn), &response);
    if (!err)
        err = degu_send_response(session->conn, response.status,
                                 response.reason, NULL, 0,
                                 degu_body_relay(&client->conn));
    degu_client_close(client);
    degu_tls_close(&tls);
    free(client);
    return err;
}

static degu_err send_for_ever(degu_session *session)
{
    struct fixture *f = session->user;
    struct source *source = calloc(1, sizeof *source);
    degu_err err;

    add(&f->inside, 1);
    err = degu_send_response(session->conn, 200, degu_string("OK"), NULL, 0,
                             degu_body_chunks(endless, source));
    free(source);
    return err;
}

static degu_err tell_peer(degu_session *session)
{
    const degu_tls_peer *peer = degu_tls_peer_of(session->conn);
    char text[1024];

    snprintf(text, sizeof text, "%s %s %d %.*s", peer->protocol, peer->cipher,
             (int)peer->chain_count, (int)peer->subject.len,
             peer->subject.ptr ? peer->subject.ptr : "");
    return degu_reply(session->conn, 200, "OK", text);
}

static degu_err handle(degu_session *session, const degu_request *request)
{
    struct fixture *f = session->user;
    degu_conn *conn = session->conn;
    char byte;

    add(&f->calls, 1);
    if (degu_is(request->path, "/hello"))
        return degu_reply(conn, 200, "OK", "hello, world");
    if (degu_is(request->path, "/who"))
        return tell_peer(session);
    if (degu_is(request->path, "/relay"))
        return relay(session);
    if (degu_is(request->path, "/endless"))
        return send_for_ever(session);
    if (degu_is(request->path, "/wait")) {
        add(&f->inside, 1);
        if (read(f->gate[0], &byte, 1) != 1)
            return DEGU_E_HANDLER;
        return degu_reply(conn, 200, "OK", "waited");
    }
    if (degu_is(request->path, "/body")) { /* until it fails */
        add(&f->inside, 1);
        return degu_drain_body(conn, UINT64_MAX);
    }
    return echo(session, request);
}

static degu_err on_connect(degu_session *session)
{
    struct fixture *f = session->user;

    CHECK(degu_tls_peer_of(session->conn) != NULL);
    CHECK_QUEUE();
    add(&f->greeted, 1);
    return DEGU_OK;
}

static void on_close(degu_session *session, degu_err why)
{
    struct fixture *f = session->user;

    CHECK(degu_tls_peer_of(session->conn) != NULL);
    store(&f->why, why);
    add(&f->closed, 1);
}

static void on_handshake_error(degu_session *session, degu_err why)
{
    struct fixture *f = session->user;

    CHECK(degu_tls_peer_of(session->conn) == NULL);
    store(&f->why_broken, why);
    add(&f->broken, 1);
}

static void on_refuse(const degu_address *peer, void *user, void *worker)
{
    struct fixture *f = user;

    (void)peer;
    (void)worker;
    add(&f->refusals, 1);
}

static void prepare_with(struct fixture *f, size_t connections,
                         const degu_tls_config *config)
{
    memset(f, 0, sizeof *f);
    f->profile = config->profile;
    f->slots = calloc(connections, sizeof *f->slots);
    f->config = degu_server_defaults(handle, f->slots, connections);
    f->config.user = f;
    f->config.on_connect = on_connect;
    f->config.on_close = on_close;
    f->config.on_handshake_error = on_handshake_error;
    f->config.on_refuse = on_refuse;
    f->config.transport = degu_tls_transport(&f->tls);
    CHECK(f->slots && pipe(f->gate) == 0);
    CHECK_OK(degu_tls_open_server(&f->tls, config));
    CHECK_QUEUE();
}

static void prepare(struct fixture *f, size_t connections,
                    degu_tls_profile profile)
{
    const degu_tls_config config = server_files(profile);

    prepare_with(f, connections, &config);
}

static void *serve(void *ctx)
{
    struct fixture *f = ctx;
    const int i = add(&f->started, 1) - 1;

    fragile = f->fragile;
    f->results[i] = degu_serve(&f->server, &f->threads[i]);
    fragile = false;
    CHECK_QUEUE();
    return NULL;
}

static void launch(struct fixture *f, const char *address, int threads)
{
    degu_address bound;
    int i;

    CHECK_OK(degu_server_open(&f->server, address, &f->config));
    CHECK_OK(degu_server_address(&f->server, &bound));
    degu_format_address(&bound, f->address);
    for (i = 0; i < threads; i++)
        CHECK(pthread_create(&f->threads[i], NULL, serve, f) == 0);
    CHECK(reaches(&f->started, threads));
}

/* Every connection that was seen is told of exactly once. */
static void finish(struct fixture *f)
{
    int i;

    degu_server_stop(&f->server);
    for (i = 0; i < f->started; i++)
        pthread_join(f->threads[i], NULL);
    for (i = 0; i < f->started; i++)
        CHECK_OK(f->results[i]);
    degu_server_close(&f->server);
    CHECK(load(&f->closed) == load(&f->greeted));
    close(f->gate[0]);
    close(f->gate[1]);
    degu_tls_close(&f->tls);
    free(f->slots);
}

/* ---- Clients ---- */

/* Connects and shakes hands; the client must be closed whatever comes. */
static degu_err dial(degu_tls *tls, degu_client *client, const char *address,
                     const char *name)
{
    degu_err err = degu_client_open(client, address, PATIENCE);

    if (!err)
        err = degu_tls_connect(tls, client, name);
    CHECK_QUEUE();
    return err;
}

static degu_err get(degu_client *client, const char *target, char *text,
                    size_t cap)
{
    degu_response response;
    size_t len = 0;
    degu_err err = degu_client_get(client, target, &response);

    text[0] = '\0';
    if (!err)
        err = read_all(&client->conn, text, cap - 1, &len);
    text[len] = '\0';
    if (!err && response.status != 200)
        err = DEGU_E_STATUS;
    CHECK_QUEUE();
    return err;
}

/* One connection with one request. */
static degu_err visit(degu_tls *tls, const char *address, const char *name)
{
    degu_client *client = malloc(sizeof *client);
    char text[64] = "";
    degu_err err = dial(tls, client, address, name);

    if (!err)
        err = get(client, "/hello", text, sizeof text);
    if (!err)
        CHECK(strcmp(text, "hello, world") == 0);
    degu_client_close(client);
    CHECK_QUEUE();
    free(client);
    return err;
}

static degu_err visit_as(const degu_tls_config *config, const char *address,
                         const char *name)
{
    degu_tls tls;
    degu_err err = degu_tls_open_client(&tls, config);

    CHECK_OK(err);
    if (!err)
        err = visit(&tls, address, name);
    degu_tls_close(&tls);
    return err;
}

static void expect_hello(struct fixture *f, int line)
{
    const degu_tls_config config = client_files(f->profile);

    check_err(visit_as(&config, f->address, "localhost"), DEGU_OK,
              "a new connection is served", line);
}

#define EXPECT_HELLO(f) expect_hello((f), __LINE__)

/* ---- Bare sockets, and an OpenSSL of the test's own ---- */

static int dial_bare(const char *address)
{
    degu_address where;
    degu_socket sock;
    degu_err err = degu_parse_address(address, &where);

    if (!err)
        err = degu_connect(&where, PATIENCE, &sock);
    CHECK_OK(err);
    return err ? -1 : sock.fd;
}

static void put(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

/* Does the other end close, after whatever it says? */
static bool is_closed(int fd)
{
    char bytes[4096];
    ssize_t n;

    do
        n = recv(fd, bytes, sizeof bytes, 0);
    while (n > 0);
    return n == 0 || errno == ECONNRESET;
}

static SSL_CTX *raw_context(degu_tls_profile profile, bool server)
{
    const int version =
        profile == DEGU_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    CHECK(SSL_CTX_use_certificate_file(
              ctx, path_of(server ? "server.pem" : "client.pem"),
              SSL_FILETYPE_PEM) == 1);
    CHECK(SSL_CTX_use_PrivateKey_file(
              ctx, path_of(server ? "server.key" : "client.key"),
              SSL_FILETYPE_PEM) == 1);
    return ctx;
}

static SSL *raw_new(degu_tls_profile profile, bool server)
{
    SSL_CTX *ctx = raw_context(profile, server);
    SSL *ssl = SSL_new(ctx);

    SSL_CTX_free(ctx);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

/* A client that has shaken hands, over a blocking socket. */
static SSL *raw_dial(const char *address, degu_tls_profile profile, int *fd)
{
    SSL *ssl = raw_new(profile, false);

    *fd = dial_bare(address);
    SSL_set_fd(ssl, *fd);
    CHECK(SSL_do_handshake(ssl) == 1);
    return ssl;
}

/* OpenSSL's own writing to a socket raises SIGPIPE; degu's must not. */
static __thread bool careless;
static int pipes_broken;

static void on_sigpipe(int number)
{
    (void)number;
    if (!careless)
        add(&pipes_broken, 1);
}

static bool raw_write(SSL *ssl, const char *bytes, size_t len)
{
    bool good;

    careless = true;
    good = SSL_write(ssl, bytes, (int)len) == (int)len;
    careless = false;
    return good;
}

static void raw_say_end(SSL *ssl)
{
    careless = true;
    CHECK(SSL_shutdown(ssl) == 0);
    careless = false;
}

static void raw_put(SSL *ssl, const char *text)
{
    CHECK(raw_write(ssl, text, strlen(text)));
}

static void raw_end(SSL *ssl, int fd)
{
    SSL_free(ssl);
    close(fd);
    ERR_clear_error();
}

/* The record that this text makes, which is not sent. */
static size_t seal(SSL *ssl, const char *text, size_t len, char *record,
                   size_t cap)
{
    BIO *memory = BIO_new(BIO_s_mem());
    int n;

    SSL_set0_wbio(ssl, memory);
    CHECK(raw_write(ssl, text, len));
    n = BIO_read(memory, record, (int)cap);
    CHECK(n > (int)len && n < (int)cap);
    return (size_t)n;
}

/* Reads to the end; was it said by close_notify? */
static bool raw_hears_end(SSL *ssl)
{
    char bytes[4096];
    int n;

    careless = true; /* it may have an alert to send */
    do
        n = SSL_read(ssl, bytes, sizeof bytes);
    while (n > 0);
    careless = false;
    n = SSL_get_error(ssl, n);
    ERR_clear_error();
    return n == SSL_ERROR_ZERO_RETURN &&
           SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN;
}

/* What a client says first. */
static size_t client_hello(char *bytes, size_t cap)
{
    SSL *ssl = raw_new(DEGU_TLS_1_2, false);
    BIO *out = BIO_new(BIO_s_mem());
    int n;

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    CHECK(SSL_do_handshake(ssl) < 0);
    n = BIO_read(out, bytes, (int)cap);
    CHECK(n > 50);
    SSL_free(ssl);
    ERR_clear_error();
    return (size_t)n;
}

/* Two ends of a connection. */
static void connect_pair(bool tcp, int fds[2])
{
    degu_address address;
    char text[DEGU_ADDRESS_TEXT];
    int listener = -1;

    if (!tcp) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        return;
    }
    CHECK_OK(degu_parse_address("127.0.0.1:0", &address));
    CHECK_OK(degu_listen(&address, 5, 0, &listener));
    CHECK_OK(degu_local_address(listener, &address));
    fds[1] = dial_bare(degu_format_address(&address, text));
    fds[0] = accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0);
    close(listener);
}

/* degu at one end of a pair of sockets, the test's OpenSSL at the other. */
struct pair {
    degu_tls tls;
    degu_socket sock;
    degu_io io;
    degu_conn conn;
    SSL *raw;
    int fd; /* the raw end */
    char in[DEGU_RECV_BUFFER];
    char out[DEGU_SEND_BUFFER];
};

/* Both shake hands in this thread. */
static void pair_shake(struct pair *p)
{
    const degu_time end = degu_now() + PATIENCE;
    degu_err err = DEGU_E_AGAIN;
    int n = 0;

    p->sock.nonblocking = true;
    degu_priv_set_blocking(p->fd, false);
    while ((n != 1 || err) && degu_now() < end) {
        if (n != 1)
            n = SSL_do_handshake(p->raw);
        if (err == DEGU_E_AGAIN)
            err = degu_tls_handshake(&p->io);
        CHECK_QUEUE();
        if (err && err != DEGU_E_AGAIN)
            break;
    }
    CHECK_OK(err);
    CHECK(n == 1);
    p->sock.nonblocking = false;
    degu_priv_set_blocking(p->fd, true);
}

static void pair_open_over(struct pair *p, degu_tls_profile profile,
                           bool server, int timeout_ms, bool tcp)
{
    degu_tls_config config = server ? server_files(profile)
                                    : client_files(profile);
    int fds[2];

    CHECK_OK(server ? degu_tls_open_server(&p->tls, &config)
                    : degu_tls_open_client(&p->tls, &config));
    connect_pair(tcp, fds);
    CHECK_OK(degu_socket_init(&p->sock, fds[0], timeout_ms));
    p->fd = fds[1];
    p->raw = raw_new(profile, !server);
    SSL_set_fd(p->raw, p->fd);
    if (server) {
        SSL_set_verify(p->raw, SSL_VERIFY_NONE, NULL);
    } else {
        SSL_set_verify(p->raw, SSL_VERIFY_PEER, NULL);
        SSL_CTX_load_verify_file(SSL_get_SSL_CTX(p->raw),
                                 path_of("client-authority.pem"));
    }
    CHECK_OK(degu_tls_start(&p->tls, &p->sock, "localhost", &p->io));
    pair_shake(p);
    degu_conn_init(&p->conn, server ? DEGU_SERVER : DEGU_CLIENT, p->io, p->in,
                   sizeof p->in, p->out, sizeof p->out);
}

static void pair_open(struct pair *p, degu_tls_profile profile, bool server,
                      int timeout_ms)
{
    pair_open_over(p, profile, server, timeout_ms, false);
}

static void pair_close(struct pair *p)
{
    if (p->io.ctx)
        degu_tls_end(&p->io, false);
    CHECK_QUEUE();
    degu_socket_close(&p->sock);
    raw_end(p->raw, p->fd);
    degu_tls_close(&p->tls);
}

/* ---- Exchanges ---- */

static void echo_bodies(degu_client *client, const char *target, size_t len)
{
    degu_response response;
    struct source *source = calloc(1, sizeof *source);
    char *bytes = malloc(BODY_MAX);
    degu_body body;
    size_t got;
    int kind;

    for (kind = 0; kind < 3; kind++) {
        memset(source, 0, sizeof *source);
        source->len = len;
        fill(bytes, 0, len);
        body = kind == 0 ? degu_body_bytes(bytes, len)
               : kind == 1 ? degu_body_pull(pull, source, len)
                           : degu_body_chunks(next, source);
        CHECK_OK(degu_client_request(client, DEGU_POST, target, NULL, 0, body,
                                     &response));
        CHECK(response.status == 200);
        CHECK_OK(read_all(&client->conn, bytes, BODY_MAX, &got));
        CHECK(got == len && is_filled(bytes, 0, got));
        CHECK_QUEUE();
    }
    free(source);
    free(bytes);
}

/* Chunk by chunk, with what stands in their lines. */
static void read_chunks(degu_client *client, size_t len)
{
    struct source *source = calloc(1, sizeof *source);
    char *bytes = malloc(BODY_MAX);
    degu_response response;
    size_t got = 0, chunks = 0;
    degu_chunk chunk;

    source->len = len;
    CHECK_OK(degu_client_request(client, DEGU_POST, "/relay", NULL, 0,
                                 degu_body_chunks(next, source), &response));
    CHECK(response.framing == DEGU_CHUNKED);
    while (degu_read_chunk(&client->conn, &chunk) == DEGU_OK) {
        size_t n, all = 0;
        chunks++;
        CHECK(degu_is(chunk.extensions, ";key=\"a value\""));
        while (!degu_read_chunk_data(&client->conn, bytes, BODY_MAX, &n)) {
            CHECK(is_filled(bytes, got, n));
            got += n;
            all += n;
        }
        CHECK(all == chunk.size);
    }
    CHECK(got == len && degu_body_is_read(&client->conn));
    CHECK(chunks == source->turn);
    free(source);
    free(bytes);
}

static void test_exchange(degu_tls_profile profile, const char *address)
{
    static const size_t lengths[] = {0, 1, 16383, 16384, 16385,
                                     (1u << 20) + 7};
    static const char *const targets[] = {"/echo", "/pull", "/chunks",
                                          "/file", "/relay"};
    static struct fixture f, behind;
    static degu_client client;
    degu_tls_config config = client_files(profile);
    const int fds = count_fds();
    degu_tls tls;
    char text[256];
    size_t i, j;

    about = address;
    prepare(&behind, 4, profile);
    launch(&behind, "127.0.0.1:0", 2);
    prepare(&f, 4, profile);
    f.behind = &behind;
    launch(&f, address, 2);
    CHECK_OK(degu_tls_open_client(&tls, &config));
    CHECK_OK(dial(&tls, &client, f.address, "localhost"));
    for (i = 0; i < 5; i++)
        for (j = 0; j < 6; j++)
            echo_bodies(&client, targets[i], lengths[j]);
    read_chunks(&client, 500000);
    for (i = 0; i < 1000; i++)
        if (!CHECK_OK(get(&client, "/hello", text, sizeof text)))
            break;
    CHECK_OK(get(&client, "/who", text, sizeof text));
    CHECK(!strcmp(text, profile == DEGU_TLS_1_3
                            ? "TLSv1.3 TLS_AES_256_GCM_SHA384 2 CN=client"
                            : "TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384 2 "
                              "CN=client"));
    CHECK(load(&f.greeted) == 1 && load(&f.closed) == 0);
    degu_client_close(&client);
    CHECK(reaches(&f.closed, 1) && load(&f.why) == DEGU_OK);
    EXPECT_HELLO(&f);
    degu_tls_close(&tls);
    finish(&f);
    finish(&behind);
    CHECK(fds_return_to(fds));
    about = "";
}

/* What leaves the machine must not show what the file holds. */
static void test_file_is_encrypted(degu_tls_profile profile)
{
    static struct pair p;
    static char bytes[100000], seen[200000];
    degu_request request;
    degu_file file;
    FILE *temporary = tmpfile();
    size_t len = 0;
    ssize_t n;

    memset(bytes, 'A', sizeof bytes);
    CHECK(fwrite(bytes, 1, 100000, temporary) == 100000);
    rewind(temporary);
    pair_open(&p, profile, true, PATIENCE);
    raw_put(p.raw, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    CHECK_OK(degu_read_request(&p.conn, &request));
    file.socket = &p.sock;
    file.fd = fileno(temporary);
    CHECK_OK(degu_send_response(&p.conn, 200, degu_string("OK"), NULL, 0,
                                degu_body_file(&file, 50000)));
    /* By itself too: the socket knows what stands over it. */
    CHECK(degu_socket_send_file(&p.sock, fileno(temporary), 50000, 0) > 0);
    degu_tls_end(&p.io, true);
    p.io.ctx = NULL;
    degu_socket_close(&p.sock);
    while ((n = recv(p.fd, seen + len, sizeof seen - len, 0)) > 0)
        len += (size_t)n;
    CHECK(len > 60000 && !memmem(seen, len, "AAAAAAAA", 8) &&
          !memmem(seen, len, "content-length", 14));
    fclose(temporary);
    pair_close(&p);
}

static void test_pipelining(degu_tls_profile profile)
{
    static const char two[] = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
                              "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    static struct fixture f;
    char text[16384];
    size_t len = 0;
    SSL *ssl;
    int fd, i, n;

    prepare(&f, 2, profile);
    launch(&f, "127.0.0.1:0", 1);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, two); /* in one record, */
    for (i = 0; two[i]; i++) /* and in one for each byte */
        CHECK(raw_write(ssl, two + i, 1));
    /* More than there may be turns in a row. */
    for (i = 0; i < 40; i++)
        memcpy(text + i * (sizeof two - 1), two, sizeof two - 1);
    CHECK(raw_write(ssl, text, 40 * (sizeof two - 1)));
    for (i = 0; i < 84;) {
        char *at;
        n = SSL_read(ssl, text + len, (int)(sizeof text - 1 - len));
        if (!CHECK(n > 0))
            break;
        text[len += (size_t)n] = '\0';
        while ((at = strstr(text, "hello, world")) != NULL) {
            i++;
            len -= (size_t)(at + 12 - text);
            memmove(text, at + 12, len + 1);
        }
    }
    CHECK(load(&f.calls) == 84 && load(&f.greeted) == 1);
    raw_end(ssl, fd);
    /* A bare end between messages is an ordinary close. */
    CHECK(reaches(&f.closed, 1) && load(&f.why) == DEGU_OK);
    finish(&f);
}

static void test_endings(degu_tls_profile profile)
{
    static const char ask[] = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    static struct fixture f;
    SSL *ssl;
    int fd;

    prepare(&f, 4, profile);
    f.config.idle_timeout_ms = 100;
    f.config.max_requests = 2;
    launch(&f, "127.0.0.1:0", 2);
    ssl = raw_dial(f.address, profile, &fd); /* says nothing */
    CHECK(raw_hears_end(ssl));
    CHECK(reaches(&f.closed, 1) && load(&f.why) == DEGU_OK);
    raw_end(ssl, fd);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, ask);
    CHECK(raw_hears_end(ssl)); /* in time too */
    raw_end(ssl, fd);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, ask);
    raw_put(ssl, ask);
    CHECK(raw_hears_end(ssl)); /* two are enough */
    raw_end(ssl, fd);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, "nonsense\r\n\r\n");
    CHECK(raw_hears_end(ssl)); /* 400 */
    raw_end(ssl, fd);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
                 "cut");
    raw_say_end(ssl);
    CHECK(raw_hears_end(ssl)); /* 400 */
    CHECK(reaches(&f.closed, 5));
    CHECK_ERR((degu_err)load(&f.why), DEGU_E_TRUNCATED);
    raw_end(ssl, fd);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
                 "cut");
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(!raw_hears_end(ssl)); /* it has broken TLS itself */
    CHECK(reaches(&f.closed, 6));
    CHECK_ERR((degu_err)load(&f.why), DEGU_E_TRUNCATED);
    raw_end(ssl, fd);
    finish(&f);
}

/* ---- The ends of a connection, as degu tells and hears them ---- */

static void hear(degu_tls_profile profile, const char *answer, bool clean,
                 degu_err head, degu_err rest, int line)
{
    static struct pair p;
    degu_response response;
    char text[256];
    size_t len;
    degu_err err;

    pair_open(&p, profile, false, PATIENCE);
    CHECK_OK(degu_send_request(&p.conn, DEGU_GET, degu_string("/"), NULL, 0,
                               degu_no_body()));
    CHECK(SSL_read(p.raw, text, sizeof text) > 0);
    if (answer[0])
        raw_put(p.raw, answer);
    if (clean)
        raw_say_end(p.raw);
    shutdown(p.fd, SHUT_WR);
    err = degu_read_response(&p.conn, &response);
    check_err(err, head, "the head", line);
    if (!err)
        check_err(read_all(&p.conn, text, sizeof text, &len), rest, "the body",
                  line);
    check(ERR_peek_error() == 0, "the queue", line);
    pair_close(&p);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static void test_truncation(degu_tls_profile profile)
{
    static const char *const cut[] = {
        "HTTP/1.1 200 OK\r\ncontent-le",
        OK_HEAD "content-length: 9\r\n\r\n1234",
        OK_HEAD "transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n",
        OK_HEAD "transfer-encoding: chunked\r\n\r\n4\r\n12",
        OK_HEAD "transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n",
    };
    const char *lasts = OK_HEAD "connection: close\r\n\r\n1234";
    int i;

    for (i = 0; i < 5; i++) {
        about = cut[i];
        hear(profile, cut[i], false, i ? DEGU_OK : DEGU_E_TRUNCATED,
             DEGU_E_TRUNCATED, __LINE__);
        hear(profile, cut[i], true, i ? DEGU_OK : DEGU_E_TRUNCATED,
             DEGU_E_TRUNCATED, __LINE__);
    }
    about = "";
    hear(profile, lasts, false, DEGU_OK, DEGU_E_TRUNCATED, __LINE__);
    hear(profile, lasts, true, DEGU_OK, DEGU_OK, __LINE__);
    hear(profile, "", false, DEGU_E_CLOSED, DEGU_OK, __LINE__);
    hear(profile, "", true, DEGU_E_CLOSED, DEGU_OK, __LINE__);
    hear(profile, OK_HEAD "content-length: 2\r\n\r\nok", false, DEGU_OK,
         DEGU_OK, __LINE__);
}

static void test_close_notify(degu_tls_profile profile)
{
    static struct pair p;
    degu_request request;
    int server, clean;

    for (server = 0; server < 2; server++)
        for (clean = 0; clean < 2; clean++) {
            pair_open(&p, profile, server, PATIENCE);
            CHECK(!(SSL_get_shutdown(p.raw) & SSL_RECEIVED_SHUTDOWN));
            degu_tls_end(&p.io, clean);
            CHECK_QUEUE();
            p.io.ctx = NULL;
            CHECK(!p.sock.over.send);
            shutdown(p.sock.fd, SHUT_RDWR);
            CHECK(raw_hears_end(p.raw) == (clean != 0));
            pair_close(&p);
        }
    for (clean = 0; clean < 2; clean++) {
        pair_open(&p, profile, true, PATIENCE);
        if (clean)
            raw_say_end(p.raw);
        shutdown(p.fd, SHUT_RDWR);
        CHECK_ERR(degu_read_request(&p.conn, &request), DEGU_E_CLOSED);
        pair_close(&p);
        /* And before a request is sent. */
        pair_open(&p, profile, false, PATIENCE);
        CHECK_OK(degu_conn_check(&p.conn));
        if (clean)
            raw_say_end(p.raw);
        shutdown(p.fd, SHUT_RDWR);
        poll(NULL, 0, 1); /* what was found empty just now counts as such */
        CHECK_ERR(degu_conn_check(&p.conn), DEGU_E_CLOSED);
        pair_close(&p);
    }
    pair_open(&p, profile, false, PATIENCE);
    raw_put(p.raw, "unasked");
    CHECK_ERR(degu_conn_check(&p.conn), DEGU_E_UNASKED);
    pair_close(&p);
}

/* ---- Deadlines ---- */

/* ms, where a time-out is the point; all else has to be done within it. */
#ifdef UNDER_VALGRIND
#define SHORT 6000
#else
#define SHORT 120
#endif

/* A peer that sends a byte every few milliseconds, for ever. */
struct dripper {
    pthread_t thread;
    int fd;
    const char *bytes;
    size_t len;
    SSL *ssl; /* not NULL: a record for each byte */
};

static void *drip(void *ctx)
{
    struct dripper *d = ctx;
    struct pollfd item = {d->fd, 0, 0}; /* until the other end closes */
    size_t i;

    for (i = 0; i < d->len; i++) {
        if (poll(&item, 1, SHORT / 24) > 0 &&
            item.revents & (POLLHUP | POLLERR))
            break;
        if (d->ssl ? !raw_write(d->ssl, d->bytes + i, 1)
                   : send(d->fd, d->bytes + i, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    ERR_clear_error();
    return NULL;
}

#define IN_TIME(begin)                                                        \
    CHECK(degu_now() - (begin) >= SHORT - 5 &&                                \
          degu_now() - (begin) < SHORT * 10)

static void test_drips(degu_tls_profile profile)
{
    static struct pair p;
    static const char head[] = "HTTP/1.1 200 OK\r\nx: yyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    char record[1024];
    struct dripper d;
    degu_response response;
    degu_time begin;
    int kind;

    for (kind = 0; kind < 2; kind++) {
        memset(&d, 0, sizeof d);
        pair_open(&p, profile, false, SHORT);
        d.fd = p.fd;
        d.bytes = head;
        d.len = sizeof head - 1;
        if (kind == 0) { /* whole records */
            d.ssl = p.raw;
        } else { /* the bytes of one */
            d.len = seal(p.raw, head, d.len, record, sizeof record);
            d.bytes = record;
        }
        CHECK_OK(degu_send_request(&p.conn, DEGU_GET, degu_string("/"), NULL,
                                   0, degu_no_body()));
        CHECK(pthread_create(&d.thread, NULL, drip, &d) == 0);
        begin = degu_now();
        CHECK_ERR(degu_read_response(&p.conn, &response), DEGU_E_TIMEOUT);
        IN_TIME(begin);
        shutdown(p.sock.fd, SHUT_RDWR);
        pthread_join(d.thread, NULL);
        pair_close(&p);
    }
}

static void test_handshake_drips(void)
{
    static const char start[200] = "\x16\x03\x03\x10\x00\x02\x00\x0f\xfc";
    const degu_tls_config config = client_files(DEGU_TLS_1_2);
    degu_tls tls;
    degu_socket sock;
    degu_io io;
    struct dripper d;
    degu_time begin;
    int fds[2];

    memset(&d, 0, sizeof d);
    CHECK_OK(degu_tls_open_client(&tls, &config));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_OK(degu_socket_init(&sock, fds[0], SHORT));
    CHECK_OK(degu_tls_start(&tls, &sock, "localhost", &io));
    d.fd = fds[1];
    d.bytes = start;
    d.len = sizeof start;
    CHECK(pthread_create(&d.thread, NULL, drip, &d) == 0);
    begin = degu_now();
    CHECK_ERR(degu_tls_handshake(&io), DEGU_E_TIMEOUT);
    IN_TIME(begin);
    CHECK_QUEUE();
    degu_tls_end(&io, true);
    degu_socket_close(&sock);
    pthread_join(d.thread, NULL);
    close(fds[1]);
    degu_tls_close(&tls);
}

/* A step whose first bytes had come with those of the step before: its time
   begins with it, not with the other one. */
static void test_step_begins(degu_tls_profile profile)
{
    static struct pair p;
    char byte;
    degu_time begin;

    pair_open(&p, profile, true, SHORT);
    raw_put(p.raw, "ab");
    CHECK(p.io.recv(p.io.ctx, &byte, 1, DEGU_IO_BEGIN) == 1 && byte == 'a');
    poll(NULL, 0, SHORT + 20);
    begin = degu_now();
    CHECK(p.io.recv(p.io.ctx, &byte, 1, DEGU_IO_BEGIN) == 1 && byte == 'b');
    CHECK(p.io.recv(p.io.ctx, &byte, 1, 0) == DEGU_E_TIMEOUT);
    IN_TIME(begin);
    pair_close(&p);
}

/* A peer that does not read. */
static void test_sender_stops(degu_tls_profile profile)
{
    static struct pair p;
    static struct source source;
    degu_time begin;

    pair_open(&p, profile, false, SHORT);
    begin = degu_now();
    CHECK_ERR(degu_send_request(&p.conn, DEGU_POST, degu_string("/"), NULL, 0,
                                degu_body_chunks(endless, &source)),
              DEGU_E_TIMEOUT);
    IN_TIME(begin);
    CHECK_QUEUE();
    begin = degu_now();
    degu_tls_end(&p.io, true); /* has no place for it, and does not wait */
    CHECK(degu_now() - begin < SHORT);
    p.io.ctx = NULL;
    pair_close(&p);
}

/* ---- Interrupted and not waiting ---- */

static void on_usr1(int number)
{
    (void)number;
}

struct reader {
    pthread_t thread;
    SSL *ssl;
    size_t len; /* to be read, */
    bool good;  /* and all of it was the pattern */
    pthread_t target;
    int quiet; /* no more signals */
};

static void *read_pattern(void *ctx)
{
    struct reader *r = ctx;
    char bytes[20000];
    size_t at = 0;
    int n = 1;

    while (at < r->len && n > 0) {
        n = SSL_read(r->ssl, bytes, sizeof bytes);
        if (n > 0 && !is_filled(bytes, at, (size_t)n))
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    r->good = at == r->len;
    ERR_clear_error();
    return NULL;
}

static void *disturb(void *ctx)
{
    struct reader *r = ctx;

    while (!load(&r->quiet)) {
        pthread_kill(r->target, SIGUSR1);
        poll(NULL, 0, 1);
    }
    return NULL;
}

/* Sends the pattern from *at on, in two pieces, until it cannot. */
static ptrdiff_t send_pattern(struct pair *p, const char *bytes, size_t *at,
                              size_t len, unsigned flags)
{
    ptrdiff_t n;

    do {
        degu_str pieces[2];
        const size_t left = len - *at;
        const size_t half = left > 100 ? 100 : left;
        pieces[0] = degu_bytes(bytes + *at, half);
        pieces[1] = degu_bytes(bytes + *at + half, left - half);
        n = p->io.send(p->io.ctx, pieces, left > half ? 2 : 1, flags);
        *at += n > 0 ? (size_t)n : 0;
    } while (n > 0 && *at < len);
    CHECK_QUEUE();
    return n;
}

static void test_interrupted(degu_tls_profile profile, bool nowait, bool tcp)
{
    static struct pair p;
    const size_t len = 24u << 20; /* more than a socket holds */
    char *bytes = malloc(len);
    struct reader r;
    pthread_t disturber;
    degu_time begin;
    size_t at = 0;
    ptrdiff_t n;

    fill(bytes, 0, len);
    memset(&r, 0, sizeof r);
    pair_open_over(&p, profile, true, PATIENCE, tcp);
    r.ssl = p.raw;
    r.len = len;
    r.target = pthread_self();
    begin = degu_now();
    if (nowait) {
        n = send_pattern(&p, bytes, &at, len, DEGU_IO_NOWAIT);
        CHECK(n == DEGU_E_AGAIN && at < len);
        n = send_pattern(&p, bytes, &at, len, DEGU_IO_NOWAIT | DEGU_IO_BEGIN);
        CHECK(n == DEGU_E_AGAIN && at < len);
    } else {
        p.sock.signals = true;
        pthread_create(&disturber, NULL, disturb, &r);
        n = send_pattern(&p, bytes, &at, len, DEGU_IO_BEGIN);
        CHECK(n == DEGU_E_INTERRUPTED && at < len);
        n = send_pattern(&p, bytes, &at, len, 0);
        CHECK(n == DEGU_E_INTERRUPTED && at < len);
        store(&r.quiet, 1);
        pthread_join(disturber, NULL);
        p.sock.signals = false;
    }
    CHECK(degu_now() - begin < PATIENCE / 2);
    pthread_create(&r.thread, NULL, read_pattern, &r);
    CHECK(send_pattern(&p, bytes, &at, len, 0) > 0 && at == len);
    pthread_join(r.thread, NULL);
    CHECK(r.good);
    pair_close(&p);
    free(bytes);
}

/* ---- Who is there ---- */

static void sha256_of_file(const char *name, unsigned char *sha256,
                           degu_str *der)
{
    FILE *file = fopen(path_of(name), "r");
    X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    unsigned char *bytes = NULL;
    int len = certificate ? i2d_X509(certificate, &bytes) : 0;

    CHECK(len > 0);
    CHECK(EVP_Digest(bytes, (size_t)len, sha256, NULL, EVP_sha256(), NULL));
    *der = degu_bytes(bytes, (size_t)len);
    X509_free(certificate);
    if (file)
        fclose(file);
}

static void is_peer(const degu_tls_peer *peer, const char *name, int chain,
                    int line)
{
    const degu_tls_pin pin = pin_of(name);
    char file[64], subject[64];
    unsigned char sha256[32];
    degu_str der;

    snprintf(file, sizeof file, "%s.pem", name);
    snprintf(subject, sizeof subject, "CN=%s", name);
    sha256_of_file(file, sha256, &der);
    if (!check(peer != NULL, "there is a peer", line))
        return;
    check(!memcmp(peer->sha256, sha256, 32), "sha256", line);
    check(!memcmp(peer->key_sha256, pin.sha256, 32), "key_sha256", line);
    check(peer->certificate.len == der.len &&
          !memcmp(peer->certificate.ptr, der.ptr, der.len), "der", line);
    check((int)peer->chain_count == chain &&
          peer->chain[0].len == der.len &&
          !memcmp(peer->chain[0].ptr, der.ptr, der.len), "chain", line);
    check(degu_is(peer->subject, subject), "subject", line);
    OPENSSL_free((void *)(size_t)der.ptr);
}

/* A degu at both ends of a pair of sockets, in this thread. */
struct ends {
    degu_tls tls[2]; /* 0 is the server */
    degu_socket sock[2];
    degu_io io[2];
    degu_conn conn[2];
    degu_err err[2];
    char buffers[4][1024];
};

static void ends_open(struct ends *e, const degu_tls_config *server,
                      const degu_tls_config *client, const char *name)
{
    const degu_time end = degu_now() + PATIENCE;
    int fds[2], i;

    memset(e, 0, sizeof *e);
    CHECK_OK(degu_tls_open_server(&e->tls[0], server));
    CHECK_OK(degu_tls_open_client(&e->tls[1], client));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    for (i = 0; i < 2; i++) {
        CHECK_OK(degu_socket_init(&e->sock[i], fds[i], PATIENCE));
        e->sock[i].nonblocking = true;
        CHECK_OK(degu_tls_start(&e->tls[i], &e->sock[i], i ? name : NULL,
                                &e->io[i]));
        degu_conn_init(&e->conn[i], i ? DEGU_CLIENT : DEGU_SERVER, e->io[i],
                       e->buffers[2 * i], 1024, e->buffers[2 * i + 1], 1024);
        e->err[i] = DEGU_E_AGAIN;
        CHECK(!degu_tls_peer_of(&e->conn[i]));
    }
    do
        for (i = 1; i >= 0; i--)
            if (e->err[i] == DEGU_E_AGAIN)
                e->err[i] = degu_tls_handshake(&e->io[i]);
    while ((e->err[0] == DEGU_E_AGAIN || e->err[1] == DEGU_E_AGAIN) &&
           (!e->err[0] || !e->err[1] || e->err[0] == e->err[1]) &&
           degu_now() < end);
    /* One that has failed has told the other one why. */
    for (i = 0; i < 2; i++)
        if (e->err[i] == DEGU_E_AGAIN)
            e->err[i] = degu_tls_handshake(&e->io[i]);
    CHECK_QUEUE();
}

static void ends_close(struct ends *e)
{
    int i;

    for (i = 0; i < 2; i++) {
        degu_tls_close(&e->tls[i]); /* the connection may outlast it */
        degu_tls_end(&e->io[i], true);
        degu_socket_close(&e->sock[i]);
    }
    CHECK_QUEUE();
}

static void test_peers(degu_tls_profile profile)
{
    static struct ends e;
    degu_tls_config server = server_files(profile);
    degu_tls_config client = client_files(profile);
    const degu_tls_peer *peer;
    degu_conn plain;

    become(&client, "client-chain");
    ends_open(&e, &server, &client, "localhost");
    CHECK_OK(e.err[0]);
    CHECK_OK(e.err[1]);
    is_peer(degu_tls_peer_of(&e.conn[0]), "client-chain", 3, __LINE__);
    is_peer(degu_tls_peer_of(&e.conn[1]), "server", 2, __LINE__);
    peer = degu_tls_peer_of(&e.conn[1]);
    CHECK(peer->name_count == 3);
    CHECK(peer->names[0].kind == DEGU_TLS_DNS &&
          degu_is(peer->names[0].text, "localhost"));
    CHECK(peer->names[1].kind == DEGU_TLS_IP &&
          degu_is(peer->names[1].text, "127.0.0.1"));
    CHECK(peer->names[2].kind == DEGU_TLS_IP &&
          degu_is(peer->names[2].text, "::1"));
    CHECK(degu_tls_peer_of(&e.conn[0])->name_count == 0);
    CHECK(degu_tls_error(&e.conn[0])[0] == '\0');
    ends_close(&e);

    /* Anonymous. */
    server.ca_file = NULL;
    server.allow_unauthenticated_clients = true;
    client.cert_file = client.key_file = NULL;
    ends_open(&e, &server, &client, "localhost");
    CHECK_OK(e.err[0]);
    peer = degu_tls_peer_of(&e.conn[0]);
    CHECK(peer && !peer->certificate.ptr && peer->chain_count == 0 &&
          !peer->subject.ptr && peer->name_count == 0);
    ends_close(&e);

    degu_conn_init(&plain, DEGU_SERVER, degu_socket_io(&e.sock[0]),
                   e.buffers[0], 1024, e.buffers[1], 1024);
    CHECK(!degu_tls_peer_of(&plain) && degu_tls_error(&plain)[0] == '\0');
}

static void add_name(GENERAL_NAMES *names, int type, const char *bytes,
                     int len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *text = ASN1_STRING_type_new(
        type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

    CHECK(ASN1_STRING_set(text, bytes, len));
    GENERAL_NAME_set0_value(name, type, text);
    CHECK(sk_GENERAL_NAME_push(names, name) > 0);
}

/* A certificate with such a subject and such names, signed by its own key. */
static char *odd_certificate(size_t *len)
{
    X509 *odd = X509_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    X509_NAME *subject = X509_get_subject_name(odd);
    BIO *file = BIO_new_file(path_of("client.key"), "r");
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, NULL, NULL);
    BIO *out = BIO_new(BIO_s_mem());
    char *text = calloc(1, 10000);

    add_name(names, GEN_DNS, "device.example", 14);
    add_name(names, GEN_DNS, "device\0.example", 15);
    add_name(names, GEN_DNS, "*.example", 9);
    add_name(names, GEN_URI, "spiffe://example/a b", 20);
    add_name(names, GEN_URI, "spiffe://example/ab", 19);
    add_name(names, GEN_EMAIL, "a@example", 9);
    add_name(names, GEN_EMAIL, "\xc3\xa4@example", 10);
    add_name(names, GEN_DNS, "", 0);
    add_name(names, GEN_IPADD, "\300\0\2\1", 4);
    add_name(names, GEN_IPADD, "\300\0\2\1\0", 5);
    add_name(names, GEN_IPADD, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    CHECK(X509_NAME_add_entry_by_txt(
        subject, "CN", MBSTRING_UTF8,
        (const unsigned char *)"\xc3\xa4,\"\x01+x", -1, -1, 0));
    CHECK(X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                     (const unsigned char *)"Acme", -1, 0, 0));
    X509_set_version(odd, 2);
    X509_set_pubkey(odd, key);
    X509_gmtime_adj(X509_getm_notBefore(odd), -1);
    X509_gmtime_adj(X509_getm_notAfter(odd), 3600);
    CHECK(X509_add1_ext_i2d(odd, NID_subject_alt_name, names, 0, 0) == 1);
    CHECK(X509_sign(odd, key, EVP_sha256()) > 0);
    CHECK(PEM_write_bio_X509(out, odd));
    *len = (size_t)BIO_read(out, text, 9999);
    GENERAL_NAMES_free(names);
    X509_free(odd);
    EVP_PKEY_free(key);
    BIO_free(file);
    BIO_free(out);
    return text;
}

static void test_odd_names(void)
{
    static const struct {
        degu_tls_name_kind kind;
        const char *text;
    } want[] = {{DEGU_TLS_DNS, "device.example"},
                {DEGU_TLS_DNS, "*.example"},
                {DEGU_TLS_URI, "spiffe://example/ab"},
                {DEGU_TLS_EMAIL, "a@example"},
                {DEGU_TLS_IP, "192.0.2.1"},
                {DEGU_TLS_IP, "2001:db8::1"}};
    static struct ends e;
    degu_tls_config server = server_files(DEGU_TLS_1_3);
    degu_tls_config client = client_files(DEGU_TLS_1_3);
    const degu_tls_pin pin = pin_of("client");
    const degu_tls_peer *peer;
    size_t len, i;
    char *text = odd_certificate(&len);

    server.ca_file = NULL;
    server.pins = &pin;
    server.pin_count = 1;
    client.cert_file = NULL;
    client.cert = degu_bytes(text, len);
    ends_open(&e, &server, &client, "localhost");
    peer = degu_tls_peer_of(&e.conn[0]);
    if (CHECK(peer && peer->name_count == 6))
        for (i = 0; i < 6; i++)
            CHECK(peer->names[i].kind == want[i].kind &&
                  degu_is(peer->names[i].text, want[i].text));
    if (peer && !CHECK(degu_is(peer->subject,
                               "CN=\xc3\xa4\\,\\\"\\01\\+x,O=Acme")))
        fprintf(stderr, "    %.*s\n", (int)peer->subject.len,
                peer->subject.ptr);
    ends_close(&e);
    free(text);
}

/* What each end says of it; a refusal that comes behind a handshake that
   seemed done (TLS 1.3) is found by reading. */
static void meet(const degu_tls_config *server, const degu_tls_config *client,
                 const char *name, degu_err at_server, degu_err at_client,
                 int line)
{
    static struct ends e;
    char byte;

    ends_open(&e, server, client, name);
    if (e.err[0] && !e.err[1])
        e.err[1] = (degu_err)e.io[1].recv(e.io[1].ctx, &byte, 1, 0);
    if (e.err[1] && !e.err[0])
        e.err[0] = (degu_err)e.io[0].recv(e.io[0].ctx, &byte, 1, 0);
    check_err(e.err[0], at_server, "at the server", line);
    check_err(e.err[1], at_client, "at the client", line);
    if (at_server)
        check(degu_tls_error(&e.conn[0])[0] != '\0', "it says why", line);
    if (at_client)
        check(degu_tls_error(&e.conn[1])[0] != '\0', "it says why", line);
    ends_close(&e);
}

static void test_pins(degu_tls_profile profile)
{
    degu_tls_config server = server_files(profile);
    degu_tls_config client = client_files(profile);
    degu_tls_pin pins[3];
    degu_tls_config s, c;

    memset(pins, 0, sizeof pins);
    pins[1] = pin_of("client");
    pins[2] = pin_of("server");
#define MEET(name, at_server, at_client)                                      \
    meet(&s, &c, (name), (at_server), (at_client), __LINE__)
    /* Alone: whoever signed it, whenever, for whatever. */
    s = server;
    c = client;
    s.ca_file = c.ca_file = NULL;
    s.pins = c.pins = pins;
    s.pin_count = c.pin_count = 3;
    MEET("elsewhere.example", DEGU_OK, DEGU_OK);
    MEET(NULL, DEGU_OK, DEGU_OK);
    become(&c, "client-self-signed");
    become(&s, "server-expired");
    MEET(NULL, DEGU_OK, DEGU_OK);
    become(&c, "client-expired");
    become(&s, "server-self-signed");
    MEET(NULL, DEGU_OK, DEGU_OK);
    become(&c, "client-other");
    MEET(NULL, DEGU_E_PIN, DEGU_E_CERTIFICATE_REFUSED);
    become(&c, "client");
    c.pin_count = 2;
    MEET(NULL, DEGU_E_CERTIFICATE_REFUSED, DEGU_E_PIN);
    c.pin_count = 3;
    c.cert_file = c.key_file = NULL;
    MEET(NULL, DEGU_E_CERTIFICATE_MISSING, DEGU_E_CERTIFICATE_REFUSED);
    /* Beside authorities: both must hold. */
    s = server;
    c = client;
    s.pins = c.pins = pins;
    s.pin_count = c.pin_count = 3;
    MEET("localhost", DEGU_OK, DEGU_OK);
    MEET("elsewhere.example", DEGU_E_CERTIFICATE_REFUSED,
         DEGU_E_CERTIFICATE_NAME);
    become(&c, "client-expired");
    MEET("localhost", DEGU_E_CERTIFICATE, DEGU_E_CERTIFICATE_REFUSED);
    become(&c, "client-foreign");
    MEET("localhost", DEGU_E_CERTIFICATE, DEGU_E_CERTIFICATE_REFUSED);
    become(&c, "client-wrong-purpose");
    MEET("localhost", DEGU_E_CERTIFICATE, DEGU_E_CERTIFICATE_REFUSED);
    become(&c, "client-other");
    MEET("localhost", DEGU_E_PIN, DEGU_E_CERTIFICATE_REFUSED);
    become(&c, "client");
    become(&s, "server-other");
    MEET("localhost", DEGU_E_CERTIFICATE_REFUSED, DEGU_E_PIN);
    become(&s, "server-foreign");
    MEET("localhost", DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE);
}

static void test_names(degu_tls_profile profile)
{
    static const char *const good[] = {"localhost", "LOCALHOST", "127.0.0.1",
                                       "::1", "[::1]", "::1%2", "[::1%lo]"};
    static const char *const bad[] = {
        "localhost.example", "local", "127.0.0.2", "::2", "[::2]", "127.1",
        "127.0.0.1.", "local\x01host", "\xc3\xa4", "*", "server"};
    static char endless_name[300];
    degu_tls_config s = server_files(profile);
    degu_tls_config c = client_files(profile);
    size_t i;

    for (i = 0; i < sizeof good / sizeof *good; i++) {
        about = good[i];
        MEET(good[i], DEGU_OK, DEGU_OK);
    }
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        about = bad[i];
        MEET(bad[i], DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE_NAME);
    }
    about = "";
    c.any_host_name = true;
    MEET("elsewhere.example", DEGU_OK, DEGU_OK);
    MEET("192.0.2.1", DEGU_OK, DEGU_OK);
    MEET(NULL, DEGU_OK, DEGU_OK);
    become(&s, "server-foreign");
    MEET(NULL, DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE);
    c.any_host_name = false;
    /* The subject's common name is no name. */
    become(&s, "server-common-name");
    MEET("localhost", DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE_NAME);
    become(&s, "server-wrong-address");
    MEET("localhost", DEGU_OK, DEGU_OK);
    MEET("127.0.0.1", DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE_NAME);
    MEET("192.0.2.1", DEGU_OK, DEGU_OK);
    become(&s, "server-name-only");
    MEET("::1", DEGU_E_CERTIFICATE_REFUSED, DEGU_E_CERTIFICATE_NAME);
#undef MEET
    {
        degu_tls tls;
        degu_socket sock;
        degu_io io;
        memset(&sock, 0, sizeof sock);
        memset(endless_name, 'a', sizeof endless_name - 1);
        CHECK_OK(degu_tls_open_client(&tls, &c));
        CHECK_ERR(degu_tls_start(&tls, &sock, "", &io), DEGU_E_ARGUMENT);
        CHECK_ERR(degu_tls_start(&tls, &sock, "[]", &io), DEGU_E_ARGUMENT);
        CHECK_ERR(degu_tls_start(&tls, &sock, endless_name, &io),
                  DEGU_E_ARGUMENT);
        /* For OpenSSL this would be anything below it. */
        CHECK_ERR(degu_tls_start(&tls, &sock, ".localhost", &io),
                  DEGU_E_ARGUMENT);
        CHECK_ERR(degu_tls_start(&tls, &sock, NULL, &io), DEGU_E_ARGUMENT);
        CHECK_QUEUE();
        degu_tls_close(&tls);
    }
}

/* NULL stands for the address that the client has connected to. */
static void test_connected_name(void)
{
    static struct fixture f;
    static degu_client client;
    degu_tls_config config = client_files(DEGU_TLS_1_2);
    degu_tls_config other = server_files(DEGU_TLS_1_2);
    degu_tls tls;

    prepare(&f, 2, DEGU_TLS_1_2);
    launch(&f, "127.0.0.1:0", 1);
    CHECK_OK(visit_as(&config, f.address, NULL));
    become(&other, "server-wrong-address");
    CHECK_OK(degu_tls_reload(&f.tls, &other));
    CHECK_ERR(visit_as(&config, f.address, NULL), DEGU_E_CERTIFICATE_NAME);
    CHECK(reaches(&f.broken, 1));
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_CERTIFICATE_REFUSED);
    CHECK_ERR(dial(&f.tls, &client, f.address, NULL), DEGU_E_ARGUMENT);
    degu_client_close(&client);
    finish(&f);
    prepare(&f, 2, DEGU_TLS_1_3);
    launch(&f, "[::1]:0", 1);
    config.profile = DEGU_TLS_1_3;
    CHECK_OK(visit_as(&config, f.address, NULL));
    finish(&f);
    prepare(&f, 2, DEGU_TLS_1_3);
    launch(&f, "@", 1);
    CHECK_ERR(visit_as(&config, f.address, NULL), DEGU_E_ARGUMENT);
    CHECK_OK(visit_as(&config, f.address, "localhost"));
    CHECK_OK(degu_tls_open_client(&tls, &config));
    CHECK_OK(dial(&tls, &client, f.address, "localhost"));
    CHECK_ERR(degu_tls_connect(&tls, &client, "localhost"), DEGU_E_ARGUMENT);
    degu_client_close(&client);
    degu_client_close(&client);
    degu_tls_close(&tls);
    finish(&f);
}

/* ---- A server and bad company ---- */

/* One caller is enough for those who never finish a handshake. */
static void test_stalled(degu_tls_profile profile)
{
    static struct fixture f;
    char hello[2048];
    const size_t len = client_hello(hello, sizeof hello);
    degu_time begin;
    int fds[20], i;

    prepare(&f, 32, profile);
    f.config.head_timeout_ms = 600;
    launch(&f, "127.0.0.1:0", 1);
    for (i = 0; i < 20; i++) {
        fds[i] = dial_bare(f.address);
        put(fds[i], hello, i % 4 == 0 ? 0 : i % 4 == 1 ? 20 : len - 1);
    }
    begin = degu_now();
    EXPECT_HELLO(&f); /* before any of them is given up */
    CHECK(load(&f.broken) == 0 || degu_now() - begin >= 600);
    CHECK(reaches(&f.broken, 20));
    CHECK(degu_now() - begin < PATIENCE);
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_TIMEOUT);
    for (i = 0; i < 20; i++) {
        CHECK(is_closed(fds[i]));
        close(fds[i]);
    }
    EXPECT_HELLO(&f);
    finish(&f);
    CHECK(load(&f.broken) == 20);
}

/* Changes of keys, which have no content, without end. */
struct flood {
    pthread_t thread;
    SSL *ssl;
    int ended;
};

static void *change_keys(void *ctx)
{
    struct flood *flood = ctx;

    careless = true;
    while (!load(&flood->ended) &&
           SSL_key_update(flood->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
           SSL_do_handshake(flood->ssl) == 1)
        continue;
    careless = false;
    ERR_clear_error();
    return NULL;
}

/* They hold nobody but who sends them. */
static void test_flood(void)
{
    static struct fixture f;
    struct flood flood = {0};
    int fd, i;

    prepare(&f, 8, DEGU_TLS_1_3);
    launch(&f, "127.0.0.1:0", 1);
    flood.ssl = raw_dial(f.address, DEGU_TLS_1_3, &fd);
    CHECK(reaches(&f.greeted, 1));
    CHECK(pthread_create(&flood.thread, NULL, change_keys, &flood) == 0);
    for (i = 0; i < 5; i++)
        EXPECT_HELLO(&f);
    store(&flood.ended, 1);
    pthread_join(flood.thread, NULL);
    raw_end(flood.ssl, fd);
    finish(&f);
}

/* A peer that wants answers and takes none: it is given up, not told of by the
   poller for ever. */
static void test_deaf_peer(void)
{
    static struct fixture f;
    SSL *ssl;
    int fd;

    prepare(&f, 8, DEGU_TLS_1_3);
    f.config.idle_timeout_ms = -1;
    launch(&f, "@", 1); /* TCP would keep megabytes of answers */
    ssl = raw_dial(f.address, DEGU_TLS_1_3, &fd);
    careless = true;
    while (!load(&f.closed) &&
           SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
        continue;
    careless = false;
    ERR_clear_error();
    CHECK(reaches(&f.closed, 1));
    EXPECT_HELLO(&f);
    raw_end(ssl, fd);
    finish(&f);
}

/* Done is done. */
static void test_handshake_again(degu_tls_profile profile)
{
    static struct ends e;
    const degu_tls_config server = server_files(profile);
    const degu_tls_config client = client_files(profile);
    size_t chain;
    int i;

    ends_open(&e, &server, &client, "localhost");
    for (i = 0; i < 2; i++) {
        const degu_tls_peer *peer = degu_tls_peer_of(&e.conn[i]);
        chain = peer ? peer->chain_count : 0;
        CHECK_OK(degu_tls_handshake(&e.io[i]));
        CHECK(chain && degu_tls_peer_of(&e.conn[i])->chain_count == chain);
    }
    ends_close(&e);
}

/* Bytes of a handshake, and later of a record, that drip in. */
static void drip_until(struct dripper *d, const int *count, int goal)
{
    const degu_time begin = degu_now();

    pthread_create(&d->thread, NULL, drip, d);
    CHECK(reaches(count, goal));
    CHECK(degu_now() - begin < SHORT * 10); /* it may have begun before */
    shutdown(d->fd, SHUT_RDWR);
    pthread_join(d->thread, NULL);
}

static void test_server_drips(degu_tls_profile profile)
{
    static struct fixture f;
    char bytes[2048], head[600] = "GET / HTTP/1.1\r\nx: ";
    struct dripper d;
    SSL *ssl;
    int kind, fd;

    prepare(&f, 4, profile);
    f.config.head_timeout_ms = f.config.idle_timeout_ms = SHORT;
    launch(&f, "127.0.0.1:0", 2);
    memset(&d, 0, sizeof d);
    d.bytes = bytes;
    d.len = client_hello(bytes, sizeof bytes);
    d.fd = dial_bare(f.address);
    drip_until(&d, &f.broken, 1);
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_TIMEOUT);
    close(d.fd);
    memset(head + strlen(head), 'y', sizeof head - 20);
    for (kind = 0; kind < 2; kind++) {
        memset(&d, 0, sizeof d);
        ssl = raw_dial(f.address, profile, &fd);
        d.fd = fd;
        d.bytes = head;
        d.len = 500;
        if (kind == 0) {
            d.ssl = ssl;
        } else {
            d.len = seal(ssl, head, 500, bytes, sizeof bytes);
            d.bytes = bytes;
        }
        drip_until(&d, &f.closed, kind + 1);
        CHECK_ERR((degu_err)load(&f.why), kind ? DEGU_OK : DEGU_E_TIMEOUT);
        raw_end(ssl, fd);
    }
    finish(&f);
}

/* One who does not read what it asked for. */
static void test_deaf_client(degu_tls_profile profile)
{
    static struct fixture f;
    degu_time begin = degu_now();
    SSL *ssl;
    int fd;

    prepare(&f, 2, profile);
    f.config.body_timeout_ms = SHORT;
    launch(&f, "@", 1);
    ssl = raw_dial(f.address, profile, &fd);
    raw_put(ssl, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
    CHECK(reaches(&f.closed, 1));
    IN_TIME(begin);
    CHECK_ERR((degu_err)load(&f.why), DEGU_E_TIMEOUT);
    raw_end(ssl, fd);
    EXPECT_HELLO(&f);
    finish(&f);
}

/* Handshakes of several connections go on at the same time. */
static degu_transport real;
static int arrived;

static degu_err shake_together(void *secure)
{
    add(&arrived, 1);
    CHECK(reaches(&arrived, 4));
    return real.handshake(secure);
}

static void *visit_thread(void *ctx)
{
    EXPECT_HELLO((struct fixture *)ctx);
    return NULL;
}

static void test_parallel(void)
{
    static struct fixture f;
    pthread_t threads[4];
    int i;

    prepare(&f, 8, DEGU_TLS_1_2);
    real = f.config.transport;
    f.config.transport.handshake = shake_together;
    launch(&f, "127.0.0.1:0", 4);
    for (i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, visit_thread, &f);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    finish(&f);
}

static void test_places(degu_tls_profile profile)
{
    static struct fixture f;
    static degu_client client;
    const degu_tls_config config = client_files(profile);
    degu_tls tls;
    int fd;

    prepare(&f, 1, profile);
    launch(&f, "127.0.0.1:0", 2);
    CHECK_OK(degu_tls_open_client(&tls, &config));
    CHECK_OK(dial(&tls, &client, f.address, "localhost"));
    fd = dial_bare(f.address);
    CHECK(is_closed(fd));
    close(fd);
    CHECK(reaches(&f.refusals, 1));
    CHECK(visit(&tls, f.address, "localhost") != DEGU_OK);
    CHECK(reaches(&f.refusals, 2));
    degu_client_close(&client);
    CHECK(reaches(&f.closed, 1));
    EXPECT_HELLO(&f);
    CHECK(reaches(&f.closed, 2));
    /* A handshake that breaks gives its place back too. */
    fd = dial_bare(f.address);
    put(fd, "GET / HTTP/1.1\r\n\r\n", 18);
    CHECK(is_closed(fd));
    close(fd);
    CHECK(reaches(&f.broken, 1));
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_NOT_TLS);
    EXPECT_HELLO(&f);
    degu_tls_close(&tls);
    finish(&f);
}

/* ---- Stopping ---- */

/* Connections in every state. */
struct company {
    int silent, half, idle, handled, sending;
    SSL *ssl[3];
};

static void gather(struct company *c, struct fixture *f, bool busy)
{
    char hello[2048];

    memset(c, 0, sizeof *c);
    c->silent = dial_bare(f->address);
    c->half = dial_bare(f->address);
    put(c->half, hello, client_hello(hello, sizeof hello) / 2);
    c->ssl[0] = raw_dial(f->address, f->profile, &c->idle);
    CHECK(reaches(&f->greeted, 1));
    if (!busy)
        return;
    c->ssl[1] = raw_dial(f->address, f->profile, &c->handled);
    raw_put(c->ssl[1], "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n");
    c->ssl[2] = raw_dial(f->address, f->profile, &c->sending);
    raw_put(c->ssl[2], "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
    CHECK(reaches(&f->inside, 2));
}

static void part(struct company *c, bool busy)
{
    CHECK(is_closed(c->silent) && is_closed(c->half));
    close(c->silent);
    close(c->half);
    CHECK(raw_hears_end(c->ssl[0]));
    raw_end(c->ssl[0], c->idle);
    if (!busy)
        return;
    CHECK(raw_hears_end(c->ssl[1]));
    raw_end(c->ssl[1], c->handled);
    CHECK(!raw_hears_end(c->ssl[2])); /* its answer was cut */
    raw_end(c->ssl[2], c->sending);
}

static void test_stop(degu_tls_profile profile)
{
    static struct fixture f;
    const int fds = count_fds();
    struct company c;
    degu_time begin;

    prepare(&f, 8, profile);
    f.config.stop_ms = 200;
    f.config.linger_ms = 100;
    launch(&f, "127.0.0.1:0", 4);
    gather(&c, &f, true);
    begin = degu_now();
    degu_server_stop(&f.server);
    CHECK(write(f.gate[1], "x", 1) == 1);
    finish(&f);
    CHECK(degu_now() - begin < 2000);
    CHECK(load(&f.broken) == 2 && load(&f.greeted) == 3);
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_STOPPED);
    part(&c, true);
    CHECK(count_fds() == fds);
}

static bool on_signal(void *user, void *worker)
{
    (void)worker;
    return add(&((struct fixture *)user)->inside, 1) > 0;
}

/* degu_server_close() finds them all there. */
static void test_close(degu_tls_profile profile)
{
    static struct fixture f;
    const int fds = count_fds();
    struct company c;

    prepare(&f, 8, profile);
    f.config.on_signal = on_signal;
    launch(&f, "127.0.0.1:0", 1);
    gather(&c, &f, false);
    while (!load(&f.inside)) {
        pthread_kill(f.threads[0], SIGUSR1);
        poll(NULL, 0, 1);
    }
    pthread_join(f.threads[0], NULL);
    CHECK_ERR(f.results[0], DEGU_E_INTERRUPTED);
    f.started = 0;
    CHECK(load(&f.broken) == 0 && load(&f.closed) == 0);
    degu_server_close(&f.server);
    CHECK(load(&f.broken) == 2 && load(&f.closed) == 1);
    CHECK_ERR((degu_err)load(&f.why), DEGU_E_STOPPED);
    CHECK_ERR((degu_err)load(&f.why_broken), DEGU_E_STOPPED);
    finish(&f);
    CHECK(load(&f.broken) == 2 && load(&f.closed) == 1);
    part(&c, false);
    CHECK(count_fds() == fds);
}

/* ---- Reloading, and a crowd ---- */

struct crowd {
    struct fixture *f;
    degu_tls *tls;
    pthread_t threads[4];
    degu_tls_pin pins[2];
    int stop;
    int visits;
    int limit;
    int seen[2]; /* connections that met the one or the other key */
};

static void *come_and_go(void *ctx)
{
    struct crowd *c = ctx;
    degu_client *client = malloc(sizeof *client);
    char text[64];

    while (!load(&c->stop) && (!c->limit || add(&c->visits, 1) <= c->limit)) {
        const degu_tls_peer *peer;
        bool good = CHECK_OK(dial(c->tls, client, c->f->address, "localhost"));
        int i;
        if (good) {
            peer = degu_tls_peer_of(&client->conn);
            for (i = 0; i < 2; i++)
                if (!memcmp(peer->key_sha256, &c->pins[i], 32))
                    add(&c->seen[i], 1);
            for (i = 0; i < 2 && good; i++)
                good = CHECK_OK(get(client, "/hello", text, sizeof text));
        }
        degu_client_close(client);
        if (!good)
            break;
    }
    free(client);
    return NULL;
}

static void crowd_start(struct crowd *c, struct fixture *f, degu_tls *tls,
                        int limit)
{
    int i;

    memset(c, 0, sizeof *c);
    c->f = f;
    c->tls = tls;
    c->limit = limit;
    c->pins[0] = pin_of("server");
    c->pins[1] = pin_of("server-other");
    for (i = 0; i < 4; i++)
        pthread_create(&c->threads[i], NULL, come_and_go, c);
}

static void crowd_join(struct crowd *c)
{
    int i;

    for (i = 0; i < 4; i++)
        pthread_join(c->threads[i], NULL);
}

static void test_reload(degu_tls_profile profile)
{
    static struct fixture f;
    static struct crowd c;
    degu_tls_config one = server_files(profile);
    degu_tls_config other = server_files(profile);
    degu_tls_config bad = server_files(profile);
    degu_tls_config client = client_files(profile);
    degu_tls tls;
    int old;

    become(&other, "server-other");
    bad.cert_file = path_of("bad/cut.pem");
    prepare(&f, 16, profile);
    launch(&f, "127.0.0.1:0", 2);
    CHECK_OK(degu_tls_open_client(&tls, &client));
    crowd_start(&c, &f, &tls, 0);
    CHECK(reaches(&c.seen[0], 8) && load(&c.seen[1]) == 0);
    CHECK_OK(degu_tls_reload(&f.tls, &other));
    old = load(&c.seen[0]);
    CHECK(reaches(&c.seen[1], 8));
    CHECK(load(&c.seen[0]) <= old + 4); /* that were under way */
    CHECK_ERR(degu_tls_reload(&f.tls, &bad), DEGU_E_TLS_FILE);
    CHECK(degu_tls_why(&f.tls)[0] != '\0');
    CHECK(reaches(&c.seen[1], load(&c.seen[1]) + 8));
    CHECK_OK(degu_tls_reload(&f.tls, &one));
    CHECK_OK(degu_tls_reload(&tls, &client));
    CHECK(reaches(&c.seen[0], old + 16));
    store(&c.stop, 1);
    crowd_join(&c);
    /* A client can change its mind about whom it trusts. */
    client.ca_file = path_of("foreign-authority.pem");
    CHECK_OK(degu_tls_reload(&tls, &client));
    CHECK_ERR(visit(&tls, f.address, "localhost"), DEGU_E_CERTIFICATE);
    degu_tls_close(&tls);
    CHECK(visit(&tls, f.address, "localhost") != DEGU_OK);
    finish(&f);
}

static void test_stress(degu_tls_profile profile, const char *address)
{
    static struct fixture f;
    static struct crowd c;
    const int fds = count_fds();
    degu_tls_config one = server_files(profile);
    degu_tls_config other = server_files(profile);
    const degu_tls_config client = client_files(profile);
    degu_tls tls;
    int turn = 0;

    become(&other, "server-other");
    prepare(&f, 16, profile);
    launch(&f, address, 4);
    CHECK_OK(degu_tls_open_client(&tls, &client));
    crowd_start(&c, &f, &tls, 600);
    while (load(&c.visits) < 600 && !load(&failed)) {
        CHECK_OK(degu_tls_reload(&f.tls, turn++ % 2 ? &one : &other));
        CHECK_OK(degu_tls_reload(&tls, &client));
        poll(NULL, 0, 5);
    }
    crowd_join(&c);
    CHECK(load(&c.seen[0]) + load(&c.seen[1]) == 600);
    degu_tls_close(&tls);
    finish(&f);
    CHECK(load(&f.broken) == 0 && load(&f.greeted) == 600);
    CHECK(load(&f.calls) == 1200);
    CHECK(count_fds() == fds);
}

/* ---- Without memory ---- */

#if defined(__SANITIZE_THREAD__) || defined(UNDER_VALGRIND)
#define MEMORY_TRIES 20
#else
#define MEMORY_TRIES 150
#endif

/* Runs it with one allocation after the other failing: once it alone, once
   all behind it. */
static void starve(void (*run)(void *ctx, bool sure), void *ctx)
{
    degu_time end;
    int i, n, all, live, kind;

    run(ctx, true);
    run(ctx, true);
    store(&memory_calls, 0);
    run(ctx, true);
    all = load(&memory_calls);
    live = load(&memory_live);
    CHECK(all > 0);
    for (kind = 0; kind < 2; kind++) {
        memory_returns = kind == 0;
        for (i = 0; i < MEMORY_TRIES; i++) {
            n = all < MEMORY_TRIES
                    ? i
                    : (int)((long long)all * i / MEMORY_TRIES) + i % 7;
            store(&memory_left, n);
            run(ctx, false);
            store(&memory_left, -1);
        }
    }
    run(ctx, true);
    /* A few caches of OpenSSL's own may have grown, and no more; the server may
       still be giving the last connection back. */
    end = degu_now() + PATIENCE;
    while (load(&memory_live) >= live + 20 && degu_now() < end)
        poll(NULL, 0, 1);
    if (!CHECK(load(&memory_live) < live + 20))
        fprintf(stderr, "    %d of %d blocks more\n",
                load(&memory_live) - live, live);
}

static void starve_open(void *ctx, bool sure)
{
    degu_tls_config config = client_files(DEGU_TLS_1_2);
    degu_tls_pin pin = pin_of("server");
    degu_tls tls;
    degu_err err;

    (void)ctx;
    config.pins = &pin;
    config.pin_count = 1;
    fragile = true;
    err = degu_tls_open_client(&tls, &config);
    if (err)
        CHECK(degu_tls_why(&tls)[0] != '\0' && !tls.context);
    else
        degu_tls_close(&tls);
    CHECK_QUEUE();
    fragile = false;
    if (sure)
        CHECK_OK(err);
    else if (err)
        CHECK(err == DEGU_E_SPACE || err == DEGU_E_TLS_FILE ||
              err == DEGU_E_SYSTEM);
}

struct starving {
    struct fixture f;
    degu_tls tls;
    degu_client client;
    bool server; /* it is the server that starves */
    int visits;
};

static void starve_visit(void *ctx, bool sure)
{
    struct starving *s = ctx;
    char text[64] = "";
    degu_err err;

    s->visits++;
    fragile = !s->server;
    err = dial(&s->tls, &s->client, s->f.address, "localhost");
    if (!err)
        err = get(&s->client, "/hello", text, sizeof text);
    degu_client_close(&s->client);
    CHECK_QUEUE();
    fragile = false;
    if (!err)
        CHECK(strcmp(text, "hello, world") == 0);
    else
        CHECK(err < 0);
    if (sure)
        CHECK_OK(err);
    CHECK(reaches(&s->f.closed, load(&s->f.greeted)));
}

static void test_memory(degu_tls_profile profile)
{
    static struct starving s;
    const degu_tls_config config = client_files(profile);
    const int fds = count_fds();
    int server;

    about = "open";
    if (profile == DEGU_TLS_1_2)
        starve(starve_open, NULL);
    CHECK(count_fds() == fds);
    for (server = 0; server < 2; server++) {
        about = server ? "server" : "client";
        prepare(&s.f, 4, profile);
        s.visits = 0;
        s.server = s.f.fragile = server;
        launch(&s.f, "127.0.0.1:0", 1);
        CHECK_OK(degu_tls_open_client(&s.tls, &config));
        starve(starve_visit, &s);
        degu_tls_close(&s.tls);
        finish(&s.f);
        /* Nobody was lost without a word. */
        CHECK(load(&s.f.greeted) + load(&s.f.broken) == s.visits);
        CHECK(fds_return_to(fds));
    }
    about = "";
}

static void test_profile(degu_tls_profile profile)
{
    test_exchange(profile, "127.0.0.1:0");
    test_exchange(profile, "@");
    test_file_is_encrypted(profile);
    test_pipelining(profile);
    test_endings(profile);
    test_truncation(profile);
    test_close_notify(profile);
    test_drips(profile);
    test_step_begins(profile);
    test_sender_stops(profile);
    test_interrupted(profile, false, false);
    test_interrupted(profile, false, true);
    test_interrupted(profile, true, false);
    test_interrupted(profile, true, true);
    test_peers(profile);
    test_pins(profile);
    test_names(profile);
    test_stalled(profile);
    test_handshake_again(profile);
    if (profile == DEGU_TLS_1_3) {
        test_flood();
        test_deaf_peer();
    }
    test_server_drips(profile);
    test_deaf_client(profile);
    test_places(profile);
    test_stop(profile);
    test_close(profile);
    test_reload(profile);
    test_stress(profile, "127.0.0.1:0");
    test_memory(profile);
}

int main(int argc, char **argv)
{
    struct sigaction action;
    int fds;

    if (argc != 2) {
        fprintf(stderr, "usage: test_tls DIRECTORY\n");
        return 2;
    }
    certificates = argv[1];
    if (!CRYPTO_set_mem_functions(take_memory, change_memory, give_memory))
        return 2;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_usr1;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = on_sigpipe;
    sigaction(SIGPIPE, &action, NULL);
    snprintf(scratch, sizeof scratch, "%s/degu-test-XXXXXX", P_tmpdir);
    if (!mkdtemp(scratch) || mkfifo(in_folder(scratch, "fifo"), 0600)) {
        perror(scratch);
        return 1;
    }
    fds = count_fds();
    test_bad_certificates();
    test_bad_keys();
    test_contradictions();
    test_good_configurations();
    test_handshake_drips();
    test_connected_name();
    test_odd_names();
    test_parallel();
    test_profile(DEGU_TLS_1_2);
    test_profile(DEGU_TLS_1_3);
    test_exchange(DEGU_TLS_1_3, "[::1]:0");
    CHECK(count_fds() == fds);
    unlink(in_folder(scratch, "fifo"));
    rmdir(scratch);
    CHECK(load(&pipes_broken) == 0);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

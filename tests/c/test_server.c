/* Layers 7 and 8: sockets, server and client.
   SPDX-License-Identifier: MIT OR 0BSD */

/* The server's is the one below; the real one is behind it. */
#define epoll_ctl faulty_epoll_ctl
#define DEGU_IMPLEMENTATION
#include "../../degu.h"
#undef epoll_ctl

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "waiting.h"

static int passed, failed;

static void check(bool good, const char *text, int line)
{
    if (good) {
        __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
        return;
    }
    __atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "%s:%d: %s\n", __FILE__, line, text);
}

#define CHECK(x) check((x), #x, __LINE__)

/* ---- Small things that the tests share ---- */

/* Where the sockets of AF_UNIX go. */
static char scratch[64];

static double cpu_seconds(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* ---- Faults of the kernel ---- */

#ifndef DEGU_PRIV_POLL
static int unwatchable = -1; /* there is no memory to watch this one */
static int refused;          /* how often there was none */
static int unwatched;        /* how often it was given up */

int epoll_ctl(int, int, int, struct epoll_event *);

int faulty_epoll_ctl(int poller, int what, int fd, struct epoll_event *event)
{
    if (fd == load(&unwatchable) && what == EPOLL_CTL_DEL)
        add(&unwatched, 1);
    if (fd == load(&unwatchable) && what == EPOLL_CTL_ADD) {
        add(&refused, 1);
        errno = ENOMEM;
        return -1;
    }
    return epoll_ctl(poller, what, fd, event);
}
#endif

/* ---- The server under test ---- */

#define SLOTS 256

struct fixture {
    degu_server server;
    degu_server_config config;
    degu_slot *slots;
    pthread_t threads[8];
    degu_err results[8];
    int started;
    char address[DEGU_ADDRESS_TEXT];
    int calls;    /* of the handler */
    int inside;   /* handlers that wait at the gate */
    int greeted;
    int closed;
    int refusals;
    int shortages;
    int signals;  /* that on_signal was told of */
    int errors;   /* ends that were not regular */
    int finished; /* requests of the connections that ended */
    degu_err why; /* of the last on_close */
    int gate[2];  /* a byte lets one handler through */
    bool refuse;
    degu_family peer_family;
    int64_t peer_pid;
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

static degu_err echo(degu_conn *conn)
{
    static __thread char body[100000];
    size_t len;
    degu_err err = read_all(conn, body, sizeof body, &len);

    if (err)
        return err;
    return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(body, len));
}

static degu_err pull_half(void *ctx, degu_str *piece)
{
    int *turn = ctx;

    *piece = degu_string("half");
    return ++*turn == 1 ? DEGU_OK : DEGU_E_SOURCE;
}

static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    int *left = ctx;

    if ((*left)-- > 0)
        chunk->data = degu_string("chunk");
    return DEGU_OK;
}

static degu_err handle(degu_session *session, const degu_request *request)
{
    struct fixture *f = session->user;
    degu_conn *conn = session->conn;
    degu_str ok = degu_string("OK");
    int number = 3;

    add(&f->calls, 1);
    if (degu_is(request->path, "/hello"))
        return degu_reply(conn, 200, "OK", "hello, world");
    if (degu_is(request->path, "/echo"))
        return echo(conn);
    if (degu_is(request->path, "/chunks"))
        return degu_send_response(conn, 200, ok, NULL, 0,
                                  degu_body_chunks(next_chunk, &number));
    if (degu_is(request->path, "/wait")) {
        char byte;
        add(&f->inside, 1);
        if (read(f->gate[0], &byte, 1) != 1)
            return DEGU_E_HANDLER;
        return degu_reply(conn, 200, "OK", "waited");
    }
    if (degu_is(request->path, "/who")) {
        __atomic_store_n(&f->peer_family, session->peer.family,
                         __ATOMIC_SEQ_CST);
        __atomic_store_n(&f->peer_pid,
                         session->has_credentials ? session->credentials.pid
                                                  : 0,
                         __ATOMIC_SEQ_CST);
        return degu_reply(conn, 200, "OK", "");
    }
    if (degu_is(request->path, "/body")) { /* until it fails */
        add(&f->inside, 1);
        return degu_drain_body(conn, UINT64_MAX);
    }
    if (degu_is(request->path, "/unread"))
        return degu_reply(conn, 200, "OK", "no, thank you");
    if (degu_is(request->path, "/fail"))
        return DEGU_E_TIMEOUT;
    if (degu_is(request->path, "/nothing"))
        return DEGU_OK;
    if (degu_is(request->path, "/half")) {
        number = 0;
        return degu_send_response(conn, 200, ok, NULL, 0,
                                  degu_body_pull(pull_half, &number, 100));
    }
    return degu_reply(conn, 404, "Not Found", "");
}

static degu_err on_connect(degu_session *session)
{
    struct fixture *f = session->user;

    add(&f->greeted, 1);
    session->data = f;
    return f->refuse ? DEGU_E_HANDLER : DEGU_OK;
}

static void on_close(degu_session *session, degu_err why)
{
    struct fixture *f = session->user;

    CHECK(session->data == f);
    __atomic_store_n(&f->why, why, __ATOMIC_SEQ_CST);
    add(&f->closed, 1);
}

static void on_refuse(const degu_address *peer, void *user, void *worker)
{
    struct fixture *f = user;

    CHECK(peer->family == DEGU_IPV4 && peer->port != 0);
    CHECK(worker == &f->threads[0]);
    add(&f->refusals, 1);
}

static void on_shortage(void *user, void *worker)
{
    struct fixture *f = user;

    (void)worker;
    add(&f->shortages, 1);
}

static uint32_t spin_us; /* of both ends, in what follows */

static void prepare(struct fixture *f, size_t connections)
{
    memset(f, 0, sizeof *f);
    f->slots = calloc(connections, sizeof *f->slots);
    f->config = degu_server_defaults(handle, f->slots, connections);
    f->config.user = f;
    f->config.spin_us = spin_us;
    CHECK(f->slots && pipe(f->gate) == 0);
}

static void *serve(void *ctx)
{
    struct fixture *f = ctx;
    const int i = __atomic_fetch_add(&f->started, 1, __ATOMIC_SEQ_CST);

    f->results[i] = degu_serve(&f->server, &f->threads[i]);
    return NULL;
}

static void launch(struct fixture *f, const char *address, int threads)
{
    degu_address bound;
    int i;

    CHECK(degu_server_open(&f->server, address, &f->config) == DEGU_OK);
    CHECK(degu_server_address(&f->server, &bound) == DEGU_OK);
    degu_format_address(&bound, f->address);
    for (i = 0; i < threads; i++)
        CHECK(pthread_create(&f->threads[i], NULL, serve, f) == 0);
    CHECK(reaches(&f->started, threads));
}

static void join(struct fixture *f)
{
    int i;

    for (i = 0; i < f->started; i++)
        pthread_join(f->threads[i], NULL);
    for (i = 0; i < f->started; i++)
        CHECK(f->results[i] == DEGU_OK);
    degu_server_close(&f->server);
    close(f->gate[0]);
    close(f->gate[1]);
    free(f->slots);
}

static void finish(struct fixture *f)
{
    degu_server_stop(&f->server);
    join(f);
}

/* ---- Raw clients ---- */

static int dial(const char *address)
{
    degu_address where;
    degu_socket sock;
    degu_err err = degu_parse_address(address, &where);

    if (!err)
        err = degu_connect(&where, PATIENCE, &sock);
    CHECK(err == DEGU_OK);
    return err ? -1 : sock.fd;
}

static void put_bytes(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

static void put(int fd, const char *text)
{
    put_bytes(fd, text, strlen(text));
}

/* All until the end, which must come in time; the length. */
static size_t get_all(int fd, char *buf, size_t cap)
{
    size_t len = 0;

    while (len < cap - 1) {
        ssize_t n = recv(fd, buf + len, cap - 1 - len, 0);
        CHECK(n >= 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    buf[len] = '\0';
    return len;
}

/* Until the text is there. */
static bool get_until(int fd, const char *text)
{
    char buf[65536];
    size_t len = 0;

    while (len < sizeof buf - 1) {
        ssize_t n = recv(fd, buf + len, sizeof buf - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        buf[len] = '\0';
        if (strstr(buf, text))
            return true;
    }
    return false;
}

static bool is_closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) == 0;
}

/* Is it exactly the bare answer with this status? */
static bool is_bare(const char *answer, int status)
{
    char start[32];
    const char *line = strstr(answer, "\r\n");

    snprintf(start, sizeof start, "HTTP/1.1 %d ", status);
    return strncmp(answer, start, strlen(start)) == 0 && line &&
           strcmp(line, "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
               == 0;
}

static void expect_bare(const char *address, const char *bytes, size_t len,
                        int status, int line)
{
    char answer[4096];
    int fd = dial(address);
    bool good;

    put_bytes(fd, bytes, len);
    get_all(fd, answer, sizeof answer);
    good = is_bare(answer, status);
    if (!good)
        fprintf(stderr, "wanted %d for <%.60s>, got <%s>\n", status, bytes,
                answer);
    check(good, "the bare answer, and the close", line);
    close(fd);
}

static void expect_hello(const char *address, int line)
{
    static __thread degu_client client;
    degu_response response;
    char body[64];
    size_t len = 0;
    bool good = degu_client_open(&client, address, PATIENCE) == DEGU_OK &&
                degu_client_get(&client, "/hello", &response) == DEGU_OK &&
                response.status == 200 &&
                read_all(&client.conn, body, sizeof body, &len) == DEGU_OK &&
                degu_is(degu_bytes(body, len), "hello, world");

    check(good, "a new connection is served", line);
    degu_client_close(&client);
}

#define EXPECT_HELLO(f) expect_hello((f)->address, __LINE__)

/* ---- Addresses ---- */

static void same_text(const char *text, int line)
{
    degu_address address;
    char out[DEGU_ADDRESS_TEXT];
    const bool good =
        degu_parse_address(text, &address) == DEGU_OK &&
        strcmp(degu_format_address(&address, out), text) == 0;

    if (!good)
        fprintf(stderr, "%s\n", text);
    check(good, "an address comes back as it went in", line);
}

static void no_address(const char *text, int line)
{
    degu_address address;
    const bool good = degu_parse_address(text, &address) == DEGU_E_ADDRESS;

    if (!good)
        fprintf(stderr, "%s\n", text);
    check(good, "not an address", line);
}

static void test_address_text(void)
{
    static const char *const good[] = {
        "127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80",
        "[fe80::1%2]:80", "[fe80::1%4294967295]:1", "[::1]:80;flowinfo=5",
        "[fe80::1%300]:80;flowinfo=1048575", "/run/app.sock", "/a b", "@name",
        "@", "@%00", "@a%00b%FF%25%20%7F"};
    static const char *const bad[] = {
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:080",
        "127.0.0.1:-1", "127.0.0.1: 1", "127.0.0.1:1 ", "127.0.0:1",
        "127.0.0.01:1", "localhost:80", "::1:80", "[::1]", "[::1]80",
        "[::1]:", "[::1:80", "[127.0.0.1]:80", "[::1%]:80",
        "[::1%nosuchinterface0]:80", "[::1%4294967296]:80",
        "[::1]:80;flowinfo=1048576", "[::1]:80;flowinfo=", "[::1]:80;",
        "[::1]:80;scope=1", "[::1]:80;flowinfo=5;flowinfo=5", "relative",
        "./relative", "@a b", "@%", "@%0", "@%0g", "@\x7f", "@\xff"};
    degu_address address;
    char text[DEGU_ADDRESS_TEXT];
    char longest[400];
    size_t i;

    for (i = 0; i < sizeof good / sizeof good[0]; i++)
        same_text(good[i], __LINE__);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
        no_address(bad[i], __LINE__);
    CHECK(degu_parse_address(NULL, &address) == DEGU_E_ADDRESS);

    memset(longest, 'p', sizeof longest);
    longest[0] = '/';
    longest[108] = '\0';
    same_text(longest, __LINE__);
    longest[108] = 'p';
    longest[109] = '\0';
    no_address(longest, __LINE__);
    longest[0] = '@';
    longest[108] = '\0';
    same_text(longest, __LINE__);
    longest[108] = 'p';
    longest[109] = '\0';
    no_address(longest, __LINE__);
    for (i = 0; i < 107; i++)
        memcpy(longest + 1 + 3 * i, "%FF", 3);
    longest[1 + 3 * 107] = '\0';
    same_text(longest, __LINE__);

    CHECK(!degu_parse_address("[fe80::1%lo]:1", &address));
    CHECK(address.scope_id == if_nametoindex("lo"));
    CHECK(!degu_parse_address("[fe80::1%2]:80;flowinfo=7", &address));
    CHECK(strcmp(degu_format_host(&address, 80, text), "[fe80::1]") == 0);
    CHECK(strcmp(degu_format_host(&address, 81, text), "[fe80::1]:80") == 0);
    CHECK(!degu_parse_address("127.0.0.1:8080", &address));
    CHECK(strcmp(degu_format_host(&address, 80, text), "127.0.0.1:8080") == 0);
    CHECK(!degu_parse_address("@x", &address));
    CHECK(strcmp(degu_format_host(&address, 80, text), "localhost") == 0);
    memset(&address, 0, sizeof address);
    CHECK(strcmp(degu_format_address(&address, text), "") == 0);
}

/* What the kernel reports is the same value again. */
static void test_address_kernel(void)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0", "@",
                                        "@a%00b%FF"};
    char path[DEGU_ADDRESS_TEXT], longest[DEGU_ADDRESS_TEXT];
    degu_address address, bound, peer;
    degu_credentials who;
    degu_socket sock;
    int fd, pair[2];
    size_t i;

    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK(!degu_parse_address(texts[i], &address));
        CHECK(!degu_listen(&address, 5, 0, &fd));
        CHECK(!degu_local_address(fd, &bound));
        CHECK(bound.family == address.family);
        CHECK(bound.port || bound.name_len);
        CHECK(!degu_connect(&bound, PATIENCE, &sock));
        CHECK(!degu_peer_address(sock.fd, &peer));
        CHECK(degu_equal(degu_bytes(&peer, sizeof peer),
                         degu_bytes(&bound, sizeof bound)));
        CHECK((degu_peer_credentials(sock.fd, &who) == DEGU_OK) ==
              (peer.family == DEGU_ABSTRACT));
        degu_socket_close(&sock);
        close(fd);
    }
    CHECK(who.pid == getpid() && who.uid == (int64_t)geteuid());

    /* A path that fills its place to the last byte. */
    snprintf(path, sizeof path, "%s/", scratch);
    memset(longest, 'x', sizeof longest);
    memcpy(longest, path, strlen(path));
    longest[108] = '\0';
    CHECK(!degu_parse_address(longest, &address));
    CHECK(!degu_listen(&address, 5, 0640, &fd));
    CHECK(!degu_local_address(fd, &bound));
    CHECK(strcmp(degu_format_address(&bound, path), longest) == 0);
    CHECK(!degu_connect(&bound, PATIENCE, &sock));
    CHECK(!degu_local_address(sock.fd, &peer) && peer.family == DEGU_UNNAMED);
    degu_socket_close(&sock);
    CHECK(degu_listen(&address, 5, 0, &pair[0]) == DEGU_E_IN_USE);
    close(fd);
    unlink(longest);

    CHECK(pipe(pair) == 0);
    CHECK(degu_socket_init(&sock, pair[0], 10) == DEGU_E_SYSTEM);
    CHECK(degu_local_address(pair[0], &address) == DEGU_E_SYSTEM);
    CHECK(degu_peer_credentials(pair[0], &who) == DEGU_E_SYSTEM);
    close(pair[0]);
    close(pair[1]);
}

static void test_connect_errors(void)
{
    degu_address address;
    degu_socket sock;
    degu_time begin;
    char text[DEGU_ADDRESS_TEXT];
    int fd, fds[64], n = 0, before = count_fds();
    degu_err err;

    sock.sys_errno = 0;
    CHECK(!degu_parse_address("[fe80::1]:80", &address));
    CHECK(degu_connect(&address, 1000, &sock) == DEGU_E_SCOPE);
    CHECK(!degu_parse_address("@", &address));
    CHECK(degu_connect(&address, 1000, &sock) == DEGU_E_ADDRESS);
    CHECK(!degu_parse_address("127.0.0.1:0", &address));
    CHECK(!degu_listen(&address, 5, 0, &fd));
    CHECK(!degu_local_address(fd, &address));
    CHECK(degu_listen(&address, 5, 0, &fds[0]) == DEGU_E_IN_USE);
    close(fd);
    CHECK(degu_connect(&address, 1000, &sock) == DEGU_E_REFUSED);
    CHECK(sock.fd == -1 && sock.sys_errno == ECONNREFUSED);
    snprintf(text, sizeof text, "%s/nobody", scratch);
    CHECK(!degu_parse_address(text, &address));
    CHECK(degu_connect(&address, 1000, &sock) == DEGU_E_REFUSED);
    CHECK(!degu_parse_address("@degu-nobody", &address));
    CHECK(degu_connect(&address, 1000, &sock) == DEGU_E_REFUSED);
    CHECK(!degu_parse_address("192.0.2.1:80", &address));
    CHECK(degu_listen(&address, 5, 0, &fd) == DEGU_E_ADDRESS);

    /* Nobody accepts, and the backlog is full. */
    CHECK(!degu_parse_address("@", &address));
    CHECK(!degu_listen(&address, 1, 0, &fd));
    CHECK(!degu_local_address(fd, &address));
    begin = degu_now();
    do
        err = degu_connect(&address, 100, &sock);
    while (!err && (fds[n++] = sock.fd) >= 0 && n < 64);
    CHECK(err == DEGU_E_TIMEOUT && degu_now() - begin >= 95);
    while (n)
        close(fds[--n]);
    close(fd);

    /* A socket that has connected to itself is found out. */
    fd = socket(AF_INET, SOCK_STREAM, 0);
    {
        degu_priv_sockaddr sa;
        socklen_t len = sizeof sa;
        CHECK(!degu_parse_address("127.0.0.1:0", &address));
        len = degu_priv_to_sockaddr(&address, &sa);
        CHECK(bind(fd, &sa.any, len) == 0);
        CHECK(getsockname(fd, &sa.any, &len) == 0);
        CHECK(connect(fd, &sa.any, len) == 0);
        CHECK(degu_priv_met_itself(fd));
    }
    close(fd);
    CHECK(count_fds() == before);
}

/* ---- Exchanges ---- */

static void exchange_over(const char *address)
{
    static degu_client client;
    struct fixture f;
    degu_response response;
    char body[100000], back[100000];
    size_t len, i;
    int left = 5, before = count_fds();
    degu_conn *conn = &client.conn;

    prepare(&f, 4);
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, address, 1);
    CHECK(degu_client_open(&client, f.address, PATIENCE) == DEGU_OK);
    for (i = 0; i < 3; i++) {
        CHECK(degu_client_get(&client, "/hello", &response) == DEGU_OK);
        CHECK(response.status == 200 && response.content_length == 12);
        CHECK(read_all(conn, back, sizeof back, &len) == DEGU_OK);
        CHECK(degu_is(degu_bytes(back, len), "hello, world"));
    }
    CHECK(degu_client_request(&client, DEGU_HEAD, "/hello", NULL, 0,
                              degu_no_body(), &response) == DEGU_OK);
    CHECK(response.status == 200 && response.framing == DEGU_NO_BODY);
    CHECK(degu_is(degu_find(&response.fields, "content-length"), "12"));
    CHECK(degu_client_get(&client, "/none", &response) == DEGU_OK);
    CHECK(response.status == 404 && response.framing == DEGU_NO_BODY);
    for (i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 26);
    for (i = 1; i <= sizeof body; i *= 10) {
        CHECK(degu_client_request(&client, DEGU_PUT, "/echo", NULL, 0,
                                  degu_body_bytes(body, i - (i > 10000)),
                                  &response) == DEGU_OK);
        CHECK(read_all(conn, back, sizeof back, &len) == DEGU_OK);
        CHECK(len == i - (i > 10000) && memcmp(body, back, len) == 0);
    }
    CHECK(degu_client_request(&client, DEGU_POST, "/echo", NULL, 0,
                              degu_body_chunks(next_chunk, &left),
                              &response) == DEGU_OK);
    CHECK(read_all(conn, back, sizeof back, &len) == DEGU_OK);
    CHECK(degu_is(degu_bytes(back, len), "chunkchunkchunkchunkchunk"));
    CHECK(degu_client_get(&client, "/chunks", &response) == DEGU_OK);
    CHECK(response.framing == DEGU_CHUNKED);
    CHECK(read_all(conn, back, sizeof back, &len) == DEGU_OK);
    CHECK(degu_is(degu_bytes(back, len), "chunkchunkchunk"));
    CHECK(degu_client_get(&client, "/who", &response) == DEGU_OK);
    if (f.address[0] == '/' || f.address[0] == '@') {
        CHECK(__atomic_load_n(&f.peer_pid, __ATOMIC_SEQ_CST) == getpid());
        CHECK(__atomic_load_n(&f.peer_family, __ATOMIC_SEQ_CST) ==
              DEGU_UNNAMED);
    } else {
        CHECK(__atomic_load_n(&f.peer_family, __ATOMIC_SEQ_CST) ==
              (f.address[0] == '[' ? DEGU_IPV6 : DEGU_IPV4));
    }
    CHECK(degu_conn_is_open(conn));
    degu_client_close(&client);
    CHECK(reaches(&f.closed, 1));
    CHECK(__atomic_load_n(&f.why, __ATOMIC_SEQ_CST) == DEGU_OK);
    CHECK(load(&f.greeted) == 1);
    finish(&f);
    CHECK(count_fds() == before);
}

static void test_exchange(void)
{
    char path[DEGU_ADDRESS_TEXT];

    snprintf(path, sizeof path, "%s/exchange", scratch);
    exchange_over("127.0.0.1:0");
    exchange_over("[::1]:0");
    exchange_over("@");
    exchange_over("@degu%00test");
    exchange_over(path);
    CHECK(access(path, F_OK) != 0);
}

/* ---- Bad input ---- */

/* Decisions D2: status and close, the handler not called. */
static void test_bad_input(void)
{
    static const struct {
        int status;
        const char *bytes;
    } rows[] = {
        {400, "\r\nGET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\n\n"},
        {400, "GET  / HTTP/1.1\r\n\r\n"},
        {400, "GET /\r\n\r\n"},
        {400, "get\x01 / HTTP/1.1\r\n\r\n"},
        {400, "GET hello HTTP/1.1\r\n\r\n"},
        {400, "GET http://x/ HTTP/1.1\r\n\r\n"},
        {400, "GET /%2 HTTP/1.1\r\n\r\n"},
        {400, "GET /a//b HTTP/1.1\r\n\r\n"},
        {400, "GET /../b HTTP/1.1\r\n\r\n"},
        {400, "GET /%2e%2E/b HTTP/1.1\r\n\r\n"},
        {400, "GET /%00 HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nhost : x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n folded: x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nx: \x80\r\n\r\n"},
        {400, "PUT / HTTP/1.1\r\ncontent-length: +1\r\n\r\n"},
        {400, "PUT / HTTP/1.1\r\ncontent-length: 1\r\n"
              "transfer-encoding: chunked\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\ncontent-length: 1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\ncontent-range: bytes 0-1/2\r\n\r\n"},
        {417, "PUT / HTTP/1.1\r\nexpect: tea\r\ncontent-length: 1\r\n\r\n"},
        {501, "BREW / HTTP/1.1\r\n\r\n"},
        {501, "PUT / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n"},
        {505, "GET / HTTP/1.0\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\n\r\n"}};
    static char big[DEGU_PREAMBLE_MAX + 64];
    struct fixture f;
    char name[DEGU_NAME_MAX + 64];
    size_t i, len;
    int fds, fd;

    prepare(&f, 4);
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, "127.0.0.1:0", 1);
    EXPECT_HELLO(&f);
    CHECK(reaches(&f.closed, 1));
    fds = count_fds();
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int calls = load(&f.calls);
        expect_bare(f.address, rows[i].bytes, strlen(rows[i].bytes),
                    rows[i].status, __LINE__);
        CHECK(load(&f.calls) == calls);
        EXPECT_HELLO(&f);
    }
    /* 414: the request line alone does not fit; 431: the head, the number of
       its lines, a name. */
    memset(big, 'a', sizeof big);
    memcpy(big, "GET /", 5);
    expect_bare(f.address, big, sizeof big, 414, __LINE__);
    len = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\nx: ");
    big[len] = 'a';
    expect_bare(f.address, big, sizeof big, 431, __LINE__);
    len = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\n");
    for (i = 0; i <= DEGU_HEADER_MAX; i++)
        len += (size_t)snprintf(big + len, sizeof big - len, "x%d: y\r\n",
                                (int)i);
    len += (size_t)snprintf(big + len, sizeof big - len, "\r\n");
    expect_bare(f.address, big, len, 431, __LINE__);
    memset(name, 'n', sizeof name);
    name[DEGU_NAME_MAX + 1] = '\0';
    len = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\n%s: x\r\n\r\n",
                           name);
    expect_bare(f.address, big, len, 431, __LINE__);
    /* Closed inside a head. */
    fd = dial(f.address);
    put(fd, "GET /hel");
    shutdown(fd, SHUT_WR);
    get_all(fd, name, sizeof name);
    CHECK(strncmp(name, "HTTP/1.1 400 ", 13) == 0);
    close(fd);
    /* Closed between messages: no answer. */
    fd = dial(f.address);
    shutdown(fd, SHUT_WR);
    CHECK(is_closed(fd));
    close(fd);
    /* Reset in the middle. */
    {
        const struct linger hard = {1, 0};
        fd = dial(f.address);
        put(fd, "GET /hel");
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
    EXPECT_HELLO(&f);
    CHECK(fds_return_to(fds));
    CHECK(reaches(&f.closed, load(&f.greeted)));
    finish(&f);
}

/* What handlers do wrong, and bodies that are: D2, D13. */
static void test_bad_handlers(void)
{
    static const struct {
        int status;
        const char *bytes;
    } rows[] = {
        {500, "GET /fail HTTP/1.1\r\n\r\n"},
        {500, "GET /nothing HTTP/1.1\r\n\r\n"},
        {500, "PUT /nothing HTTP/1.1\r\ncontent-length: 9\r\n\r\n123456789"},
        {400, "PUT /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"},
        {400, "PUT /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
              "1\r\nabc\r\n"},
        {413, "PUT /echo HTTP/1.1\r\ncontent-length: 100001\r\n\r\n"}};
    static char big[100200];
    struct fixture f;
    char answer[4096];
    size_t i, len;
    int fd, fds;

    prepare(&f, 4);
    launch(&f, "@", 1);
    fds = count_fds();
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        len = strlen(rows[i].bytes);
        memset(big, 'b', sizeof big);
        memcpy(big, rows[i].bytes, len);
        expect_bare(f.address, big, rows[i].status == 413 ? len + 100001 : len,
                    rows[i].status, __LINE__);
        EXPECT_HELLO(&f);
    }
    /* Closed inside a body. */
    fd = dial(f.address);
    put(fd, "PUT /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\n123");
    shutdown(fd, SHUT_WR);
    get_all(fd, answer, sizeof answer);
    CHECK(is_bare(answer, 400));
    close(fd);
    /* A byte has left: only the cut can tell. */
    fd = dial(f.address);
    put(fd, "GET /half HTTP/1.1\r\n\r\n");
    get_all(fd, answer, sizeof answer);
    CHECK(strcmp(answer, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
          == 0);
    close(fd);
    /* 100-continue when the handler reads, and only then. */
    fd = dial(f.address);
    put(fd, "PUT /echo HTTP/1.1\r\nexpect: 100-continue\r\n"
            "content-length: 2\r\n\r\n");
    CHECK(get_until(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
    put(fd, "ab");
    CHECK(get_until(fd, "content-length: 2\r\n\r\nab"));
    put(fd, "PUT /unread HTTP/1.1\r\nexpect: 100-continue\r\n"
            "content-length: 2\r\n\r\n");
    get_all(fd, answer, sizeof answer);
    CHECK(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17) == 0);
    CHECK(strstr(answer, "connection: close\r\n") != NULL);
    close(fd);
    /* connection: close is obeyed, and what stands behind is not looked at. */
    fd = dial(f.address);
    put(fd, "GET /hello HTTP/1.1\r\nconnection: Close\r\n\r\n"
            "GET /hello HTTP/1.1\r\n\r\n");
    get_all(fd, answer, sizeof answer);
    CHECK(strstr(answer, "connection: close\r\n") != NULL);
    CHECK(strstr(strstr(answer, "hello, world"), "HTTP") == NULL);
    close(fd);
    EXPECT_HELLO(&f);
    CHECK(fds_return_to(fds));
    finish(&f);
}

/* The answer reaches a peer that is still sending (D2: graceful close). */
static void test_linger(const char *address)
{
    static const char head[] =
        "PUT /unread HTTP/1.1\r\ncontent-length: 900000\r\n\r\n";
    char *bytes = calloc(1, 900000), answer[4096];
    struct fixture f;
    int i, n = 0, kept[3 * DEGU_LINGER_MAX];

    prepare(&f, 4);
    f.config.linger_ms = 300;
    launch(&f, address, 1);
    for (i = 0; i < 5; i++) {
        const int fd = dial(f.address);
        put(fd, head);
        put_bytes(fd, bytes, 900000);
        get_all(fd, answer, sizeof answer);
        CHECK(strstr(answer, "no, thank you") != NULL);
        close(fd);
    }
    /* More of them at a time than there are places. */
    for (i = 0; i < 3 * DEGU_LINGER_MAX; i++) {
        const int fd = dial(f.address);
        put(fd, head);
        CHECK(get_until(fd, "no, thank you"));
        if (i % 2)
            close(fd);
        else
            kept[n++] = fd; /* the server has to end it */
    }
    EXPECT_HELLO(&f);
    finish(&f);
    while (n)
        close(kept[--n]);
    free(bytes);
}

/* ---- Time ---- */

static void test_timeouts(void)
{
    struct fixture f;
    char answer[4096];
    degu_time begin;
    int fd, i;

    prepare(&f, 4);
    f.config.idle_timeout_ms = 150;
    f.config.head_timeout_ms = 300;
    f.config.body_timeout_ms = 300;
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, "127.0.0.1:0", 1);

    /* Idle: closed without an answer. */
    begin = degu_now();
    fd = dial(f.address);
    CHECK(get_all(fd, answer, sizeof answer) == 0);
    CHECK(degu_now() - begin >= 140 && degu_now() - begin < 1500);
    close(fd);
    /* The same after an exchange. */
    fd = dial(f.address);
    put(fd, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(fd, "hello, world"));
    CHECK(is_closed(fd));
    close(fd);

    /* A head that drips: every byte comes in time, the head does not. */
    begin = degu_now();
    fd = dial(f.address);
    for (i = 0; i < 40 && poll(NULL, 0, 20) == 0; i++) {
        char byte;
        put(fd, "G");
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
            break;
    }
    get_all(fd, answer, sizeof answer);
    CHECK(is_bare(answer, 408));
    CHECK(degu_now() - begin >= 290 && degu_now() - begin < 1500);
    close(fd);

    /* A body: one step of reading has one deadline. */
    begin = degu_now();
    fd = dial(f.address);
    put(fd, "PUT /body HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1");
    for (i = 0; i < 40 && poll(NULL, 0, 20) == 0; i++) {
        char byte;
        put(fd, "0");
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
            break;
    }
    get_all(fd, answer, sizeof answer);
    CHECK(strncmp(answer, "HTTP/1.1 4", 10) == 0);
    CHECK(degu_now() - begin < 1500);
    close(fd);
    begin = degu_now();
    fd = dial(f.address);
    put(fd, "PUT /body HTTP/1.1\r\ncontent-length: 10\r\n\r\n");
    get_all(fd, answer, sizeof answer);
    CHECK(is_bare(answer, 408));
    CHECK(degu_now() - begin >= 290 && degu_now() - begin < 1500);
    close(fd);
    EXPECT_HELLO(&f);
    CHECK(reaches(&f.closed, load(&f.greeted)));
    finish(&f);
}

/* A handler that took long makes nobody else late: what came meanwhile was in
   time. */
static void test_slow_handler(void)
{
    struct fixture f;
    int slow, idle, half;

    prepare(&f, 4);
    f.config.idle_timeout_ms = 200;
    f.config.head_timeout_ms = 200;
    launch(&f, "127.0.0.1:0", 1);
    half = dial(f.address);
    idle = dial(f.address);
    slow = dial(f.address);
    put(idle, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(idle, "hello, world"));
    put(half, "GET /hello HT");
    put(slow, "GET /wait HTTP/1.1\r\n\r\n");
    CHECK(reaches(&f.inside, 1));
    put(half, "TP/1.1\r\n\r\n");
    put(idle, "GET /hello HTTP/1.1\r\n\r\n");
    poll(NULL, 0, 400); /* longer than both have had */
    CHECK(write(f.gate[1], "1", 1) == 1);
    CHECK(get_until(slow, "waited"));
    CHECK(get_until(half, "hello, world"));
    CHECK(get_until(idle, "hello, world"));
    close(slow);
    close(half);
    close(idle);
    finish(&f);
}

static void *drip_fast(void *ctx)
{
    const struct timespec pause = {0, 300000};
    const int fd = *(int *)ctx;
    int i;

    for (i = 0; i < 8000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
        nanosleep(&pause, NULL);
    return NULL;
}

/* Who was served at once because nobody else was there, and then sends a head
   byte by byte, faster than the brief wait, holds up nobody. */
static void test_fast_drip(int threads)
{
    struct fixture f;
    pthread_t dripper;
    degu_time begin;
    int fd, i;

    prepare(&f, 4);
    f.config.head_timeout_ms = 200;
    f.config.linger_ms = 100;
    launch(&f, "127.0.0.1:0", threads);
    fd = dial(f.address);
    for (i = 0; i < 200; i++) {
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
    }
    CHECK(pthread_create(&dripper, NULL, drip_fast, &fd) == 0);
    poll(NULL, 0, 50);
    begin = degu_now();
    EXPECT_HELLO(&f);
    CHECK(degu_now() - begin < 1000);
    pthread_join(dripper, NULL);
    CHECK(degu_now() - begin < 2000); /* of 2.4 s at least */
    close(fd);
    finish(&f);
}

struct drip {
    int fd;
    int ms;
    int count;
};

static void *drip(void *ctx)
{
    struct drip *d = ctx;
    int i;

    for (i = 0; i < d->count; i++) {
        poll(NULL, 0, d->ms);
        if (send(d->fd, "x", 1, MSG_NOSIGNAL) != 1)
            break;
    }
    return NULL;
}

/* Reads what comes, each read a step; what ended it. */
static ptrdiff_t read_steps(degu_socket *sock, size_t *total)
{
    char buf[8];
    ptrdiff_t n;

    *total = 0;
    do {
        n = degu_socket_recv(sock, buf, sizeof buf,
                             DEGU_IO_BEGIN | DEGU_IO_BODY);
        *total += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    return n;
}

/* A byte in each step, from somebody who has to keep up so many a second. */
static ptrdiff_t read_drips(uint32_t min_rate, degu_time *ms, size_t *total)
{
    struct drip d;
    pthread_t thread;
    degu_socket sock;
    degu_time begin = degu_now();
    ptrdiff_t n;
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(!degu_socket_init(&sock, pair[0], 200));
    CHECK(sock.min_rate == DEGU_MIN_RATE);
    sock.min_rate = min_rate;
    d.fd = pair[1];
    d.ms = 20;
    d.count = 40;
    CHECK(pthread_create(&thread, NULL, drip, &d) == 0);
    n = read_steps(&sock, total);
    *ms = degu_now() - begin;
    pthread_join(thread, NULL);
    degu_socket_close(&sock);
    close(pair[1]);
    return n;
}

/* degu_socket.min_rate: the deadlines of many steps. */
static void test_min_rate(void)
{
    degu_time ms;
    size_t total;

    CHECK(read_drips(1000, &ms, &total) == DEGU_E_TIMEOUT);
    CHECK(ms >= 190 && ms < 600 && total < 40);
    CHECK(read_drips(0, &ms, &total) == DEGU_E_TIMEOUT);
    CHECK(ms >= 800 && total == 40); /* all of them, and then nothing */
    CHECK(read_drips(1, &ms, &total) == DEGU_E_TIMEOUT);
    CHECK(ms >= 800 && total == 40);
}

/* degu_socket: one deadline for a step, however the bytes drip. */
static void test_socket_deadlines(void)
{
    static char big[4000000];
    struct drip d;
    pthread_t thread;
    degu_socket sock;
    degu_time begin;
    degu_str piece;
    unsigned flags = DEGU_IO_BEGIN;
    ptrdiff_t n;
    char buf[8];
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(!degu_socket_init(&sock, pair[0], 200));
    d.fd = pair[1];
    d.ms = 30;
    d.count = 30;
    CHECK(pthread_create(&thread, NULL, drip, &d) == 0);
    begin = degu_now();
    do {
        n = degu_socket_recv(&sock, buf, 1, flags);
        flags = 0;
    } while (n > 0);
    CHECK(n == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    /* Each step has its own. */
    CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_BEGIN) == 1);
    pthread_join(thread, NULL);
    while (degu_socket_recv(&sock, buf, sizeof buf, DEGU_IO_PEEK) == 1)
        CHECK(degu_socket_recv(&sock, buf, sizeof buf, DEGU_IO_BEGIN) > 0);
    CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_PEEK) == DEGU_E_AGAIN);
    sock.nonblocking = true;
    CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_BEGIN) == DEGU_E_AGAIN);
    sock.nonblocking = false;
    begin = degu_now();
    CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_BEGIN) == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    /* The same if somebody has made the descriptor non-blocking. */
    CHECK(!degu_priv_set_blocking(pair[0], false));
    begin = degu_now();
    CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_BEGIN) == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    CHECK(!degu_priv_set_blocking(pair[0], true));

    /* Sending to somebody who does not read. */
    piece = degu_bytes(big, sizeof big);
    begin = degu_now();
    flags = DEGU_IO_BEGIN;
    while ((n = degu_socket_send(&sock, &piece, 1, flags)) > 0)
        flags = 0;
    CHECK(n == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    CHECK(degu_socket_send(&sock, &piece, 1, DEGU_IO_BEGIN | DEGU_IO_NOWAIT)
          == DEGU_E_AGAIN);
    close(pair[1]);
    CHECK(degu_socket_send(&sock, &piece, 1, DEGU_IO_BEGIN) == DEGU_E_RESET);
    CHECK(sock.sys_errno == EPIPE || sock.sys_errno == ECONNRESET);
    degu_socket_close(&sock);
    CHECK(sock.fd == -1);
}

/* ---- Files ---- */

enum { FILE_SIZE = 3000000 };

/* What stands at a place of the file. */
/* Over AF_UNIX send() itself waits, and the step has its deadline all the
   same; whoever takes something has more time. */
static void test_send_deadline(int timeout_ms)
{
    static char big[1000000];
    degu_str piece = degu_bytes(big, sizeof big);
    degu_address address;
    degu_socket sock;
    degu_time begin;
    ptrdiff_t n;
    int fd, peer;

    CHECK(!degu_parse_address("@", &address));
    CHECK(!degu_listen(&address, 5, 0, &fd));
    CHECK(!degu_local_address(fd, &address));
    CHECK(!degu_connect(&address, timeout_ms, &sock));
    peer = accept(fd, NULL, NULL);
    begin = degu_now();
    while ((n = degu_socket_send(&sock, &piece, 1, 0)) > 0)
        continue;
    CHECK(n == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= timeout_ms - 10);
    CHECK(degu_now() - begin < 2 * timeout_ms + 300);
    CHECK(recv(peer, big, sizeof big, 0) > 0);
    CHECK(degu_socket_send(&sock, &piece, 1, DEGU_IO_BEGIN) > 0);
    begin = 0;
    for (n = 0; n < 5; n++) { /* others may take our time */
        const degu_time at = degu_now();
        CHECK(degu_socket_send(&sock, &piece, 1, DEGU_IO_NOWAIT) ==
              DEGU_E_AGAIN);
        begin += degu_now() - at < 90;
    }
    CHECK(begin >= 3);
    degu_socket_close(&sock);
    close(peer);
    close(fd);
}

/* degu_socket.spin_us: what comes, deadlines and signals are as without. */
static void test_spin(void)
{
    struct drip d;
    pthread_t thread;
    degu_socket sock;
    degu_time begin;
    double busy = 0;
    char buf[8];
    int i, pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(!degu_socket_init(&sock, pair[0], 200));
    CHECK(sock.spin_us == 0);
    sock.spin_us = DEGU_SPIN_MAX_US + 1; /* as the most that may be */
    sock.timeout_ms = PATIENCE;
    d.fd = pair[1];
    d.ms = 20;
    d.count = 5;
    CHECK(pthread_create(&thread, NULL, drip, &d) == 0);
    for (i = 0; i < 5; i++)
        CHECK(degu_socket_recv(&sock, buf, 1, DEGU_IO_BEGIN) == 1);
    pthread_join(thread, NULL);
    sock.spin.rest = sock.spin.misses = 0;
    sock.timeout_ms = 200;
    /* Nobody sends: it spins for the whole of the first step, not one after
       another. */
    for (i = 0; i < 2; i++) {
        begin = degu_now();
        busy = cpu_seconds();
        CHECK(degu_socket_recv(&sock, buf, 8, DEGU_IO_BEGIN) ==
              DEGU_E_TIMEOUT);
        busy = cpu_seconds() - busy;
        CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
        CHECK(sock.spin.misses == 1 && sock.spin.rest == 1 - i);
    }
    CHECK(busy < 0.1);
    sock.spin_us = 20000;
    begin = degu_now();
    CHECK(degu_socket_recv(&sock, buf, 8, DEGU_IO_BEGIN) == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    CHECK(sock.spin.misses == 2 && sock.spin.rest == 3);
    /* The same for whoever reads by other means. */
    sock.spin.rest = 0;
    begin = degu_now();
    CHECK(degu_socket_wait(&sock, false, DEGU_IO_BEGIN) == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 600);
    CHECK(sock.spin.misses == 3 && sock.spin.rest == 7);
    CHECK(write(pair[1], "x", 1) == 1);
    sock.spin.rest = 0;
    CHECK(!degu_socket_wait(&sock, false, DEGU_IO_BEGIN));
    CHECK(sock.spin.misses == 3); /* found at once: nothing was learned */
    CHECK(degu_socket_recv(&sock, buf, 8, DEGU_IO_BEGIN) == 1);
    /* In vain for ever: a spin now and then. */
    sock.spin_us = 1;
    sock.timeout_ms = 1;
    for (i = 0; i < 9; i++, sock.spin.rest = 0)
        CHECK(degu_socket_recv(&sock, buf, 8, DEGU_IO_BEGIN) ==
              DEGU_E_TIMEOUT);
    CHECK(degu_socket_recv(&sock, buf, 8, DEGU_IO_BEGIN) == DEGU_E_TIMEOUT);
    CHECK(sock.spin.misses == 10 && sock.spin.rest == 1023);
    degu_socket_close(&sock);
    close(pair[1]);
}

static char byte_at(size_t pos)
{
    return (char)(pos % 251 + pos / 251 % 5);
}

/* The file, without a name, at its start. */
static int make_file(void)
{
    static char block[FILE_SIZE];
    char path[300];
    size_t i;
    int fd;

    for (i = 0; i < FILE_SIZE; i++)
        block[i] = byte_at(i);
    snprintf(path, sizeof path, "%s/file-XXXXXX", scratch);
    fd = mkstemp(path);
    CHECK(fd >= 0 && unlink(path) == 0);
    CHECK(write(fd, block, sizeof block) == sizeof block);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

struct reading {
    int fd;
    size_t total;
    size_t wrong;
};

/* The other end of a connection through which the file comes. */
static void *compare(void *ctx)
{
    struct reading *r = ctx;
    char got[10000];
    ssize_t n, i;

    while ((n = read(r->fd, got, sizeof got)) > 0)
        for (i = 0; i < n; i++)
            r->wrong += got[i] != byte_at(r->total++);
    return NULL;
}

/* proc: one that the kernel cannot send by itself. */
static void test_send_file(bool proc)
{
    const int file = proc ? open("/proc/self/environ", O_RDONLY) : make_file();
    struct reading reading;
    uint64_t sent = 0;
    pthread_t thread;
    degu_socket sock;
    ptrdiff_t n;
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(degu_socket_init(&sock, pair[0], PATIENCE) == DEGU_OK);
    memset(&reading, 0, sizeof reading);
    reading.fd = pair[1];
    CHECK(pthread_create(&thread, NULL, compare, &reading) == 0);
    do {
        n = degu_socket_send_file(&sock, file, FILE_SIZE - sent,
                                  DEGU_IO_BEGIN);
        sent += n > 0 ? (uint64_t)n : 0;
    } while (n > 0 && sent < FILE_SIZE);
    CHECK((fcntl(sock.fd, F_GETFL) & O_NONBLOCK) == 0);
    CHECK(n == 0 || sent == FILE_SIZE);
    CHECK(degu_socket_send_file(&sock, file, 1, DEGU_IO_BEGIN) == 0);
    CHECK((uint64_t)lseek(file, 0, SEEK_CUR) == sent);
    degu_socket_close(&sock);
    pthread_join(thread, NULL);
    CHECK(reading.total == sent && (proc || sent == FILE_SIZE));
    CHECK(proc || reading.wrong == 0);
    close(file);
    close(pair[1]);
}

static void test_send_file_errors(void)
{
    const int file = make_file();
    degu_socket sock;
    int pair[2];
    ptrdiff_t n;
    degu_time begin;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(degu_socket_init(&sock, pair[0], 200) == DEGU_OK);
    CHECK(degu_socket_send_file(&sock, -1, 1, DEGU_IO_BEGIN) < 0);
    do
        n = degu_socket_send_file(&sock, file, FILE_SIZE,
                                  DEGU_IO_BEGIN | DEGU_IO_NOWAIT);
    while (n > 0);
    CHECK(n == DEGU_E_AGAIN);
    begin = degu_now();
    CHECK(degu_socket_send_file(&sock, file, FILE_SIZE, DEGU_IO_BEGIN) ==
          DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 1000);
    close(pair[1]);
    /* SIGPIPE would end this program. */
    CHECK(degu_socket_send_file(&sock, file, FILE_SIZE, DEGU_IO_BEGIN) ==
          DEGU_E_RESET);
    CHECK(sock.sys_errno == EPIPE);
    degu_socket_close(&sock);
    close(file);
}

static void *fill_pipe(void *ctx)
{
    static char block[FILE_SIZE];
    const int *fd = ctx;
    size_t i;

    for (i = 0; i < FILE_SIZE; i++)
        block[i] = byte_at(i);
    CHECK(write(*fd, block, sizeof block) == sizeof block);
    close(*fd);
    return NULL;
}

/* What was read from a pipe cannot be put back when it is sent in parts. */
static void test_send_pipe(void)
{
    const int little = 1;
    struct reading reading;
    pthread_t writer, reader;
    uint64_t sent = 0;
    degu_socket sock;
    ptrdiff_t n;
    int pair[2], source[2];

    CHECK(pipe(source) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(degu_socket_init(&sock, pair[0], PATIENCE) == DEGU_OK);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    memset(&reading, 0, sizeof reading);
    reading.fd = pair[1];
    CHECK(pthread_create(&writer, NULL, fill_pipe, &source[1]) == 0);
    CHECK(pthread_create(&reader, NULL, compare, &reading) == 0);
    do {
        n = degu_socket_send_file(&sock, source[0], FILE_SIZE, DEGU_IO_BEGIN);
        sent += n > 0 ? (uint64_t)n : 0;
    } while (n > 0);
    CHECK(n == 0 && sent == FILE_SIZE);
    degu_socket_close(&sock);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    CHECK(reading.total == FILE_SIZE && reading.wrong == 0);
    close(source[0]);
    close(pair[1]);
}

struct leaving {
    int fd;
    int delay;
    int go; /* atomically: both begin at the same time */
};

static void *hang_up(void *ctx)
{
    const struct leaving *l = ctx;
    char got[65536];
    volatile int i;

    while (!__atomic_load_n(&l->go, __ATOMIC_SEQ_CST))
        continue;
    for (i = 0; i < l->delay; i++)
        continue;
    /* With something unread it would be a reset, and no signal. */
    (void)!recv(l->fd, got, sizeof got, MSG_DONTWAIT);
    close(l->fd);
    return NULL;
}

/* The kernel may have sent a part before it finds that nobody listens: the
   signal comes all the same, and would end this program. */
static void test_no_sigpipe(void)
{
    const int file = make_file(), large = 1 << 22;
    struct leaving leaving;
    int round;

    for (round = 0; round < 1000; round++) {
        pthread_t thread;
        degu_socket sock;
        int pair[2];
        ptrdiff_t n;

        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        CHECK(degu_socket_init(&sock, pair[0], PATIENCE) == DEGU_OK);
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
        CHECK(lseek(file, 0, SEEK_SET) == 0);
        leaving.fd = pair[1];
        leaving.delay = round * 40;
        leaving.go = 0;
        CHECK(pthread_create(&thread, NULL, hang_up, &leaving) == 0);
        __atomic_store_n(&leaving.go, 1, __ATOMIC_SEQ_CST);
        do
            n = degu_socket_send_file(&sock, file, FILE_SIZE, DEGU_IO_BEGIN);
        while (n > 0);
        CHECK(n == 0 || n == DEGU_E_RESET);
        pthread_join(thread, NULL);
        degu_socket_close(&sock);
    }
    close(file);
}

static degu_err handle_file(degu_session *session, const degu_request *request)
{
    degu_file file;
    degu_err err;

    file.socket = session->socket;
    file.fd = make_file();
    if (degu_is(request->path, "/short"))
        CHECK(lseek(file.fd, 6, SEEK_SET) == 6);
    err = degu_send_response(session->conn, 200, degu_string("OK"), NULL, 0,
                             degu_body_file(&file, FILE_SIZE));
    close(file.fd);
    return err;
}

static void test_file_body(const char *address)
{
    static char got[2 * FILE_SIZE + 1000];
    size_t total, head, close_len, wrong = 0, i;
    struct fixture f;
    int fd;

    prepare(&f, 4);
    f.config.handler = handle_file;
    launch(&f, address, 1);
    fd = dial(f.address);
    put(fd, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nconnection: close"
            "\r\n\r\n");
    total = get_all(fd, got, sizeof got);
    head = strlen("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n");
    close_len = strlen("connection: close\r\n");
    CHECK(total == 2 * (head + FILE_SIZE) + close_len);
    for (i = 0; i < FILE_SIZE; i++)
        wrong += got[head + i] != byte_at(i) ||
                 got[total - FILE_SIZE + i] != byte_at(i);
    CHECK(wrong == 0);
    close(fd);
    fd = dial(f.address);
    put(fd, "GET /short HTTP/1.1\r\n\r\n");
    CHECK(get_all(fd, got, sizeof got) == head + FILE_SIZE - 6);
    close(fd);
    finish(&f);
}

/* ---- Many connections ---- */

static void test_busy(void)
{
    struct fixture f;
    char answer[4096];
    int fds[2], extra[40], i, before;

    prepare(&f, 2);
    f.config.on_refuse = on_refuse;
    launch(&f, "127.0.0.1:0", 1);
    before = count_fds();
    for (i = 0; i < 2; i++) {
        fds[i] = dial(f.address);
        put(fds[i], "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fds[i], "hello, world"));
    }
    for (i = 0; i < 40; i++) {
        const degu_time begin = degu_now();
        extra[i] = dial(f.address);
        get_all(extra[i], answer, sizeof answer);
        CHECK(is_bare(answer, 503));
        CHECK(degu_now() - begin < 500);
        put(fds[0], "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fds[0], "hello, world"));
    }
    for (i = 0; i < 40; i++)
        close(extra[i]);
    close(fds[0]);
    close(fds[1]);
    CHECK(fds_return_to(before));
    EXPECT_HELLO(&f);
    CHECK(reaches(&f.refusals, 40));
    finish(&f);
    CHECK(f.refusals == 40);
}

/* A connection that is not accepted yet, as there is no descriptor left; all
   there were are in fds. */
struct shortage {
    struct rlimit old;
    int fds[8];
    int waiting;
};

static void run_short(struct shortage *s, const char *address, int like)
{
    degu_address where;
    degu_priv_sockaddr sa;
    struct rlimit low;
    socklen_t len;
    int i;

    s->waiting = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(degu_priv_limit(s->waiting, SO_RCVTIMEO, PATIENCE));
    for (i = 0; i < 8; i++)
        s->fds[i] = dup(like);
    CHECK(getrlimit(RLIMIT_NOFILE, &s->old) == 0);
    low = s->old;
    low.rlim_cur = (rlim_t)s->fds[7] + 1; /* not one more */
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK(!degu_parse_address(address, &where));
    len = degu_priv_to_sockaddr(&where, &sa);
    CHECK(connect(s->waiting, &sa.any, len) == 0);
    put(s->waiting, "GET /hello HTTP/1.1\r\n\r\n");
}

static void relieve(struct shortage *s)
{
    int i;

    for (i = 0; i < 8; i++)
        close(s->fds[i]);
    CHECK(get_until(s->waiting, "hello, world"));
    CHECK(setrlimit(RLIMIT_NOFILE, &s->old) == 0);
    close(s->waiting);
}

static void test_emfile(void)
{
    struct shortage s;
    struct fixture f;
    double cpu;
    int first;

    prepare(&f, 32);
    launch(&f, "127.0.0.1:0", 2);
    first = dial(f.address);
    put(first, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(first, "hello, world"));
    run_short(&s, f.address, first);
    cpu = cpu_seconds();
    poll(NULL, 0, 500);
    cpu = cpu_seconds() - cpu;
    CHECK(cpu < 0.1);
    put(first, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(first, "hello, world"));
    relieve(&s);
    close(first);
    EXPECT_HELLO(&f);
    finish(&f);
}

#if !defined(UNDER_VALGRIND) && !defined(DEGU_PRIV_POLL)
/* The kernel has no memory either to watch the listener again, which is tried
   when a connection goes, and each 100 ms. */
static void test_no_memory(bool goes)
{
    struct shortage s;
    struct fixture f;
    int first;

    prepare(&f, 32);
    launch(&f, "127.0.0.1:0", 1);
    first = dial(f.address);
    put(first, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(first, "hello, world"));
    store(&refused, 0);
    store(&unwatched, 0);
    store(&unwatchable, f.server.listener);
    run_short(&s, f.address, first);
    CHECK(reaches(&unwatched, 1));
    if (goes)
        close(first);
    CHECK(reaches(&refused, 3));
    store(&unwatchable, -1);
    relieve(&s);
    EXPECT_HELLO(&f);
    if (!goes)
        close(first);
    finish(&f);
}
#endif

static void test_half_heard(void)
{
    struct fixture f;
    static int fds[200];
    size_t i;

    prepare(&f, 210);
    launch(&f, "@", 1);
    for (i = 0; i < 200; i++) {
        fds[i] = dial(f.address);
        put(fds[i], i % 2 ? "GET /hello HTTP/1.1\r\nx: " : "G");
    }
    EXPECT_HELLO(&f);
    for (i = 0; i < 200; i++) {
        put(fds[i], i % 2 ? "y\r\n\r\n" : "ET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fds[i], "hello, world"));
        close(fds[i]);
    }
    finish(&f);
}

static void test_pipelining(void)
{
    static const char one[] = "GET /hello HTTP/1.1\r\n\r\n";
    static char all[100 * sizeof one];
    static char answers[65536];
    struct fixture f;
    const char *at = answers;
    int fd, other, n = 0;
    size_t len;

    for (len = 0; n < 100; n++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s", one);
    prepare(&f, 4);
    launch(&f, "127.0.0.1:0", 1);
    fd = dial(f.address);
    other = dial(f.address);
    put(fd, all);
    put(other, one);
    CHECK(get_until(other, "hello, world"));
    shutdown(fd, SHUT_WR);
    get_all(fd, answers, sizeof answers);
    for (n = 0; (at = strstr(at, "hello, world")) != NULL; n++)
        at++;
    CHECK(n == 100 && load(&f.calls) == 101);
    close(fd);
    /* Cut in the middle of heads. */
    fd = dial(f.address);
    for (len = 0; len < strlen(all); len += 37) {
        const size_t rest = strlen(all) - len;
        put_bytes(fd, all + len, rest < 37 ? rest : 37);
    }
    shutdown(fd, SHUT_WR);
    get_all(fd, answers, sizeof answers);
    for (n = 0, at = answers; (at = strstr(at, "hello, world")) != NULL; n++)
        at++;
    CHECK(n == 100);
    close(fd);
    close(other);
    finish(&f);
}

/* An io of the program's own, as TLS is one: it reads ahead, so that the
   poller cannot tell of what it holds, and gives little at a time. */
struct ahead {
    degu_socket *socket;
    char bytes[4096];
    size_t pos, end;
};

static ptrdiff_t ahead_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    struct ahead *a = ctx;
    const size_t most = len < 7 ? len : 7;
    size_t n = a->end - a->pos;

    if (n == 0) {
        const ptrdiff_t got =
            degu_socket_recv(a->socket, a->bytes, sizeof a->bytes, flags);
        if (got <= 0)
            return got;
        a->pos = 0;
        a->end = n = (size_t)got;
    }
    n = n < most ? n : most;
    memcpy(buf, a->bytes + a->pos, n);
    a->pos += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t ahead_send(void *ctx, const degu_str *pieces, size_t count,
                            unsigned flags)
{
    struct ahead *a = ctx;

    return degu_socket_send(a->socket, pieces, count, flags);
}

static degu_err put_ahead(degu_session *session)
{
    static struct ahead ahead;
    degu_io io;

    ahead.socket = session->socket;
    ahead.pos = ahead.end = 0;
    io.ctx = &ahead;
    io.recv = ahead_recv;
    io.send = ahead_send;
    degu_conn_set_io(session->conn, io);
    return DEGU_OK;
}

static void test_foreign_io(void)
{
    struct fixture f;
    char answers[65536];
    const char *at = answers;
    int fd, i, n;

    prepare(&f, 1);
    f.config.on_connect = put_ahead;
    launch(&f, "@", 2);
    fd = dial(f.address);
    for (i = 0; i < 50; i++)
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
    put(fd, "PUT /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nahead");
    CHECK(get_until(fd, "\r\n\r\nahead"));
    for (i = 0; i < 50; i++) {
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
    }
    put(fd, "GET /hello HTTP/1.1\r\n\r\nGET /hello HTTP/1.1\r\n"
            "connection: close\r\n\r\n");
    get_all(fd, answers, sizeof answers);
    for (n = 0; (at = strstr(at, "hello, world")) != NULL; n++)
        at++;
    CHECK(n == 2 && load(&f.calls) == 103);
    close(fd);
    finish(&f);
}

static void test_max_requests(void)
{
    struct fixture f;
    char answer[4096];
    int fd;

    prepare(&f, 4);
    f.config.max_requests = 2;
    launch(&f, "@", 1);
    fd = dial(f.address);
    put(fd, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(fd, "hello, world"));
    put(fd, "GET /hello HTTP/1.1\r\n\r\nGET /hello HTTP/1.1\r\n\r\n");
    get_all(fd, answer, sizeof answer);
    CHECK(strstr(answer, "connection: close\r\n") != NULL);
    CHECK(load(&f.calls) == 2);
    close(fd);
    finish(&f);
}

static bool is_worker(const struct fixture *f, const void *worker)
{
    return worker >= (const void *)f->threads &&
           worker < (const void *)(f->threads + 8);
}

/* What the hook was told of, of one connection after the other. */
static struct told {
    degu_exchange exchange;
    char target[16];
} told[8];
static int told_count;

static void on_exchange(degu_session *session, const degu_exchange *exchange)
{
    struct fixture *f = session->user;
    struct told *one = &told[load(&told_count)];

    CHECK(is_worker(f, session->worker));
    CHECK(session->peer.family == DEGU_UNNAMED);
    one->exchange = *exchange;
    snprintf(one->target, sizeof one->target, "%.*s",
             (int)exchange->target.len,
             exchange->target.ptr ? exchange->target.ptr : "-");
    add(&told_count, 1);
}

/* Sends, reads to the end, and has been told of count exchanges then. */
static size_t converse(struct fixture *f, const char *text, int count)
{
    static char answer[8192];
    size_t len;
    int fd = dial(f->address);

    put(fd, text);
    shutdown(fd, SHUT_WR);
    len = get_all(fd, answer, sizeof answer);
    close(fd);
    CHECK(reaches(&told_count, count));
    return len;
}

static void test_exchange_hook(void)
{
    static const char one[] = "GET /hello HTTP/1.1\r\n\r\n";
    static const char two[] = "POST /echo HTTP/1.1\r\n"
                              "content-length: 5\r\n\r\nhello";
    static const char bad[] = "GET /a b HTTP/1.1\r\n\r\n";
    static const char half[] = "GET /half HTTP/1.1\r\n\r\n";
    struct fixture f;
    char text[256];
    size_t len;
    int i;

    prepare(&f, 4);
    f.config.on_exchange = on_exchange;
    f.config.head_timeout_ms = 200;
    store(&told_count, 0);
    launch(&f, "@", 1);
    snprintf(text, sizeof text, "%s%s", one, two);
    len = converse(&f, text, 2);
    CHECK(told[0].exchange.method == DEGU_GET);
    CHECK(!strcmp(told[0].target, "/hello"));
    CHECK(told[0].exchange.bytes_in == strlen(one));
    CHECK(told[1].exchange.method == DEGU_POST);
    CHECK(!strcmp(told[1].target, "/echo"));
    CHECK(told[1].exchange.bytes_in == strlen(two));
    CHECK(told[0].exchange.bytes_out + told[1].exchange.bytes_out == len);
    for (i = 0; i < 2; i++) {
        CHECK(told[i].exchange.status == 200 && !told[i].exchange.why);
        CHECK(told[i].exchange.duration_ns > 0);
        CHECK(told[i].exchange.duration_ns < 10000000000);
    }
    len = converse(&f, bad, 3);
    CHECK(told[2].exchange.status == 400 && !told[2].exchange.target.ptr);
    CHECK(told[2].exchange.bytes_in == strlen(bad));
    CHECK(told[2].exchange.bytes_out == len);
    CHECK(told[2].exchange.why == DEGU_E_VERSION ||
          told[2].exchange.why == DEGU_E_START_LINE);
    converse(&f, half, 4); /* an answer that is cut */
    CHECK(told[3].exchange.status == 200 &&
          told[3].exchange.why == DEGU_E_SOURCE);
    converse(&f, "GET /fail HTTP/1.1\r\n\r\n", 5);
    CHECK(told[4].exchange.status == 500 &&
          told[4].exchange.why == DEGU_E_HANDLER);
    i = dial(f.address); /* a head that does not come in time */
    put(i, "GET /");
    CHECK(reaches(&told_count, 6));
    close(i);
    CHECK(told[5].exchange.status == 408 &&
          told[5].exchange.why == DEGU_E_TIMEOUT);
    CHECK(told[5].exchange.bytes_in == 5);
    finish(&f);
    CHECK(load(&told_count) == 6); /* an idle connection is no exchange */
}

/* ---- Threads ---- */

static void test_takeover(void)
{
    struct fixture f;
    int slow[3], fd, i;

    prepare(&f, 8);
    f.config.on_shortage = on_shortage;
    launch(&f, "127.0.0.1:0", 3);
    for (i = 0; i < 2; i++) {
        slow[i] = dial(f.address);
        put(slow[i], "GET /wait HTTP/1.1\r\n\r\n");
        CHECK(reaches(&f.inside, i + 1));
        fd = dial(f.address);
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
        close(fd);
    }
    CHECK(reaches(&f.shortages, 1));
    /* The last one is busy too: nobody is left, until one comes back. */
    slow[2] = dial(f.address);
    put(slow[2], "GET /wait HTTP/1.1\r\n\r\n");
    CHECK(reaches(&f.inside, 3));
    fd = dial(f.address);
    put(fd, "GET /hello HTTP/1.1\r\n\r\n");
    put(slow[0], "GET /hello HTTP/1.1\r\n\r\n"); /* behind the one in hand */
    CHECK(write(f.gate[1], "123", 3) == 3);
    CHECK(get_until(fd, "hello, world"));
    CHECK(get_until(slow[1], "waited"));
    CHECK(get_until(slow[2], "waited"));
    CHECK(get_until(slow[0], "hello, world"));
    put(slow[1], "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(slow[1], "hello, world"));
    for (i = 0; i < 3; i++)
        close(slow[i]);
    close(fd);
    finish(&f);
}

/* While a body is read in one thread, the poller of the next must not be told
   of its bytes again and again. */
static void test_no_spin(void)
{
    struct fixture f;
    double cpu;
    int fd, i;

    prepare(&f, 8);
    launch(&f, "127.0.0.1:0", 2);
    fd = dial(f.address);
    put(fd, "PUT /wait HTTP/1.1\r\ncontent-length: 9\r\n\r\n1");
    CHECK(reaches(&f.inside, 1));
    for (i = 0; i < 3; i++) { /* so that somebody else surely polls */
        put(fd, "x");
        EXPECT_HELLO(&f);
    }
    shutdown(fd, SHUT_WR);
    cpu = cpu_seconds();
    poll(NULL, 0, 300);
    CHECK(cpu_seconds() - cpu < 0.1);
    CHECK(write(f.gate[1], "1", 1) == 1);
    CHECK(get_until(fd, "waited"));
    close(fd);
    finish(&f);
}

/* Requests without a pause until it is told to stop, or is. */
struct hammer {
    const char *address;
    int done;
    int enough;
    degu_err end;
};

static void *hammer(void *ctx)
{
    static __thread degu_client client;
    struct hammer *h = ctx;
    degu_response response;
    char body[64];
    size_t len;

    h->end = degu_client_open(&client, h->address, PATIENCE);
    client.socket.spin_us = spin_us;
    while (!h->end && !load(&h->enough)) {
        h->end = degu_client_get(&client, "/hello", &response);
        if (!h->end)
            h->end = read_all(&client.conn, body, sizeof body, &len);
        add(&h->done, 1);
    }
    degu_client_close(&client);
    return NULL;
}

/* One connection that is always busy does not starve the others, whether
   they are new, idle, or slow. */
static void test_greedy(const char *address, int threads)
{
    struct fixture f;
    struct hammer h;
    pthread_t thread;
    char byte;
    int fd, slow, i, before;

    prepare(&f, 8);
    launch(&f, address, threads);
    fd = dial(f.address);
    memset(&h, 0, sizeof h);
    h.address = f.address;
    CHECK(!pthread_create(&thread, NULL, hammer, &h));
    CHECK(reaches(&h.done, 200));
    for (i = 0; i < 20; i++) {
        const degu_time begin = degu_now();
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
        EXPECT_HELLO(&f);
        CHECK(degu_now() - begin < 1000);
        before = load(&h.done);
        CHECK(reaches(&h.done, before + 100));
    }
    if (threads > 1) {
        slow = dial(f.address);
        put(slow, "GET /wait HTTP/1.1\r\n\r\n");
        CHECK(reaches(&f.inside, 1));
        before = load(&h.done);
        CHECK(reaches(&h.done, before + 200));
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
        CHECK(write(f.gate[1], "1", 1) == 1);
        CHECK(get_until(slow, "waited"));
        close(slow);
    }
    /* It falls silent, and a body that drips has its whole time again. */
    add(&h.enough, 1);
    pthread_join(thread, NULL);
    CHECK(h.end == DEGU_OK);
    EXPECT_HELLO(&f);
    for (i = 0; i < 100; i++) {
        put(fd, "GET /hello HTTP/1.1\r\n\r\n");
        CHECK(get_until(fd, "hello, world"));
    }
    put(fd, "PUT /echo HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
    for (i = 0; i < 3; i++) {
        poll(NULL, 0, 30);
        put(fd, "x");
    }
    CHECK(get_until(fd, "\r\n\r\nxxx"));
    /* Stopped in the middle of it. */
    h.done = h.enough = 0;
    CHECK(!pthread_create(&thread, NULL, hammer, &h));
    CHECK(reaches(&h.done, 200));
    finish(&f);
    pthread_join(thread, NULL);
    /* FINISHED: the last answer, a 503, said that no more would come. */
    CHECK(h.end == DEGU_E_CLOSED || h.end == DEGU_E_RESET ||
          h.end == DEGU_E_FINISHED);
    CHECK(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

static void *storm(void *ctx)
{
    static __thread degu_client client;
    const char *address = ctx;
    degu_response response;
    char body[256];
    size_t len;
    int i;

    for (i = 0; i < 150; i++) {
        const bool slow = i % 25 == 7;
        if (i % 50 == 0) {
            if (i)
                degu_client_close(&client);
            CHECK(!degu_client_open(&client, address, PATIENCE));
            client.socket.spin_us = spin_us;
        }
        CHECK(!degu_client_get(&client, slow ? "/wait" : "/hello", &response));
        CHECK(!read_all(&client.conn, body, sizeof body, &len));
        CHECK(len == (slow ? 6 : 12));
    }
    degu_client_close(&client);
    return NULL;
}

static void test_storm(const char *address, int threads)
{
    struct fixture f;
    pthread_t clients[6];
    char bytes[36];
    int i, before = count_fds();

    /* More than there are clients: one may be back before the server has
       seen that it went. */
    prepare(&f, 12);
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, address, threads);
    for (i = 0; i < 6; i++)
        CHECK(!pthread_create(&clients[i], NULL, storm, f.address));
    memset(bytes, '1', sizeof bytes);
    for (i = 0; i < 36; i++) { /* each waits for a few others */
        CHECK(reaches(&f.inside, i + 1));
        if (i % 2)
            poll(NULL, 0, 3);
        CHECK(write(f.gate[1], bytes, 1) == 1);
    }
    for (i = 0; i < 6; i++)
        pthread_join(clients[i], NULL);
    CHECK(load(&f.calls) == 6 * 150);
    CHECK(reaches(&f.closed, 18));
    finish(&f);
    CHECK(load(&f.greeted) == 18 && load(&f.closed) == 18);
    CHECK(count_fds() == before);
}

/* ---- Stopping ---- */

static void test_stop(int threads)
{
    struct fixture f;
    degu_time begin;
    char answer[4096];
    int idle, half, busy;

    prepare(&f, 8);
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, "127.0.0.1:0", threads);
    idle = dial(f.address);
    half = dial(f.address);
    put(idle, "GET /hello HTTP/1.1\r\n\r\n");
    CHECK(get_until(idle, "hello, world"));
    put(half, "GET /hel");
    CHECK(reaches(&f.greeted, 2));
    busy = dial(f.address);
    put(busy, "GET /wait HTTP/1.1\r\n\r\n");
    CHECK(reaches(&f.inside, 1));
    begin = degu_now();
    degu_server_stop(&f.server);
    degu_server_stop(&f.server);
    if (threads > 1) {
        CHECK(is_closed(idle));
        CHECK(get_all(half, answer, sizeof answer) == 0);
    }
    CHECK(write(f.gate[1], "1", 1) == 1);
    get_all(busy, answer, sizeof answer);
    CHECK(strstr(answer, "waited") != NULL);
    close(busy);
    join(&f);
    CHECK(degu_now() - begin < 1000);
    CHECK(load(&f.closed) == 3);
    close(idle);
    close(half);
}

/* A handler that outlasts stop_ms is cut, and fails. */
static void test_stop_deadline(void)
{
    struct fixture f;
    degu_time begin;
    int busy;

    prepare(&f, 8);
    f.config.stop_ms = 200;
    launch(&f, "127.0.0.1:0", 3);
    busy = dial(f.address);
    put(busy, "PUT /body HTTP/1.1\r\ncontent-length: 10\r\n\r\n");
    CHECK(reaches(&f.inside, 1));
    begin = degu_now();
    degu_server_stop(&f.server);
    CHECK(is_closed(busy));
    join(&f);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 1500);
    close(busy);
}

static degu_err answer_much(degu_session *session,
                            const degu_request *request)
{
    static const char big[4000000];
    struct fixture *f = session->user;

    (void)request;
    add(&f->inside, 1);
    return degu_send_response(session->conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(big, sizeof big));
}

/* The same for one that sends to somebody who takes nothing. */
static void test_stop_sending(void)
{
    struct fixture f;
    degu_time begin;
    int busy;

    prepare(&f, 8);
    f.config.handler = answer_much;
    f.config.stop_ms = 200;
    launch(&f, "@", 3);
    busy = dial(f.address);
    put(busy, "GET / HTTP/1.1\r\n\r\n");
    CHECK(reaches(&f.inside, 1));
    begin = degu_now();
    finish(&f);
    CHECK(degu_now() - begin >= 190 && degu_now() - begin < 1500);
    close(busy);
}

/* Who takes nothing over AF_UNIX is not waited for longer than a step. */
static void test_answer_deadline(void)
{
    struct fixture f;
    degu_time begin;
    int busy;

    prepare(&f, 8);
    f.config.handler = answer_much;
    f.config.body_timeout_ms = 300;
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    launch(&f, "@", 1);
    busy = dial(f.address);
    begin = degu_now();
    put(busy, "GET / HTTP/1.1\r\n\r\n");
    CHECK(reaches(&f.closed, 1));
    CHECK(degu_now() - begin >= 290 && degu_now() - begin < 1500);
    close(busy);
    finish(&f);
}

static degu_server *signalled;

static void stop_on_signal(int number)
{
    (void)number;
    degu_server_stop(signalled);
}

static void test_stop_by_signal(void)
{
    struct fixture f;
    struct sigaction action, old;

    prepare(&f, 4);
    launch(&f, "@", 2);
    EXPECT_HELLO(&f);
    signalled = &f.server;
    memset(&action, 0, sizeof action);
    action.sa_handler = stop_on_signal;
    sigaction(SIGUSR1, &action, &old);
    raise(SIGUSR1);
    join(&f);
    sigaction(SIGUSR1, &old, NULL);
}

static void ignore_signal(int number)
{
    (void)number;
}

static int leave;

static bool on_signal(void *user, void *worker)
{
    (void)user;
    (void)worker;
    return load(&leave) != 0;
}

/* One call is interrupted, whoever it is; the others go on. */
static void test_interrupt(void)
{
    struct fixture f;
    struct sigaction action, old;
    int i, n = 0;

    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal;
    sigaction(SIGUSR1, &action, &old);
    prepare(&f, 4);
    f.config.on_signal = on_signal;
    leave = 0;
    launch(&f, "@", 3);
    EXPECT_HELLO(&f);
    for (i = 0; i < 2; i++)
        pthread_kill(f.threads[i], SIGUSR1);
    EXPECT_HELLO(&f);
    add(&leave, 1);
    for (i = 0; i < 2; i++) {
        EXPECT_HELLO(&f);
        /* Until it finds the thread asleep in a system call. */
        while (pthread_kill(f.threads[i], SIGUSR1) == 0) {
            void *result;
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 20000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            if (pthread_timedjoin_np(f.threads[i], &result, &until) == 0)
                break;
        }
    }
    EXPECT_HELLO(&f);
    degu_server_stop(&f.server);
    pthread_join(f.threads[2], NULL);
    for (i = 0; i < 3; i++)
        n += f.results[i] == DEGU_E_INTERRUPTED;
    CHECK(n == 2);
    f.started = 0; /* all are joined */
    join(&f);
    sigaction(SIGUSR1, &old, NULL);
}

/* ---- Overload ---- */

/* What a connection keeps between its requests, and changes without a lock:
   the server hands it from thread to thread, and never to two at a time. */
struct visit {
    struct fixture *f;
    int requests;
};

static degu_err handle_visit(degu_session *session,
                             const degu_request *request)
{
    struct visit *visit = session->data;

    CHECK(visit->f == session->user);
    visit->requests++;
    if (degu_is(request->path, "/pause")) {
        poll(NULL, 0, 4); /* longer than takeover_ms */
        return degu_reply(session->conn, 200, "OK", "hello, world");
    }
    return handle(session, request);
}

/* Sends every seventh away. */
static degu_err begin_visit(degu_session *session)
{
    struct fixture *f = session->user;
    struct visit *visit = calloc(1, sizeof *visit);

    visit->f = f;
    session->data = visit;
    return add(&f->greeted, 1) % 7 == 0 ? DEGU_E_HANDLER : DEGU_OK;
}

static void end_visit(degu_session *session, degu_err why)
{
    struct visit *visit = session->data;

    add(&visit->f->finished, visit->requests);
    add(&visit->f->errors, why != DEGU_OK);
    add(&visit->f->closed, 1);
    free(visit);
}

static void on_refuse_any(const degu_address *peer, void *user, void *worker)
{
    struct fixture *f = user;

    CHECK(peer->family == (f->address[0] == '@' ? DEGU_UNNAMED : DEGU_IPV4));
    CHECK(is_worker(f, worker));
    add(&f->refusals, 1);
}

static bool on_signal_any(void *user, void *worker)
{
    struct fixture *f = user;

    CHECK(is_worker(f, worker));
    add(&f->signals, 1);
    return false;
}

struct crowd {
    struct fixture *f;
    int enough;
    int answered;
    int refused; /* got a 503 */
};

/* One connection: some requests, of which one fails by design, and every
   second time a head that ends in the middle. */
static void visit_once(struct crowd *c, degu_client *client, bool torn)
{
    static const char *const paths[] = {"/hello", "/pause", "/chunks",
                                        "/hello", "/fail"};
    degu_err err = degu_client_open(client, c->f->address, PATIENCE);
    degu_response response;
    char body[64];
    size_t len, i;

    for (i = 0; !err && i < sizeof paths / sizeof paths[0] - torn; i++) {
        err = degu_client_get(client, paths[i], &response);
        if (!err)
            err = read_all(&client->conn, body, sizeof body, &len);
        if (err)
            break;
        if (response.status == 503) {
            add(&c->refused, 1);
            poll(NULL, 0, 2);
            break;
        }
        CHECK(response.status == (i < 4 ? 200 : 500));
        CHECK(len == (i == 2 ? 15 : i < 4 ? 12 : 0));
        add(&c->answered, 1);
    }
    if (!err && torn)
        put(client->socket.fd, "GET /hel");
    degu_client_close(client);
}

static void *come_and_go(void *ctx)
{
    static __thread degu_client client;
    struct crowd *c = ctx;
    int i;

    for (i = 0; !load(&c->enough); i++)
        visit_once(c, &client, i % 2);
    return NULL;
}

static void *stop(void *ctx)
{
    degu_server_stop(ctx);
    return NULL;
}

static void signal_and_wait(struct fixture *f, int thread)
{
    CHECK(!pthread_kill(f->threads[thread], SIGUSR1));
    poll(NULL, 0, 1);
}

/* More clients than places, all hooks, signals, and two who stop it while it
   goes on: every connection is accounted for. */
static void test_overload(const char *address, int threads)
{
    enum { CLIENTS = 8, PLACES = 4 };
    struct sigaction action, old;
    pthread_t clients[CLIENTS], stopper;
    struct fixture f;
    struct crowd c;
    int i, before = count_fds();

    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal;
    sigaction(SIGUSR1, &action, &old);
    prepare(&f, PLACES);
    f.config.handler = handle_visit;
    f.config.on_connect = begin_visit;
    f.config.on_close = end_visit;
    f.config.on_refuse = on_refuse_any;
    f.config.on_shortage = on_shortage;
    f.config.on_signal = on_signal_any;
    launch(&f, address, threads);
    memset(&c, 0, sizeof c);
    c.f = &f;
    /* Only who sleeps notices a signal: five do before there is a crowd, and
       of those that come later as many as it happens. */
    for (i = 0; load(&f.signals) < 5 && i < PATIENCE; i++)
        signal_and_wait(&f, i % threads);
    CHECK(load(&f.signals) >= 5);
    for (i = 0; i < CLIENTS; i++)
        CHECK(!pthread_create(&clients[i], NULL, come_and_go, &c));
    for (i = 0; i < 100; i++)
        signal_and_wait(&f, i % threads);
    CHECK(reaches(&c.answered, 400) && reaches(&c.refused, 30));
    CHECK(reaches(&f.errors, 10));
    CHECK(threads == 1 || reaches(&f.shortages, 1));
    CHECK(!pthread_create(&stopper, NULL, stop, &f.server));
    degu_server_stop(&f.server);
    pthread_join(stopper, NULL);
    join(&f);
    store(&c.enough, 1);
    for (i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    sigaction(SIGUSR1, &old, NULL);
    CHECK(f.greeted == f.closed && f.refusals >= 30);
    CHECK(f.finished >= c.answered);
    CHECK(count_fds() == before);
}

/* ---- Opening, hooks ---- */

static void test_refusing(void)
{
    struct fixture f;
    char answer[64];
    int fd;

    prepare(&f, 4);
    f.config.on_connect = on_connect;
    f.config.on_close = on_close;
    f.refuse = true;
    launch(&f, "@", 1);
    fd = dial(f.address);
    CHECK(get_all(fd, answer, sizeof answer) == 0);
    close(fd);
    CHECK(reaches(&f.closed, 1) && f.why == DEGU_E_HANDLER);
    CHECK(load(&f.calls) == 0);
    finish(&f);
}

static void test_paths(void)
{
    struct fixture f;
    char path[128];
    struct stat status;
    const mode_t mask = umask(077);
    FILE *file;
    degu_server other;

    snprintf(path, sizeof path, "%s/path", scratch);
    prepare(&f, 4);
    f.config.mode = 0666;
    launch(&f, path, 1);
    CHECK(lstat(path, &status) == 0 && (status.st_mode & 0777) == 0666);
    CHECK(degu_server_open(&other, path, &f.config) == DEGU_E_IN_USE);
    degu_server_close(&other);
    EXPECT_HELLO(&f);
    finish(&f);
    CHECK(lstat(path, &status) != 0);
    umask(mask);
    /* Somebody has put another file there: not ours to remove. */
    prepare(&f, 4);
    launch(&f, path, 1);
    CHECK(unlink(path) == 0);
    file = fopen(path, "w");
    CHECK(file != NULL);
    fclose(file);
    finish(&f);
    CHECK(lstat(path, &status) == 0 && S_ISREG(status.st_mode));
    prepare(&f, 4);
    CHECK(degu_server_open(&f.server, path, &f.config) == DEGU_E_IN_USE);
    finish(&f);
    CHECK(lstat(path, &status) == 0);
    unlink(path);
}

static void test_settings(void)
{
    const int before = count_fds();
    struct fixture f;
    degu_server_config config;
    degu_address address;
    int fd;

    prepare(&f, 4);
#define REFUSED(change)                                                       \
    config = f.config;                                                        \
    change;                                                                   \
    CHECK(degu_server_open(&f.server, "@", &config) == DEGU_E_ARGUMENT);      \
    degu_server_close(&f.server)
    REFUSED(config.handler = NULL);
    REFUSED(config.slots = NULL);
    REFUSED(config.max_connections = 0);
    REFUSED(config.idle_timeout_ms = -2);
    REFUSED(config.head_timeout_ms = -2);
    REFUSED(config.body_timeout_ms = -2);
    REFUSED(config.linger_ms = -1);
    REFUSED(config.stop_ms = -2);
    REFUSED(config.takeover_ms = -1);
    REFUSED(config.spin_us = DEGU_SPIN_MAX_US + 1);
    REFUSED(config.backlog = 0);
    REFUSED(config.mode = 01000);
    CHECK(degu_server_open(&f.server, "x", &f.config) == DEGU_E_ADDRESS);
    degu_server_close(&f.server);
    CHECK(degu_server_init(&f.server, -1, &f.config) == DEGU_E_SYSTEM);
    degu_server_close(&f.server);

    /* A listener of ours stays ours, and as it was. */
    CHECK(!degu_parse_address("@", &address));
    CHECK(!degu_listen(&address, 5, 0, &fd));
    CHECK(!degu_server_init(&f.server, fd, &f.config));
    CHECK(!degu_server_address(&f.server, &address));
    degu_format_address(&address, f.address);
    CHECK(pthread_create(&f.threads[0], NULL, serve, &f) == 0);
    EXPECT_HELLO(&f);
    finish(&f);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    CHECK(!degu_local_address(fd, &address));
    close(fd);
    CHECK(count_fds() == before);
}

/* ---- Client ---- */

/* Accepts once, reads a while, and says what it was told to. */
struct peer {
    int listener;
    const char *answer;
    bool early; /* answer, and close, without reading */
    pthread_t thread;
    char address[DEGU_ADDRESS_TEXT];
};

static void *play(void *ctx)
{
    struct peer *p = ctx;
    const int fd = accept(p->listener, NULL, NULL);
    char buf[4096];

    if (!p->early)
        (void)!recv(fd, buf, sizeof buf, 0);
    put(fd, p->answer);
    shutdown(fd, SHUT_WR);
    if (p->early)
        poll(NULL, 0, 50);
    close(fd);
    close(p->listener);
    return NULL;
}

static void play_peer(struct peer *p, const char *answer, bool early)
{
    degu_address address;

    p->answer = answer;
    p->early = early;
    CHECK(!degu_parse_address("@", &address));
    CHECK(!degu_listen(&address, 5, 0, &p->listener));
    CHECK(!degu_local_address(p->listener, &address));
    degu_format_address(&address, p->address);
    CHECK(!pthread_create(&p->thread, NULL, play, p));
}

static void test_client(void)
{
    static const char hello[] =
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    static degu_client client;
    static char big[4000000];
    const int before = count_fds();
    degu_response response;
    degu_header headers[DEGU_HEADER_MAX];
    struct peer p;
    char buf[64];
    size_t len, i;

    CHECK(degu_client_open(&client, "x", 100) == DEGU_E_ADDRESS);
    degu_client_close(&client);
    CHECK(degu_client_open(&client, "@degu-nobody", 100) == DEGU_E_REFUSED);
    degu_client_close(&client);

#define AGAINST(text, early)                                                  \
    play_peer(&p, text, early);                                               \
    CHECK(!degu_client_open(&client, p.address, 500))
#define DONE                                                                  \
    pthread_join(p.thread, NULL);                                             \
    degu_client_close(&client)

    AGAINST("", false);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_CLOSED);
    DONE;
    AGAINST("HTTP/1.1 200 OK\r\n", false);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_TRUNCATED);
    DONE;
    AGAINST("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", false);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_OK);
    CHECK(read_all(&client.conn, buf, sizeof buf, &len) == DEGU_E_TRUNCATED);
    DONE;
    AGAINST("HTTP/1.1 200 OK\n\n", false);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_LINE_END);
    DONE;
    AGAINST("HTTP/1.1 200 OK\r\n\r\nuntil the end", false);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_OK);
    CHECK(response.framing == DEGU_UNTIL_CLOSE);
    CHECK(!read_all(&client.conn, buf, sizeof buf, &len) && len == 13);
    DONE;
    AGAINST(hello, true);
    pthread_join(p.thread, NULL);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_UNASKED);
    degu_client_close(&client);
    AGAINST("", true);
    pthread_join(p.thread, NULL);
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_CLOSED);
    degu_client_close(&client);
    /* An early answer to a body that nobody reads to its end. */
    AGAINST("HTTP/1.1 413 Too Much\r\ncontent-length: 0\r\n"
            "connection: close\r\n\r\n", false);
    CHECK(degu_client_request(&client, DEGU_PUT, "/", NULL, 0,
                              degu_body_bytes(big, sizeof big), &response)
          == DEGU_OK);
    CHECK(response.status == 413);
    CHECK(degu_client_get(&client, "/", &response) < 0);
    DONE;
    /* One field more than the limit, with the host that is added. */
    AGAINST(hello, false);
    for (i = 0; i < DEGU_HEADER_MAX; i++) {
        headers[i].name = degu_string("x");
        headers[i].value = degu_string("y");
    }
    CHECK(degu_client_request(&client, DEGU_GET, "/", headers,
                              DEGU_HEADER_MAX, degu_no_body(), &response)
          == DEGU_E_HEADER_COUNT);
    CHECK(degu_client_request(&client, DEGU_GET, "/", headers,
                              DEGU_HEADER_MAX - 1, degu_no_body(), &response)
          == DEGU_OK);
    DONE;
    CHECK(count_fds() == before);
}

/* Nobody answers: one deadline. */
static void test_client_timeout(void)
{
    static degu_client client;
    degu_address address;
    degu_response response;
    degu_time begin;
    char text[DEGU_ADDRESS_TEXT];
    int fd;

    CHECK(!degu_parse_address("127.0.0.1:0", &address));
    CHECK(!degu_listen(&address, 5, 0, &fd));
    CHECK(!degu_local_address(fd, &address));
    CHECK(!degu_client_open(&client, degu_format_address(&address, text),
                            100));
    client.socket.spin_us = spin_us;
    begin = degu_now();
    CHECK(degu_client_get(&client, "/", &response) == DEGU_E_TIMEOUT);
    CHECK(degu_now() - begin >= 95 && degu_now() - begin < 1000);
    degu_client_close(&client);
    close(fd);
}

/* How many signals it takes to end a server that spins. */
static int interrupt_spin(void)
{
    struct fixture f;
    struct timespec until;
    void *result;
    int count = 0;

    prepare(&f, 4);
    f.config.on_signal = on_signal;
    launch(&f, "@", 1);
    EXPECT_HELLO(&f);
    do {
        pthread_kill(f.threads[0], SIGUSR1);
        count++;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 2; /* DEGU_SPIN_MAX_US and more */
    } while (pthread_timedjoin_np(f.threads[0], &result, &until));
    CHECK(f.results[0] == DEGU_E_INTERRUPTED);
    f.started = 0; /* it is joined */
    join(&f);
    return count;
}

/* A signal that comes while it spins interrupts no call, and counts all the
   same; but for one that comes in front of a wait that does not spin, and
   there is nobody to prevent that. */
static void test_interrupted_spin(void)
{
    struct sigaction action, old;
    int i = 0;

    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal;
    sigaction(SIGUSR1, &action, &old);
    leave = 1;
    while (interrupt_spin() > 1 && i < 5)
        i++;
    CHECK(i < 5);
    sigaction(SIGUSR1, &old, NULL);
}

/* Whether it pays or not, nothing else changes. */
static void test_spinning(void)
{
    spin_us = 100;
    test_greedy("127.0.0.1:0", 1);
    test_greedy("@", 3);
    test_storm("@", 1);
    test_storm("[::1]:0", 4);
    test_stop(2);
    spin_us = DEGU_SPIN_MAX_US; /* and so whatever comes, comes meanwhile */
    test_exchange();
    test_timeouts();
    test_takeover();
    test_stop(1);
    test_stop(2);
    test_stop_by_signal();
    test_interrupt();
    test_interrupted_spin();
    test_client_timeout();
    spin_us = 0;
}

int main(void)
{
    int before;

    signal(SIGPIPE, SIG_DFL); /* none may come */
    snprintf(scratch, sizeof scratch, "%s/degu-test-XXXXXX", P_tmpdir);
    if (!mkdtemp(scratch)) {
        perror(scratch);
        return 1;
    }
    before = count_fds();
    test_address_text();
    test_address_kernel();
    test_connect_errors();
    test_socket_deadlines();
    test_min_rate();
    test_send_deadline(60);
    test_send_deadline(400);
    test_spin();
    test_exchange();
    test_bad_input();
    test_bad_handlers();
    test_linger("127.0.0.1:0");
    test_linger("@");
    test_timeouts();
    test_slow_handler();
    test_fast_drip(1);
    test_fast_drip(3);
    test_send_file(false);
    test_send_file(true);
    test_send_file_errors();
    test_send_pipe();
    test_no_sigpipe();
    test_file_body("127.0.0.1:0");
    test_file_body("@");
    test_busy();
#ifndef UNDER_VALGRIND /* it accepts, sees the limit, and closes */
    test_emfile();
#else
    (void)test_emfile;
#endif
#if !defined(UNDER_VALGRIND) && !defined(DEGU_PRIV_POLL)
    test_no_memory(false);
    test_no_memory(true);
#endif
    test_half_heard();
    test_pipelining();
    test_foreign_io();
    test_max_requests();
    test_exchange_hook();
    test_takeover();
    test_no_spin();
    test_greedy("127.0.0.1:0", 1);
    test_greedy("@", 3);
    test_storm("127.0.0.1:0", 1);
    test_storm("@", 2);
    test_storm("[::1]:0", 4);
    test_storm("@", 8);
    test_stop(1);
    test_stop(2);
    test_stop(4);
    test_stop_deadline();
    test_stop_sending();
    test_answer_deadline();
    test_stop_by_signal();
    test_interrupt();
    test_spinning();
    test_overload("127.0.0.1:0", 1);
    test_overload("@", 2);
    test_overload("127.0.0.1:0", 4);
    test_refusing();
    test_paths();
    test_settings();
    test_client();
    test_client_timeout();
    CHECK(count_fds() == before);
    rmdir(scratch);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

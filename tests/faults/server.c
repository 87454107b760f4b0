/* server.c - the C server of `make faults`, as plain as a user's:
       server ADDRESS [NAME=NUMBER...]
   with the names of options() below.  Prints where it listens, and serves
   until SIGTERM.  fd:N as ADDRESS is a descriptor that listens; what systemd
   passes goes before any ADDRESS.  With files=FOLDER it sends the files there
   instead, with upstream=ADDRESS it is a proxy.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include "signals.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 128
#define THREADS (SLOTS + 1)

static degu_server server;
static degu_slot slots[SLOTS];

static uint64_t number_behind(const char *path)
{
    return strtoull(strchr(path + 1, '/') + 1, NULL, 10);
}

/* PUT and POST /count and /read: how many bytes the body has.  In Python
   /read has it whole in memory. */
static degu_err count(degu_conn *conn)
{
    char scrap[16384], text[32];
    uint64_t total = 0;
    size_t len;
    degu_err err;

    while (!(err = degu_read_body(conn, scrap, sizeof scrap, &len)))
        total += len;
    if (err != DEGU_END)
        return err;
    snprintf(text, sizeof text, "%llu", (unsigned long long)total);
    return degu_reply(conn, 200, "OK", text);
}

static degu_err pull_zeros(void *ctx, degu_str *piece)
{
    static const char zeros[65536];
    uint64_t *left = ctx;

    *piece = degu_bytes(zeros, *left < sizeof zeros ? (size_t)*left
                                                    : sizeof zeros);
    *left -= piece->len;
    return DEGU_OK;
}

/* GET /bytes/N */
static degu_err bytes(degu_conn *conn, uint64_t n)
{
    uint64_t left = n;

    return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_pull(pull_zeros, &left, n));
}

static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    uint64_t *left = ctx;

    memset(chunk, 0, sizeof *chunk);
    chunk->data = degu_bytes("x", *left ? 1 : 0);
    *left -= *left ? 1 : 0;
    return DEGU_OK;
}

/* GET /memory/N: as many bytes, out of one piece of memory. */
static degu_err memory(degu_conn *conn, size_t n)
{
    char *piece = malloc(n);
    degu_err err;

    if (!piece)
        return DEGU_E_SOURCE;
    memset(piece, 'x', n);
    err = degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                             degu_body_bytes(piece, n));
    free(piece);
    return err;
}

/* GET /run: the descriptors that a program finds open. */
static degu_err run_program(degu_conn *conn)
{
    char text[4096];
    FILE *pipe = popen("for f in /proc/$$/fd/*; do readlink $f; done; true",
                       "r");
    const size_t n = pipe ? fread(text, 1, sizeof text - 1, pipe) : 0;

    if (!pipe || pclose(pipe))
        return DEGU_E_SOURCE;
    text[n] = 0;
    return degu_reply(conn, 200, "OK", text);
}

/* GET /fork: the copy stays for three seconds. */
static degu_err fork_process(degu_conn *conn)
{
    if (fork() == 0) {
        poll(NULL, 0, 3000);
        _exit(0);
    }
    return degu_reply(conn, 200, "OK", "hello, world");
}

static degu_err handle(degu_session *session, const degu_request *request)
{
    degu_conn *conn = session->conn;
    char path[64];

    snprintf(path, sizeof path, "%.*s", (int)request->path.len,
             request->path.ptr);
    if (!strcmp(path, "/hello"))
        return degu_reply(conn, 200, "OK", "hello, world");
    if (!strcmp(path, "/count") || !strcmp(path, "/read"))
        return count(conn);
    if (!strcmp(path, "/echo"))
        return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                                  degu_body_relay(conn));
    if (!strncmp(path, "/bytes/", 7))
        return bytes(conn, number_behind(path));
    if (!strcmp(path, "/run"))
        return run_program(conn);
    if (!strcmp(path, "/fork"))
        return fork_process(conn);
    if (!strcmp(path, "/fail"))
        return DEGU_E_SOURCE;
    if (!strncmp(path, "/memory/", 8))
        return memory(conn, (size_t)number_behind(path));
    if (!strncmp(path, "/chunks/", 8)) {
        uint64_t left = number_behind(path);
        return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                                  degu_body_chunks(next_chunk, &left));
    }
    if (!strncmp(path, "/sleep/", 7)) { /* milliseconds */
        poll(NULL, 0, (int)number_behind(path));
        return degu_reply(conn, 200, "OK", "hello, world");
    }
    return degu_reply(conn, 404, "Not Found", "");
}

/* ---- Files: of one folder, by the name alone ---- */

static degu_err send_file(degu_session *session, const degu_request *request)
{
    const int *folder = session->user;
    struct stat info;
    degu_file file;
    degu_err err;
    char name[64];

    snprintf(name, sizeof name, "%.*s", (int)request->path.len - 1,
             request->path.ptr + 1);
    file.socket = session->socket;
    file.fd = openat(*folder, name, O_RDONLY | O_CLOEXEC);
    if (file.fd < 0 || fstat(file.fd, &info))
        err = degu_reply(session->conn, 404, "Not Found", "");
    else
        err = degu_send_response(
            session->conn, 200, degu_string("OK"), NULL, 0,
            degu_body_file(&file, (uint64_t)info.st_size));
    if (file.fd >= 0)
        close(file.fd);
    return err;
}

/* ---- A proxy: each connection has one of its own to the upstream ---- */

static char upstream[DEGU_ADDRESS_TEXT];
static int patience = 65000; /* ms */

static degu_err open_upstream(degu_session *session)
{
    degu_client *client = calloc(1, sizeof *client);

    if (!client)
        return DEGU_E_HANDLER;
    client->socket.fd = -1;
    session->data = client;
    return DEGU_OK;
}

static void close_upstream(degu_session *session, degu_err why)
{
    degu_client *client = session->data;

    (void)why;
    if (client)
        degu_client_close(client);
    free(client);
}

/* On the connection that was kept, if it is good still. */
static degu_err ask_upstream(degu_session *session,
                             const degu_request *request,
                             degu_response *response)
{
    degu_client *client = session->data;
    char target[256];
    degu_err err = DEGU_OK;

    if (client->socket.fd < 0 || degu_conn_check(&client->conn)) {
        degu_client_close(client);
        err = degu_client_open(client, upstream, patience);
    }
    snprintf(target, sizeof target, "%.*s", (int)request->target.len,
             request->target.ptr);
    if (!err)
        err = degu_client_request(client, request->method, target, NULL, 0,
                                  degu_body_relay(session->conn), response);
    if (err)
        degu_client_close(client);
    return err;
}

static degu_err relay(degu_session *session, const degu_request *request)
{
    degu_client *client = session->data;
    degu_response response;
    degu_err err = ask_upstream(session, request, &response);

    if (!err)
        err = degu_send_response(session->conn, response.status,
                                 response.reason, NULL, 0,
                                 degu_body_relay(&client->conn));
    else if (degu_conn_read_error(session->conn))
        return degu_conn_read_error(session->conn);
    if (!err || degu_conn_has_sent(session->conn))
        return err;
    degu_client_close(client);
    return err == DEGU_E_TIMEOUT
               ? degu_reply(session->conn, 504, "Gateway Timeout", "")
               : degu_reply(session->conn, 502, "Bad Gateway", "");
}

/* ---- Threads: one more whenever all are inside handlers.  The main thread
   starts them, and tries again if the system has none to give. ---- */

static pthread_t threads[THREADS];
static size_t started;
static sem_t bell;
static volatile int is_short, has_ended;

static void *serve(void *unused)
{
    const degu_err err = degu_serve(&server, NULL);

    (void)unused;
    degu_server_stop(&server);
    has_ended = 1;
    sem_post(&bell);
    return err ? &server : NULL;
}

static void start_thread(void)
{
    is_short = 0;
    if (started == THREADS)
        return;
    if (pthread_create(&threads[started], NULL, serve, NULL))
        is_short = 1;
    else
        started++;
}

static void on_shortage(void *user, void *worker)
{
    (void)user;
    (void)worker;
    is_short = 1;
    sem_post(&bell);
}

static void sleep_until_short(void)
{
    struct timespec soon;

    if (!is_short) {
        while (sem_wait(&bell) && errno == EINTR)
            continue;
        return;
    }
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec += soon.tv_nsec >= 900000000;
    soon.tv_nsec = (soon.tv_nsec + 100000000) % 1000000000;
    sem_timedwait(&bell, &soon);
}

static degu_err serve_with_threads(void)
{
    degu_err err = DEGU_OK;
    void *failed;
    size_t i;

    sem_init(&bell, 0, 0);
    start_thread();
    if (started)
        start_thread(); /* it notices when the first is in a handler */
    else
        err = DEGU_E_SYSTEM;
    while (!err && !has_ended) {
        sleep_until_short();
        if (is_short)
            start_thread();
    }
    for (i = 0; i < started; i++)
        if (pthread_join(threads[i], &failed) || failed)
            err = DEGU_E_SYSTEM;
    return err;
}

static void stop(int number)
{
    (void)number;
    degu_server_stop(&server);
}

/* ---- Options ---- */

/* A line for each exchange, on stdout. */
static void tell(degu_session *session, const degu_exchange *exchange)
{
    const degu_str target = exchange->target;
    char text[DEGU_ADDRESS_TEXT];

    printf("%s %.*s %d %llu %llu %s %s\n",
           target.ptr ? degu_method_name(exchange->method).ptr : "-",
           target.ptr ? (int)target.len : 1, target.ptr ? target.ptr : "-",
           exchange->status, (unsigned long long)exchange->bytes_in,
           (unsigned long long)exchange->bytes_out,
           exchange->why ? degu_err_name(exchange->why) : "-",
           degu_format_address(&session->peer, text));
    fflush(stdout);
}

static bool be_another(degu_server_config *config, const char *word)
{
    static int folder;

    if (!strncmp(word, "files=", 6)) {
        folder = open(word + 6, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        config->user = &folder;
        config->handler = send_file;
    } else if (!strncmp(word, "upstream=", 9)) {
        snprintf(upstream, sizeof upstream, "%s", word + 9);
        config->on_connect = open_upstream;
        config->on_close = close_upstream;
        config->handler = relay;
    } else
        return false;
    return true;
}

static degu_err options(degu_server_config *config, char **words)
{
    for (; *words; words++) {
        char name[32];
        int n;
        if (be_another(config, *words))
            continue;
        if (sscanf(*words, "%31[a-z_]=%d", name, &n) != 2)
            return DEGU_E_ARGUMENT;
        if (!strcmp(name, "timeout")) /* ms */
            patience = config->idle_timeout_ms = config->head_timeout_ms =
                config->body_timeout_ms = n;
        else if (!strcmp(name, "min_rate"))
            config->min_rate = (uint32_t)n;
        else if (!strcmp(name, "stop_timeout")) /* ms */
            config->stop_ms = n;
        else if (!strcmp(name, "max_connections") && n <= SLOTS)
            config->max_connections = (size_t)n;
        else if (!strcmp(name, "signals"))
            expect_signals();
        else if (!strcmp(name, "facts"))
            config->on_exchange = tell;
        else if (!strcmp(name, "max_requests"))
            config->max_requests = (uint32_t)n;
        else
            return DEGU_E_ARGUMENT;
    }
    return DEGU_OK;
}

/* What listens already, or -1 (sd_listen_fds(3)). */
static int listener_of(const char *address)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    int fd;

    if (pid && fds && atol(pid) == (long)getpid() && atoi(fds) == 1)
        return 3;
    return sscanf(address, "fd:%d", &fd) == 1 ? fd : -1;
}

static degu_err run(const char *address, char **words)
{
    degu_server_config config = degu_server_defaults(handle, slots, 25);
    char text[DEGU_ADDRESS_TEXT];
    degu_address where;
    degu_err err = options(&config, words);
    int listener = listener_of(address);

    config.on_shortage = on_shortage;
    if (!err)
        err = listener >= 0 ? degu_server_init(&server, listener, &config)
                            : degu_server_open(&server, address, &config);
    if (err)
        return err;
    signal(SIGTERM, stop);
    err = degu_server_address(&server, &where);
    if (!err) {
        puts(degu_format_address(&where, text));
        fflush(stdout);
        err = serve_with_threads();
    }
    degu_server_close(&server);
    return err;
}

int main(int argc, char **argv)
{
    degu_err err = argc < 2 ? DEGU_E_ARGUMENT : run(argv[1], argv + 2);

    if (err)
        fprintf(stderr, "server: %s\n", degu_strerror(err));
    return err != DEGU_OK;
}

/* server.c - the C server of `make faults`, as plain as a user's:
       server ADDRESS [NAME=NUMBER...]
   with the names of options() below.  Prints where it listens, and serves
   until SIGTERM.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void ignore(int number)
{
    (void)number;
}

/* Of its own accord a C program has SIGPIPE at its default. */
static void expect_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = ignore; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
}

static degu_err options(degu_server_config *config, char **words)
{
    for (; *words; words++) {
        char name[32];
        int n;
        if (sscanf(*words, "%31[a-z_]=%d", name, &n) != 2)
            return DEGU_E_ARGUMENT;
        if (!strcmp(name, "timeout")) /* ms */
            config->idle_timeout_ms = config->head_timeout_ms =
                config->body_timeout_ms = n;
        else if (!strcmp(name, "min_rate"))
            config->min_rate = (uint32_t)n;
        else if (!strcmp(name, "max_connections") && n <= SLOTS)
            config->max_connections = (size_t)n;
        else if (!strcmp(name, "signals"))
            expect_signals();
        else if (!strcmp(name, "max_requests"))
            config->max_requests = (uint32_t)n;
        else
            return DEGU_E_ARGUMENT;
    }
    return DEGU_OK;
}

static degu_err run(const char *address, char **words)
{
    degu_server_config config = degu_server_defaults(handle, slots, 25);
    char text[DEGU_ADDRESS_TEXT];
    degu_address where;
    degu_err err = options(&config, words);

    config.on_shortage = on_shortage;
    if (!err)
        err = degu_server_open(&server, address, &config);
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

/* duo.c - one round trip after another through one connection, at the least
   cost there is (raw) and through degu.h
   SPDX-License-Identifier: MIT OR 0BSD

       duo raw FAMILY CORES MS SPIN_US REQUEST RESPONSE
                                  send() and recv() of so many bytes
       duo degu FAMILY CORES MS SPIN_US TIMEOUT_MS
                                  POST of 108 bytes, answered by 108
       duo bytes FAMILY CORES     how many bytes that is on the wire
       duo trips FAMILY CORES COUNT
                                  so many of them, for strace

   FAMILY is unix or inet6, CORES SERVER,CLIENT.  SPIN_US is how long a receiver
   tries before it sleeps; degu.h's is built with SPIN defined if it has that
   option.  TIMEOUT_MS is the client's, -1 as raw: none.  The server has those
   that any has.  Prints round trips a second and the CPU time in microseconds
   that both ends together take for one, which stays right when something else
   borrows the core. */
#define _GNU_SOURCE
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include "pair.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY = 108, BATCH = 64 };

static char buffer[1 << 16];
static char body[BODY];
static int spin_us;
static int server_core, client_core;

/* ---- raw ---- */

struct raw {
    int fd;
    size_t out, in;
};

/* recv(), tried for spin_us before it waits. */
static ssize_t raw_recv(int fd)
{
    double end = spin_us ? now() + spin_us * 1e-6 : 0;
    ssize_t n;

    while (spin_us) {
        n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n >= 0 || errno != EAGAIN)
            return n;
        if (now() > end)
            break;
    }
    return recv(fd, buffer, sizeof buffer, 0);
}

static int raw_trip(struct raw *raw)
{
    size_t have = 0;

    if (send(raw->fd, buffer, raw->out, MSG_NOSIGNAL) != (ssize_t)raw->out)
        return 0;
    while (have < raw->in) {
        ssize_t n = raw_recv(raw->fd);
        if (n <= 0)
            return 0;
        have += (size_t)n;
    }
    return 1;
}

static void raw_serve(struct raw *raw)
{
    double start = cpu();
    size_t have = 0;
    ssize_t n;

    while ((n = raw_recv(raw->fd)) > 0) {
        have += (size_t)n;
        if (have < raw->in)
            continue;
        have = 0;
        if (send(raw->fd, buffer, raw->out, MSG_NOSIGNAL) < 0)
            break;
        account->served++;
    }
    account->cpu = cpu() - start;
}

static pid_t raw_open(struct raw *raw, const char *family, size_t request,
                      size_t response)
{
    struct place place = raw_listen(family);
    pid_t pid = fork();

    if (pid == 0) {
        pin(server_core);
        raw->fd = accept(place.listener, NULL, NULL);
        raw->out = response;
        raw->in = request;
        no_delay(raw->fd);
        raw_serve(raw);
        _exit(0);
    }
    pin(client_core);
    raw->fd = raw_connect(&place);
    raw->out = request;
    raw->in = response;
    return pid;
}

/* ---- degu ---- */

static degu_server server;
static degu_client client;

static degu_err answer(degu_session *session, const degu_request *request)
{
    static char text[BODY];
    size_t have = 0, len;
    degu_err err;

    (void)request;
    do {
        err = degu_read_body(session->conn, text + have, sizeof text - have,
                             &len);
        have += err ? 0 : len;
    } while (!err && have < sizeof text);
    if (err)
        return err;
    return degu_send_response(session->conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(text, have));
}

static double connected_at;

static degu_err connected(degu_session *session)
{
    (void)session;
    connected_at = cpu();
    return DEGU_OK;
}

static void closed(degu_session *session, degu_err why)
{
    (void)why;
    account->cpu = cpu() - connected_at;
    account->served = (long)session->requests;
}

static void stop(int number)
{
    (void)number;
    degu_server_stop(&server);
}

static pid_t degu_open(const char *family, int timeout_ms)
{
    static degu_slot slots[4];
    char text[DEGU_ADDRESS_TEXT];
    degu_address address;
    degu_server_config config = degu_server_defaults(answer, slots, 4);
    pid_t pid;

    config.on_connect = connected;
    config.on_close = closed;
#ifdef SPIN
    config.spin_us = spin_us;
#endif
    check(degu_server_open(&server, strcmp(family, "inet6") ? "@" : "[::1]:0",
                           &config));
    check(degu_server_address(&server, &address));
    signal(SIGTERM, stop);
    pid = fork();
    if (pid == 0) {
        pin(server_core);
        _exit(degu_serve(&server, NULL) != DEGU_OK);
    }
    pin(client_core);
    check(degu_client_open(&client, degu_format_address(&address, text),
                           timeout_ms));
#ifdef SPIN
    client.socket.spin_us = spin_us;
#endif
    return pid;
}

static int degu_trip(struct raw *unused)
{
    degu_response response;
    size_t have = 0, len;
    degu_err err;

    (void)unused;
    check(degu_client_request(&client, DEGU_POST, "/", NULL, 0,
                              degu_body_bytes(body, BODY), &response));
    while (!(err = degu_read_body(&client.conn, buffer + have,
                                  sizeof buffer - have, &len)))
        have += len;
    return err == DEGU_END && have == BODY;
}

/* The client's way, with the bytes counted. */
static size_t sent, received;

static ptrdiff_t count_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    ptrdiff_t n = degu_socket_recv(ctx, buf, len, flags);
    if (n > 0 && !(flags & DEGU_IO_PEEK))
        received += (size_t)n;
    return n;
}

static ptrdiff_t count_send(void *ctx, const degu_str *pieces, size_t count,
                            unsigned flags)
{
    ptrdiff_t n = degu_socket_send(ctx, pieces, count, flags);
    if (n > 0)
        sent += (size_t)n;
    return n;
}

static void print_bytes(void)
{
    degu_io io = degu_conn_io(&client.conn);

    io.recv = count_recv;
    io.send = count_send;
    degu_conn_set_io(&client.conn, io);
    if (!degu_trip(NULL))
        die("trip");
    printf("%lu %lu\n", (unsigned long)sent, (unsigned long)received);
}

/* ---- both ---- */

static long run(int (*trip)(struct raw *raw), struct raw *raw, double seconds)
{
    double end = now() + seconds;
    long n = 0;

    do {
        for (int i = 0; i < BATCH; i++, n++)
            if (!trip(raw))
                die("trip");
    } while (now() < end);
    return n;
}

static void finish(int fd, pid_t pid, int wild)
{
    int status;

    close(fd);
    if (wild) {
        /* Wait for the close to be seen before the stop. */
        for (int i = 0; i < 1000 && !account->served; i++)
            usleep(1000);
        kill(pid, SIGTERM);
    }
    if (waitpid(pid, &status, 0) != pid || status)
        die("server");
}

static void measure(int (*trip)(struct raw *raw), struct raw *raw, int fd,
                    pid_t pid, double seconds)
{
    double t, c;
    long n;

    run(trip, raw, seconds / 10);
    t = now();
    c = cpu();
    n = run(trip, raw, seconds);
    t = now() - t;
    c = cpu() - c;
    finish(fd, pid, raw == NULL);
    printf("%.0f %.3f\n", (double)n / t,
           (c / (double)n + account->cpu / (double)account->served) * 1e6);
}

static void measure_raw(char **argv)
{
    struct raw raw;
    pid_t pid = raw_open(&raw, argv[2], strtoul(argv[6], NULL, 10),
                         strtoul(argv[7], NULL, 10));

    measure(raw_trip, &raw, raw.fd, pid, atof(argv[4]) / 1000);
}

int main(int argc, char **argv)
{
    const char *what = argc < 4 ? "" : argv[1];
    pid_t pid;

    if (argc < 4 || sscanf(argv[3], "%d,%d", &server_core, &client_core) != 2)
        return 2;
    open_account();
    memset(body, 'A', sizeof body);
    spin_us = argc > 5 ? atoi(argv[5]) : 0;
    if (!strcmp(what, "raw") && argc == 8) {
        measure_raw(argv);
        return 0;
    }
    pid = degu_open(argv[2], argc == 7 ? atoi(argv[6]) : -1);
    if (!strcmp(what, "degu") && argc == 7) {
        measure(degu_trip, NULL, client.socket.fd, pid, atof(argv[4]) / 1000);
        return 0;
    }
    if (!strcmp(what, "trips") && argc == 5)
        for (long n = atol(argv[4]); n > 0; n--)
            degu_trip(NULL);
    else
        print_bytes();
    finish(client.socket.fd, pid, 1);
    return 0;
}

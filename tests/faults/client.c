/* client.c - the C client of `make faults`:
       client ADDRESS [NAME=NUMBER...] [METHOD TARGET BYTES]...
   makes the requests one after another on one connection, each with a body of
   so many bytes, and prints a line for each: status, seconds and length of the
   body; or "error", seconds, whether it was "unsent", "unanswered" or
   "answered", and a text.  After an error it connects anew.  "WAIT - 0" waits
   until the server says something or closes.  Without a request it reads lines
   of them, METHOD TARGET BYTES TIMES, and prints one for the last of so many
   times.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include "signals.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static degu_client client;
static bool is_open;
static int timeout = 65000, min_rate = DEGU_MIN_RATE;

static degu_err pull_zeros(void *ctx, degu_str *piece)
{
    static const char zeros[65536];
    uint64_t *left = ctx;

    *piece = degu_bytes(zeros, *left < sizeof zeros ? (size_t)*left
                                                    : sizeof zeros);
    *left -= piece->len;
    return DEGU_OK;
}

static degu_err read_all(uint64_t *total)
{
    static char buffer[65536];
    size_t len;
    degu_err err;

    *total = 0;
    while (!(err = degu_read_body(&client.conn, buffer, sizeof buffer, &len)))
        *total += len;
    return err == DEGU_END ? DEGU_OK : err;
}

static degu_err exchange(char **words, int *status, uint64_t *total)
{
    uint64_t n = strtoull(words[2], NULL, 10), left = n;
    degu_method method;
    degu_response response;
    degu_err err = degu_parse_method(degu_string(words[0]), &method);

    if (!err)
        err = degu_client_request(
            &client, method, words[1], NULL, 0,
            n ? degu_body_pull(pull_zeros, &left, n) : degu_no_body(),
            &response);
    if (err)
        return err;
    *status = response.status;
    return read_all(total);
}

static const char *progress(void)
{
    return !degu_conn_has_sent(&client.conn)      ? "unsent"
           : !degu_conn_is_answered(&client.conn) ? "unanswered"
                                                  : "answered";
}

static void report(degu_err err, int status, uint64_t total, degu_time ms)
{
    if (err)
        printf("error %.3f %s %s\n", (double)ms / 1000, progress(),
               degu_strerror(err));
    else
        printf("%d %.3f %llu\n", status, (double)ms / 1000,
               (unsigned long long)total);
    fflush(stdout);
}

/* The requests as often as that, of which the last is told. */
static void ask(const char *address, char **words, unsigned long times)
{
    degu_err err = DEGU_OK;
    uint64_t total = 0;
    int status = 0;
    degu_time start;

    if (!strcmp(words[0], "WAIT")) {
        struct pollfd item = {client.socket.fd, POLLIN, 0};
        poll(&item, 1, 20000);
        return;
    }
    for (; times; times--) {
        start = degu_now();
        err = DEGU_OK;
        if (!is_open) {
            err = degu_client_open(&client, address, timeout);
            client.socket.min_rate = (uint32_t)min_rate;
        }
        if (!err)
            err = exchange(words, &status, &total);
        is_open = !err && degu_conn_is_open(&client.conn);
        if (times == 1)
            report(err, status, total, degu_now() - start);
        if (!is_open)
            degu_client_close(&client);
    }
}

static void obey(const char *address)
{
    char line[256], method[16], target[128], bytes[24];
    char *words[] = {method, target, bytes};
    unsigned long times;

    for (;;) {
        errno = 0;
        while (!fgets(line, sizeof line, stdin)) {
            if (errno != EINTR)
                return;
            clearerr(stdin);
            errno = 0;
        }
        if (sscanf(line, "%15s %127s %23s %lu", method, target, bytes,
                   &times) == 4)
            ask(address, words, times);
    }
}

int main(int argc, char **argv)
{
    int i, signals = 0;

    for (i = 2; i < argc && strchr(argv[i], '='); i++)
        if (sscanf(argv[i], "timeout=%d", &timeout) != 1 &&
            sscanf(argv[i], "signals=%d", &signals) != 1 &&
            sscanf(argv[i], "min_rate=%d", &min_rate) != 1)
            return 2;
    if (signals)
        expect_signals();
    if (i == argc)
        obey(argv[1]);
    for (; i + 2 < argc; i += 3)
        ask(argv[1], argv + i, 1);
    degu_client_close(&client);
    return 0;
}

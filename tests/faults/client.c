/* client.c - the C client of `make faults`:
       client ADDRESS [NAME=NUMBER...] [METHOD TARGET BYTES]...
   makes the requests one after another on one connection, each with a body of
   so many bytes, and prints a line for each: status, length of the body and
   seconds, or "error", its text and seconds.  After an error it connects anew.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static degu_client client;

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

static void report(degu_err err, int status, uint64_t total, degu_time ms)
{
    if (err)
        printf("error %.3f %s\n", (double)ms / 1000, degu_strerror(err));
    else
        printf("%d %.3f %llu\n", status, (double)ms / 1000,
               (unsigned long long)total);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int i, timeout = 65000, min_rate = DEGU_MIN_RATE, status = 0;
    bool open = false;

    for (i = 2; i < argc && strchr(argv[i], '='); i++)
        if (sscanf(argv[i], "timeout=%d", &timeout) != 1 &&
            sscanf(argv[i], "min_rate=%d", &min_rate) != 1)
            return 2;
    for (; i + 2 < argc; i += 3) {
        degu_time start = degu_now();
        uint64_t total = 0;
        degu_err err = DEGU_OK;
        if (!open) {
            err = degu_client_open(&client, argv[1], timeout);
            client.socket.min_rate = (uint32_t)min_rate;
        }
        if (!err)
            err = exchange(argv + i, &status, &total);
        open = !err && degu_conn_is_open(&client.conn);
        if (!open)
            degu_client_close(&client);
        report(err, status, total, degu_now() - start);
    }
    degu_client_close(&client);
    return 0;
}

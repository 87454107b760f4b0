/* SPDX-License-Identifier: MIT OR 0BSD

   An ordinary C client that talks to device.c:  client PATH-OF-ITS-SOCKET
   A line for each step, and exit status 0 if all went well. */

#define DEGU_IMPLEMENTATION
#include "degu.h"

#include <stdio.h>
#include <string.h>

static degu_client client;
static int failed;

static void step(const char *name, degu_err err, bool good)
{
    printf("%s %s\n", name, err != DEGU_OK ? degu_err_name(err)
                            : good         ? "ok"
                                           : "FAILED");
    failed += err != DEGU_OK || !good;
}

/* All of a chunk's data, which may come in pieces; or of a body's. */
static degu_err read_all(degu_err (*read)(degu_conn *, void *, size_t,
                                          size_t *),
                         char *to, size_t cap, size_t *len)
{
    size_t more = 0;
    degu_err err = DEGU_OK;
    for (*len = 0; err == DEGU_OK && *len < cap; *len += more)
        err = read(&client.conn, to + *len, cap - *len, &more);
    return err == DEGU_END ? DEGU_OK : err == DEGU_OK ? DEGU_E_SPACE : err;
}

/* Is the answer this status with this text? */
static void ask(const char *name, degu_method method, const char *target,
                degu_body body, int status, const char *text)
{
    char got[256];
    size_t len = 0;
    degu_response response;
    degu_err err = degu_client_request(&client, method, target, NULL, 0, body,
                                       &response);
    if (err == DEGU_OK)
        err = read_all(degu_read_body, got, sizeof got, &len);
    step(name, err, err == DEGU_OK && response.status == status &&
                        degu_is(degu_bytes(got, len), text));
}

static const char *const chunks[][3] = {
    {"level", "3", "fan on"}, {"note", "two words", "fan off"},
    {"plain", NULL, "."},     {NULL, NULL, "bare"},
    {NULL, NULL, ""},
};
#define CHUNKS (sizeof chunks / sizeof chunks[0])

static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    static degu_extension extension;
    size_t *next = ctx;
    const char *const *row = chunks[(*next)++];
    extension.key = degu_string(row[0]);
    extension.value = degu_string(row[1]);
    chunk->extensions = &extension;
    chunk->count = row[0] != NULL;
    chunk->data = degu_string(row[2]);
    return DEGU_OK;
}

static bool same_chunk(const char *const *row)
{
    degu_chunk chunk;
    degu_extension extension = {{NULL, 0}, {NULL, 0}, false};
    char data[64];
    size_t len = 0;
    if (degu_read_chunk(&client.conn, &chunk) != DEGU_OK)
        return false;
    degu_next_extension(&chunk.extensions, &extension);
    if ((extension.value.ptr == NULL) != (row[1] == NULL) ||
        !degu_equal(extension.key, degu_string(row[0])) ||
        !degu_equal(extension.value, degu_string(row[1])))
        return false;
    if (chunk.size == 0)
        return row[2][0] == '\0';
    return read_all(degu_read_chunk_data, data, sizeof data, &len) ==
               DEGU_OK &&
           degu_is(degu_bytes(data, len), row[2]);
}

static void read_log(void)
{
    degu_response response;
    degu_chunk chunk;
    size_t i;
    bool good = true;
    degu_err err = degu_client_get(&client, "/log", &response);
    for (i = 0; err == DEGU_OK && i < CHUNKS; ++i)
        good = good && same_chunk(chunks[i]);
    if (err == DEGU_OK)
        good = degu_read_chunk(&client.conn, &chunk) == DEGU_END && good;
    step("the log's chunks", err, good);
}

int main(int argc, char **argv)
{
    size_t next = 0;
    degu_err err = argc == 2 ? degu_client_open(&client, argv[1], 10000)
                             : DEGU_E_ARGUMENT;
    step("connects", err, true);
    if (err != DEGU_OK)
        return 1;
    ask("puts", DEGU_PUT, "/setting", degu_body_bytes("31", 2), 204, "");
    ask("gets", DEGU_GET, "/setting", degu_no_body(), 200, "31");
    ask("logs", DEGU_POST, "/log", degu_body_chunks(next_chunk, &next), 200,
        "4");
    read_log();
    ask("misses", DEGU_GET, "/nothing", degu_no_body(), 404, "");
    degu_client_close(&client);
    return failed != 0;
}

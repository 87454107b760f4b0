/* client.c - the C client of `make demo`:
       client ADDRESS UPLOAD DOWNLOAD MILLISECONDS
              [PROFILE AUTHORITY [CERTIFICATE KEY]]
   does every step of the demo, prints a line for each, and how many round
   trips a second it made.  PROFILE is TLSv1.2 or TLSv1.3; the server's
   certificate must be for localhost.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu_tls.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static degu_client client;
static degu_tls tls;
static char buffer[1 << 16];

static degu_err read_to(FILE *out, size_t *total)
{
    size_t len;
    degu_err err;

    *total = 0;
    while (!(err = degu_read_body(&client.conn, buffer, sizeof buffer,
                                  &len))) {
        if (out && fwrite(buffer, 1, len, out) != len)
            return DEGU_E_SYSTEM;
        *total += len;
    }
    return err == DEGU_END ? DEGU_OK : err;
}

static degu_err get(void)
{
    degu_response response;
    size_t len;
    degu_err err = degu_client_get(&client, "/hello", &response);

    if (!err)
        err = read_to(NULL, &len);
    if (err)
        return err;
    return response.status == 200 && len == 12 &&
                   !memcmp(buffer, "hello, world", 12)
               ? DEGU_OK
               : DEGU_E_ARGUMENT;
}

static degu_err expect_bodiless(degu_method method, const char *target,
                                degu_body body, int status)
{
    degu_response response;
    degu_err err = degu_client_request(&client, method, target, NULL, 0, body,
                                       &response);

    if (err)
        return err;
    return response.status == status && response.framing == DEGU_NO_BODY
               ? DEGU_OK
               : DEGU_E_ARGUMENT;
}

static degu_err head(void)
{
    return expect_bodiless(DEGU_HEAD, "/hello", degu_no_body(), 200);
}

static degu_err missing(void)
{
    return expect_bodiless(DEGU_GET, "/missing", degu_no_body(), 404);
}

static degu_err pull(void *ctx, degu_str *piece)
{
    FILE *in = ctx;

    *piece = degu_bytes(buffer, fread(buffer, 1, sizeof buffer, in));
    return ferror(in) ? DEGU_E_SOURCE : DEGU_OK;
}

static degu_err upload(const char *path)
{
    FILE *in = fopen(path, "rb");
    degu_err err = DEGU_E_SYSTEM;
    long len;

    if (!in)
        return err;
    if (!fseek(in, 0, SEEK_END) && (len = ftell(in)) > 0) {
        rewind(in);
        err = expect_bodiless(DEGU_PUT, "/file",
                              degu_body_pull(pull, in, (uint64_t)len), 200);
    }
    fclose(in);
    return err;
}

static degu_err download(const char *path)
{
    degu_response response;
    size_t len;
    FILE *out = fopen(path, "wb");
    degu_err err = out ? degu_client_get(&client, "/file", &response)
                       : DEGU_E_SYSTEM;

    if (!err)
        err = read_to(out, &len);
    if (out && fclose(out) && !err)
        err = DEGU_E_SYSTEM;
    if (!err && (response.status != 200 || len != response.content_length))
        err = DEGU_E_ARGUMENT;
    return err;
}

static const char *const chunks[][3] = {
    {"part", "1", "chunks "},
    {"note", "two words", "keep their "},
    {NULL, NULL, "boundaries"},
    {"sum", "28", ""},
};

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

static degu_err same_chunk(const char *const *row)
{
    degu_chunk chunk;
    degu_extension extension;
    size_t len = 0;
    bool found;
    degu_err err = degu_read_chunk(&client.conn, &chunk);

    if (err)
        return err;
    found = degu_next_extension(&chunk.extensions, &extension);
    if (found != (row[0] != NULL) || chunk.size != strlen(row[2]))
        return DEGU_E_ARGUMENT;
    if (found && (!degu_is(extension.key, row[0]) ||
                  !degu_is(extension.value, row[1])))
        return DEGU_E_ARGUMENT;
    if (!chunk.size)
        return DEGU_OK;
    err = degu_read_chunk_data(&client.conn, buffer, sizeof buffer, &len);
    if (err)
        return err;
    if (!degu_is(degu_bytes(buffer, len), row[2]))
        return DEGU_E_ARGUMENT;
    err = degu_read_chunk_data(&client.conn, buffer, sizeof buffer, &len);
    return err == DEGU_END ? DEGU_OK : DEGU_E_ARGUMENT;
}

static degu_err chunked(void)
{
    degu_response response;
    degu_chunk chunk;
    size_t next = 0, i;
    degu_err err = degu_client_request(&client, DEGU_POST, "/chunks", NULL, 0,
                                       degu_body_chunks(next_chunk, &next),
                                       &response);

    for (i = 0; !err && i < sizeof chunks / sizeof *chunks; i++)
        err = same_chunk(chunks[i]);
    if (!err && degu_read_chunk(&client.conn, &chunk) != DEGU_END)
        err = DEGU_E_ARGUMENT;
    return err;
}

/* A bad request does not leave, and the connection stays as it was. */
static degu_err refused(void)
{
    degu_response response;
    degu_err err = degu_client_get(&client, "/two words", &response);

    return err == DEGU_E_TARGET ? get() : DEGU_E_ARGUMENT;
}

static degu_err rate(long milliseconds)
{
    degu_time start = degu_now(), now = start;
    long n = 0;
    degu_err err = DEGU_OK;

    for (; !err && now - start < milliseconds; n++) {
        err = get();
        if (n % 64 == 0)
            now = degu_now();
    }
    if (!err)
        printf("rate %ld\n", n * 1000 / (long)(now - start));
    return err;
}

static int report(const char *step, degu_err err)
{
    if (!err)
        printf("%s ok\n", step);
    else
        printf("%s FAILED: %s\n", step,
               err == DEGU_E_ARGUMENT ? "not the answer that was expected"
                                      : degu_strerror(err));
    return err != DEGU_OK;
}

/* words: PROFILE AUTHORITY [CERTIFICATE KEY] */
static degu_err secure(int count, char **words)
{
    degu_tls_config files = {0};
    degu_err err;

    files.profile = strcmp(words[0], "TLSv1.3") ? DEGU_TLS_1_2 : DEGU_TLS_1_3;
    files.ca_file = words[1];
    if (count == 4) {
        files.cert_file = words[2];
        files.key_file = words[3];
    }
    err = degu_tls_open_client(&tls, &files);
    if (err)
        fprintf(stderr, "%s\n", degu_tls_why(&tls));
    return err ? err : degu_tls_connect(&tls, &client, "localhost");
}

int main(int argc, char **argv)
{
    int failed = 0;
    degu_err err;

    if (argc != 5 && argc != 7 && argc != 9)
        return 2;
    err = degu_client_open(&client, argv[1], 20000);
    if (!err && argc > 5)
        err = secure(argc - 5, argv + 5);
    if (err)
        return report("connect", err);
    failed += report("GET", get());
    failed += report("HEAD", head());
    failed += report("404", missing());
    failed += report("PUT", upload(argv[2]));
    failed += report("download", download(argv[3]));
    failed += report("chunked", chunked());
    failed += report("bad", refused());
    failed += report("pace", rate(atol(argv[4])));
    degu_client_close(&client);
    degu_tls_close(&tls);
    return failed != 0;
}

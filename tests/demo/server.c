/* server.c - the server of `make demo`: GET /hello, PUT and GET /file, POST
   /chunks, whose chunks come back with their extensions:
       server ADDRESS [PROFILE AUTHORITY CERTIFICATE KEY]
   PROFILE is TLSv1.2 or TLSv1.3
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu_tls.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256u << 20)

static degu_server server;
static degu_tls tls;

/* What PUT /file brought.  One thread serves, so nothing needs a lock. */
static char *file;
static size_t file_len, file_cap;

static degu_err put_file(degu_conn *conn)
{
    degu_err err = DEGU_OK;
    size_t len;

    file_len = 0;
    while (err == DEGU_OK) {
        if (file_len == file_cap) {
            size_t cap = file_cap ? 2 * file_cap : 1u << 20;
            char *larger = cap > FILE_MAX ? NULL : realloc(file, cap);
            if (!larger)
                return degu_reply(conn, 413, "Content Too Large", "");
            file = larger;
            file_cap = cap;
        }
        err = degu_read_body(conn, file + file_len, file_cap - file_len, &len);
        file_len += err ? 0 : len;
    }
    return err == DEGU_END ? degu_reply(conn, 200, "OK", "") : err;
}

static degu_err get_file(degu_conn *conn, degu_method method)
{
    char text[20];
    degu_buffer digits = {text, sizeof text, 0};
    degu_header length;
    degu_err err;

    if (!file_len)
        return degu_reply(conn, 404, "Not Found", "");
    if (method == DEGU_GET)
        return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                                  degu_body_bytes(file, file_len));
    err = degu_format_length(&digits, file_len);
    if (err)
        return err;
    length.name = degu_string("content-length");
    length.value = degu_bytes(text, digits.len);
    return degu_send_response(conn, 200, degu_string("OK"), &length, 1,
                              degu_no_body());
}

struct kept {
    char data[2048];
    char text[256];
    degu_extension extensions[4];
    degu_chunk_out out;
};

struct reply {
    struct kept chunks[16];
    size_t count, next;
};

static degu_err keep_chunk(degu_conn *conn, struct kept *kept)
{
    degu_chunk chunk;
    degu_str rest;
    size_t len, count = 0;
    degu_err err = degu_read_chunk(conn, &chunk);

    if (err)
        return err;
    if (chunk.size > sizeof kept->data ||
        chunk.extensions.len > sizeof kept->text)
        return DEGU_E_CHUNK_LIMIT;
    if (chunk.extensions.len)
        memcpy(kept->text, chunk.extensions.ptr, chunk.extensions.len);
    rest = degu_bytes(kept->text, chunk.extensions.len);
    while (count < 4 && degu_next_extension(&rest, &kept->extensions[count]))
        count++;
    kept->out.extensions = kept->extensions;
    kept->out.count = count;
    kept->out.data = degu_bytes(kept->data, 0);
    do {
        size_t at = kept->out.data.len;
        err = degu_read_chunk_data(conn, kept->data + at,
                                   sizeof kept->data - at, &len);
        kept->out.data.len += err ? 0 : len;
    } while (!err && kept->out.data.len < chunk.size);
    return err == DEGU_END ? DEGU_OK : err;
}

static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    struct reply *reply = ctx;

    *chunk = reply->chunks[reply->next++].out;
    return DEGU_OK;
}

static degu_err post_chunks(degu_conn *conn)
{
    static struct reply reply;
    degu_err err = DEGU_OK;

    reply.count = reply.next = 0;
    while (!err && reply.count < 16)
        err = keep_chunk(conn, &reply.chunks[reply.count++]);
    if (err != DEGU_END)
        return err ? err : DEGU_E_CHUNK_LIMIT;
    if (reply.count == 1)
        return degu_reply(conn, 400, "Bad Request", "");
    return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_chunks(next_chunk, &reply));
}

static degu_err answer(degu_session *session, const degu_request *request)
{
    degu_conn *conn = session->conn;
    bool get = request->method == DEGU_GET || request->method == DEGU_HEAD;

    if (degu_is(request->path, "/hello") && get)
        return degu_reply(conn, 200, "OK", "hello, world");
    if (degu_is(request->path, "/file") && get)
        return get_file(conn, request->method);
    if (degu_is(request->path, "/file") && request->method == DEGU_PUT)
        return put_file(conn);
    if (degu_is(request->path, "/chunks") && request->method == DEGU_POST)
        return post_chunks(conn);
    return degu_reply(conn, 404, "Not Found", "");
}

static void stop(int number)
{
    (void)number;
    degu_server_stop(&server);
}

/* words: PROFILE AUTHORITY CERTIFICATE KEY */
static degu_err secure(degu_server_config *config, char **words)
{
    degu_tls_config files = {0};
    degu_err err;

    files.profile = strcmp(words[0], "TLSv1.3") ? DEGU_TLS_1_2 : DEGU_TLS_1_3;
    files.ca_file = words[1];
    files.cert_file = words[2];
    files.key_file = words[3];
    err = degu_tls_open_server(&tls, &files);
    if (err)
        fprintf(stderr, "%s\n", degu_tls_why(&tls));
    config->transport = degu_tls_transport(&tls);
    return err;
}

int main(int argc, char **argv)
{
    static degu_slot slots[25];
    char text[DEGU_ADDRESS_TEXT];
    degu_address address;
    degu_server_config config = degu_server_defaults(answer, slots, 25);
    degu_err err = argc == 2 || argc == 6 ? DEGU_OK : DEGU_E_ARGUMENT;

    if (!err && argc == 6)
        err = secure(&config, argv + 2);
    if (!err)
        err = degu_server_open(&server, argv[1], &config);
    if (!err) {
        signal(SIGTERM, stop);
        signal(SIGINT, stop);
        err = degu_server_address(&server, &address);
        if (!err) {
            puts(degu_format_address(&address, text));
            fflush(stdout);
            err = degu_serve(&server, NULL);
        }
        degu_server_close(&server);
    }
    degu_tls_close(&tls);
    free(file);
    if (err)
        fprintf(stderr, "demo server: %s\n", degu_strerror(err));
    return err != DEGU_OK;
}

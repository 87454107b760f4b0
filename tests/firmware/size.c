/* SPDX-License-Identifier: MIT OR 0BSD

   A program that calls what PARSE, CHUNK, SERVER and CLIENT say, for size.py:
   what the linker keeps of core.c for it is what such a firmware pays.  This
   file lies in a section of its own, which is not counted. */

#include "degu.h"

#define CALLER __attribute__((section(".caller"), noinline))

/* For their sizes. */
char ram_conn[sizeof(degu_conn)];
char ram_request[sizeof(degu_request)];
char ram_response[sizeof(degu_response)];
char ram_buffers[DEGU_RECV_BUFFER + DEGU_SEND_BUFFER];

volatile degu_err result;

void start(void);

#ifdef PARSE
static degu_request request;
static degu_response response;
static degu_str value;

/* Heads of both kinds. */
CALLER static void parse(char *head, size_t len)
{
    size_t pos = 0;
    result = degu_scan_head(head, len, &pos);
    result = degu_parse_request(head, pos, &request);
    result = degu_parse_response(head, pos, DEGU_GET, &response);
    value = degu_find(&request.fields, "x-a");
}
#endif

#ifdef CHUNK
static degu_chunk chunk;
static degu_extension extension;

/* A chunk's line and its extensions. */
CALLER static void parse_line(const char *line, size_t len)
{
    result = degu_parse_chunk_line(line, len, &chunk);
    if (degu_next_extension(&chunk.extensions, &extension))
        result = DEGU_END;
}
#endif

#if defined(SERVER) || defined(CLIENT)
static degu_conn conn;
static char piece[16];

/* A body of either framing, with and without its boundaries. */
CALLER static void read_body(void)
{
    degu_chunk chunk;
    degu_extension extension;
    size_t len;
    result = degu_read_body(&conn, piece, sizeof piece, &len);
    result = degu_read_chunk(&conn, &chunk);
    result = degu_read_chunk_data(&conn, piece, sizeof piece, &len);
    result = degu_drain_body(&conn, 256);
    if (degu_next_extension(&chunk.extensions, &extension))
        result = DEGU_END;
}

CALLER static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    chunk->data = degu_bytes(ctx, 4);
    return DEGU_OK;
}
#endif

#ifdef SERVER
CALLER static void serve(degu_io io, char *space)
{
    static degu_request request;
    degu_conn_init(&conn, DEGU_SERVER, io, space, DEGU_RECV_BUFFER, space,
                   DEGU_SEND_BUFFER);
    while (degu_conn_is_open(&conn)) {
        degu_header header = {degu_find(&request.fields, "x-a"),
                              request.query};
        degu_str part;
        result = degu_read_request(&conn, &request);
        if (degu_next_part(&request.path, &part) && degu_is(part, "a"))
            read_body();
        result = degu_reply(&conn, 200, "OK", piece);
        result = degu_send_response(&conn, 200, part, &header, 1,
                                    degu_body_bytes(piece, sizeof piece));
        result = degu_send_response(&conn, 200, part, &header, 1,
                                    degu_body_chunks(next_chunk, space));
        result = degu_send_error(&conn, result);
    }
}
#endif

#ifdef CLIENT
CALLER static void ask(degu_io io, char *space)
{
    static degu_response response;
    degu_conn_init(&conn, DEGU_CLIENT, io, space, DEGU_RECV_BUFFER, space,
                   DEGU_SEND_BUFFER);
    while (degu_conn_is_open(&conn)) {
        degu_header header = {degu_find(&response.fields, "x-a"),
                              response.reason};
        result = degu_send_request(&conn, DEGU_POST, header.value, &header, 1,
                                   degu_body_bytes(piece, sizeof piece));
        result = degu_send_request(&conn, DEGU_POST, header.value, &header, 1,
                                   degu_body_chunks(next_chunk, space));
        result = degu_read_response(&conn, &response);
        read_body();
    }
}
#endif

CALLER void start(void)
{
#ifdef PARSE
    parse(ram_buffers, sizeof ram_buffers);
#endif
#ifdef CHUNK
    parse_line(ram_buffers, sizeof ram_buffers);
#endif
#if defined(SERVER) || defined(CLIENT)
    static degu_io io;
#endif
#ifdef SERVER
    serve(io, ram_buffers);
#endif
#ifdef CLIENT
    ask(io, ram_buffers);
#endif
    ram_conn[0] = ram_request[0] = ram_response[0] = ram_buffers[0];
}

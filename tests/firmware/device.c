/* SPDX-License-Identifier: MIT OR 0BSD

   A device with a sensor, a setting and a log, as a web server on a UART, and a
   client on another one.  No operating system, no allocation, no interrupts;
   what it needs of a board is in board.h.

       GET  /          what it is
       GET  /sensor    a reading
       GET  /setting   a number; PUT changes it
       GET  /log       in chunks, each with its extension; POST is the same
       POST /report    makes the device POST its reading to the other UART's
                       end, and tells the status of the answer

   A UART has no connections: nothing tells that the other end has gone, or
   another has come.  So:

   - A request that has begun must be complete within STEP_MS, and so must each
     piece of its body; else it is answered 408.  Between requests the device
     waits for ever.
   - After anything that leaves open where the next request begins (an error,
     or a body that was not read) it answers, and then it listens until the
     line has been silent for QUIET_MS.  Then a new connection begins.
   - So whoever speaks to it is silent for longer than that after an error, or
     when he is new and does not know what was before; what comes in that time
     is not his.  After STEP_MS more no half request is left either. */

#include "board.h"

#include "degu.h"

#define STEP_MS 3000u
#define QUIET_MS 50u
#define LOG_ENTRIES 8
#define LOG_TEXT 48
#define DRAIN 128 /* bytes of a body that nobody wants */

/* ---- A line: a UART with the connection that is on it ---- */

typedef struct line {
    unsigned uart;
    bool patient; /* waits for the first byte of a head without a limit */
    uint32_t began; /* the step in hand */
    degu_conn conn;
} line;

static bool is_late(uint32_t since, uint32_t ms)
{
    return board_clock() - since >= ms * board_ticks_per_ms;
}

/* Up to len bytes: those that are there, and one at least. */
static ptrdiff_t line_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    line *l = (line *)ctx;
    char *to = (char *)buf;
    size_t got = 0;
    bool waits = l->patient && (flags & DEGU_IO_BEGIN) != 0 &&
                 (flags & DEGU_IO_BODY) == 0 && !degu_conn_has_input(&l->conn);
    if ((flags & DEGU_IO_PEEK) != 0)
        return DEGU_E_AGAIN; /* a byte that was seen is taken */
    if ((flags & DEGU_IO_BEGIN) != 0)
        l->began = board_clock();
    while (got < len) {
        int byte = board_get(l->uart);
        if (byte >= 0)
            to[got++] = (char)byte;
        else if (got > 0)
            break;
        else if (!waits && is_late(l->began, STEP_MS))
            return DEGU_E_TIMEOUT;
    }
    if (waits)
        l->began = board_clock();
    return (ptrdiff_t)got;
}

static ptrdiff_t line_send(void *ctx, const degu_str *pieces, size_t count,
                           unsigned flags)
{
    line *l = (line *)ctx;
    uint32_t began = board_clock();
    ptrdiff_t sent = 0;
    size_t i, k;
    (void)flags;
    for (i = 0; i < count; ++i)
        for (k = 0; k < pieces[i].len; ++k, ++sent)
            while (!board_put(l->uart, pieces[i].ptr[k]))
                if (is_late(began, STEP_MS))
                    return sent > 0 ? sent : (ptrdiff_t)DEGU_E_TIMEOUT;
    return sent;
}

static degu_io line_io(line *l)
{
    degu_io io = {NULL, line_recv, line_send};
    io.ctx = l;
    return io;
}

/* Until nobody has said anything for a while. */
static void line_hush(line *l)
{
    uint32_t since = board_clock();
    while (!is_late(since, QUIET_MS))
        if (board_get(l->uart) >= 0)
            since = board_clock();
}

/* ---- The other UART: this end is a client ---- */

static line up;
/* A short request, a short answer. */
static char up_in[256], up_out[256];

static void up_open(void)
{
    line_hush(&up);
    degu_conn_init(&up.conn, DEGU_CLIENT, line_io(&up), up_in, sizeof up_in,
                   up_out, sizeof up_out);
}

/* Sends text, and says how it was answered. */
static degu_err up_post(degu_str text, int *status)
{
    static const degu_header host = {{"host", 4}, {"collector", 9}};
    static degu_response response;
    degu_err err;
    if (!degu_conn_is_open(&up.conn))
        up_open();
    err = degu_send_request(&up.conn, DEGU_POST, degu_string("/report"), &host,
                            1, degu_body_bytes(text.ptr, text.len));
    if (err == DEGU_OK)
        err = degu_read_response(&up.conn, &response);
    if (err == DEGU_OK)
        err = degu_drain_body(&up.conn, 256);
    if (err != DEGU_OK)
        degu_conn_close_after(&up.conn);
    *status = response.status;
    return err;
}

/* ---- What the device has ---- */

static uint64_t setting = 20;
static uint64_t readings;

typedef struct entry {
    char text[LOG_TEXT]; /* data, key and value, one behind the other */
    uint8_t data_len;
    uint8_t key_len; /* 0: no extension */
    uint8_t value_len;
    bool valued;
} entry;

static entry entries[LOG_ENTRIES];
static size_t entry_count;

static degu_str number(uint64_t value)
{
    static char text[20];
    degu_buffer dst = {text, sizeof text, 0};
    return degu_format_length(&dst, value) == DEGU_OK
               ? degu_bytes(text, dst.len)
               : degu_string("?");
}

static degu_err reply(degu_conn *conn, degu_str text)
{
    return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(text.ptr, text.len));
}

/* What is left of a body is read first, so that the connection goes on; a long
   one is left, and line_hush() sees to it. */
static degu_err refuse(degu_conn *conn, int status, const char *reason,
                       const char *text)
{
    degu_err err = degu_drain_body(conn, DRAIN);
    if (err != DEGU_OK && err != DEGU_E_BODY_LIMIT)
        return err;
    return degu_reply(conn, status, reason, text);
}

/* HEAD is answered with what stands in the head of a GET. */
static degu_err get(degu_conn *conn, const degu_request *request,
                    degu_str text)
{
    degu_header length = {degu_string("content-length"), {NULL, 0}};
    if (request->method != DEGU_HEAD)
        return reply(conn, text);
    length.value = number(text.len);
    return degu_send_response(conn, 200, degu_string("OK"), &length, 1,
                              degu_no_body());
}

static degu_err handle_root(degu_conn *conn, const degu_request *request)
{
    return get(conn, request, degu_string(board_name));
}

/* Twenty degrees and a bit, as a sensor has it. */
static degu_err handle_sensor(degu_conn *conn, const degu_request *request)
{
    return get(conn, request, number(setting * 1000 + readings++));
}

static degu_err handle_setting(degu_conn *conn, const degu_request *request)
{
    char text[17];
    size_t len = 0, more = 0;
    uint64_t value;
    degu_err err = DEGU_OK;
    if (request->method != DEGU_PUT)
        return get(conn, request, number(setting));
    while (err == DEGU_OK && len < sizeof text) {
        err = degu_read_body(conn, text + len, sizeof text - len, &more);
        len += more;
    }
    if (err == DEGU_OK)
        return refuse(conn, 413, "Content Too Large", NULL);
    if (err != DEGU_END)
        return err;
    if (degu_parse_length(degu_bytes(text, len), &value) != DEGU_OK)
        return degu_reply(conn, 400, "Bad Request", "not a number");
    setting = value;
    return degu_reply(conn, 204, "No Content", NULL);
}

/* The extension, if there is one, behind room for the chunk's data. */
static bool keep_extension(entry *e, degu_chunk *chunk)
{
    degu_extension extension;
    char *to = e->text + e->data_len;
    if (!degu_next_extension(&chunk->extensions, &extension))
        return true;
    if (extension.key.len + extension.value.len >
        sizeof e->text - e->data_len)
        return false;
    degu_unescape(extension.key, to);
    e->key_len = (uint8_t)extension.key.len;
    e->valued = extension.value.ptr != NULL;
    e->value_len = (uint8_t)degu_unescape(extension.value, to + e->key_len);
    return true;
}

/* One chunk into e; DEGU_E_CHUNK_LIMIT: it has no room there. */
static degu_err keep_chunk(degu_conn *conn, degu_chunk *chunk, entry *e)
{
    size_t len = 0, more;
    degu_err err;
    static const entry none;
    *e = none;
    if (chunk->size > sizeof e->text)
        return DEGU_E_CHUNK_LIMIT;
    e->data_len = (uint8_t)chunk->size;
    if (!keep_extension(e, chunk))
        return DEGU_E_CHUNK_LIMIT;
    while ((err = degu_read_chunk_data(conn, e->text + len, e->data_len - len,
                                       &more)) == DEGU_OK)
        len += more;
    return err == DEGU_END ? DEGU_OK : err;
}

static degu_err read_log(degu_conn *conn)
{
    degu_chunk chunk;
    degu_err err;
    entry_count = 0;
    while ((err = degu_read_chunk(conn, &chunk)) == DEGU_OK) {
        if (entry_count == LOG_ENTRIES)
            return DEGU_E_BODY_LIMIT;
        err = keep_chunk(conn, &chunk, &entries[entry_count]);
        if (err != DEGU_OK)
            return err;
        entry_count += chunk.size > 0;
    }
    if (err != DEGU_END)
        return err;
    return reply(conn, number(entry_count));
}

static degu_err next_entry(void *ctx, degu_chunk_out *chunk)
{
    static degu_extension extension;
    size_t *next = (size_t *)ctx;
    const entry *e = &entries[*next];
    if (*next == entry_count)
        return DEGU_OK; /* the chunk is empty: the last one */
    ++*next;
    chunk->data = degu_bytes(e->text, e->data_len);
    extension.key = degu_bytes(e->text + e->data_len, e->key_len);
    extension.value = degu_bytes(
        e->valued ? extension.key.ptr + e->key_len : NULL, e->value_len);
    chunk->extensions = &extension;
    chunk->count = e->key_len > 0;
    return DEGU_OK;
}

static degu_err handle_log(degu_conn *conn, const degu_request *request)
{
    size_t next = 0;
    if (request->method == DEGU_GET)
        return degu_send_response(conn, 200, degu_string("OK"), NULL, 0,
                                  degu_body_chunks(next_entry, &next));
    if (request->framing != DEGU_CHUNKED)
        return refuse(conn, 411, "Length Required", "in chunks");
    return read_log(conn);
}

static degu_err handle_report(degu_conn *conn, const degu_request *request)
{
    int status = 0;
    degu_err err = up_post(number(setting * 1000 + readings++), &status);
    (void)request;
    if (err != DEGU_OK)
        return degu_reply(conn, 502, "Bad Gateway", degu_err_name(err));
    return reply(conn, number((uint64_t)status));
}

/* ---- The server ---- */

typedef struct route {
    const char *path;
    const char *allow;
    unsigned methods;
    degu_err (*handle)(degu_conn *conn, const degu_request *request);
} route;

static const route routes[] = {
    {"/", "GET, HEAD", DEGU_GET | DEGU_HEAD, handle_root},
    {"/sensor", "GET, HEAD", DEGU_GET | DEGU_HEAD, handle_sensor},
    {"/setting", "GET, HEAD, PUT", DEGU_GET | DEGU_HEAD | DEGU_PUT,
     handle_setting},
    {"/log", "GET, POST", DEGU_GET | DEGU_POST, handle_log},
    {"/report", "POST", DEGU_POST, handle_report},
};

static degu_err handle(degu_conn *conn, const degu_request *request)
{
    degu_header allow = {degu_string("allow"), {NULL, 0}};
    size_t i;
    for (i = 0; i < sizeof routes / sizeof routes[0]; ++i) {
        if (!degu_is(request->path, routes[i].path))
            continue;
        if ((routes[i].methods & (unsigned)request->method) != 0)
            return routes[i].handle(conn, request);
        allow.value = degu_string(routes[i].allow);
        return degu_send_response(conn, 405,
                                  degu_string("Method Not Allowed"), &allow,
                                  1, degu_no_body());
    }
    return refuse(conn, 404, "Not Found", NULL);
}

/* One connection, as far as a UART has such a thing. */
static void serve(line *l, char *in, char *out)
{
    static degu_request request;
    degu_err err;
    degu_conn_init(&l->conn, DEGU_SERVER, line_io(l), in, DEGU_RECV_BUFFER,
                   out, DEGU_SEND_BUFFER);
    do {
        err = degu_read_request(&l->conn, &request);
        if (err == DEGU_OK)
            err = handle(&l->conn, &request);
        if (err != DEGU_OK)
            degu_send_error(&l->conn, err);
    } while (degu_conn_is_open(&l->conn));
    if (err != DEGU_OK || !degu_body_is_read(&l->conn))
        line_hush(l);
}

int main(void)
{
    static line down;
    static char in[DEGU_RECV_BUFFER], out[DEGU_SEND_BUFFER];
    board_init();
    down.patient = true;
    up.uart = 1;
    up_open();
    for (;;)
        serve(&down, in, out);
}

/* SPDX-License-Identifier: MIT OR 0BSD */
/* Any connection, and the other end of it.

   What is_valid() says holds after degu_conn_init(), and after every step if
   it held before; so whatever is proved of a step on any valid connection holds
   after any number of steps, however the bytes came in.

   Steps are proved one by one.  Each has a contract: a proof marked ENFORCED()
   shows it of the function, one marked CONTRACTED() knows of the function only
   what its contract says.  What they count on of layers 3 and 4 stands in
   parsers.h. */

#ifndef DEGU_CONNECTION_H
#define DEGU_CONNECTION_H

/* What is copied does not matter here: anything may stand there afterwards. */
#include <stddef.h>
static void *any_copy(void *dst, const void *src, size_t len)
{
    __CPROVER_assert(__CPROVER_r_ok(src, len), "readable");
    __CPROVER_assert(__CPROVER_w_ok(dst, len), "writable");
    __CPROVER_havoc_object(dst);
    return dst;
}
#define __builtin_memcpy any_copy
#define __builtin_memmove any_copy

/* Room for every limit; with more, the proofs take too long. */
#define ANY ((size_t)1 << 17)

#include "parsers.h"

/* ---- The other end ---- */

/* ctx of the functions below. */
typedef struct degu_source {
    uint64_t received; /* bytes that recv has given */
} degu_source;

/* The connection that it receives for, which counts them as well. */
static const degu_conn *receiver;

/* degu_io.recv with nothing but what its comment says. */
static ptrdiff_t any_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    degu_source *source = ctx;
    ptrdiff_t n = nondet_ptrdiff();
    proved(len > 0 && __CPROVER_w_ok(buf, len));
    proved(len == 1 || !(flags & DEGU_IO_PEEK));
    given(n >= DEGU_E_TLS && (n <= 0 || (size_t)n <= len));
    if (n > 0) {
        /* Nobody lives to see so many. */
        given(source->received <= UINT64_MAX - (size_t)n);
        given(receiver->in_bytes <= UINT64_MAX - (size_t)n);
        if (!(flags & DEGU_IO_PEEK))
            source->received += (size_t)n;
        __CPROVER_havoc_object(buf);
    }
    return n;
}

/* degu_io.send likewise, for the one piece that a reader sends. */
static ptrdiff_t any_send(void *ctx, const degu_str *pieces, size_t count,
                          unsigned flags)
{
    ptrdiff_t n = nondet_ptrdiff();
    (void)ctx;
    (void)flags;
    proved(count == 1 && pieces->len > 0);
    proved(__CPROVER_r_ok(pieces->ptr, pieces->len));
    given(n >= DEGU_E_TLS && (n <= 0 || (size_t)n <= pieces->len));
    return n;
}

/* ---- What holds of a connection between two calls ---- */

/* Where things lie in the buffer; the trailer grows behind in_base. */
static bool is_in_order(const degu_conn *c)
{
    return c->in_cap >= 64 && c->in_cap <= ANY && c->in_base <= c->in_pos &&
           c->in_pos <= c->in_end && c->in_end <= c->in_cap &&
           c->scanned <= c->in_end && c->origin <= c->in_cap &&
           c->error_at <= c->in_cap && c->out_len <= c->out_cap &&
           c->step < DEGU_STEP_BYTES && c->turn <= DEGU_PRIV_AWAIT &&
           (c->broken == 0 || (c->broken < 0 && c->close));
}

/* A failure is kept, and nothing may be read or sent behind it. */
static bool has_failed(const degu_conn *c, degu_err err)
{
    return err < 0 && c->failed == err && c->close == 1 &&
           c->body == DEGU_PRIV_LOST;
}

/* Inside a body, whose chunks have not ended. */
static bool is_reading(const degu_conn *c)
{
    if (c->trailer || c->trailer_len || c->scanned || c->failed ||
        c->turn == DEGU_PRIV_AWAIT)
        return false;
    if (c->body == DEGU_PRIV_PLAIN)
        return c->framing == DEGU_LENGTH && c->left > 0;
    if (c->body == DEGU_PRIV_STREAM)
        return c->framing == DEGU_UNTIL_CLOSE;
    if (c->framing != DEGU_CHUNKED)
        return false;
    if (c->body == DEGU_PRIV_LINE)
        return true;
    /* The chunk's line had room, three bytes at least. */
    return c->in_base + 3 <= c->in_cap &&
           (c->body == DEGU_PRIV_MARK ||
            (c->body == DEGU_PRIV_DATA && c->left > 0));
}

/* At its end, with what trailer there was in front of in_pos. */
static bool is_read(const degu_conn *c)
{
    return c->body == DEGU_PRIV_READ && !c->failed &&
           c->trailer <= c->in_pos &&
           c->trailer_len <= DEGU_TRAILER_MAX - 2 &&
           c->trailer + c->trailer_len <= c->in_pos;
}

static bool is_valid(const degu_conn *c)
{
    return is_in_order(c) &&
           (is_read(c) || is_reading(c) || has_failed(c, c->failed) ||
            (c->body == DEGU_PRIV_LOST && !c->failed &&
             c->turn == DEGU_PRIV_READY));
}

/* What a step returns: nothing, the end, a failure, or "out of turn". */
static bool is_result(const degu_conn *c, degu_err err)
{
    return is_valid(c) && (err == DEGU_OK || err == DEGU_END ||
                           (err == DEGU_E_ORDER && !c->failed) ||
                           has_failed(c, err));
}

/* self: where it will be. */
static degu_conn any_conn(degu_source *source, const degu_conn *self)
{
    degu_conn conn;
    given(conn.in_cap >= 64 && conn.in_cap <= ANY && conn.out_cap <= ANY);
    source->received = 0;
    receiver = self;
    conn.io.ctx = source;
    conn.io.recv = any_recv;
    conn.io.send = any_send;
    conn.in = any_bytes(conn.in_cap);
    conn.out = any_bytes(conn.out_cap);
    conn.ending = NULL;
    /* Contracts and loops alone do not count as uses. */
    (void)(is_result(&conn, DEGU_OK) || (watched && was));
    return conn;
}

static degu_conn any_valid_conn(degu_source *source, const degu_conn *self)
{
    degu_conn conn = any_conn(source, self);
    given(is_valid(&conn));
    return conn;
}

/* After any step of reading that returned err. */
static void check_conn(const degu_conn *conn, const degu_conn *before,
                       degu_err err)
{
    proved(is_valid(conn));
    proved(conn->in == before->in && conn->in_cap == before->in_cap);
    proved(conn->out == before->out && conn->out_cap == before->out_cap);
    proved(conn->out_len == before->out_len && conn->turn == before->turn);
    proved(conn->framing == before->framing);
    proved(!before->close || conn->close);
    if (conn->failed && !before->failed)
        proved(has_failed(conn, err));
    if (before->failed)
        proved(conn->failed == before->failed &&
               conn->in_end == before->in_end);
}

/* After a read of left bytes: they are taken from what came, all in order,
   and no byte behind the part is asked for. */
static void check_part(const degu_conn *conn, const degu_conn *before,
                       const degu_source *source, size_t cap, size_t len,
                       degu_err err)
{
    uint64_t had = before->in_end - before->in_pos;
    proved(len <= cap && (err == DEGU_OK || len == 0));
    proved(source->received <= before->left);
    if (err == DEGU_OK) {
        proved(conn->left == before->left - len);
        proved(conn->body == before->body || conn->left == 0);
        proved(had + source->received == len + (conn->in_end - conn->in_pos));
        proved(len || cap == 0);
    }
}

/* ---- Contracts ---- */

/* What fail() and the receiving of more write. */
#define ASSIGNS_STEP                                                          \
    __CPROVER_assigns(                                                        \
        conn->in_pos, conn->in_end, conn->origin, conn->begin,                \
        conn->in_bytes, conn->failed, conn->error_at, conn->body,             \
        conn->close,                                                          \
        __CPROVER_object_whole(conn->in),                                     \
        __CPROVER_object_whole(conn->io.ctx))

static degu_err degu_priv_read_line(degu_conn *conn, size_t max, degu_err over,
                                    size_t *len)
    __CPROVER_requires(is_in_order(conn) && !conn->failed && over < 0)
    __CPROVER_requires(conn->trailer_len <= conn->in_pos - conn->in_base)
    __CPROVER_requires(conn->scanned == 0)
    ASSIGNS_STEP
    __CPROVER_assigns(*len)
    __CPROVER_ensures(is_in_order(conn))
    __CPROVER_ensures(conn->trailer_len <= conn->in_pos - conn->in_base)
    __CPROVER_ensures(__CPROVER_return_value == 0 ||
                      (has_failed(conn, __CPROVER_return_value) &&
                       conn->error_at <= conn->in_end - conn->in_pos))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      (!conn->failed && *len >= 1 && *len <= max &&
                       *len <= conn->in_end - conn->in_pos &&
                       conn->body == __CPROVER_old(conn->body) &&
                       conn->close == __CPROVER_old(conn->close)));

static degu_err degu_priv_read_mark(degu_conn *conn)
    __CPROVER_requires(is_in_order(conn) && !conn->failed)
    __CPROVER_requires(conn->scanned == 0)
    __CPROVER_requires(conn->in_cap - conn->in_base >= 3)
    ASSIGNS_STEP
    __CPROVER_ensures(is_in_order(conn))
    __CPROVER_ensures(__CPROVER_return_value == 0 ||
                      has_failed(conn, __CPROVER_return_value))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      (!conn->failed && conn->body == DEGU_PRIV_LINE &&
                       conn->close == __CPROVER_old(conn->close)));

static degu_err degu_priv_read_trailer(degu_conn *conn)
    __CPROVER_requires(is_in_order(conn) && !conn->failed)
    __CPROVER_requires(conn->scanned == 0 && conn->trailer_len == 0)
    ASSIGNS_STEP
    __CPROVER_assigns(conn->trailer, conn->trailer_len)
    __CPROVER_ensures(is_in_order(conn))
    __CPROVER_ensures(__CPROVER_return_value == 0 ||
                      has_failed(conn, __CPROVER_return_value))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      (is_read(conn) &&
                       conn->close == __CPROVER_old(conn->close)));

static degu_err degu_priv_continue(degu_conn *conn)
    __CPROVER_requires(is_in_order(conn) && !conn->failed)
    __CPROVER_assigns(conn->expect, conn->broken, conn->failed, conn->error_at,
                      conn->body, conn->close)
    __CPROVER_ensures(is_in_order(conn))
    __CPROVER_ensures(__CPROVER_return_value == 0 ||
                      (has_failed(conn, __CPROVER_return_value) &&
                       conn->broken == __CPROVER_return_value))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      (!conn->failed && conn->expect == 0 &&
                       conn->body == __CPROVER_old(conn->body) &&
                       conn->close == __CPROVER_old(conn->close)));

/* What the public steps write. */
#define ASSIGNS_READ                                                          \
    ASSIGNS_STEP                                                              \
    __CPROVER_assigns(conn->in_base, conn->touched, conn->expect,             \
                      conn->broken, conn->left, conn->trailer,                \
                      conn->trailer_len)

DEGU_API degu_err degu_read_chunk(degu_conn *conn, degu_chunk *chunk)
    __CPROVER_requires(is_valid(conn))
    __CPROVER_requires(__CPROVER_w_ok(chunk, sizeof *chunk))
    ASSIGNS_READ
    __CPROVER_assigns(*chunk)
    __CPROVER_ensures(is_result(conn, __CPROVER_return_value))
    __CPROVER_ensures(!__CPROVER_old(conn->close) || conn->close)
    __CPROVER_ensures(chunk->extensions.len <= conn->in_cap)
    __CPROVER_ensures(__CPROVER_return_value != DEGU_END ||
                      conn->framing != DEGU_CHUNKED ||
                      conn->body == DEGU_PRIV_READ)
    __CPROVER_ensures(__CPROVER_return_value != DEGU_OK ||
                      __CPROVER_pointer_in_range_dfcc(
                          conn->in, chunk->extensions.ptr,
                          conn->in + conn->in_pos))
    __CPROVER_ensures(
        __CPROVER_return_value != DEGU_OK ||
        (conn->framing == DEGU_CHUNKED && !conn->failed &&
         conn->close == __CPROVER_old(conn->close) &&
         conn->left == chunk->size &&
         conn->body == (chunk->size ? DEGU_PRIV_DATA : DEGU_PRIV_READ) &&
         chunk->extensions.len <=
             conn->in_pos - (size_t)(chunk->extensions.ptr - conn->in)));

DEGU_API degu_err degu_read_body(degu_conn *conn, void *buf, size_t cap,
                                 size_t *len)
    __CPROVER_requires(is_valid(conn) && __CPROVER_w_ok(buf, cap))
    __CPROVER_requires(__CPROVER_w_ok(len, sizeof *len))
    ASSIGNS_READ
    __CPROVER_assigns(*len)
    __CPROVER_assigns(cap > 0: __CPROVER_object_whole(buf))
    __CPROVER_ensures(is_result(conn, __CPROVER_return_value))
    __CPROVER_ensures(!__CPROVER_old(conn->close) || conn->close)
    __CPROVER_ensures(*len <= cap)
    __CPROVER_ensures(__CPROVER_return_value == DEGU_OK ? *len || cap == 0
                                                        : *len == 0)
    __CPROVER_ensures(__CPROVER_return_value != DEGU_END ||
                      conn->body == DEGU_PRIV_READ);

/* What counts nothing is a chunk's line, and then data follows. */
static degu_err degu_priv_drain_part(degu_conn *conn, size_t *len)
    __CPROVER_requires(is_valid(conn))
    __CPROVER_requires(__CPROVER_w_ok(len, sizeof *len))
    ASSIGNS_READ
    __CPROVER_assigns(*len, __CPROVER_object_whole(conn->out))
    __CPROVER_ensures(is_result(conn, __CPROVER_return_value))
    __CPROVER_ensures(*len <= ANY)
    __CPROVER_ensures(__CPROVER_return_value != DEGU_OK || *len ||
                      (conn->body == DEGU_PRIV_DATA &&
                       __CPROVER_old(conn->body) != DEGU_PRIV_DATA))
    __CPROVER_ensures(__CPROVER_return_value != DEGU_END ||
                      conn->body == DEGU_PRIV_READ);

static degu_err degu_priv_read_head(degu_conn *conn)
    __CPROVER_requires(is_in_order(conn) && is_read(conn))
    ASSIGNS_STEP
    __CPROVER_assigns(conn->in_base, conn->scanned, conn->trailer,
                      conn->trailer_len)
    __CPROVER_ensures(is_in_order(conn) &&
                      __CPROVER_return_value <= DEGU_MORE)
    __CPROVER_ensures(__CPROVER_return_value < 0
                          ? has_failed(conn, __CPROVER_return_value)
                          : is_read(conn) && conn->in_pos == 0 &&
                                conn->close == __CPROVER_old(conn->close));

#endif

/* SPDX-License-Identifier: MIT OR 0BSD

   A degu_io in memory whose cuts, short writes, ends, errors and deadlines
   are chosen by the input.  Include it behind harness.h. */

#ifndef FUZZ_TRANSPORT_H
#define FUZZ_TRANSPORT_H

typedef struct fuzz_transport {
    const char *in; /* what the other end sends, */
    size_t in_len;
    size_t in_pos;
    size_t shown;     /* and how much of it so far */
    ptrdiff_t at_end; /* behind in: 0 the end, or an error */
    bool hesitates;   /* every other recv says DEGU_E_AGAIN */
    bool may_wait;    /* and this is where it may */
    bool said_again;

    char *out; /* what was sent */
    size_t out_cap;
    size_t out_len;
    degu_err send_error; /* of a send beyond fail_behind */
    size_t fail_behind;

    unsigned most;   /* bytes that pass in one call; 0: all that can */
    uint32_t random; /* how many exactly */
    unsigned calls;
    unsigned begins;    /* calls that began a step */
    unsigned patience;  /* calls that a step may take; 0: no bound */
    unsigned in_step;
} fuzz_transport;

static inline size_t fuzz_some(fuzz_transport *t, size_t len)
{
    size_t most = t->most;
    if (most == 0)
        return len;
    t->random = t->random * UINT32_C(1664525) + UINT32_C(1013904223);
    most = 1 + (t->random >> 16) % most;
    return len < most ? len : most;
}

/* A step has a deadline of its own, which only its first call sets. */
static inline bool fuzz_in_time(fuzz_transport *t, unsigned flags)
{
    ++t->calls;
    fuzz_require(t->calls < 1000000, "an end of the calls");
    if ((flags & DEGU_IO_BEGIN) != 0) {
        ++t->begins;
        t->in_step = 0;
    }
    ++t->in_step;
    return t->patience == 0 || t->in_step <= t->patience;
}

static inline ptrdiff_t fuzz_peek(const fuzz_transport *t, char *byte)
{
    if (t->in_pos < t->shown) {
        *byte = t->in[t->in_pos];
        return 1;
    }
    return t->in_pos < t->in_len ? DEGU_E_AGAIN : t->at_end;
}

static inline ptrdiff_t fuzz_recv(void *ctx, void *buf, size_t len,
                                  unsigned flags)
{
    fuzz_transport *t = (fuzz_transport *)ctx;
    size_t there = t->shown - t->in_pos;
    fuzz_require(len > 0, "recv with room");
    if ((flags & DEGU_IO_PEEK) != 0)
        return fuzz_peek(t, (char *)buf);
    if (!fuzz_in_time(t, flags))
        return DEGU_E_TIMEOUT;
    if (t->hesitates && t->may_wait) {
        t->said_again = !t->said_again;
        if (t->said_again)
            return DEGU_E_AGAIN;
    }
    if (there == 0)
        return t->in_pos < t->in_len ? DEGU_E_TIMEOUT : t->at_end;
    there = fuzz_some(t, there < len ? there : len);
    memcpy(buf, t->in + t->in_pos, there);
    t->in_pos += there;
    return (ptrdiff_t)there;
}

static inline ptrdiff_t fuzz_send(void *ctx, const degu_str *pieces,
                                  size_t count, unsigned flags)
{
    fuzz_transport *t = (fuzz_transport *)ctx;
    size_t all = 0, taken, left, i;
    fuzz_require(count >= 1 && count <= 4, "1 to 4 pieces to send");
    for (i = 0; i < count; ++i) {
        fuzz_require(pieces[i].len > 0, "no piece to send is empty");
        all += pieces[i].len;
    }
    if (!fuzz_in_time(t, flags))
        return DEGU_E_TIMEOUT;
    taken = fuzz_some(t, all);
    if (t->send_error != DEGU_OK) {
        if (t->out_len >= t->fail_behind)
            return t->send_error;
        if (taken > t->fail_behind - t->out_len)
            taken = t->fail_behind - t->out_len;
    }
    fuzz_require(taken <= t->out_cap - t->out_len, "what is sent is bounded");
    for (i = 0, left = taken; left > 0; ++i) {
        const size_t len = left < pieces[i].len ? left : pieces[i].len;
        memcpy(t->out + t->out_len, pieces[i].ptr, len);
        t->out_len += len;
        left -= len;
    }
    return (ptrdiff_t)taken;
}

/* All of in is there, and passes in one piece; what is sent goes nowhere
   until out is set. */
static inline void fuzz_transport_init(fuzz_transport *t, const char *in,
                                       size_t in_len)
{
    memset(t, 0, sizeof *t);
    t->in = in;
    t->in_len = t->shown = in_len;
}

static inline degu_io fuzz_io(fuzz_transport *t)
{
    degu_io io;
    io.ctx = t;
    io.recv = fuzz_recv;
    io.send = fuzz_send;
    return io;
}

/* ---- A connection over it, whose buffers end where their memory ends ---- */

typedef struct fuzz_conn {
    degu_conn conn;
    char *in;
    char *out;
} fuzz_conn;

static inline void fuzz_conn_init(fuzz_conn *c, degu_role role,
                                  fuzz_transport *t, size_t in_cap,
                                  size_t out_cap)
{
    c->in = fuzz_buffer(in_cap).ptr;
    c->out = fuzz_buffer(out_cap).ptr;
    memset(&c->conn, 0x55, sizeof c->conn);
    degu_conn_init(&c->conn, role, fuzz_io(t), c->in, in_cap, c->out, out_cap);
}

static inline void fuzz_conn_free(fuzz_conn *c)
{
    free(c->in);
    free(c->out);
}

/* ---- Two ways to the same transport, of which one is in use ---- */

typedef struct fuzz_way {
    fuzz_transport *t;
    bool in_use;
} fuzz_way;

static inline ptrdiff_t fuzz_way_recv(void *ctx, void *buf, size_t len,
                                      unsigned flags)
{
    const fuzz_way *way = (const fuzz_way *)ctx;
    fuzz_require(way->in_use, "nothing is read by a way that was given up");
    return fuzz_recv(way->t, buf, len, flags);
}

static inline ptrdiff_t fuzz_way_send(void *ctx, const degu_str *pieces,
                                      size_t count, unsigned flags)
{
    const fuzz_way *way = (const fuzz_way *)ctx;
    fuzz_require(way->in_use, "nothing is sent by a way that was given up");
    return fuzz_send(way->t, pieces, count, flags);
}

/* From one of the two to the other. */
static inline void fuzz_change_way(fuzz_way ways[2], fuzz_transport *t,
                                   degu_conn *conn)
{
    fuzz_way *next = &ways[ways[0].in_use];
    degu_io io = fuzz_io(t);
    io.ctx = next;
    io.recv = fuzz_way_recv;
    io.send = fuzz_way_send;
    ways[0].in_use = ways[1].in_use = false;
    next->in_use = true;
    next->t = t;
    degu_conn_set_io(conn, io);
    fuzz_require(degu_conn_io(conn).ctx == next, "the way of a connection");
}

/* What the caller does to a connection besides: the choice in which it stands
   is that of where sending fails, from ':' on. */
enum {
    FUZZ_MANNER_PLAIN,
    FUZZ_MANNER_CLOSES, /* degu_conn_close_after */
    FUZZ_MANNER_ENDS,   /* what a server does that is to stop */
    FUZZ_MANNER_MOVES,  /* degu_conn_set_io, each time */
    FUZZ_MANNERS
};

/* The offset in t->in up to which the connection has used bytes up. */
static inline size_t fuzz_used(const degu_conn *conn, const fuzz_transport *t)
{
    return t->in_pos - (conn->in_end - conn->in_pos);
}

/* What lies behind an error is inside the buffer. */
static inline void fuzz_error_is_inside(const degu_conn *conn)
{
    degu_str bytes = degu_conn_error_bytes(conn);
    fuzz_require(bytes.len <= 32, "32 bytes of an error at most");
    fuzz_inside(bytes, conn->in, conn->in_cap, "bytes of an error");
}

/* ---- What happened, as text, to be compared ---- */

#define FUZZ_STORY_MAX 65536

typedef struct fuzz_story {
    char *text;
    size_t len;
    bool in_data; /* the last event is data that may go on */
} fuzz_story;

static inline void fuzz_story_init(fuzz_story *s)
{
    s->text = fuzz_buffer(FUZZ_STORY_MAX).ptr;
    s->len = 0;
    s->in_data = false;
}

static inline void fuzz_add(fuzz_story *s, const char *ptr, size_t len)
{
    if (len > FUZZ_STORY_MAX - s->len)
        len = FUZZ_STORY_MAX - s->len;
    if (len > 0)
        memcpy(s->text + s->len, ptr, len);
    s->len += len;
}

static inline void fuzz_tell(fuzz_story *s, const char *what, uint64_t number)
{
    char line[80];
    int len = snprintf(line, sizeof line, "\n%s %" PRIu64 " ", what, number);
    fuzz_add(s, line, (size_t)len);
    s->in_data = false;
}

static inline void fuzz_tell_view(fuzz_story *s, const char *what,
                                  degu_str view)
{
    fuzz_tell(s, what, view.ptr != NULL);
    fuzz_add(s, view.ptr, view.len);
}

static inline void fuzz_tell_data(fuzz_story *s, const char *ptr, size_t len)
{
    if (len > 0 && !s->in_data)
        fuzz_tell(s, "data", 1);
    s->in_data = s->in_data || len > 0;
    fuzz_add(s, ptr, len);
}

static inline void fuzz_tell_err(fuzz_story *s, const char *what, degu_err err)
{
    fuzz_tell_view(s, what, degu_string(degu_err_name(err)));
}

static inline void fuzz_tell_fields(fuzz_story *s, const degu_fields *fields)
{
    size_t i;
    for (i = 0; i < fields->count; ++i) {
        degu_header field = degu_field_at(fields, i);
        fuzz_tell_view(s, "name", field.name);
        fuzz_tell_view(s, "value", field.value);
    }
}

static inline void fuzz_same_story(const fuzz_story *a, const fuzz_story *b,
                                   const char *what)
{
    if (a->len == b->len && memcmp(a->text, b->text, a->len) == 0)
        return;
    fprintf(stderr, "fuzz: differs: %s:%.*s\nand%.*s\n", what, (int)a->len,
            a->text, (int)b->len, b->text);
    abort();
}

/* ---- Bodies ---- */

typedef struct fuzz_content {
    degu_err err; /* DEGU_END: all of it was read */
    size_t len;
    uint32_t hash;
    uint32_t lines; /* of the sizes and extensions of its chunks */
    size_t used;    /* bytes that it took on the wire */
} fuzz_content;

static inline uint32_t fuzz_hash_more(uint32_t hash, const char *ptr,
                                      size_t len)
{
    return fuzz_hash(ptr, len) ^ (hash * UINT32_C(16777619) + (uint32_t)len);
}

/* The data up to its end, in reads of a byte: the hash has no other pieces. */
static inline void fuzz_read_data(
    degu_conn *conn, fuzz_content *c,
    degu_err (*take)(degu_conn *conn, void *buf, size_t cap, size_t *len))
{
    char byte;
    size_t len;
    while ((c->err = take(conn, &byte, 1, &len)) == DEGU_OK) {
        fuzz_same_number(len, 1, "length of a read");
        c->hash = fuzz_hash_more(c->hash, &byte, 1);
        ++c->len;
    }
    fuzz_same_number(len, 0, "length of a read that gave nothing");
}

/* Reads all of a body, and of a chunked one its lines. */
static inline fuzz_content fuzz_read_all(degu_conn *conn)
{
    fuzz_content c = {DEGU_OK, 0, 0, 0, 0};
    degu_chunk chunk;
    if (degu_body_framing(conn) != DEGU_CHUNKED) {
        fuzz_read_data(conn, &c, degu_read_body);
        return c;
    }
    while ((c.err = degu_read_chunk(conn, &chunk)) == DEGU_OK) {
        c.lines = fuzz_hash_more(c.lines ^ (uint32_t)chunk.size,
                                 chunk.extensions.ptr, chunk.extensions.len);
        fuzz_read_data(conn, &c, degu_read_chunk_data);
        if (c.err != DEGU_END)
            break;
    }
    return c;
}

/* A body that was handed on is the one that came in: to the last byte, and if
   it had chunks with the same ones. */
static inline void fuzz_same_content(const fuzz_content *a,
                                     const fuzz_content *b, bool chunks,
                                     const char *what)
{
    fuzz_same_err(a->err, DEGU_END, what);
    fuzz_same_err(b->err, DEGU_END, what);
    fuzz_same_number(a->len, b->len, what);
    fuzz_same_number(a->hash, b->hash, what);
    if (chunks)
        fuzz_same_number(a->lines, b->lines, what);
}

/* The body that stands at ptr, read in the plainest way. */
static inline fuzz_content fuzz_body_at(const char *ptr, size_t len,
                                        degu_framing framing, uint64_t length)
{
    fuzz_transport t;
    fuzz_conn c;
    fuzz_content content;
    fuzz_transport_init(&t, ptr, len);
    fuzz_conn_init(&c, DEGU_SERVER, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    fuzz_same_err(degu_expect_body(&c.conn, framing, length), DEGU_OK,
                  "a body is expected");
    content = fuzz_read_all(&c.conn);
    content.used = fuzz_used(&c.conn, &t);
    fuzz_conn_free(&c);
    return content;
}

#endif

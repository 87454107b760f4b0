/* SPDX-License-Identifier: MIT OR 0BSD

   A degu_io in memory: what the other end sends, how it is cut, and what has
   been sent to it.  Include it behind degu.h. */

#ifndef WIRE_H
#define WIRE_H

#include <string.h>

typedef struct wire {
    const char *in; /* what the other end sends, */
    size_t in_len;
    size_t in_pos;
    size_t cut;  /* no recv goes beyond this offset, if before it */
    size_t step; /* no recv gives more; 0: no bound */
    bool gated;  /* the other end says nothing before it was sent something */
    ptrdiff_t at_end; /* behind in: 0 the end, or an error */

    char *out; /* what was sent */
    size_t out_cap;
    size_t out_len;
    size_t send_step;   /* no send takes more; 0: no bound */
    size_t fail_behind; /* a send beyond this offset fails */
    degu_err send_error;

    unsigned recvs; /* calls, without those that peek */
    unsigned sends;
    unsigned peeks;
    const char *last_piece; /* of the last send */
    size_t last_piece_len;
    size_t last_count;
    unsigned last_flags;
    size_t begins; /* calls that began a step */
} wire;

static ptrdiff_t wire_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    wire *w = (wire *)ctx;
    size_t there = w->in_len - w->in_pos;
    w->last_flags = flags;
    w->begins += (flags & DEGU_IO_BEGIN) != 0;
    if ((flags & DEGU_IO_PEEK) != 0) {
        ++w->peeks;
        if (w->gated && w->out_len == 0)
            return DEGU_E_AGAIN;
        if (there == 0)
            return w->at_end;
        *(char *)buf = w->in[w->in_pos];
        return 1;
    }
    ++w->recvs;
    if (there == 0)
        return w->at_end;
    if (w->in_pos < w->cut && there > w->cut - w->in_pos)
        there = w->cut - w->in_pos;
    if (w->step != 0 && there > w->step)
        there = w->step;
    if (there > len)
        there = len;
    memcpy(buf, w->in + w->in_pos, there);
    w->in_pos += there;
    return (ptrdiff_t)there;
}

/* Keeps what fits into out, counts the rest. */
static size_t wire_keep(wire *w, const char *ptr, size_t len)
{
    size_t room = w->out_len < w->out_cap ? w->out_cap - w->out_len : 0;
    if (room > len)
        room = len;
    if (room > 0)
        memcpy(w->out + w->out_len, ptr, room);
    w->out_len += len;
    return len;
}

static ptrdiff_t wire_send(void *ctx, const degu_str *pieces, size_t count,
                           unsigned flags)
{
    wire *w = (wire *)ctx;
    size_t most = w->send_step != 0 ? w->send_step : SIZE_MAX;
    size_t taken = 0, i;
    ++w->sends;
    w->last_flags = flags;
    w->begins += (flags & DEGU_IO_BEGIN) != 0;
    w->last_count = count;
    w->last_piece = pieces[count - 1].ptr;
    w->last_piece_len = pieces[count - 1].len;
    if (w->send_error != DEGU_OK) {
        if (w->out_len >= w->fail_behind)
            return w->send_error;
        if (most > w->fail_behind - w->out_len)
            most = w->fail_behind - w->out_len;
    }
    for (i = 0; i < count && taken < most; ++i) {
        size_t len = pieces[i].len;
        if (len > most - taken)
            len = most - taken;
        taken += wire_keep(w, pieces[i].ptr, len);
    }
    return (ptrdiff_t)taken;
}

static void wire_init(wire *w, const char *in, size_t in_len, char *out,
                      size_t out_cap)
{
    memset(w, 0, sizeof *w);
    w->in = in;
    w->in_len = in_len;
    w->out = out;
    w->out_cap = out_cap;
}

static degu_io wire_io(wire *w)
{
    degu_io io;
    io.ctx = w;
    io.recv = wire_recv;
    io.send = wire_send;
    return io;
}

#endif

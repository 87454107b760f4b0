/* An HTTP server on lwIP's raw API: no thread, no allocation of its own, no
   call that waits.  doc/microcontroller.md explains it.
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#define DEGU_NO_SOCKETS
#define DEGU_PREAMBLE_MAX 1024
#define DEGU_HEADER_MAX 16
#include "degu.h"
#include "lwip/tcp.h"

void http_start(void);

#define PEERS 4
#define BODY_MAX 256

typedef struct peer {
    struct tcp_pcb *pcb; /* NULL: this place is free */
    struct pbuf *queue;  /* received, and not read yet */
    bool finished;       /* the other end sends no more */
    bool ended;          /* and this one: what still comes is thrown away */
    bool has_request;
    uint8_t late;        /* polls since it connected or was answered */
    degu_conn conn;
    degu_request request;
    char in[1024], out[512];
} peer;

static peer peers[PEERS];

static ptrdiff_t peer_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    peer *p = (peer *)ctx;
    u16_t n, end;
    if (!p->queue)
        return p->finished ? 0 : DEGU_E_AGAIN;
    n = (u16_t)LWIP_MIN(len, p->queue->tot_len);
    /* Of a head no more than a line: the queue begins with the body then. */
    end = pbuf_memfind(p->queue, "\n", 1, 0);
    if (!(flags & DEGU_IO_BODY) && end < n)
        n = (u16_t)(end + 1);
    n = pbuf_copy_partial(p->queue, buf, n, 0);
    if (!(flags & DEGU_IO_PEEK)) {
        p->queue = pbuf_free_header(p->queue, n);
        tcp_recved(p->pcb, n);
    }
    return n;
}

/* An answer has to fit into lwIP's send buffer, TCP_SND_BUF. */
static ptrdiff_t peer_send(void *ctx, const degu_str *pieces, size_t count,
                           unsigned flags)
{
    peer *p = (peer *)ctx;
    u16_t n = (u16_t)LWIP_MIN(pieces[0].len, tcp_sndbuf(p->pcb));
    (void)count;
    (void)flags;
    if (!n || tcp_write(p->pcb, pieces[0].ptr, n, TCP_WRITE_FLAG_COPY))
        return DEGU_E_TIMEOUT;
    return n;
}

/* From a callback of lwIP, what comes of it has to be returned. */
static err_t peer_close(peer *p)
{
    struct tcp_pcb *pcb = p->pcb;
    if (p->queue)
        pbuf_free(p->queue);
    p->queue = NULL;
    p->pcb = NULL;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_err(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
    if (tcp_close(pcb) == ERR_OK)
        return ERR_OK;
    tcp_abort(pcb);
    return ERR_ABRT;
}

static degu_err handle(peer *p)
{
    char body[BODY_MAX];
    size_t len = 0;
    if (p->request.framing == DEGU_CHUNKED)
        return degu_reply(&p->conn, 411, "Length Required", NULL);
    if (p->request.content_length > sizeof body)
        return degu_reply(&p->conn, 413, "Content Too Large", NULL);
    while (len < p->request.content_length) {
        size_t n;
        degu_err err = degu_read_body(&p->conn, body + len,
                                      sizeof body - len, &n);
        if (err)
            return err;
        len += n;
    }
    if (!degu_is(p->request.path, "/echo"))
        return degu_reply(&p->conn, 404, "Not Found", NULL);
    return degu_send_response(&p->conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(body, len));
}

/* Has all come that handle() will read?  Then it never waits. */
static bool has_body(const peer *p)
{
    uint64_t want = p->request.framing == DEGU_LENGTH
                        ? p->request.content_length
                        : 0;
    return p->finished || want > BODY_MAX ||
           want <= (p->queue ? p->queue->tot_len : 0u);
}

/* A close now would cut whoever still sends, before he has read the answer
   (RFC 9112 9.6); so he is listened to until he ends too, or is late. */
static err_t peer_end(peer *p)
{
    if (!p->ended)
        tcp_shutdown(p->pcb, 0, 1);
    p->ended = true;
    if (p->finished)
        return peer_close(p);
    if (p->queue) {
        tcp_recved(p->pcb, p->queue->tot_len);
        pbuf_free(p->queue);
    }
    p->queue = NULL;
    return ERR_OK;
}

/* Does what can be done with what is there. */
static err_t peer_step(peer *p)
{
    degu_err err = DEGU_OK;
    if (p->ended)
        return peer_end(p);
    while (!err && (p->has_request || degu_conn_is_open(&p->conn))) {
        if (!p->has_request)
            err = degu_read_request(&p->conn, &p->request);
        p->has_request = !err;
        if (err == DEGU_MORE || (!err && !has_body(p)))
            return tcp_output(p->pcb);
        if (!err)
            err = handle(p);
        p->has_request = false;
        p->late = 0;
    }
    if (err)
        degu_send_error(&p->conn, err);
    return peer_end(p);
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *data,
                     err_t err)
{
    peer *p = (peer *)arg;
    (void)pcb;
    (void)err;
    if (!data)
        p->finished = true;
    else if (p->queue)
        pbuf_cat(p->queue, data);
    else
        p->queue = data;
    return peer_step(p);
}

static void on_error(void *arg, err_t err) /* the pcb is gone already */
{
    peer *p = (peer *)arg;
    (void)err;
    if (p->queue)
        pbuf_free(p->queue);
    p->queue = NULL;
    p->pcb = NULL;
}

/* Each 5 s.  A request has to be there, and answered, within 15. */
static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    peer *p = (peer *)arg;
    (void)pcb;
    if (++p->late < 3)
        return ERR_OK;
    if (!p->ended && (p->has_request || degu_conn_has_input(&p->conn)))
        degu_send_error(&p->conn, DEGU_E_TIMEOUT);
    return peer_close(p);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    degu_io io = {NULL, peer_recv, peer_send};
    int i = 0;
    (void)arg;
    while (i < PEERS && peers[i].pcb)
        i++;
    if (err || i == PEERS) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    io.ctx = &peers[i];
    peers[i].pcb = pcb;
    peers[i].finished = peers[i].ended = peers[i].has_request = false;
    peers[i].late = 0;
    degu_conn_init(&peers[i].conn, DEGU_SERVER, io, peers[i].in,
                   sizeof peers[i].in, peers[i].out, sizeof peers[i].out);
    tcp_arg(pcb, &peers[i]);
    tcp_recv(pcb, on_recv);
    tcp_err(pcb, on_error);
    tcp_poll(pcb, on_poll, 10); /* in half seconds */
    return ERR_OK;
}

/* Call it once lwIP runs, where its callbacks run. */
void http_start(void)
{
    struct tcp_pcb *pcb = tcp_new();
    tcp_bind(pcb, IP_ANY_TYPE, 80);
    pcb = tcp_listen(pcb);
    tcp_accept(pcb, on_accept);
}

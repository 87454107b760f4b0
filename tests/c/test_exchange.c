/* SPDX-License-Identifier: MIT OR 0BSD

   Layer 6 over a wire in memory: who may speak next, what goes out, how often
   the wire is used, and what is left after each fault. */

#define DEGU_IMPLEMENTATION
#include "../../degu.h"

#include "check.h"
#include "page.h"
#include "wire.h"

#define OUT_MAX (1 << 20)

static page_area receive;
static char sends[DEGU_SEND_BUFFER];
static char out[OUT_MAX];
static wire w;
static degu_conn conn;
static degu_request request;
static degu_response response;

/* ---- Set-up ---- */

static void start(degu_role role, const char *in)
{
    wire_init(&w, in, strlen(in), out, sizeof out);
    w.gated = role == DEGU_CLIENT;
    check_unset(&conn, sizeof conn);
    degu_conn_init(&conn, role, wire_io(&w),
                   page_last(receive, DEGU_RECV_BUFFER), DEGU_RECV_BUFFER,
                   sends, sizeof sends);
}

/* A server that has read the request that in starts with. */
static void serve(const char *in)
{
    start(DEGU_SERVER, in);
    CHECK_OK(degu_read_request(&conn, &request));
}

static degu_err ask(degu_method method, const char *target)
{
    return degu_send_request(&conn, method, degu_string(target), NULL, 0,
                             degu_no_body());
}

/* A client that has sent a GET; in is what will be answered. */
static void fetch(const char *in)
{
    start(DEGU_CLIENT, in);
    CHECK_OK(ask(DEGU_GET, "/"));
}

static degu_err answer(int status, degu_body body)
{
    return degu_send_response(&conn, status, degu_string("OK"), NULL, 0,
                              body);
}

static bool sent(const char *want)
{
    return check_text(out, w.out_len, want, "sent", __FILE__, __LINE__);
}

static degu_body bytes(const char *text)
{
    return degu_body_bytes(text, strlen(text));
}

static degu_header header(const char *name, const char *value)
{
    degu_header h;
    h.name = degu_string(name);
    h.value = degu_string(value);
    return h;
}

/* The whole body, in pieces of at most step bytes. */
static degu_err read_all(char *text, size_t cap, size_t step, size_t *len)
{
    degu_err err;
    size_t got;
    for (*len = 0; *len < cap; *len += got) {
        err = degu_read_body(&conn, text + *len,
                             step < cap - *len ? step : cap - *len, &got);
        if (err != DEGU_OK)
            return err;
    }
    return DEGU_OK;
}

static bool body_is(const char *want)
{
    char text[512];
    size_t len;
    CHECK_ERR(read_all(text, sizeof text, 100, &len), DEGU_END);
    return CHECK_MEM(text, len, want);
}

#define ANSWER_0 "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define ANSWER_0_CLOSE                                                        \
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
#define GET_A "GET /a HTTP/1.1\r\n\r\n"
#define HEAD_5 "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
#define PUT_5 "PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\n"
#define POST_CHUNKED "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"

/* ---- Whose turn it is ---- */

/* Every function, called out of turn or in turn. */
enum {
    READ_REQUEST,
    SEND_RESPONSE,
    SEND_REQUEST,
    READ_RESPONSE,
    READ_BODY,
    READ_CHUNK,
    READ_CHUNK_DATA,
    READ_TRAILERS,
    EXPECT_BODY,
    SEND_BODY,
    CALLS
};

static const char *const call_names[CALLS] = {
    "read_request", "send_response", "send_request",    "read_response",
    "read_body",    "read_chunk",    "read_chunk_data", "read_trailers",
    "expect_body",  "send_body"};

static degu_err call(int which)
{
    static degu_fields fields;
    degu_chunk chunk;
    char byte;
    size_t len;
    uint64_t count;
    switch (which) {
    case READ_REQUEST: return degu_read_request(&conn, &request);
    case SEND_RESPONSE: return answer(200, degu_no_body());
    case SEND_REQUEST: return ask(DEGU_GET, "/");
    case READ_RESPONSE: return degu_read_response(&conn, &response);
    case READ_BODY: return degu_read_body(&conn, &byte, 1, &len);
    case READ_CHUNK: return degu_read_chunk(&conn, &chunk);
    case READ_CHUNK_DATA:
        return degu_read_chunk_data(&conn, &byte, 1, &len);
    case READ_TRAILERS: return degu_read_trailers(&conn, &fields);
    case EXPECT_BODY: return degu_expect_body(&conn, DEGU_LENGTH, 5);
    default: return degu_send_body(&conn, bytes("x"), &count);
    }
}

/* A state, and what each function says in it; OK marks what may be done and
   is not tried here. */
typedef struct turn_state {
    const char *name;
    void (*enter)(void);
    degu_err want[CALLS];
} turn_state;

#define O DEGU_E_ORDER
#define F DEGU_E_FINISHED
#define E DEGU_END
#define K DEGU_OK

static void server_fresh(void)
{
    start(DEGU_SERVER, "");
}

static void server_asked(void)
{
    serve(GET_A);
}

static void server_body(void)
{
    serve(PUT_5 "hello");
}

static void server_part(void)
{
    char byte;
    size_t len;
    serve(PUT_5 "hello");
    CHECK_OK(degu_read_body(&conn, &byte, 1, &len));
}

static void server_in_chunk(void)
{
    degu_chunk chunk;
    serve(POST_CHUNKED "5\r\nhello\r\n0\r\n\r\n");
    CHECK_OK(degu_read_chunk(&conn, &chunk));
}

static void server_chunked(void)
{
    serve(POST_CHUNKED "5\r\nhello\r\n0\r\n\r\n");
}

static void server_answered(void)
{
    serve(GET_A);
    CHECK_OK(answer(200, degu_no_body()));
}

static void server_unread(void)
{
    serve(PUT_5 "hello" GET_A);
    CHECK_OK(answer(200, degu_no_body()));
}

static void server_closed(void)
{
    serve("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    CHECK_OK(answer(200, degu_no_body()));
}

static void server_refused(void)
{
    start(DEGU_SERVER, "GET /# HTTP/1.1\r\n\r\n" GET_A);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_TARGET);
}

static void client_fresh(void)
{
    start(DEGU_CLIENT, "");
}

static void client_asked(void)
{
    fetch(ANSWER_0);
}

static void client_body(void)
{
    fetch("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_OK(degu_read_response(&conn, &response));
}

static void client_closed(void)
{
    fetch(ANSWER_0_CLOSE);
    CHECK_OK(degu_read_response(&conn, &response));
}

static void client_refused(void)
{
    fetch("HTTP/1.1 200\r\n\r\n");
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_START_LINE);
}

#define T DEGU_E_TARGET
#define S DEGU_E_START_LINE

static const turn_state turn_states[] = {
    {"server, fresh", server_fresh, {K, O, O, O, E, E, E, K, K, K}},
    {"server, asked", server_asked, {O, K, O, O, E, E, E, K, O, O}},
    {"server, body unread", server_body, {O, K, O, O, K, E, E, O, O, O}},
    {"server, body half read", server_part, {O, K, O, O, K, E, E, O, O, O}},
    {"server, chunks unread", server_chunked, {O, K, O, O, K, K, E, O, O, O}},
    {"server, in a chunk", server_in_chunk, {O, K, O, O, K, O, K, O, O, O}},
    {"server, answered", server_answered, {K, O, O, O, E, E, E, K, K, K}},
    {"server, answered, body unread", server_unread,
     {F, O, O, O, O, E, E, O, O, K}},
    {"server, closed", server_closed, {F, O, O, O, E, E, E, K, K, K}},
    {"server, refused", server_refused, {T, O, T, T, T, E, E, T, O, K}},
    {"client, fresh", client_fresh, {O, O, K, O, E, E, E, K, K, K}},
    {"client, asked", client_asked, {O, O, O, K, E, E, E, K, O, O}},
    {"client, body unread", client_body, {O, O, O, O, K, E, E, O, O, K}},
    {"client, closed", client_closed, {O, O, F, O, E, E, E, K, K, K}},
    {"client, refused", client_refused, {S, O, S, S, S, E, E, S, O, O}}};
#undef O
#undef F
#undef E
#undef K
#undef T
#undef S

/* What is out of turn says so and changes nothing. */
static void test_turns(void)
{
    size_t i;
    int which;
    for (i = 0; i < sizeof turn_states / sizeof turn_states[0]; ++i) {
        const turn_state *state = &turn_states[i];
        check_start(state->name);
        for (which = 0; which < CALLS; ++which) {
            degu_conn before;
            size_t out_len, in_pos;
            degu_err err;
            if (state->want[which] == DEGU_OK)
                continue;
            state->enter();
            before = conn;
            out_len = w.out_len;
            in_pos = w.in_pos;
            err = call(which);
            if (!CHECK_ERR(err, state->want[which]))
                printf("    by %s\n", call_names[which]);
            CHECK_INT(w.out_len, out_len);
            CHECK_INT(w.in_pos, in_pos);
            if (!CHECK(memcmp(&before, &conn, sizeof conn) == 0))
                printf("    by %s\n", call_names[which]);
        }
    }
}

/* A body source may not speak on the connection that is sending it. */
static degu_err speaking(void *ctx, degu_str *piece)
{
    uint64_t count;
    (void)ctx;
    CHECK(!degu_conn_is_idle(&conn));
    CHECK_ERR(degu_send_body(&conn, bytes("x"), &count), DEGU_E_ORDER);
    CHECK_ERR(answer(200, degu_no_body()), DEGU_E_ORDER);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_ORDER);
    CHECK_ERR(degu_send_error(&conn, DEGU_E_HANDLER), DEGU_E_ORDER);
    *piece = degu_string("hello");
    return DEGU_OK;
}

static degu_err speaking_once(void *ctx, degu_str *piece)
{
    int *calls = (int *)ctx;
    return (*calls)++ == 0 ? speaking(ctx, piece) : DEGU_OK;
}

static void test_speaking_source(void)
{
    int calls = 0;
    uint64_t count;
    check_start("speaking source");
    serve(GET_A GET_A);
    CHECK_OK(answer(200, degu_body_pull(speaking_once, &calls, 5)));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_OK(degu_read_request(&conn, &request));

    check_start("speaking source of a bare body");
    calls = 0;
    start(DEGU_SERVER, GET_A);
    CHECK_OK(degu_send_body(&conn, degu_body_pull(speaking_once, &calls, 5),
                            &count));
    sent("hello");
    CHECK_OK(degu_read_request(&conn, &request));
}

/* ---- Small exchanges: one recv and one send a side ---- */

static void test_server_calls(void)
{
    check_start("server calls");
    serve(PUT_5 "hello");
    body_is("hello");
    CHECK_OK(degu_reply(&conn, 200, "OK", "hello, world"));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world");
    CHECK_INT(w.recvs, 1);
    CHECK_INT(w.sends, 1);
    CHECK_INT(w.last_count, 1);
    CHECK(degu_conn_is_open(&conn) && degu_conn_is_idle(&conn));
    CHECK(degu_conn_has_sent(&conn));
    CHECK(!degu_conn_has_input(&conn));
}

static void test_client_calls(void)
{
    check_start("client calls");
    start(DEGU_CLIENT, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    CHECK_OK(degu_send_request(&conn, DEGU_PUT, degu_string("/a"), NULL, 0,
                               bytes("hello")));
    sent("PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_INT(response.status, 200);
    body_is("hi");
    CHECK_INT(w.peeks, 1);
    CHECK_INT(w.sends, 1);
    CHECK_INT(w.recvs, 1);
    CHECK(degu_conn_is_open(&conn) && degu_conn_is_idle(&conn));
}

/* Two requests in one piece: what lies there is used before more is read. */
static void test_pipelining(void)
{
    check_start("pipelining");
    serve(GET_A PUT_5 "hello" GET_A);
    CHECK(degu_conn_has_input(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(request.path, "/a");
    body_is("hello");
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK(!degu_conn_has_input(&conn));
    CHECK_INT(w.recvs, 1);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_INT(w.sends, 3);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_CLOSED);
}

/* Of two requests that came in one piece the second is not used yet. */
static void test_totals(void)
{
    const size_t get = strlen(GET_A), put = strlen(PUT_5 "hello");
    check_start("totals");
    serve(GET_A PUT_5 "hello");
    CHECK_INT(degu_conn_bytes_in(&conn), get);
    CHECK_INT(degu_conn_bytes_out(&conn), 0);
    CHECK_INT(degu_conn_status(&conn), 0);
    CHECK_OK(answer(204, degu_no_body()));
    CHECK_INT(degu_conn_bytes_out(&conn), w.out_len);
    CHECK_INT(degu_conn_status(&conn), 204);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_INT(degu_conn_status(&conn), 0);
    CHECK_INT(degu_conn_bytes_in(&conn), get + put - 5);
    body_is("hello");
    CHECK_INT(degu_conn_bytes_in(&conn), get + put);
    CHECK_OK(degu_send_error(&conn, DEGU_E_HANDLER));
    CHECK_INT(degu_conn_status(&conn), 500);
    CHECK_INT(degu_conn_bytes_out(&conn), w.out_len);
}

/* A large body leaves from where it lies, in the call that sends the head. */
static void test_large_body(void)
{
    static char large[1 << 19];
    size_t head = strlen("HTTP/1.1 200 OK\r\ncontent-length: 4097\r\n\r\n");
    check_start("large body");
    memset(large, 'x', sizeof large);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_bytes(large, sizeof large)));
    CHECK_INT(w.sends, 1);
    CHECK_INT(w.last_count, 2);
    CHECK(w.last_piece == large);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_bytes(large, DEGU_COPY_MAX + 1)));
    CHECK_INT(w.sends, 1);
    CHECK(w.last_piece == large);
    CHECK_INT(w.out_len, head + DEGU_COPY_MAX + 1);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_bytes(large, DEGU_COPY_MAX)));
    CHECK_INT(w.sends, 1);
    CHECK_INT(w.last_count, 1);
    CHECK(w.last_piece == sends);
    CHECK_INT(w.out_len, head + DEGU_COPY_MAX);
}

/* A wire that takes one byte at a time, and one that gives one. */
static void test_byte_by_byte(void)
{
    check_start("byte by byte");
    start(DEGU_SERVER, PUT_5 "hello" GET_A);
    w.step = w.send_step = 1;
    CHECK_OK(degu_read_request(&conn, &request));
    body_is("hello");
    CHECK_OK(degu_reply(&conn, 200, "OK", "hello, world"));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world");
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(request.path, "/a");
}

/* ---- 100-continue (D4, rule 16) ---- */

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define PUT_EXPECT                                                            \
    "PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"

/* The head of a request whose body waits for a word of ours. */
static void serve_expecting(void)
{
    start(DEGU_SERVER, PUT_EXPECT "hello");
    w.cut = strlen(PUT_EXPECT);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK(request.expect_continue);
    CHECK_INT(w.out_len, 0);
}

static void test_continue(void)
{
    check_start("100-continue at the first read, once");
    serve_expecting();
    body_is("hello");
    sent(CONTINUE);
    CHECK(!degu_conn_has_sent(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(CONTINUE ANSWER_0);
    CHECK(degu_conn_is_open(&conn));

    check_start("100-continue before draining");
    serve_expecting();
    CHECK_OK(degu_drain_body(&conn, 100));
    sent(CONTINUE);

    check_start("draining while the out buffer is full");
    serve(PUT_5 "hello");
    conn.out_len = conn.out_cap;
    CHECK_OK(degu_drain_body(&conn, 5));
    conn.out_len = 0;
    CHECK(degu_body_is_read(&conn));

    check_start("no 100-continue when the body is there");
    serve(PUT_EXPECT "hello");
    body_is("hello");
    CHECK_INT(w.out_len, 0);

    check_start("no 100-continue when the body is not read");
    serve_expecting();
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);

    check_start("an error after 100-continue is still answered");
    serve_expecting();
    w.in_len = strlen(PUT_EXPECT);
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_TRUNCATED);
    CHECK_OK(degu_send_error(&conn, DEGU_E_TRUNCATED));
    sent(CONTINUE "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n"
                  "connection: close\r\n\r\n");
}

static void test_continue_chunked(void)
{
    static const char head[] = "PUT / HTTP/1.1\r\nexpect: 100-continue\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    char in[200];
    degu_chunk chunk;
    check_start("100-continue before a chunk");
    strcpy(in, head);
    strcat(in, "0\r\n\r\n");
    start(DEGU_SERVER, in);
    w.cut = strlen(head);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(degu_read_chunk(&conn, &chunk));
    sent(CONTINUE);
    check_start("the wire breaks under 100-continue");
    serve_expecting();
    w.send_error = DEGU_E_RESET;
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_RESET);
    CHECK(!degu_conn_is_open(&conn));
    CHECK_ERR(answer(200, degu_no_body()), DEGU_E_FINISHED);
}

/* The second of its pieces comes after the request's body. */
static degu_err reading_late(void *ctx, degu_str *piece)
{
    int *calls = (int *)ctx;
    if (*calls == 1)
        CHECK_OK(degu_drain_body(&conn, 5));
    *piece = degu_string(*calls == 0 ? "hel" : *calls == 1 ? "lo" : "");
    ++*calls;
    return DEGU_OK;
}

/* It would stand in the middle of the answer. */
static void test_continue_too_late(void)
{
    int calls = 0;
    check_start("no 100-continue inside an answer");
    serve_expecting();
    CHECK_OK(answer(200, degu_body_pull(reading_late, &calls, 5)));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
         "hello");
    CHECK(degu_body_is_read(&conn));
}

/* Without a body there is nothing to wait for. */
static void test_continue_without_body(void)
{
    char byte;
    size_t len;
    check_start("100-continue without a body");
    serve("GET / HTTP/1.1\r\nexpect: 100-continue\r\n\r\n");
    CHECK_ERR(degu_read_body(&conn, &byte, 1, &len), DEGU_END);
    CHECK_INT(w.out_len, 0);
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0);
}

/* ---- The end of a connection (rule 14) ---- */

static void test_server_closes(void)
{
    degu_header close = header("connection", "close");
    check_start("the client asks for the close");
    serve("GET / HTTP/1.1\r\nconnection: close\r\n\r\n" GET_A);
    CHECK(!degu_conn_is_open(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);

    check_start("the app asks for the close");
    serve(GET_A GET_A);
    CHECK_OK(degu_send_response(&conn, 200, degu_string("OK"), &close, 1,
                                degu_no_body()));
    sent("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    CHECK(!degu_conn_is_open(&conn));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);

    check_start("the server asks for the close");
    serve(GET_A GET_A);
    CHECK(degu_conn_is_open(&conn));
    degu_conn_close_after(&conn);
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);
}

/* Layer 8 asks for it so, at any time. */
static void test_ending(void)
{
    int ending = 0;
    check_start("ending");
    serve(GET_A GET_A);
    conn.ending = &ending;
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    ending = 1;
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0 ANSWER_0_CLOSE);
    CHECK(!degu_conn_is_open(&conn));
}

/* D13: a body left unread ends the connection. */
static void test_unread_body(void)
{
    char byte;
    size_t len;
    check_start("body unread");
    serve(PUT_5 "hello" GET_A);
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    CHECK(!degu_conn_is_open(&conn));
    check_start("body half read");
    serve(PUT_5 "hello" GET_A);
    CHECK_OK(degu_read_body(&conn, &byte, 1, &len));
    CHECK(!degu_body_is_read(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    check_start("chunked body read, its last chunk not");
    serve(POST_CHUNKED "1\r\nx\r\n0\r\n\r\n");
    CHECK_OK(degu_read_body(&conn, &byte, 1, &len));
    CHECK(!degu_body_is_read(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    check_start("body read");
    serve(PUT_5 "hello" GET_A);
    body_is("hello");
    CHECK(degu_body_is_read(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0);
    CHECK(degu_conn_is_open(&conn));
}

static void test_client_closes(void)
{
    degu_header close = header("connection", "close");
    check_start("the client asks for the close");
    start(DEGU_CLIENT, ANSWER_0);
    CHECK_OK(degu_send_request(&conn, DEGU_GET, degu_string("/"), &close, 1,
                               degu_no_body()));
    sent("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK(!degu_conn_is_open(&conn));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_FINISHED);

    check_start("the server asks for the close");
    fetch("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"
          "hi");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK(response.close);
    body_is("hi");
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_FINISHED);
}

/* D10: any status leaves a connection usable. */
static void test_statuses(void)
{
    int status;
    check_start("statuses");
    for (status = 200; status < 600; ++status) {
        serve(GET_A GET_A);
        CHECK_OK(answer(status, degu_no_body()));
        CHECK(degu_conn_is_open(&conn));
        CHECK_OK(degu_read_request(&conn, &request));
    }
    for (status = 100; status < 200; ++status) {
        serve(GET_A);
        CHECK_ERR(answer(status, degu_no_body()), DEGU_E_INTERIM_ANSWER);
        CHECK_INT(w.out_len, 0);
        CHECK_OK(answer(200, degu_no_body()));
    }
    for (status = -1; status < 100; ++status) {
        serve(GET_A);
        CHECK_ERR(answer(status, degu_no_body()), DEGU_E_STATUS);
        CHECK_INT(w.out_len, 0);
    }
}

/* ---- No content (rule 19) ---- */

static void test_head(void)
{
    check_start("HEAD");
    serve("HEAD / HTTP/1.1\r\n\r\n" GET_A);
    CHECK_ERR(answer(200, bytes("hello")), DEGU_E_NO_CONTENT);
    CHECK_INT(w.out_len, 0);
    CHECK_OK(degu_reply(&conn, 200, "OK", "hello"));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    CHECK_OK(degu_read_request(&conn, &request));
    serve("HEAD / HTTP/1.1\r\n\r\n");
    CHECK_OK(degu_reply(&conn, 404, "Not Found", NULL));
    sent("HTTP/1.1 404 Not Found\r\n\r\n");
}

static void test_no_content(void)
{
    static const int bare[] = {204, 304};
    size_t i;
    check_start("204 and 304");
    for (i = 0; i < 2; ++i) {
        serve(GET_A);
        CHECK_ERR(answer(bare[i], bytes("hello")), DEGU_E_NO_CONTENT);
        CHECK_INT(w.out_len, 0);
        CHECK_OK(answer(bare[i], degu_no_body()));
        sent(bare[i] == 204 ? "HTTP/1.1 204 OK\r\n\r\n"
                            : "HTTP/1.1 304 OK\r\n\r\n");
    }
}

/* ---- Wrong arguments leave everything as it was ---- */

static void test_bad_arguments(void)
{
    degu_header bad = header("a", "b\r\nc: d");
    degu_header length = header("content-length", "6");
    check_start("bad arguments");
    serve(GET_A);
    CHECK_ERR(degu_send_response(&conn, 200, degu_string("OK"), &bad, 1,
                                 bytes("hello")),
              DEGU_E_VALUE);
    CHECK_ERR(degu_send_response(&conn, 200, degu_string("OK"), &length, 1,
                                 bytes("hello")),
              DEGU_E_FRAMING_FIELD);
    CHECK_ERR(degu_send_response(&conn, 200, degu_string("O\nK"), NULL, 0,
                                 degu_no_body()),
              DEGU_E_REASON);
    CHECK_ERR(answer(600, degu_no_body()), DEGU_E_STATUS);
    CHECK_INT(w.sends, 0);
    CHECK(!degu_conn_has_sent(&conn));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0);

    start(DEGU_CLIENT, ANSWER_0);
    CHECK_ERR(ask(DEGU_GET, "a"), DEGU_E_TARGET_FORM);
    CHECK_ERR(degu_send_request(&conn, DEGU_GET, degu_string("/"), NULL, 0,
                                bytes("hello")),
              DEGU_E_BODY_METHOD);
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), &bad, 1,
                                bytes("hello")),
              DEGU_E_VALUE);
    CHECK_INT(w.sends, 0);
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_OK(degu_read_response(&conn, &response));
}

/* ---- Body sources (rule 20) ---- */

/* Pieces, and then the end or an error. */
typedef struct source {
    const char *pieces[4];
    size_t next;
    degu_err at_end;
} source;

static degu_err next_piece(void *ctx, degu_str *piece)
{
    source *s = (source *)ctx;
    const char *text = s->next < 4 ? s->pieces[s->next] : NULL;
    if (text == NULL)
        return s->at_end;
    ++s->next;
    *piece = degu_string(text);
    return DEGU_OK;
}

static source source_of(const char *a, const char *b, degu_err at_end)
{
    source s;
    memset(&s, 0, sizeof s);
    s.pieces[0] = a;
    s.pieces[1] = b;
    s.at_end = at_end;
    return s;
}

static void test_pull(void)
{
    source s = source_of("hel", "lo", DEGU_OK);
    check_start("pull");
    serve(GET_A GET_A);
    CHECK_OK(answer(200, degu_body_pull(next_piece, &s, 5)));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_INT(w.sends, 2);
    CHECK(degu_conn_is_open(&conn));
    CHECK_OK(degu_read_request(&conn, &request));

    s = source_of(NULL, NULL, DEGU_OK);
    check_start("pull of nothing");
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_pull(next_piece, &s, 0)));
    sent(ANSWER_0);
}

/* ---- A source that sends by itself ---- */

typedef struct pusher {
    ptrdiff_t results[4];
    uint64_t left[4]; /* what it was called with */
    unsigned flags[4];
    int calls;
} pusher;

static ptrdiff_t push(void *ctx, uint64_t left, unsigned flags)
{
    pusher *p = ctx;
    CHECK(p->calls < 4);
    CHECK_INT(w.sends, 1); /* the head is out */
    p->left[p->calls] = left;
    p->flags[p->calls] = flags;
    return p->results[p->calls++];
}

static pusher pusher_of(ptrdiff_t first, ptrdiff_t second)
{
    pusher p;
    memset(&p, 0, sizeof p);
    p.results[0] = first;
    p.results[1] = second;
    return p;
}

static void test_push(void)
{
    pusher p = pusher_of(3, 2);
    check_start("push");
    serve(GET_A GET_A);
    CHECK_OK(answer(200, degu_body_push(push, &p, 5)));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    CHECK_INT(p.calls, 2);
    CHECK(p.left[0] == 5 && p.left[1] == 2);
    CHECK(p.flags[0] == DEGU_IO_BEGIN && p.flags[1] == 0);
    CHECK(degu_conn_is_open(&conn));
    CHECK_OK(degu_read_request(&conn, &request));

    check_start("push: a step for each DEGU_STEP_BYTES");
    p = pusher_of(DEGU_STEP_BYTES, 1);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_push(push, &p, DEGU_STEP_BYTES + 1)));
    CHECK(p.flags[0] == DEGU_IO_BEGIN && p.flags[1] == DEGU_IO_BEGIN);

    check_start("push of nothing");
    p = pusher_of(0, 0);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_push(push, &p, 0)));
    sent(ANSWER_0);
    CHECK_INT(p.calls, 0);

    check_start("push where there must be no body");
    serve(GET_A);
    CHECK_ERR(answer(204, degu_body_push(push, &p, 5)), DEGU_E_NO_CONTENT);
    CHECK_INT(p.calls, 0);
    CHECK_INT(w.sends, 0);
}

static void test_bad_pushes(void)
{
    static const struct {
        const char *name;
        ptrdiff_t first, second;
        degu_err want;
    } cases[] = {
        {"push ends at once", 0, 0, DEGU_E_BODY_SHORT},
        {"push ends early", 3, 0, DEGU_E_BODY_SHORT},
        {"push sends too much", 6, 0, DEGU_E_BODY_LONG},
        {"push sends too much later", 3, 3, DEGU_E_BODY_LONG},
        {"push fails", DEGU_E_SOURCE, 0, DEGU_E_SOURCE},
        {"push is cut", 3, DEGU_E_RESET, DEGU_E_RESET},
        {"push takes too long", 3, DEGU_E_TIMEOUT, DEGU_E_TIMEOUT},
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        pusher p = pusher_of(cases[i].first, cases[i].second);
        check_start(cases[i].name);
        serve(GET_A GET_A);
        CHECK_ERR(answer(200, degu_body_push(push, &p, 5)), cases[i].want);
        CHECK(degu_conn_has_sent(&conn) && !degu_conn_is_open(&conn));
        CHECK_OK(degu_send_error(&conn, DEGU_E_HANDLER));
        CHECK_INT(w.sends, 1);
        CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);
    }
}

/* Who reads no more may have answered already (RFC 9112 9.5). */
static void test_push_answered_early(void)
{
    pusher p = pusher_of(3, DEGU_E_RESET);
    check_start("push: early answer");
    start(DEGU_CLIENT, ANSWER_0_CLOSE);
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), NULL, 0,
                                degu_body_push(push, &p, 5)),
              DEGU_E_RESET);
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_INT(response.status, 200);
}

/* Nothing has left: the peer may get another answer. */
static void fails_before(source s, uint64_t length, degu_err want)
{
    serve(GET_A GET_A);
    CHECK_ERR(answer(200, degu_body_pull(next_piece, &s, length)), want);
    CHECK_INT(w.sends, 0);
    CHECK(!degu_conn_has_sent(&conn));
    CHECK(!degu_conn_is_idle(&conn));
    CHECK_OK(degu_send_error(&conn, want));
    sent("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n"
         "connection: close\r\n\r\n");
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);
}

/* A part has left: the connection is cut, no byte follows. */
static void fails_behind(source s, uint64_t length, degu_err want,
                         const char *out_want)
{
    serve(GET_A GET_A);
    CHECK_ERR(answer(200, degu_body_pull(next_piece, &s, length)), want);
    sent(out_want);
    CHECK(degu_conn_has_sent(&conn));
    CHECK(!degu_conn_is_open(&conn));
    CHECK_OK(degu_send_error(&conn, want));
    CHECK(answer(200, degu_no_body()) < 0);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_FINISHED);
    sent(out_want);
}

static void test_bad_sources(void)
{
    check_start("source fails before its first byte");
    fails_before(source_of(NULL, NULL, DEGU_E_SOURCE), 5, DEGU_E_SOURCE);
    fails_before(source_of(NULL, NULL, DEGU_E_HANDLER), 5, DEGU_E_HANDLER);
    check_start("source ends before its first byte");
    fails_before(source_of(NULL, NULL, DEGU_OK), 5, DEGU_E_BODY_SHORT);
    check_start("first piece too long");
    fails_before(source_of("hello!", NULL, DEGU_OK), 5, DEGU_E_BODY_LONG);
    check_start("source fails later");
    fails_behind(source_of("hel", NULL, DEGU_E_SOURCE), 5, DEGU_E_SOURCE,
                 "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    check_start("source ends too early");
    fails_behind(source_of("hel", NULL, DEGU_OK), 5, DEGU_E_BODY_SHORT,
                 "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    check_start("second piece too long: nothing of it leaves");
    fails_behind(source_of("hel", "lo!", DEGU_OK), 5, DEGU_E_BODY_LONG,
                 "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    check_start("a piece behind the end");
    fails_behind(source_of("hello", "!", DEGU_OK), 5, DEGU_E_BODY_LONG,
                 "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
}

/* The same of a client: nothing sent leaves the connection as it was. */
static void test_bad_client_sources(void)
{
    source s = source_of(NULL, NULL, DEGU_E_SOURCE);
    check_start("client source fails before its first byte");
    start(DEGU_CLIENT, ANSWER_0);
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), NULL, 0,
                                degu_body_pull(next_piece, &s, 5)),
              DEGU_E_SOURCE);
    CHECK_INT(w.sends, 0);
    CHECK(degu_conn_is_open(&conn));
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_OK(degu_read_response(&conn, &response));

    s = source_of("hel", NULL, DEGU_E_SOURCE);
    check_start("client source fails later");
    start(DEGU_CLIENT, ANSWER_0);
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), NULL, 0,
                                degu_body_pull(next_piece, &s, 5)),
              DEGU_E_SOURCE);
    CHECK(!degu_conn_is_open(&conn));
    CHECK(ask(DEGU_GET, "/") < 0);
    sent("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel");

    /* The other end waits for the rest: there is no early answer to read. */
    s = source_of("hel", NULL, DEGU_E_RESET);
    check_start("client source is reset");
    start(DEGU_CLIENT, ANSWER_0);
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), NULL, 0,
                                degu_body_pull(next_piece, &s, 5)),
              DEGU_E_RESET);
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_ORDER);
    CHECK_INT(w.recvs, 0);
}

/* Between an interim response and the final one is inside an answer. */
static void test_closed_behind_interim(void)
{
    check_start("closed behind an interim response");
    start(DEGU_CLIENT, "");
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_CLOSED);
    start(DEGU_CLIENT, "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_TRUNCATED);
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_TRUNCATED);
}

/* Every limit at once: a head, the last chunk's extension and trailers. */
static void test_largest_message(void)
{
    static const char front[] = "PUT / HTTP/1.1\r\nhost: a\r\n"
                                "transfer-encoding: chunked\r\na: ";
    static const char tail[] = "\r\n\r\n";
    static char in[DEGU_PREAMBLE_MAX + DEGU_CHUNK_LINE_MAX + DEGU_TRAILER_MAX +
                   1];
    degu_fields fields;
    size_t line = DEGU_PREAMBLE_MAX, trailer = line + DEGU_CHUNK_LINE_MAX;
    check_start("largest message");
    memset(in, 'x', sizeof in - 1);
    memcpy(in, front, sizeof front - 1);
    memcpy(in + line - 4, tail, 4);
    memcpy(in + line, "0;", 2);
    memcpy(in + trailer - 2, tail, 2);
    memcpy(in + trailer, "b: ", 3);
    memcpy(in + sizeof in - 5, tail, 4);
    serve(in);
    CHECK_OK(degu_drain_body(&conn, DEGU_CHUNK_LINE_MAX));
    CHECK_OK(degu_read_trailers(&conn, &fields));
    CHECK_INT(fields.count, 1);
    CHECK_INT(degu_field_at(&fields, 0).value.len, DEGU_TRAILER_MAX - 7);
}

/* A relay made for one message and used for the next has the next one's
   length, not its own. */
static void test_kept_relay(void)
{
    degu_body body;
    check_start("kept relay");
    serve("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
          "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    body = degu_body_relay(&conn);
    CHECK_OK(degu_drain_body(&conn, 3));
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    w.out_len = 0;
    CHECK_OK(answer(200, body));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");

    check_start("kept relay, and nothing to relay");
    serve(PUT_5 "hello" GET_A);
    body = degu_body_relay(&conn);
    CHECK_OK(answer(200, body));
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_ERR(answer(200, body), DEGU_E_ORDER);
}

/* ---- Chunks ---- */

typedef struct chunk_source {
    degu_chunk_out chunks[4];
    size_t next;
    size_t count;
    degu_err at_end;
} chunk_source;

static degu_err next_chunk(void *ctx, degu_chunk_out *chunk)
{
    chunk_source *s = (chunk_source *)ctx;
    CHECK(chunk->data.len == 0 && chunk->count == 0 &&
          chunk->trailer_count == 0);
    if (s->next == s->count)
        return s->at_end;
    *chunk = s->chunks[s->next++];
    return DEGU_OK;
}

static void add_chunk(chunk_source *s, const char *data,
                      const degu_extension *extensions, size_t count)
{
    degu_chunk_out *chunk = &s->chunks[s->count++];
    memset(chunk, 0, sizeof *chunk);
    chunk->data = degu_string(data);
    chunk->extensions = extensions;
    chunk->count = count;
}

static degu_extension extension(const char *key, const char *value)
{
    degu_extension e;
    e.key = degu_string(key);
    e.value = degu_string(value);
    e.escaped = false;
    return e;
}

#define ANSWER_CHUNKED "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

static void test_chunks(void)
{
    chunk_source s;
    degu_extension e[2];
    degu_header trailer = header("sum", "5");
    check_start("chunks");
    memset(&s, 0, sizeof s);
    e[0] = extension("a", "b c");
    e[1] = extension("d", NULL);
    add_chunk(&s, "hello", e, 2);
    add_chunk(&s, "x", NULL, 0);
    add_chunk(&s, "", e + 1, 1);
    s.chunks[2].trailers = &trailer;
    s.chunks[2].trailer_count = 1;
    serve(GET_A GET_A);
    CHECK_OK(answer(200, degu_body_chunks(next_chunk, &s)));
    sent(ANSWER_CHUNKED "5;a=\"b c\";d\r\nhello\r\n1\r\nx\r\n0;d\r\n"
                        "sum: 5\r\n\r\n");
    CHECK_INT(w.sends, 3);
    CHECK_OK(degu_read_request(&conn, &request));

    check_start("no chunks");
    memset(&s, 0, sizeof s);
    s.count = 1;
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_chunks(next_chunk, &s)));
    sent(ANSWER_CHUNKED "0\r\n\r\n");
    CHECK_INT(w.sends, 1);
}

/* A large chunk leaves from where it lies, its line and CR LF in the same
   call. */
static void test_large_chunk(void)
{
    static char large[100001];
    chunk_source s;
    check_start("large chunk");
    memset(large, 'x', sizeof large - 1);
    memset(&s, 0, sizeof s);
    add_chunk(&s, large, NULL, 0);
    add_chunk(&s, "", NULL, 0);
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_chunks(next_chunk, &s)));
    CHECK_INT(w.sends, 2);
    CHECK_INT(w.out_len, strlen(ANSWER_CHUNKED) + strlen("186a0\r\n") +
                             100000 + 2 + 5);
}

static void test_bad_chunks(void)
{
    chunk_source s;
    degu_extension e = extension("a b", NULL);
    degu_header trailer = header("content-length", "5");
    check_start("bad extension in the first chunk");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "hello", &e, 1);
    serve(GET_A);
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)),
              DEGU_E_CHUNK_EXTENSION);
    CHECK_INT(w.sends, 0);
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0);

    check_start("bad extension later: no last chunk");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "hello", NULL, 0);
    add_chunk(&s, "x", &e, 1);
    serve(GET_A);
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)),
              DEGU_E_CHUNK_EXTENSION);
    sent(ANSWER_CHUNKED "5\r\nhello\r\n");
    CHECK(!degu_conn_is_open(&conn));

    check_start("chunk source fails");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "hello", NULL, 0);
    s.at_end = DEGU_E_SOURCE;
    serve(GET_A);
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)), DEGU_E_SOURCE);
    sent(ANSWER_CHUNKED "5\r\nhello\r\n");
    CHECK(!degu_conn_is_open(&conn));

    check_start("trailer that may not stand there");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "", NULL, 0);
    s.chunks[0].trailers = &trailer;
    s.chunks[0].trailer_count = 1;
    serve(GET_A);
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)), DEGU_E_TRAILER);
    CHECK_INT(w.sends, 0);
}

/* ---- Relaying ---- */

static void test_echo(void)
{
    check_start("echo with a length");
    serve(PUT_5 "hello" GET_A);
    CHECK_OK(answer(200, degu_body_relay(&conn)));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(request.path, "/a");

    check_start("echo of chunks, boundaries and extensions kept");
    serve(POST_CHUNKED "5;a=\"b \\\" c\";d\r\nhello\r\n1\r\nx\r\n0;e=f\r\n\r\n"
          GET_A);
    CHECK_OK(answer(200, degu_body_relay(&conn)));
    sent(ANSWER_CHUNKED
         "5;a=\"b \\\" c\";d\r\nhello\r\n1\r\nx\r\n0;e=f\r\n\r\n");
    CHECK_OK(degu_read_request(&conn, &request));

    check_start("echo of nothing");
    serve(GET_A);
    CHECK_OK(answer(200, degu_body_relay(&conn)));
    sent(ANSWER_0);

    check_start("echo byte by byte");
    start(DEGU_SERVER, POST_CHUNKED "5;a\r\nhello\r\n0\r\n\r\n");
    w.step = w.send_step = 1;
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(answer(200, degu_body_relay(&conn)));
    CHECK(degu_conn_is_open(&conn) && degu_conn_is_idle(&conn));
}

/* Chunks larger than the buffer that they pass through. */
static void test_echo_large(void)
{
    static char in[300000], want[300000];
    size_t len = strlen(POST_CHUNKED), head = strlen(ANSWER_CHUNKED);
    check_start("echo of a large chunk");
    strcpy(in, POST_CHUNKED "30d40\r\n"); /* 200000 */
    strcpy(want, ANSWER_CHUNKED "30d40\r\n");
    memset(in + len + 7, 'x', 200000);
    memset(want + head + 7, 'x', 200000);
    strcpy(in + len + 200007, "\r\n0\r\n\r\n");
    strcpy(want + head + 200007, "\r\n0\r\n\r\n");
    serve(in);
    CHECK_OK(answer(200, degu_body_relay(&conn)));
    CHECK_INT(w.out_len, head + 200007 + 7);
    CHECK(memcmp(out, want, head + 200014) == 0);
}

static void test_bad_echo(void)
{
    char byte;
    size_t len;
    check_start("echo of a body that was begun");
    serve(PUT_5 "hello");
    CHECK_OK(degu_read_body(&conn, &byte, 1, &len));
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_ORDER);
    CHECK_INT(w.sends, 0);

    check_start("echo of a body that is cut");
    serve(PUT_5 "hel");
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_TRUNCATED);
    CHECK_ERR(degu_conn_read_error(&conn), DEGU_E_TRUNCATED);
    CHECK(!degu_conn_is_open(&conn));
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");

    check_start("echo of a chunk that is cut");
    serve(POST_CHUNKED "5\r\nhel");
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_TRUNCATED);
    sent(ANSWER_CHUNKED "5\r\nhel");
    CHECK(!degu_conn_is_open(&conn));

    check_start("echo of a body that is malformed from its start");
    serve(POST_CHUNKED "x\r\n");
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_CHUNK_SIZE);
    CHECK_INT(w.sends, 0);
    CHECK_OK(degu_send_error(&conn, DEGU_E_CHUNK_SIZE));
    sent("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n"
         "connection: close\r\n\r\n");

    check_start("echo of a body that is malformed later");
    serve(POST_CHUNKED "5\r\nhello\r\nx\r\n");
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_CHUNK_SIZE);
    sent(ANSWER_CHUNKED "5\r\nhello\r\n");
    CHECK(!degu_conn_is_open(&conn));
}

/* A proxy's other connection, and the response read from it; in holds that up
   to cut with the first call. */
static degu_conn up;
static wire up_wire;

static void fetch_up(const char *in, size_t cut)
{
    static char in2[DEGU_RECV_BUFFER], sends2[DEGU_SEND_BUFFER], out2[500];
    wire_init(&up_wire, in, strlen(in), out2, sizeof out2);
    up_wire.gated = true;
    up_wire.cut = cut;
    degu_conn_init(&up, DEGU_CLIENT, wire_io(&up_wire), in2, sizeof in2,
                   sends2, sizeof sends2);
    CHECK_OK(degu_send_request(&up, DEGU_GET, degu_string("/a"), NULL, 0,
                               degu_no_body()));
    CHECK_OK(degu_read_response(&up, &response));
}

static degu_err hand_on(void)
{
    return degu_send_response(&conn, response.status, response.reason, NULL, 0,
                              degu_body_relay(&up));
}

/* The response that a client reads becomes a server's answer. */
static void relay_response(const char *in, const char *want)
{
    serve(GET_A GET_A);
    fetch_up(in, 0);
    CHECK_OK(hand_on());
    sent(want);
    CHECK(degu_body_is_read(&up));
    CHECK_OK(degu_read_request(&conn, &request));
}

static void test_proxy(void)
{
    check_start("relay with a length");
    relay_response("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
                   "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    check_start("relay of chunks");
    relay_response(ANSWER_CHUNKED "2;a=b\r\nhi\r\n0\r\n\r\n",
                   ANSWER_CHUNKED "2;a=b\r\nhi\r\n0\r\n\r\n");
    check_start("relay until the close becomes chunks");
    relay_response("HTTP/1.1 200 OK\r\n\r\nhello",
                   ANSWER_CHUNKED "5\r\nhello\r\n0\r\n\r\n");
    relay_response("HTTP/1.1 200 OK\r\n\r\n", ANSWER_CHUNKED "0\r\n\r\n");
    check_start("relay of nothing");
    relay_response(ANSWER_0, ANSWER_0);
    check_start("relay past a body that is not read");
    serve(PUT_5 "hello");
    fetch_up(HEAD_5 "abcde", 0);
    CHECK_OK(hand_on());
    sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
         "abcde");
}

/* What was read cannot be handed on; nothing of it is sent. */
static void test_proxy_read_body(void)
{
    degu_str target = degu_string("/a");
    size_t len;
    char byte;
    check_start("relay of what was read, as a request");
    fetch_up(ANSWER_0, 0);
    serve(PUT_5 "hello");
    CHECK_OK(degu_read_body(&conn, &byte, 1, &len));
    CHECK_ERR(degu_send_request(&up, DEGU_PUT, target, NULL, 0,
                                degu_body_relay(&conn)), DEGU_E_ORDER);
    CHECK(!degu_conn_has_sent(&up));
    CHECK(degu_conn_is_idle(&up));
}

/* A head is news: it does not wait for a body of which nothing is there. */
static void test_proxy_lead(void)
{
    check_start("the head of a relay goes ahead");
    serve(GET_A);
    fetch_up(HEAD_5 "hello", strlen(HEAD_5));
    up_wire.out_len = 0; /* to who peeks nothing is there */
    CHECK_OK(hand_on());
    sent(HEAD_5 "hello");
    CHECK_INT(w.sends, 2);

    check_start("the head of a relay waits for what is there");
    serve(GET_A);
    fetch_up(HEAD_5 "hello", strlen(HEAD_5));
    CHECK_OK(hand_on());
    CHECK_INT(w.sends, 1);

    check_start("the head of a relay cannot be sent");
    serve(GET_A);
    fetch_up(HEAD_5 "hello", strlen(HEAD_5));
    up_wire.out_len = 0;
    w.send_error = DEGU_E_RESET;
    CHECK_ERR(hand_on(), DEGU_E_RESET);
    CHECK_INT(up_wire.in_pos, strlen(HEAD_5));
    CHECK_OK(degu_conn_read_error(&up));
}

/* A body until the close that fails on either side has no last chunk. */
static void test_bad_proxy(void)
{
    size_t behind;
    check_start("relay until the close, cut at its source");
    serve(GET_A);
    fetch_up("HTTP/1.1 200 OK\r\n\r\nhello", 0);
    up_wire.at_end = DEGU_E_RESET;
    CHECK_ERR(hand_on(), DEGU_E_RESET);
    sent(ANSWER_CHUNKED "5\r\nhello\r\n");
    CHECK(!degu_conn_is_open(&conn));
    CHECK_ERR(degu_conn_read_error(&up), DEGU_E_RESET);

    check_start("relay until the close, cut where it goes");
    for (behind = 0; behind < strlen(ANSWER_CHUNKED) + 15; ++behind) {
        serve(GET_A);
        fetch_up("HTTP/1.1 200 OK\r\n\r\nhello", 0);
        w.send_error = DEGU_E_RESET;
        w.fail_behind = behind;
        CHECK_ERR(hand_on(), DEGU_E_RESET);
        CHECK_INT(w.out_len, behind);
        CHECK(!degu_conn_is_open(&conn));
        CHECK_OK(degu_conn_read_error(&up));
    }
}

/* ---- Reading bodies ---- */

static void test_read_sizes(void)
{
    static const char *const heads[] = {
        "PUT / HTTP/1.1\r\ncontent-length: 26\r\n\r\n"
        "abcdefghijklmnopqrstuvwxyz",
        POST_CHUNKED "a;x\r\nabcdefghij\r\n1\r\nk\r\nf\r\nlmnopqrstuvwxyz\r\n"
                     "0\r\n\r\n"};
    size_t step, i, len;
    char text[64];
    check_start("reads of every size");
    for (i = 0; i < 2; ++i)
        for (step = 1; step < 30; ++step) {
            serve(heads[i]);
            CHECK_ERR(read_all(text, sizeof text, step, &len), DEGU_END);
            CHECK_MEM(text, len, "abcdefghijklmnopqrstuvwxyz");
            CHECK(degu_body_is_read(&conn));
            /* And again, as often as one likes. */
            CHECK_ERR(degu_read_body(&conn, text, 1, &len), DEGU_END);
            CHECK_INT(len, 0);
            CHECK_STR(request.target, i == 0 ? "/" : "/a");
        }
}

/* D10: a read that reaches the end of a length leaves the body read. */
static void test_read_to_end(void)
{
    char text[8];
    size_t len;
    check_start("read to the end");
    serve(PUT_5 "hello");
    CHECK_INT(degu_body_framing(&conn), DEGU_LENGTH);
    CHECK_OK(degu_read_body(&conn, text, 0, &len));
    CHECK_INT(len, 0);
    CHECK_OK(degu_read_body(&conn, text, 8, &len));
    CHECK_MEM(text, len, "hello");
    CHECK(degu_body_is_read(&conn));
    CHECK_ERR(degu_read_body(&conn, text, 0, &len), DEGU_END);
    server_in_chunk();
    CHECK_OK(degu_read_chunk_data(&conn, text, 0, &len));
    CHECK_INT(len, 0);
    CHECK_OK(degu_read_chunk_data(&conn, text, 8, &len));
    CHECK_MEM(text, len, "hello");
}

static void test_drain(void)
{
    check_start("drain");
    serve(PUT_5 "hello" GET_A);
    CHECK_OK(degu_drain_body(&conn, 5));
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    serve(PUT_5 "hello");
    CHECK_ERR(degu_drain_body(&conn, 4), DEGU_E_BODY_LIMIT);
    CHECK(!degu_conn_is_open(&conn));
    CHECK_OK(degu_send_error(&conn, DEGU_E_BODY_LIMIT));
    sent("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n"
         "connection: close\r\n\r\n");
    serve(GET_A);
    CHECK_OK(degu_drain_body(&conn, 0));
    serve(POST_CHUNKED "2\r\nhi\r\n0\r\n\r\n");
    CHECK_OK(degu_drain_body(&conn, 2));
    serve(POST_CHUNKED "2\r\nhi\r\n1\r\nx\r\n0\r\n\r\n");
    CHECK_ERR(degu_drain_body(&conn, 2), DEGU_E_BODY_LIMIT);
    /* Extensions count too: they may be most of what comes. */
    serve(POST_CHUNKED "1;a=b\r\nx\r\n0\r\n\r\n");
    CHECK_OK(degu_drain_body(&conn, 5));
    serve(POST_CHUNKED "1;a=b\r\nx\r\n0\r\n\r\n");
    CHECK_ERR(degu_drain_body(&conn, 4), DEGU_E_BODY_LIMIT);
}

static void test_trailers(void)
{
    degu_fields fields;
    check_start("trailers");
    serve(POST_CHUNKED "1\r\nx\r\n0\r\nA: b\r\n\r\n");
    CHECK_ERR(degu_read_trailers(&conn, &fields), DEGU_E_ORDER);
    body_is("x");
    CHECK_OK(degu_read_trailers(&conn, &fields));
    CHECK_INT(fields.count, 1);
    CHECK_STR(degu_find(&fields, "a"), "b");
    CHECK_STR(request.path, "/a");
    /* They are good until the next message. */
    CHECK_OK(degu_reply(&conn, 200, "OK", "hello"));
    CHECK_STR(degu_find(&fields, "a"), "b");
    serve(GET_A);
    CHECK_OK(degu_read_trailers(&conn, &fields));
    CHECK_INT(fields.count, 0);
}

/* ---- Cut anywhere, and errors of the wire ---- */

static void test_truncation(void)
{
    static const char whole[] = POST_CHUNKED "5;a\r\nhello\r\n0\r\n"
                                             "b: c\r\n\r\n";
    size_t head = strlen(POST_CHUNKED), cut;
    check_start("truncation");
    for (cut = 0; cut < sizeof whole - 1; ++cut) {
        degu_err err;
        start(DEGU_SERVER, whole);
        w.in_len = cut;
        err = degu_read_request(&conn, &request);
        if (cut < head) {
            CHECK_ERR(err, cut == 0 ? DEGU_E_CLOSED : DEGU_E_TRUNCATED);
        } else {
            CHECK_OK(err);
            CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_TRUNCATED);
            CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_TRUNCATED);
        }
        CHECK(!degu_conn_is_open(&conn));
    }
}

/* Errors of recv are handed on, and final. */
static void test_recv_errors(void)
{
    static const degu_err errors[] = {DEGU_E_RESET, DEGU_E_TIMEOUT,
                                      DEGU_E_INTERRUPTED};
    size_t i, cut;
    check_start("recv errors");
    for (i = 0; i < 3; ++i)
        for (cut = 0; cut < strlen(PUT_5 "hello"); ++cut) {
            degu_err err;
            start(DEGU_SERVER, PUT_5 "hello");
            w.in_len = cut;
            w.at_end = errors[i];
            err = degu_read_request(&conn, &request);
            if (err == DEGU_OK)
                err = degu_drain_body(&conn, 100);
            CHECK_ERR(err, errors[i]);
            CHECK(!degu_conn_is_open(&conn));
            CHECK(degu_read_request(&conn, &request) < 0);
        }
    fetch("HTTP/1.1 200 OK\r\n\r\nhello");
    w.at_end = DEGU_E_RESET; /* a bare end of file under TLS, too (D7) */
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_INT(response.framing, DEGU_UNTIL_CLOSE);
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_RESET);
}

/* Errors of send: the message is broken, wherever it was. */
static void test_send_errors(void)
{
    size_t behind;
    check_start("send errors");
    for (behind = 0; behind < 40; ++behind) {
        serve(GET_A GET_A);
        w.send_error = DEGU_E_RESET;
        w.fail_behind = behind;
        CHECK_ERR(answer(200, bytes("hello")), DEGU_E_RESET);
        CHECK_INT(w.out_len, behind);
        CHECK(!degu_conn_is_open(&conn));
        CHECK_OK(degu_conn_read_error(&conn));
        CHECK(degu_read_request(&conn, &request) < 0);
        /* Nor is there an answer that tells of it. */
        w.send_error = DEGU_OK;
        CHECK_OK(degu_send_error(&conn, DEGU_E_HANDLER));
        CHECK_INT(w.out_len, behind);
    }
}

/* The other end may have answered before it stopped reading. */
static void test_early_answer(void)
{
    static char large[100000];
    check_start("early answer");
    start(DEGU_CLIENT, "HTTP/1.1 413 Content Too Large\r\nconnection: close"
                       "\r\ncontent-length: 0\r\n\r\n");
    w.send_error = DEGU_E_RESET;
    w.fail_behind = 5000;
    CHECK_ERR(degu_send_request(&conn, DEGU_PUT, degu_string("/"), NULL, 0,
                                degu_body_bytes(large, sizeof large)),
              DEGU_E_RESET);
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_INT(response.status, 413);
    CHECK(!degu_conn_is_open(&conn));
    CHECK(ask(DEGU_GET, "/") < 0);
}

/* E_AGAIN from recv: the head is read on where it stopped. */
static void test_again(void)
{
    size_t len, whole = strlen(PUT_5);
    check_start("again");
    start(DEGU_SERVER, PUT_5 "hello");
    w.at_end = DEGU_E_AGAIN;
    for (len = 0; len < whole; ++len) {
        w.in_len = len;
        CHECK_ERR(degu_read_request(&conn, &request), DEGU_MORE);
        CHECK(degu_conn_is_open(&conn) && degu_conn_is_idle(&conn));
    }
    w.in_len = whole;
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(request.path, "/a");
    /* Anywhere else it is an error. */
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_AGAIN);
    CHECK(!degu_conn_is_open(&conn));
    start(DEGU_CLIENT, "HTTP");
    w.at_end = DEGU_E_AGAIN;
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_AGAIN);
}

/* A timeout between the messages is no error of a message: with E_AGAIN and
   what comes later, the connection goes on. */
static void test_again_between(void)
{
    check_start("again, between messages");
    start(DEGU_SERVER, GET_A GET_A);
    w.at_end = DEGU_E_AGAIN;
    w.in_len = strlen(GET_A);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_MORE);
    w.in_len = strlen(GET_A GET_A);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0 ANSWER_0);
}

/* The next head moves to where the trailer stood: there is none any more. */
static void test_again_trailers(void)
{
    static const char first[] = POST_CHUNKED "0\r\nab: c\r\n\r\n";
    degu_fields fields;
    check_start("again, behind a trailer");
    start(DEGU_SERVER, POST_CHUNKED "0\r\nab: c\r\n\r\n" GET_A);
    w.at_end = DEGU_E_AGAIN;
    w.in_len = sizeof first - 1 + 4;
    CHECK_OK(degu_read_request(&conn, &request));
    body_is("");
    CHECK_OK(degu_read_trailers(&conn, &fields));
    CHECK_INT(fields.count, 1);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_MORE);
    CHECK_OK(degu_read_trailers(&conn, &fields));
    CHECK_INT(fields.count, 0);
}

/* ---- Nothing unasked (rule 15) ---- */

/* What a request would meet, asked beforehand. */
static void test_check(void)
{
    check_start("check: nothing is in the way");
    start(DEGU_CLIENT, ANSWER_0 ANSWER_0);
    w.cut = strlen(ANSWER_0);
    w.gated = true;
    CHECK_OK(degu_conn_check(&conn));
    CHECK_OK(degu_conn_check(&conn));
    CHECK_INT(w.sends, 0);

    check_start("check: out of turn");
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_ORDER);
    fetch("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_ORDER);
    CHECK(body_is("hello"));
    serve(GET_A);
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_ORDER);

    check_start("check: bytes that nobody asked for");
    fetch(ANSWER_0 "x");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_UNASKED);
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);

    check_start("check: the other end has closed");
    fetch(ANSWER_0);
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_CLOSED);
    CHECK(!degu_conn_is_open(&conn));

    check_start("check: no message may follow");
    fetch(ANSWER_0_CLOSE);
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(degu_conn_check(&conn), DEGU_E_FINISHED);
}

/* Who keeps connections asks after an error what may be sent again. */
static void test_sent_and_answered(void)
{
    check_start("nothing was sent: the connection had ended");
    start(DEGU_CLIENT, ANSWER_0);
    CHECK(!degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK(degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK(degu_conn_is_answered(&conn));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_CLOSED);
    CHECK(!degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));

    check_start("nothing was sent: bytes lay there");
    fetch(ANSWER_0 "x");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);
    CHECK(!degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));

    check_start("nothing was sent: the way out was cut");
    start(DEGU_CLIENT, ANSWER_0);
    w.fail_behind = 0;
    w.send_error = DEGU_E_RESET;
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_RESET);
    CHECK(!degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));

    check_start("nothing was sent: a bad target");
    start(DEGU_CLIENT, ANSWER_0 ANSWER_0);
    w.cut = strlen(ANSWER_0);
    w.gated = true;
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "x"), DEGU_E_TARGET_FORM);
    CHECK(!degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));

    check_start("out of turn: still the one before");
    fetch("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_ORDER);
    CHECK(degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_ORDER);
    CHECK(degu_conn_has_sent(&conn) && degu_conn_is_answered(&conn));

    check_start("nothing was answered: closed before the first byte");
    fetch("");
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_CLOSED);
    CHECK(degu_conn_has_sent(&conn) && !degu_conn_is_answered(&conn));

    check_start("answered in part");
    fetch("H");
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_TRUNCATED);
    CHECK(degu_conn_is_answered(&conn));
    fetch("HTTP/1.1 200 OK\n");
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_LINE_END);
    CHECK(degu_conn_has_sent(&conn) && degu_conn_is_answered(&conn));
    fetch("HTTP/1.1 103 Early Hints\r\n\r\n");
    CHECK_ERR(degu_read_response(&conn, &response), DEGU_E_TRUNCATED);
    CHECK(degu_conn_is_answered(&conn));
}

static void test_unasked(void)
{
    check_start("bytes before the first request");
    start(DEGU_CLIENT, ANSWER_0);
    w.gated = false;
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);
    CHECK_INT(w.sends, 0);
    CHECK(!degu_conn_is_open(&conn));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);

    check_start("bytes behind a response, in the same piece");
    fetch(ANSWER_0 "x");
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);
    CHECK_INT(w.sends, 1);

    check_start("bytes behind a response, still in the socket");
    start(DEGU_CLIENT, ANSWER_0 ANSWER_0);
    w.cut = strlen(ANSWER_0);
    CHECK_OK(ask(DEGU_GET, "/"));
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_UNASKED);
    CHECK_INT(w.sends, 1);

    check_start("the end, between messages");
    fetch(ANSWER_0);
    CHECK_OK(degu_read_response(&conn, &response));
    CHECK_ERR(ask(DEGU_GET, "/"), DEGU_E_CLOSED);
    CHECK_INT(w.sends, 1);
    CHECK(!degu_conn_is_open(&conn));
}

/* ---- The bare answer (D2, rule 21) ---- */

static const degu_err all_errors[] = {
#define ERROR_ROW(name, number, status, text) DEGU_##name,
    DEGU_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

static void test_error_answers(void)
{
    size_t i;
    check_start("error answers");
    for (i = 0; i < sizeof all_errors / sizeof all_errors[0]; ++i) {
        degu_err err = all_errors[i];
        int status = degu_err_status(err);
        char line[32];
        serve(PUT_5 GET_A);
        CHECK_OK(degu_send_error(&conn, err));
        CHECK(!degu_conn_is_open(&conn));
        CHECK(degu_read_request(&conn, &request) < 0);
        CHECK(answer(200, degu_no_body()) < 0);
        if (status == 0) {
            CHECK_INT(w.out_len, 0);
            continue;
        }
        CHECK_INT(w.sends, 1);
        snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
        CHECK(memcmp(out, line, strlen(line)) == 0);
        out[w.out_len] = '\0';
        CHECK(strcmp(strstr(out, "\r\n"),
                     "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n") ==
              0);
        CHECK(strlen(line) < (size_t)(strstr(out, "\r\n") - out));
        /* Once. */
        CHECK_OK(degu_send_error(&conn, err));
        CHECK_INT(w.sends, 1);
    }
}

static void test_error_answer_places(void)
{
    check_start("refused head");
    start(DEGU_SERVER, "GET / HTTP/3.0\r\n\r\n" GET_A);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_VERSION);
    CHECK_OK(degu_send_error(&conn, DEGU_E_VERSION));
    sent("HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n"
         "connection: close\r\n\r\n");

    check_start("refused second head, after the answers that were due");
    serve(GET_A "\r\n");
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_EMPTY_LINE);
    CHECK_OK(degu_send_error(&conn, DEGU_E_EMPTY_LINE));
    sent(ANSWER_0 "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n"
                  "connection: close\r\n\r\n");

    check_start("a peer that closed between messages gets none");
    serve(GET_A);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_CLOSED);
    CHECK_OK(degu_send_error(&conn, DEGU_E_CLOSED));
    sent(ANSWER_0);

    check_start("not from a client");
    start(DEGU_CLIENT, "");
    CHECK_ERR(degu_send_error(&conn, DEGU_E_HANDLER), DEGU_E_ORDER);
    CHECK(w.out_len == 0 && degu_conn_is_open(&conn));

    check_start("not behind a complete answer");
    serve(GET_A);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_send_error(&conn, DEGU_E_HANDLER));
    sent(ANSWER_0);
}

/* D13: an app that catches the error of a body may answer, and that is all. */
static void test_answer_after_bad_body(void)
{
    check_start("answer after a bad body");
    serve(POST_CHUNKED "x\r\n" GET_A);
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_CHUNK_SIZE);
    CHECK_OK(answer(200, degu_no_body()));
    sent(ANSWER_0_CLOSE);
    CHECK(!degu_conn_is_open(&conn));
    CHECK(degu_read_request(&conn, &request) < 0);
}

/* ---- Bodies without heads ---- */

static void test_bare_bodies(void)
{
    chunk_source s;
    degu_extension e = extension("a", "b");
    uint64_t count = 0;
    char copy[100];
    check_start("bare chunks");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "hello", &e, 1);
    add_chunk(&s, "", NULL, 0);
    start(DEGU_SERVER, "");
    CHECK_OK(degu_send_body(&conn, degu_body_chunks(next_chunk, &s), &count));
    sent("5;a=b\r\nhello\r\n0\r\n\r\n");
    CHECK_INT(count, w.out_len);
    memcpy(copy, out, w.out_len);
    copy[w.out_len] = '\0';
    start(DEGU_CLIENT, copy);
    CHECK_OK(degu_expect_body(&conn, DEGU_CHUNKED, 0));
    body_is("hello");

    check_start("bare bytes");
    start(DEGU_SERVER, "hello");
    CHECK_OK(degu_send_body(&conn, bytes("abc"), &count));
    sent("abc");
    CHECK_INT(count, 3);
    CHECK_OK(degu_expect_body(&conn, DEGU_LENGTH, 5));
    CHECK_ERR(degu_expect_body(&conn, DEGU_LENGTH, 5), DEGU_E_ORDER);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_ORDER);
    body_is("hello");
    CHECK_OK(degu_send_body(&conn, degu_no_body(), &count));
    CHECK_INT(count, 0);
    CHECK_OK(degu_expect_body(&conn, DEGU_LENGTH, 0));
    CHECK(degu_body_is_read(&conn));
}

/* Without a head it is what it was, and is not made chunks. */
static void test_bare_relay(void)
{
    uint64_t count;
    degu_body body;
    check_start("bare relay until the close");
    start(DEGU_SERVER, "");
    fetch_up("HTTP/1.1 200 OK\r\n\r\nhello", 0);
    body = degu_body_relay(&up);
    CHECK_OK(degu_send_body(&conn, body, &count));
    sent("hello");
    CHECK_INT(count, 5);
    check_start("bare relay of what was read");
    CHECK_ERR(degu_send_body(&conn, body, &count), DEGU_E_ORDER);
    CHECK_INT(count, 0);
    sent("hello");
}

/* Each may use the whole buffer, whatever the ones before it kept there. */
static void test_bare_bodies_in_turn(void)
{
    int count;
    check_start("bare bodies in turn, in a small buffer");
    wire_init(&w, "", 0, out, sizeof out);
    degu_conn_init(&conn, DEGU_SERVER, wire_io(&w), page_last(receive, 64), 64,
                   sends, sizeof sends);
    for (count = 0; count < 4; count++) {
        static const char body[] = "0;a=bcdefghijklmnopqrstuvwxyz\r\n\r\n";
        wire_init(&w, body, strlen(body), out, sizeof out);
        CHECK_OK(degu_expect_body(&conn, DEGU_CHUNKED, 0));
        body_is("");
    }
}

static void test_bare_errors(void)
{
    source s = source_of("hel", NULL, DEGU_E_SOURCE);
    uint64_t count = 99;
    check_start("bare body that fails");
    start(DEGU_SERVER, "");
    CHECK_ERR(degu_send_body(&conn, degu_body_pull(next_piece, &s, 5), &count),
              DEGU_E_SOURCE);
    CHECK_INT(count, 3);
    sent("hel");
    check_start("bare body that fails before its first byte");
    s = source_of(NULL, NULL, DEGU_E_SOURCE);
    start(DEGU_SERVER, "");
    CHECK_OK(degu_send_body(&conn, bytes("abc"), &count));
    CHECK_ERR(degu_send_body(&conn, degu_body_pull(next_piece, &s, 5), &count),
              DEGU_E_SOURCE);
    CHECK_INT(count, 0);
    CHECK_OK(degu_send_body(&conn, bytes("abc"), &count));
    check_start("bare body on a broken connection");
    w.send_error = DEGU_E_RESET;
    CHECK_ERR(degu_send_body(&conn, bytes("abc"), &count), DEGU_E_RESET);
    CHECK_ERR(degu_send_body(&conn, bytes("abc"), &count), DEGU_E_FINISHED);
}

/* ---- Where an error stands ---- */

static bool error_is(size_t at, const char *text)
{
    degu_str shown = degu_conn_error_bytes(&conn);
    return CHECK_INT(degu_conn_error_at(&conn), at) &&
           CHECK_STR(shown, text);
}

static void test_error_bytes(void)
{
    static const char start_of[] = POST_CHUNKED "0\r\nc: d\r\n";
    static char endless[DEGU_TRAILER_MAX + 200];
    check_start("error bytes");
    start(DEGU_SERVER, GET_A "GET /b HTTP/1.1\r\na: b\x01xy\r\n\r\n");
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(degu_conn_error_bytes(&conn), NULL);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_VALUE);
    error_is(21, "\x01xy\r\n\r\n");
    CHECK_INT(request.error_at, 21);

    check_start("error bytes of a chunk line");
    serve(POST_CHUNKED "5;a\r\nhello\r\n5;=\r\nhello");
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_CHUNK_EXTENSION);
    error_is(2, "=\r\nhello");

    check_start("error bytes of a trailer");
    serve(POST_CHUNKED "0;a=b\r\nc: d\r\nhost: e\r\n\r\n");
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_TRAILER);
    CHECK_INT(degu_conn_error_at(&conn), 6);
    CHECK(degu_conn_error_bytes(&conn).len >= 7 &&
          memcmp(degu_conn_error_bytes(&conn).ptr, "host: e", 7) == 0);

    check_start("error bytes of a trailer's second line");
    serve(POST_CHUNKED "0;a=b\r\nc: d\r\ne: f\nxy");
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_LINE_END);
    error_is(10, "\nxy");

    check_start("error bytes of a trailer that has no end");
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, start_of, sizeof start_of - 1);
    serve(endless);
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_TRAILER_SIZE);
    CHECK_INT(degu_conn_error_at(&conn), DEGU_TRAILER_MAX);

    check_start("error bytes behind a chunk");
    serve(POST_CHUNKED "1\r\nxyz");
    CHECK_ERR(degu_drain_body(&conn, 100), DEGU_E_CHUNK_END);
    error_is(0, "yz");
}

/* ---- Small buffers make the limits smaller ---- */

static void small(degu_role role, const char *text, size_t in_cap,
                  size_t out_cap)
{
    wire_init(&w, text, strlen(text), out, sizeof out);
    w.gated = role == DEGU_CLIENT;
    degu_conn_init(&conn, role, wire_io(&w), page_last(receive, in_cap),
                   in_cap, sends, out_cap);
}

static void test_small_buffers(void)
{
    static const char head[] = "PUT /a HTTP/1.1\r\nx: 0123456789"
                               "0\r\ncontent-length: 5\r\n\r\n";
    char text[200];
    check_start("a head that fits exactly");
    CHECK(sizeof head - 1 <= 64);
    strcpy(text, head);
    strcat(text, "hello" GET_A);
    small(DEGU_SERVER, text, 64, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    body_is("hello");
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_STR(request.path, "/a");

    check_start("heads that do not fit");
    small(DEGU_SERVER, "GET / HTTP/1.1\r\nx: 0123456789012345678901234567890"
                       "12345678901234567890\r\n\r\n",
          64, 64);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_PREAMBLE_SIZE);
    small(DEGU_SERVER, "GET /0123456789012345678901234567890123456789012345678"
                       "90123456789 HTTP/1.1\r\n\r\n",
          64, 64);
    CHECK_ERR(degu_read_request(&conn, &request), DEGU_E_TARGET_SIZE);

    check_start("an answer that does not fit");
    small(DEGU_SERVER, GET_A, 64, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_ERR(degu_send_response(
                  &conn, 200,
                  degu_string("012345678901234567890123456789012345"), NULL,
                  0, degu_no_body()),
              DEGU_E_SPACE);
    CHECK_OK(answer(200, bytes("a body that is longer than the buffer is")));
    CHECK_INT(w.sends, 1);
}

/* Chunks and trailers in a buffer that the head fills, or nearly. */
static void test_small_chunks(void)
{
    static const char head[] = "POST /0123456789abcdef HTTP/1.1\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    char text[300];
    size_t cap;
    check_start("chunks in small buffers");
    for (cap = strlen(head); cap < 120; ++cap) {
        degu_err err;
        strcpy(text, head);
        strcat(text, "1;a=b\r\nx\r\n2\r\nyz\r\n0\r\nb: c\r\n\r\n" GET_A);
        small(DEGU_SERVER, text, cap, 64);
        CHECK_OK(degu_read_request(&conn, &request));
        err = degu_drain_body(&conn, 100);
        CHECK(err == DEGU_OK || err == DEGU_E_CHUNK_LINE_SIZE ||
              err == DEGU_E_TRAILER_SIZE);
        if (cap == strlen(head))
            CHECK_ERR(err, DEGU_E_CHUNK_LINE_SIZE);
        if (cap >= strlen(head) + 16)
            CHECK_OK(err);
    }
}

/* A head and a chunk's line that fit into the buffer only one by one. */
static void test_small_out(void)
{
    static const char want[] =
        ANSWER_CHUNKED "1;a=\"0 1234567890\"\r\nx\r\n0\r\n\r\n";
    chunk_source s;
    degu_extension e = extension("a", "0 1234567890");
    check_start("chunks out of a small buffer");
    memset(&s, 0, sizeof s);
    add_chunk(&s, "x", &e, 1);
    add_chunk(&s, "", NULL, 0);
    small(DEGU_SERVER, GET_A, 64, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(answer(200, degu_body_chunks(next_chunk, &s)));
    sent(want);

    check_start("the wire breaks before chunks out of a small buffer");
    s.next = 0;
    small(DEGU_SERVER, GET_A, 64, 64);
    w.send_error = DEGU_E_RESET;
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)), DEGU_E_RESET);
    CHECK_INT(w.out_len, 0);
}

static const char echoed[] = POST_CHUNKED "1;a=\"0 1234567890\"\r\nx\r\n"
                                          "0\r\n\r\n";

/* The chunk's line fills what the head leaves of the buffer, but for 0, 1, ...
   bytes; and wherever sending fails, no byte follows. */
static void test_small_echo(void)
{
    static const char want[] =
        ANSWER_CHUNKED "1;a=\"0 1234567890\"\r\nx\r\n0\r\n\r\n";
    size_t cap, behind;
    check_start("echo through a small buffer");
    for (cap = 64; cap < 80; ++cap)
        for (behind = 0; behind <= strlen(want); ++behind) {
            small(DEGU_SERVER, echoed, 256, cap);
            w.send_error = behind < strlen(want) ? DEGU_E_RESET : DEGU_OK;
            w.fail_behind = behind;
            CHECK_OK(degu_read_request(&conn, &request));
            CHECK_ERR(answer(200, degu_body_relay(&conn)), w.send_error);
            CHECK_INT(w.out_len, behind);
            CHECK(memcmp(out, want, behind) == 0);
        }
}

/* What does not fit into the empty buffer ends the message. */
static void test_too_small_out(void)
{
    static const char line[] =
        "1;a=0123456789012345678901234567890123456789012345678901234567890\r\n";
    chunk_source s;
    degu_extension e = extension("a", "b");
    char in[300];
    check_start("a chunk's line larger than the buffer");
    memset(&s, 0, sizeof s);
    e.value = degu_bytes(line + 4, strlen(line) - 6);
    add_chunk(&s, "x", &e, 1);
    small(DEGU_SERVER, GET_A, 64, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_ERR(answer(200, degu_body_chunks(next_chunk, &s)), DEGU_E_SPACE);
    sent(ANSWER_CHUNKED);
    CHECK(!degu_conn_is_open(&conn));

    check_start("echo of a chunk's line larger than the buffer");
    strcpy(in, POST_CHUNKED "2\r\nhi\r\n");
    strcat(in, line);
    small(DEGU_SERVER, in, 256, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_ERR(answer(200, degu_body_relay(&conn)), DEGU_E_SPACE);
    sent(ANSWER_CHUNKED "2\r\nhi\r\n");
    CHECK(!degu_conn_is_open(&conn));

    check_start("relay until the close without room for a chunk");
    small(DEGU_SERVER, GET_A, 64, 64);
    CHECK_OK(degu_read_request(&conn, &request));
    fetch_up("HTTP/1.1 200 OK\r\n\r\nhello", 0);
    CHECK_ERR(hand_on(), DEGU_E_SPACE);
    CHECK_INT(w.out_len, 0);
    CHECK_OK(answer(502, degu_no_body()));
}

/* The head fills the buffer that the body passes through. */
static void test_full_out(void)
{
    static char in[400];
    degu_header h = header("a", "0123456789");
    size_t len;
    check_start("echo behind a head that fills the buffer");
    for (len = 0; len <= 10; ++len) {
        strcpy(in, PUT_5 "hello");
        h.value.len = len;
        small(DEGU_SERVER, in, 64, 51 + len % 3);
        CHECK_OK(degu_read_request(&conn, &request));
        if (degu_send_response(&conn, 200, degu_string("OK"), &h, 1,
                               degu_body_relay(&conn)) == DEGU_OK) {
            CHECK(w.out_len == strlen("HTTP/1.1 200 OK\r\na: \r\n"
                                      "content-length: 5\r\n\r\nhello") +
                                   len);
        } else {
            CHECK_INT(w.out_len, 0);
            CHECK(strlen("HTTP/1.1 200 OK\r\na: \r\ncontent-length: 5"
                         "\r\n\r\n") + len > 51 + len % 3);
        }
    }
}

/* ---- The rest ---- */

static void test_set_io(void)
{
    wire other;
    check_start("another way");
    serve(GET_A);
    wire_init(&other, "", 0, out, sizeof out);
    degu_conn_set_io(&conn, wire_io(&other));
    CHECK(degu_conn_io(&conn).ctx == &other);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK_INT(w.sends, 0);
    CHECK_INT(other.sends, 1);
}

/* BEGIN marks the first call of a step and no other. */
static void test_flags(void)
{
    check_start("flags");
    start(DEGU_SERVER, PUT_5 "hello");
    w.step = 1;
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK((w.last_flags & DEGU_IO_BEGIN) == 0);
    start(DEGU_SERVER, GET_A);
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK((w.last_flags & DEGU_IO_BEGIN) != 0);
    CHECK_OK(answer(200, degu_no_body()));
    CHECK((w.last_flags & DEGU_IO_BEGIN) != 0);
    serve(GET_A);
    w.send_step = 1;
    CHECK_OK(answer(200, degu_no_body()));
    CHECK((w.last_flags & DEGU_IO_BEGIN) == 0);
}

/* A body that drips in and is handed on, or thrown away, is one step for each
   DEGU_STEP_BYTES and way, not one for each byte. */
static void count_steps(const char *head, const char *tail, bool drain)
{
    static char in[400000];
    const size_t len = strlen(head) + 100000;
    strcpy(in, head);
    memset(in + strlen(head), 'x', 100000);
    strcpy(in + len, tail);
    start(DEGU_SERVER, in);
    w.step = 100;
    w.out_cap = 0;
    CHECK_OK(degu_read_request(&conn, &request));
    w.begins = 0;
    if (drain)
        CHECK_OK(degu_drain_body(&conn, 100000));
    else
        CHECK_OK(answer(200, degu_body_relay(&conn)));
    CHECK(w.begins > 0);
    CHECK(w.begins <= 4);
}

static void test_steps(void)
{
    int drain;
    check_start("steps of a whole body");
    for (drain = 0; drain < 2; drain++) {
        count_steps("PUT / HTTP/1.1\r\nhost: a\r\n"
                    "content-length: 100000\r\n\r\n", "", drain);
        count_steps("PUT / HTTP/1.1\r\nhost: a\r\n"
                    "transfer-encoding: chunked\r\n\r\n186a0\r\n",
                    "\r\n0\r\n\r\n", drain);
    }
}

/* The views of a request are good until its response has been sent. */
static void test_lifetime(void)
{
    static char in[60000];
    size_t i;
    check_start("lifetime");
    strcpy(in, "POST /a?b HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked"
               "\r\nC: d\r\n\r\n");
    for (i = 0; i < 3000; ++i)
        strcat(in + i * 10, "4;a=b\r\nwxyz\r\n");
    strcat(in, "0;last\r\ne: f\r\n\r\n");
    start(DEGU_SERVER, in);
    w.step = 501;
    CHECK_OK(degu_read_request(&conn, &request));
    CHECK_OK(degu_drain_body(&conn, 30000));
    CHECK_STR(request.target, "/a?b");
    CHECK_STR(request.path, "/a");
    CHECK_STR(request.query, "b");
    CHECK_STR(request.host, "x");
    CHECK_STR(degu_find(&request.fields, "c"), "d");
    CHECK_STR(degu_find(&request.fields, "host"), "x");
}

int main(void)
{
    receive = page_map(DEGU_RECV_BUFFER);
    test_turns();
    test_speaking_source();
    test_server_calls();
    test_client_calls();
    test_pipelining();
    test_totals();
    test_large_body();
    test_byte_by_byte();
    test_continue();
    test_continue_chunked();
    test_continue_too_late();
    test_continue_without_body();
    test_server_closes();
    test_ending();
    test_unread_body();
    test_client_closes();
    test_statuses();
    test_head();
    test_no_content();
    test_bad_arguments();
    test_pull();
    test_push();
    test_bad_pushes();
    test_push_answered_early();
    test_bad_sources();
    test_bad_client_sources();
    test_closed_behind_interim();
    test_largest_message();
    test_kept_relay();
    test_chunks();
    test_large_chunk();
    test_bad_chunks();
    test_echo();
    test_echo_large();
    test_bad_echo();
    test_proxy();
    test_proxy_read_body();
    test_proxy_lead();
    test_bad_proxy();
    test_read_sizes();
    test_read_to_end();
    test_drain();
    test_trailers();
    test_truncation();
    test_recv_errors();
    test_send_errors();
    test_early_answer();
    test_again();
    test_again_between();
    test_again_trailers();
    test_unasked();
    test_check();
    test_sent_and_answered();
    test_error_answers();
    test_error_answer_places();
    test_answer_after_bad_body();
    test_bare_bodies();
    test_bare_relay();
    test_bare_bodies_in_turn();
    test_bare_errors();
    test_error_bytes();
    test_small_buffers();
    test_small_chunks();
    test_small_out();
    test_small_echo();
    test_too_small_out();
    test_full_out();
    test_set_io();
    test_flags();
    test_steps();
    test_lifetime();
    return check_done();
}

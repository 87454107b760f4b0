/* SPDX-License-Identifier: MIT OR 0BSD

   Layer 5: what is written, what is refused before a byte is written, and
   that nothing is written beyond or in a buffer that is too small. */

#define DEGU_IMPLEMENTATION
#include "../../degu.h"

#include "check.h"
#include "page.h"

#define ROOM (2 * DEGU_PREAMBLE_MAX)

static page_area page;
static char big[ROOM];

static const degu_frame no_body = {DEGU_NO_BODY, 0, false};
static const degu_frame chunked = {DEGU_CHUNKED, 0, false};

static degu_frame length(uint64_t bytes)
{
    degu_frame frame = {DEGU_LENGTH, 0, false};
    frame.length = bytes;
    return frame;
}

static degu_frame closing(degu_frame frame)
{
    frame.close = true;
    return frame;
}

static degu_header header(const char *name, const char *value)
{
    degu_header h;
    h.name = degu_string(name);
    h.value = degu_string(value);
    return h;
}

/* An empty buffer at the end of the page, behind three bytes in use. */
static degu_buffer buffer(size_t room)
{
    degu_buffer dst;
    dst.ptr = page_last(page, room + 3);
    dst.cap = room + 3;
    dst.len = 3;
    memcpy(dst.ptr, "abc", 3);
    return dst;
}

/* ---- What is written ---- */

static void writes_request(degu_method method, const char *target,
                           const degu_header *headers, size_t count,
                           degu_frame frame, const char *want)
{
    degu_buffer dst = buffer(ROOM);
    if (CHECK_OK(degu_format_request(&dst, method, degu_string(target),
                                     headers, count, frame)))
        CHECK_MEM(dst.ptr + 3, dst.len - 3, want);
    CHECK(memcmp(dst.ptr, "abc", 3) == 0);
}

static void writes_response(degu_method asked, int status, const char *reason,
                            const degu_header *headers, size_t count,
                            degu_frame frame, const char *want)
{
    degu_buffer dst = buffer(ROOM);
    if (CHECK_OK(degu_format_response(&dst, asked, status,
                                      degu_string(reason), headers, count,
                                      frame)))
        CHECK_MEM(dst.ptr + 3, dst.len - 3, want);
    CHECK(memcmp(dst.ptr, "abc", 3) == 0);
}

static void test_requests(void)
{
    degu_header one = header("a", "b");
    check_start("requests");
    writes_request(DEGU_GET, "/", NULL, 0, no_body, "GET / HTTP/1.1\r\n\r\n");
    writes_request(DEGU_GET, "/a?b", &one, 1, no_body,
                   "GET /a?b HTTP/1.1\r\na: b\r\n\r\n");
    writes_request(DEGU_DELETE, "/", NULL, 0, closing(no_body),
                   "DELETE / HTTP/1.1\r\nconnection: close\r\n\r\n");
    writes_request(DEGU_HEAD, "/", NULL, 0, no_body,
                   "HEAD / HTTP/1.1\r\n\r\n");
    writes_request(DEGU_OPTIONS, "/", NULL, 0, no_body,
                   "OPTIONS / HTTP/1.1\r\n\r\n");
    /* D1: PUT, POST and PATCH say that there is no body. */
    writes_request(DEGU_PUT, "/", NULL, 0, no_body,
                   "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    writes_request(DEGU_POST, "/", NULL, 0, no_body,
                   "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    writes_request(DEGU_PATCH, "/", NULL, 0, length(0),
                   "PATCH / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    writes_request(DEGU_PUT, "/", NULL, 0, length(DEGU_LENGTH_MAX),
                   "PUT / HTTP/1.1\r\ncontent-length: 9999999999999999"
                   "\r\n\r\n");
    writes_request(DEGU_POST, "/", &one, 1, chunked,
                   "POST / HTTP/1.1\r\na: b\r\ntransfer-encoding: chunked"
                   "\r\n\r\n");
}

static void test_responses(void)
{
    degu_header one = header("a", "");
    check_start("responses");
    writes_response(DEGU_GET, 200, "OK", NULL, 0, no_body,
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    writes_response(DEGU_GET, 599, "", &one, 1, no_body,
                    "HTTP/1.1 599 \r\na: \r\ncontent-length: 0\r\n\r\n");
    writes_response(DEGU_PUT, 404, "Not Found", NULL, 0, closing(no_body),
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n"
                    "connection: close\r\n\r\n");
    writes_response(DEGU_GET, 200, "OK", NULL, 0, length(5),
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    writes_response(DEGU_GET, 200, "OK", NULL, 0, chunked,
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    /* D1: no content-length with HEAD, 1xx, 204, 304. */
    writes_response(DEGU_HEAD, 200, "OK", NULL, 0, no_body,
                    "HTTP/1.1 200 OK\r\n\r\n");
    writes_response(DEGU_GET, 100, "Continue", NULL, 0, no_body,
                    "HTTP/1.1 100 Continue\r\n\r\n");
    writes_response(DEGU_GET, 204, "No Content", NULL, 0, no_body,
                    "HTTP/1.1 204 No Content\r\n\r\n");
    writes_response(DEGU_GET, 304, "Not Modified", NULL, 0, no_body,
                    "HTTP/1.1 304 Not Modified\r\n\r\n");
}

/* ---- What is refused: nothing is written, len stays ---- */

static void refuses_request(degu_method method, const char *target,
                            const degu_header *headers, size_t count,
                            degu_frame frame, degu_err want)
{
    degu_buffer dst = buffer(ROOM);
    CHECK_ERR(degu_format_request(&dst, method, degu_string(target), headers,
                                  count, frame),
              want);
    CHECK_INT(dst.len, 3);
    CHECK(memcmp(dst.ptr, "abc", 3) == 0);
}

static void refuses_response(degu_method asked, int status,
                             const degu_header *headers, size_t count,
                             degu_frame frame, degu_err want)
{
    degu_buffer dst = buffer(ROOM);
    CHECK_ERR(degu_format_response(&dst, asked, status, degu_string("OK"),
                                   headers, count, frame),
              want);
    CHECK_INT(dst.len, 3);
    CHECK(memcmp(dst.ptr, "abc", 3) == 0);
}

static void test_arguments(void)
{
    check_start("arguments");
    refuses_request((degu_method)0, "/", NULL, 0, no_body, DEGU_E_METHOD);
    refuses_request((degu_method)3, "/", NULL, 0, no_body, DEGU_E_METHOD);
    refuses_request(DEGU_GET, "", NULL, 0, no_body, DEGU_E_TARGET_FORM);
    refuses_request(DEGU_GET, NULL, NULL, 0, no_body, DEGU_E_TARGET_FORM);
    refuses_request(DEGU_GET, "*", NULL, 0, no_body, DEGU_E_TARGET_FORM);
    refuses_request(DEGU_GET, "http://a/", NULL, 0, no_body,
                    DEGU_E_TARGET_FORM);
    refuses_response(DEGU_GET, 99, NULL, 0, no_body, DEGU_E_STATUS);
    refuses_response(DEGU_GET, 600, NULL, 0, no_body, DEGU_E_STATUS);
    refuses_response(DEGU_GET, -200, NULL, 0, no_body, DEGU_E_STATUS);
    refuses_response(DEGU_GET, 0, NULL, 0, no_body, DEGU_E_STATUS);
}

/* ---- Every byte in every argument (D9) ---- */

static bool is_class(int b, unsigned bit)
{
    return (degu_class((unsigned char)b) & bit) != 0;
}

/* The byte at the front, inside and at the end of a word. */
static degu_str with_byte(char *text, int b, int place)
{
    memcpy(text, "xyz", 3);
    text[place] = (char)(unsigned char)b;
    return degu_bytes(text, 3);
}

static bool is_upper(int b)
{
    return b >= 'A' && b <= 'Z';
}

static void takes(degu_err err, const degu_buffer *dst, bool want, int b)
{
    if (!CHECK_INT(err == DEGU_OK, want))
        printf("    byte %02x: %s\n", (unsigned)b, degu_err_name(err));
    if (err != DEGU_OK)
        CHECK_INT(dst->len, 3);
}

static void test_byte_in_field(int b, int place)
{
    char text[3];
    degu_header h = header("name", "value");
    degu_buffer dst = buffer(100);
    degu_err err;
    bool blank_outside = place != 1 && (b == ' ' || b == '\t');
    h.name = with_byte(text, b, place);
    err = degu_format_request(&dst, DEGU_GET, degu_string("/"), &h, 1,
                              no_body);
    takes(err, &dst, is_class(b, DEGU_TOKEN) && !is_upper(b), b);
    dst.len = 3;
    err = degu_format_trailers(&dst, &h, 1);
    takes(err, &dst, is_class(b, DEGU_TOKEN) && !is_upper(b), b);
    h = header("name", "value");
    h.value = with_byte(text, b, place);
    dst.len = 3;
    err = degu_format_response(&dst, DEGU_GET, 200, degu_string("OK"), &h, 1,
                               no_body);
    takes(err, &dst, is_class(b, DEGU_VALUE) && !blank_outside, b);
    dst.len = 3;
    err = degu_format_trailers(&dst, &h, 1);
    takes(err, &dst, is_class(b, DEGU_VALUE) && !blank_outside, b);
}

static void test_byte_in_target(int b, int place)
{
    char text[6] = "/";
    degu_buffer dst = buffer(100);
    degu_str path = degu_bytes(text, 4);
    degu_err err;
    (void)with_byte(text + 1, b, place);
    err = degu_format_request(&dst, DEGU_GET, path, NULL, 0, no_body);
    /* "//yz" has an empty part; ? starts the query. */
    takes(err, &dst,
          (is_class(b, DEGU_PATH) && b != '%') || b == '?' ||
              (b == '/' && place > 0),
          b);
    dst.len = 3;
    err = degu_format_target(&dst, path, degu_string(NULL));
    takes(err, &dst,
          (is_class(b, DEGU_PATH) && b != '%') || (b == '/' && place > 0), b);
    dst.len = 3;
    err = degu_format_target(&dst, degu_string("/"), degu_bytes(text + 1, 3));
    takes(err, &dst, is_class(b, DEGU_QUERY) && b != '%', b);
}

static void test_byte_in_reason(int b, int place)
{
    char text[3];
    degu_buffer dst = buffer(100);
    degu_err err = degu_format_response(&dst, DEGU_GET, 200,
                                        with_byte(text, b, place), NULL, 0,
                                        no_body);
    takes(err, &dst, is_class(b, DEGU_VALUE), b);
}

/* A value that is no token is quoted, what may not stand in quotes escaped. */
static void test_byte_in_extension(int b, int place)
{
    char text[3], out[16];
    degu_buffer dst = buffer(100);
    degu_extension e, again;
    degu_chunk chunk;
    degu_err err;
    e.key = with_byte(text, b, place);
    e.value = degu_string(NULL);
    e.escaped = false;
    err = degu_format_chunk_line(&dst, 5, &e, 1);
    takes(err, &dst, is_class(b, DEGU_TOKEN), b);
    e.key = degu_string("");
    dst.len = 3;
    CHECK_ERR(degu_format_chunk_line(&dst, 5, &e, 1), DEGU_E_CHUNK_EXTENSION);
    e.key = degu_string("k");
    e.value = with_byte(text, b, place);
    dst.len = 3;
    err = degu_format_chunk_line(&dst, 5, &e, 1);
    takes(err, &dst, is_class(b, DEGU_VALUE), b);
    if (err != DEGU_OK)
        return;
    CHECK_OK(degu_parse_chunk_line(dst.ptr + 3, dst.len - 3, &chunk));
    CHECK(degu_next_extension(&chunk.extensions, &again));
    CHECK_INT(degu_unescape(again.value, out), 3);
    CHECK(memcmp(out, text, 3) == 0);
    CHECK_INT(again.escaped, b == '"' || b == '\\');
}

static void test_bytes(void)
{
    int b, place;
    check_start("bytes");
    for (b = 0; b < 256; ++b)
        for (place = 0; place < 3; ++place) {
            test_byte_in_field(b, place);
            test_byte_in_target(b, place);
            test_byte_in_reason(b, place);
            test_byte_in_extension(b, place);
        }
}

/* Whole lines smuggled in through an argument. */
static void test_injection(void)
{
    static const char *const texts[] = {
        "a\r\nb: c", "a\nb: c", "a\rb", "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\r\n", "\n", "\r", "a\r\n", "a\r\n b"};
    size_t i;
    check_start("injection");
    for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
        degu_header name = header(texts[i], "v"), value = header("n", texts[i]);
        degu_extension key, quoted;
        degu_buffer dst = buffer(200);
        char target[64] = "/";
        strcat(target, texts[i]);
        key.key = degu_string(texts[i]);
        key.value = degu_string("v");
        quoted.key = degu_string("k");
        quoted.value = degu_string(texts[i]);
        key.escaped = quoted.escaped = false;
        refuses_request(DEGU_GET, "/", &name, 1, no_body, DEGU_E_NAME);
        refuses_request(DEGU_GET, "/", &value, 1, no_body, DEGU_E_VALUE);
        refuses_request(DEGU_GET, target, NULL, 0, no_body, DEGU_E_TARGET);
        refuses_response(DEGU_GET, 200, &value, 1, no_body, DEGU_E_VALUE);
        CHECK_ERR(degu_format_response(&dst, DEGU_GET, 200,
                                       degu_string(texts[i]), NULL, 0,
                                       no_body),
                  DEGU_E_REASON);
        CHECK_ERR(degu_format_trailers(&dst, &name, 1), DEGU_E_NAME);
        CHECK_ERR(degu_format_trailers(&dst, &value, 1), DEGU_E_VALUE);
        CHECK_ERR(degu_format_chunk_line(&dst, 1, &key, 1),
                  DEGU_E_CHUNK_EXTENSION);
        CHECK_ERR(degu_format_chunk_line(&dst, 1, &quoted, 1),
                  DEGU_E_CHUNK_EXTENSION);
        CHECK_INT(dst.len, 3);
    }
}

/* ---- Framing fields among the caller's (rule 18) ---- */

static void test_request_framing(void)
{
    degu_header five = header("content-length", "5");
    degu_header zero = header("content-length", "0");
    degu_header coding = header("transfer-encoding", "chunked");
    degu_header both[2];
    both[0] = five;
    both[1] = coding;
    check_start("request framing");
    writes_request(DEGU_PUT, "/", &five, 1, length(5),
                   "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
    writes_request(DEGU_PUT, "/", &coding, 1, chunked,
                   "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    writes_request(DEGU_PUT, "/", &zero, 1, no_body,
                   "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    refuses_request(DEGU_PUT, "/", &five, 1, length(6),
                    DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &five, 1, no_body, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &five, 1, chunked, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &zero, 1, length(5),
                    DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &zero, 1, chunked, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &coding, 1, length(5),
                    DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", &coding, 1, no_body, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", both, 2, length(5), DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_PUT, "/", both, 2, chunked, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_GET, "/", &five, 1, no_body, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_GET, "/", &coding, 1, no_body, DEGU_E_FRAMING_FIELD);
    refuses_request(DEGU_GET, "/", NULL, 0, length(5), DEGU_E_BODY_METHOD);
    refuses_request(DEGU_HEAD, "/", NULL, 0, chunked, DEGU_E_BODY_METHOD);
    refuses_request(DEGU_DELETE, "/", NULL, 0, length(1), DEGU_E_BODY_METHOD);
    refuses_request(DEGU_OPTIONS, "/", NULL, 0, chunked, DEGU_E_BODY_METHOD);
    refuses_request(DEGU_PUT, "/", NULL, 0, length(DEGU_LENGTH_MAX + 1),
                    DEGU_E_LENGTH);
    refuses_request(DEGU_PUT, "/", NULL, 0, length(UINT64_MAX),
                    DEGU_E_LENGTH);
}

/* Wrong values are refused with the reader's error. */
static void test_framing_values(void)
{
    static const char *const lengths[] = {"", "+5", "05", "5,5", "5 5", "0x5",
                                          "99999999999999999"};
    degu_header coding = header("transfer-encoding", "gzip");
    size_t i;
    check_start("framing values");
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
        degu_header h = header("content-length", lengths[i]);
        refuses_request(DEGU_PUT, "/", &h, 1, length(5), DEGU_E_LENGTH);
        refuses_response(DEGU_GET, 200, &h, 1, length(5), DEGU_E_LENGTH);
        refuses_response(DEGU_HEAD, 200, &h, 1, no_body, DEGU_E_LENGTH);
    }
    refuses_request(DEGU_PUT, "/", &coding, 1, chunked, DEGU_E_CODING);
    refuses_response(DEGU_GET, 200, &coding, 1, chunked, DEGU_E_CODING);
    coding = header("transfer-encoding", "");
    refuses_request(DEGU_PUT, "/", &coding, 1, chunked,
                    DEGU_E_CODING_SYNTAX);
}

static void test_response_framing(void)
{
    degu_frame until_close = {DEGU_UNTIL_CLOSE, 0, false};
    degu_header five = header("content-length", "5");
    degu_header zero = header("content-length", "0");
    degu_header coding = header("transfer-encoding", "chunked");
    degu_header both[2];
    both[0] = five;
    both[1] = coding;
    check_start("response framing");
    writes_response(DEGU_GET, 200, "OK", &five, 1, length(5),
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    writes_response(DEGU_GET, 200, "OK", &coding, 1, chunked,
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    writes_response(DEGU_GET, 200, "OK", &zero, 1, no_body,
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    refuses_response(DEGU_GET, 200, &five, 1, length(4),
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &five, 1, no_body, DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &five, 1, chunked, DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &coding, 1, length(5),
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &coding, 1, no_body,
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, both, 2, chunked, DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &five, 1, until_close,
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &zero, 1, until_close,
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, &coding, 1, until_close,
                     DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 200, NULL, 0, length(DEGU_LENGTH_MAX + 1),
                     DEGU_E_LENGTH);
    /* Only a response lasts until the close, and it says so (D7). */
    writes_response(DEGU_GET, 200, "OK", NULL, 0, until_close,
                    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    refuses_request(DEGU_PUT, "/", NULL, 0, until_close, DEGU_E_ARGUMENT);
}

/* Rule 19: no content with 1xx, 204, 304 or to HEAD; the last two may tell
   of the body that is not there. */
static void test_no_content(void)
{
    static const int bare[] = {100, 103, 199, 204, 304};
    degu_header five = header("content-length", "5");
    degu_header coding = header("transfer-encoding", "chunked");
    degu_header both[2];
    size_t i;
    both[0] = five;
    both[1] = coding;
    check_start("no content");
    for (i = 0; i < 5; ++i) {
        refuses_response(DEGU_GET, bare[i], NULL, 0, length(5),
                         DEGU_E_NO_CONTENT);
        refuses_response(DEGU_GET, bare[i], NULL, 0, chunked,
                         DEGU_E_NO_CONTENT);
        if (bare[i] == 304)
            continue;
        refuses_response(DEGU_GET, bare[i], &five, 1, no_body,
                         DEGU_E_FRAMING_FIELD);
        refuses_response(DEGU_HEAD, bare[i], &coding, 1, no_body,
                         DEGU_E_FRAMING_FIELD);
    }
    refuses_response(DEGU_HEAD, 200, NULL, 0, length(5), DEGU_E_NO_CONTENT);
    refuses_response(DEGU_HEAD, 404, NULL, 0, chunked, DEGU_E_NO_CONTENT);
    refuses_response(DEGU_HEAD, 200, both, 2, no_body, DEGU_E_FRAMING_FIELD);
    refuses_response(DEGU_GET, 304, both, 2, no_body, DEGU_E_FRAMING_FIELD);
    writes_response(DEGU_HEAD, 200, "OK", &five, 1, no_body,
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    writes_response(DEGU_HEAD, 200, "OK", &coding, 1, no_body,
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    writes_response(DEGU_GET, 304, "", &five, 1, no_body,
                    "HTTP/1.1 304 \r\ncontent-length: 5\r\n\r\n");
    writes_response(DEGU_GET, 204, "", NULL, 0, length(0),
                    "HTTP/1.1 204 \r\n\r\n");
}

/* ---- Other fields with rules ---- */

/* D3: connection: close is all that a caller may say. */
static void test_hop_fields(void)
{
    degu_header close = header("connection", "close"), h;
    degu_header two[2];
    two[0] = two[1] = close;
    check_start("hop-by-hop fields");
    writes_request(DEGU_GET, "/", &close, 1, no_body,
                   "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    writes_request(DEGU_GET, "/", &close, 1, closing(no_body),
                   "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    writes_response(DEGU_HEAD, 200, "OK", &close, 1, closing(no_body),
                    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    h = header("connection", "keep-alive");
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_HOP_FIELD);
    refuses_response(DEGU_GET, 200, &h, 1, no_body, DEGU_E_HOP_FIELD);
    h = header("connection", "close, te");
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_HOP_FIELD);
    h = header("connection", "");
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_HOP_FIELD);
    h = header("keep-alive", "timeout=5");
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_HOP_FIELD);
    h = header("proxy-connection", "close");
    refuses_response(DEGU_GET, 200, &h, 1, no_body, DEGU_E_HOP_FIELD);
}

/* D4, rule 16: a client may ask for 100-continue, with a body. */
static void test_expect(void)
{
    degu_header expect = header("expect", "100-continue");
    degu_header other = header("expect", "x");
    check_start("expect");
    writes_request(DEGU_PUT, "/", &expect, 1, length(5),
                   "PUT / HTTP/1.1\r\nexpect: 100-continue\r\n"
                   "content-length: 5\r\n\r\n");
    refuses_request(DEGU_PUT, "/", &other, 1, length(5), DEGU_E_EXPECT);
    refuses_request(DEGU_GET, "/", &expect, 1, no_body, DEGU_E_EXPECT);
    refuses_response(DEGU_GET, 200, &expect, 1, no_body, DEGU_E_EXPECT);
}

/* D9: a range sits only where it may; host is a host (rule 13). */
static void test_ranges_and_host(void)
{
    degu_header range = header("range", "bytes=0-4");
    degu_header content = header("content-range", "bytes 0-4/9");
    degu_header host = header("host", "a b");
    check_start("range and host");
    writes_request(DEGU_GET, "/", &range, 1, no_body,
                   "GET / HTTP/1.1\r\nrange: bytes=0-4\r\n\r\n");
    writes_response(DEGU_GET, 206, "", &content, 1, length(5),
                    "HTTP/1.1 206 \r\ncontent-range: bytes 0-4/9\r\n"
                    "content-length: 5\r\n\r\n");
    refuses_request(DEGU_PUT, "/", &range, 1, length(5), DEGU_E_RANGE_BODY);
    refuses_request(DEGU_PUT, "/", &range, 1, chunked, DEGU_E_RANGE_BODY);
    refuses_request(DEGU_GET, "/", &content, 1, no_body, DEGU_E_RANGE_PLACE);
    refuses_response(DEGU_GET, 200, &range, 1, no_body, DEGU_E_RANGE_PLACE);
    refuses_request(DEGU_GET, "/", &host, 1, no_body, DEGU_E_HOST);
}

/* D6 on the way out. */
static void test_repeated(void)
{
    static const char *const single[] = {
        "host", "content-type", "content-range", "range", "authorization",
        "expect", "if-match", "if-none-match", "if-modified-since",
        "if-unmodified-since", "if-range", "location", "etag", "date",
        "content-length", "transfer-encoding", "connection"};
    degu_header two[2];
    size_t i;
    check_start("repeated");
    for (i = 0; i < sizeof single / sizeof single[0]; ++i) {
        const char *value = "a";
        degu_frame frame = no_body;
        degu_buffer dst = buffer(ROOM);
        if (strcmp(single[i], "content-length") == 0) {
            value = "1";
            frame = length(1);
        } else if (strcmp(single[i], "transfer-encoding") == 0) {
            value = "chunked";
            frame = chunked;
        } else if (strcmp(single[i], "connection") == 0) {
            value = "close";
        } else if (strcmp(single[i], "expect") == 0) {
            value = "100-continue";
            frame = length(1);
        }
        two[0] = two[1] = header(single[i], value);
        CHECK_ERR(degu_format_request(&dst, DEGU_PUT, degu_string("/"), two,
                                      2, frame),
                  DEGU_E_REPEATED);
        CHECK_INT(dst.len, 3);
    }
    two[0] = header("set-cookie", "a=1");
    two[1] = header("set-cookie", "b=2");
    writes_response(DEGU_HEAD, 200, "", two, 2, no_body,
                    "HTTP/1.1 200 \r\nset-cookie: a=1\r\nset-cookie: b=2"
                    "\r\n\r\n");
}

static void test_trailers(void)
{
    static const char *const barred[] = {
        "host", "content-length", "transfer-encoding", "content-type",
        "content-range", "range", "authorization", "expect", "if-match",
        "if-none-match", "if-modified-since", "if-unmodified-since",
        "if-range", "location", "etag", "date"};
    degu_buffer dst = buffer(ROOM);
    degu_header h[2];
    size_t i;
    check_start("trailers");
    for (i = 0; i < sizeof barred / sizeof barred[0]; ++i) {
        h[0] = header(barred[i], "1");
        CHECK_ERR(degu_format_trailers(&dst, h, 1), DEGU_E_TRAILER);
        CHECK_INT(dst.len, 3);
    }
    h[0] = header("a", "1");
    h[1] = header("a", "");
    CHECK_OK(degu_format_trailers(&dst, h, 2));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "a: 1\r\na: \r\n\r\n");
    dst.len = 3;
    CHECK_OK(degu_format_trailers(&dst, NULL, 0));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "\r\n");
}

/* ---- Limits at N and N + 1 (D8) ---- */

/* A head with one field whose value makes it len bytes long. */
static degu_err head_of(size_t len, degu_frame frame, size_t fixed)
{
    degu_buffer dst = buffer(ROOM);
    degu_header h = header("x", "");
    degu_err err;
    memset(big, 'a', sizeof big);
    h.value = degu_bytes(big, len - fixed);
    err = degu_format_request(&dst, DEGU_PUT, degu_string("/"), &h, 1, frame);
    CHECK_INT(dst.len, err ? 3 : len + 3);
    return err;
}

static void test_head_limit(void)
{
    size_t fixed = strlen("PUT / HTTP/1.1\r\nx: \r\n\r\n");
    size_t zero = strlen("content-length: 0\r\n");
    size_t coding = strlen("transfer-encoding: chunked\r\n");
    size_t close = strlen("connection: close\r\n");
    check_start("head limit");
    CHECK_OK(head_of(DEGU_PREAMBLE_MAX, no_body, fixed + zero));
    CHECK_ERR(head_of(DEGU_PREAMBLE_MAX + 1, no_body, fixed + zero),
              DEGU_E_PREAMBLE_SIZE);
    CHECK_OK(head_of(DEGU_PREAMBLE_MAX, chunked, fixed + coding));
    CHECK_ERR(head_of(DEGU_PREAMBLE_MAX + 1, chunked, fixed + coding),
              DEGU_E_PREAMBLE_SIZE);
    CHECK_OK(head_of(DEGU_PREAMBLE_MAX, closing(no_body),
                     fixed + zero + close));
    CHECK_ERR(head_of(DEGU_PREAMBLE_MAX + 1, closing(no_body),
                      fixed + zero + close),
              DEGU_E_PREAMBLE_SIZE);
}

static void test_line_limit(void)
{
    size_t fixed = strlen("GET  HTTP/1.1\r\n\r\n");
    degu_buffer dst = buffer(ROOM);
    check_start("line limit");
    memset(big, 'a', sizeof big);
    big[0] = '/';
    CHECK_OK(degu_format_request(&dst, DEGU_GET,
                                 degu_bytes(big, DEGU_PREAMBLE_MAX - fixed),
                                 NULL, 0, no_body));
    CHECK_INT(dst.len, DEGU_PREAMBLE_MAX + 3);
    dst.len = 3;
    CHECK_ERR(degu_format_request(
                  &dst, DEGU_GET,
                  degu_bytes(big, DEGU_PREAMBLE_MAX - fixed + 1), NULL, 0,
                  no_body),
              DEGU_E_TARGET_SIZE);
    CHECK_INT(dst.len, 3);
}

static void test_count_limit(void)
{
    degu_header h[DEGU_HEADER_MAX + 1];
    degu_buffer dst = buffer(ROOM);
    degu_frame close = closing(no_body);
    size_t i;
    check_start("count limit");
    for (i = 0; i <= DEGU_HEADER_MAX; ++i)
        h[i] = header("x", "y");
    CHECK_OK(degu_format_request(&dst, DEGU_GET, degu_string("/"), h,
                                 DEGU_HEADER_MAX, no_body));
    dst.len = 3;
    refuses_request(DEGU_GET, "/", h, DEGU_HEADER_MAX + 1, no_body,
                    DEGU_E_HEADER_COUNT);
    /* What the library adds counts (rule 18). */
    CHECK_OK(degu_format_request(&dst, DEGU_PUT, degu_string("/"), h,
                                 DEGU_HEADER_MAX - 1, no_body));
    refuses_request(DEGU_PUT, "/", h, DEGU_HEADER_MAX, no_body,
                    DEGU_E_HEADER_COUNT);
    refuses_request(DEGU_PUT, "/", h, DEGU_HEADER_MAX, chunked,
                    DEGU_E_HEADER_COUNT);
    refuses_request(DEGU_GET, "/", h, DEGU_HEADER_MAX, close,
                    DEGU_E_HEADER_COUNT);
    refuses_response(DEGU_GET, 200, h, DEGU_HEADER_MAX, no_body,
                     DEGU_E_HEADER_COUNT);
    refuses_response(DEGU_GET, 200, h, DEGU_HEADER_MAX - 1, close,
                     DEGU_E_HEADER_COUNT);
    dst.len = 3;
    CHECK_OK(degu_format_trailers(&dst, h, DEGU_HEADER_MAX));
    dst.len = 3;
    CHECK_ERR(degu_format_trailers(&dst, h, DEGU_HEADER_MAX + 1),
              DEGU_E_HEADER_COUNT);
    CHECK_INT(dst.len, 3);
}

/* Views may be given more than once: together they can be longer than memory
   (here of a 32-bit machine), which must not look like a few bytes. */
static void test_length_of_all(void)
{
    const size_t len = SIZE_MAX / DEGU_HEADER_MAX + 1;
    degu_buffer dst = buffer(ROOM);
    degu_header h[DEGU_HEADER_MAX];
    char *value = SIZE_MAX > UINT32_MAX ? NULL : malloc(len);
    size_t i;
    check_start("the length of all views together");
    if (!value)
        return;
    memset(value, 'x', len);
    for (i = 0; i < DEGU_HEADER_MAX; i++) {
        h[i].name = degu_string("x");
        h[i].value = degu_bytes(value, len);
    }
    CHECK_ERR(degu_format_trailers(&dst, h, DEGU_HEADER_MAX),
              DEGU_E_TRAILER_SIZE);
    CHECK_ERR(degu_format_response(&dst, DEGU_GET, 200, degu_string("OK"), h,
                                   DEGU_HEADER_MAX - 1, no_body),
              DEGU_E_PREAMBLE_SIZE);
    CHECK_INT(dst.len, 3);
    free(value);
}

static void test_name_limit(void)
{
    degu_buffer dst = buffer(ROOM);
    degu_header h = header("", "y");
    check_start("name limit");
    memset(big, 'n', sizeof big);
    h.name = degu_bytes(big, DEGU_NAME_MAX);
    CHECK_OK(degu_format_request(&dst, DEGU_GET, degu_string("/"), &h, 1,
                                 no_body));
    dst.len = 3;
    CHECK_OK(degu_format_trailers(&dst, &h, 1));
    h.name.len = DEGU_NAME_MAX + 1;
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_NAME_SIZE);
    dst.len = 3;
    CHECK_ERR(degu_format_trailers(&dst, &h, 1), DEGU_E_NAME_SIZE);
    h.name.len = 0;
    refuses_request(DEGU_GET, "/", &h, 1, no_body, DEGU_E_NAME);
    CHECK_ERR(degu_format_trailers(&dst, &h, 1), DEGU_E_NAME);
}

static void test_other_limits(void)
{
    degu_buffer dst = buffer(ROOM);
    degu_extension e;
    degu_header h = header("x", "");
    check_start("chunk line and trailer limits");
    memset(big, 'b', sizeof big);
    e.key = degu_string("a");
    e.escaped = false;
    e.value = degu_bytes(big, DEGU_CHUNK_LINE_MAX - strlen("5;a=\r\n"));
    CHECK_OK(degu_format_chunk_line(&dst, 5, &e, 1));
    CHECK_INT(dst.len, DEGU_CHUNK_LINE_MAX + 3);
    dst.len = 3;
    e.value.len += 1;
    CHECK_ERR(degu_format_chunk_line(&dst, 5, &e, 1),
              DEGU_E_CHUNK_LINE_SIZE);
    CHECK_INT(dst.len, 3);
    h.value = degu_bytes(big, DEGU_TRAILER_MAX - strlen("x: \r\n\r\n"));
    CHECK_OK(degu_format_trailers(&dst, &h, 1));
    CHECK_INT(dst.len, DEGU_TRAILER_MAX + 3);
    dst.len = 3;
    h.value.len += 1;
    CHECK_ERR(degu_format_trailers(&dst, &h, 1), DEGU_E_TRAILER_SIZE);
    CHECK_INT(dst.len, 3);
}

/* ---- Buffers that fit exactly, and all that are too small ---- */

static degu_header two_headers[2];
static degu_extension two_extensions[2];

static degu_err write_one(int what, degu_buffer *dst)
{
    degu_range range = {0, 5};
    degu_content_range content = {0, 5, 9};
    switch (what) {
    case 0:
        return degu_format_request(dst, DEGU_PUT, degu_string("/a?b"),
                                   two_headers, 2, closing(length(5)));
    case 1:
        return degu_format_response(dst, DEGU_GET, 404,
                                    degu_string("Not Found"), two_headers, 2,
                                    closing(chunked));
    case 2: return degu_format_trailers(dst, two_headers, 2);
    case 3:
        return degu_format_chunk_line(dst, 0x1234, two_extensions, 2);
    case 4: return degu_format_length(dst, 1234567);
    case 5: return degu_format_range(dst, range);
    case 6: return degu_format_content_range(dst, content);
    default:
        return degu_format_target(dst, degu_string("/a/b"), degu_string("c"));
    }
}

static void test_space(void)
{
    int what;
    check_start("space");
    two_headers[0] = header("a", "b");
    two_headers[1] = header("cc", "dd");
    two_extensions[0].key = degu_string("a");
    two_extensions[0].value = degu_string("b \"c");
    two_extensions[1].key = degu_string("d");
    two_extensions[1].value = degu_string(NULL);
    two_extensions[0].escaped = two_extensions[1].escaped = false;
    for (what = 0; what < 8; ++what) {
        degu_buffer dst = buffer(500);
        size_t need, room;
        CHECK_OK(write_one(what, &dst));
        need = dst.len - 3;
        for (room = 0; room < need; ++room) {
            dst = buffer(room);
            CHECK_ERR(write_one(what, &dst), DEGU_E_SPACE);
            CHECK_INT(dst.len, 3);
            CHECK(memcmp(dst.ptr, "abc", 3) == 0);
        }
        dst = buffer(need);
        CHECK_OK(write_one(what, &dst));
        CHECK_INT(dst.len, dst.cap);
        /* Full, and a buffer of nothing. */
        CHECK_ERR(write_one(what, &dst), DEGU_E_SPACE);
        CHECK_INT(dst.len, dst.cap);
        memset(&dst, 0, sizeof dst);
        CHECK_ERR(write_one(what, &dst), DEGU_E_SPACE);
        CHECK_INT(dst.len, 0);
    }
}

/* ---- Numbers ---- */

static void writes_length(uint64_t number, const char *want)
{
    degu_buffer dst = buffer(100);
    CHECK_OK(degu_format_length(&dst, number));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, want);
}

static degu_err write_range(uint64_t start, uint64_t stop)
{
    degu_buffer dst = buffer(100);
    degu_range range;
    degu_err err;
    range.start = start;
    range.stop = stop;
    err = degu_format_range(&dst, range);
    if (err != DEGU_OK) {
        CHECK_INT(dst.len, 3);
        return err;
    }
    CHECK_OK(degu_parse_range(degu_bytes(dst.ptr + 3, dst.len - 3), &range));
    CHECK_INT(range.start, start);
    CHECK_INT(range.stop, stop);
    return err;
}

static degu_err write_content_range(uint64_t start, uint64_t stop,
                                    uint64_t total)
{
    degu_buffer dst = buffer(100);
    degu_content_range range;
    degu_err err;
    range.start = start;
    range.stop = stop;
    range.total = total;
    err = degu_format_content_range(&dst, range);
    if (err != DEGU_OK) {
        CHECK_INT(dst.len, 3);
        return err;
    }
    CHECK_OK(degu_parse_content_range(degu_bytes(dst.ptr + 3, dst.len - 3),
                                      &range));
    CHECK(range.start == start && range.stop == stop && range.total == total);
    return err;
}

static void test_numbers(void)
{
    degu_buffer dst = buffer(100);
    degu_range range = {0, 5};
    degu_content_range content = {0, 5, 9};
    uint64_t number;
    check_start("numbers");
    writes_length(0, "0");
    writes_length(9, "9");
    writes_length(10, "10");
    writes_length(DEGU_LENGTH_MAX, "9999999999999999");
    for (number = 1; number < DEGU_LENGTH_MAX; number = number * 7 + 3) {
        char want[24];
        uint64_t again = 0;
        snprintf(want, sizeof want, "%llu", (unsigned long long)number);
        writes_length(number, want);
        CHECK_OK(degu_parse_length(degu_string(want), &again));
        CHECK(again == number);
    }
    CHECK_ERR(degu_format_length(&dst, DEGU_LENGTH_MAX + 1), DEGU_E_LENGTH);
    CHECK_ERR(degu_format_length(&dst, UINT64_MAX), DEGU_E_LENGTH);
    CHECK_OK(degu_format_range(&dst, range));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "bytes=0-4");
    dst.len = 3;
    CHECK_OK(degu_format_content_range(&dst, content));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "bytes 0-4/9");
}

static void test_range_numbers(void)
{
    uint64_t max = DEGU_LENGTH_MAX;
    check_start("range numbers");
    CHECK_OK(write_range(0, 1));
    CHECK_OK(write_range(7, 100));
    CHECK_OK(write_range(max - 1, max));
    CHECK_ERR(write_range(0, 0), DEGU_E_RANGE);
    CHECK_ERR(write_range(5, 5), DEGU_E_RANGE);
    CHECK_ERR(write_range(6, 5), DEGU_E_RANGE);
    CHECK_ERR(write_range(0, max + 1), DEGU_E_RANGE);
    CHECK_ERR(write_range(0, UINT64_MAX), DEGU_E_RANGE);
    CHECK_ERR(write_range(UINT64_MAX, 0), DEGU_E_RANGE);
    CHECK_OK(write_content_range(0, 1, 1));
    CHECK_OK(write_content_range(0, max, max));
    CHECK_ERR(write_content_range(0, 2, 1), DEGU_E_RANGE);
    CHECK_ERR(write_content_range(1, 1, 5), DEGU_E_RANGE);
    CHECK_ERR(write_content_range(2, 1, 5), DEGU_E_RANGE);
    CHECK_ERR(write_content_range(0, 0, 0), DEGU_E_RANGE);
    CHECK_ERR(write_content_range(0, 1, max + 1), DEGU_E_RANGE);
    CHECK_ERR(write_content_range(0, 1, UINT64_MAX), DEGU_E_RANGE);
}

static void writes_chunk(uint64_t size)
{
    degu_buffer dst = buffer(100);
    degu_chunk chunk;
    CHECK_OK(degu_format_chunk_line(&dst, size, NULL, 0));
    CHECK_OK(degu_parse_chunk_line(dst.ptr + 3, dst.len - 3, &chunk));
    CHECK(chunk.size == size);
    CHECK_INT(chunk.extensions.len, 0);
}

static void test_chunk_sizes(void)
{
    int bit;
    check_start("chunk sizes");
    writes_chunk(0);
    for (bit = 0; bit < 64; ++bit) {
        writes_chunk(UINT64_C(1) << bit);
        writes_chunk((UINT64_C(1) << bit) - 1);
    }
    writes_chunk(UINT64_MAX);
}

/* "/a" without a query, with an empty one, and with one. */
static void test_targets(void)
{
    degu_buffer dst = buffer(100);
    check_start("targets");
    CHECK_OK(degu_format_target(&dst, degu_string("/a"), degu_string(NULL)));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "/a");
    dst.len = 3;
    CHECK_OK(degu_format_target(&dst, degu_string("/a"), degu_string("")));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "/a?");
    dst.len = 3;
    CHECK_OK(degu_format_target(&dst, degu_string("/"), degu_string("a?b")));
    CHECK_MEM(dst.ptr + 3, dst.len - 3, "/?a?b");
    dst.len = 3;
    CHECK_ERR(degu_format_target(&dst, degu_string("a"), degu_string(NULL)),
              DEGU_E_TARGET_FORM);
    CHECK_ERR(degu_format_target(&dst, degu_string(""), degu_string("a")),
              DEGU_E_TARGET_FORM);
    CHECK_ERR(degu_format_target(&dst, degu_string("/a?b"), degu_string("c")),
              DEGU_E_TARGET);
    CHECK_ERR(degu_format_target(&dst, degu_string("//"), degu_string(NULL)),
              DEGU_E_PATH_EMPTY);
    CHECK_ERR(degu_format_target(&dst, degu_string("/.."), degu_string("a")),
              DEGU_E_PATH_DOTS);
    CHECK_INT(dst.len, 3);
}

int main(void)
{
    page = page_map(ROOM + 4096);
    test_requests();
    test_responses();
    test_arguments();
    test_bytes();
    test_injection();
    test_request_framing();
    test_framing_values();
    test_response_framing();
    test_no_content();
    test_hop_fields();
    test_expect();
    test_ranges_and_host();
    test_repeated();
    test_trailers();
    test_head_limit();
    test_line_limit();
    test_count_limit();
    test_length_of_all();
    test_name_limit();
    test_other_limits();
    test_space();
    test_numbers();
    test_range_numbers();
    test_chunk_sizes();
    test_targets();
    return check_done();
}

/* SPDX-License-Identifier: MIT OR 0BSD

   A request's head: the input is what a client sends.  Scanned in every way,
   parsed, read through layer 6 in pieces, formatted and parsed again. */

#include "harness.h"
#include "transport.h"

static void request_inside(const degu_request *r, const char *head, size_t len)
{
    degu_str rest = r->path, part;
    size_t parts = 0;
    fuzz_inside(r->target, head, len, "target inside the head");
    fuzz_inside(r->path, head, len, "path inside the head");
    fuzz_inside(r->query, head, len, "query inside the head");
    fuzz_inside(r->host, head, len, "host inside the head");
    fuzz_fields_inside(&r->fields, head, len);
    while (degu_next_part(&rest, &part)) {
        fuzz_inside(part, r->path.ptr, r->path.len, "a part of the path");
        fuzz_require(++parts <= r->path.len, "number of parts");
    }
}

static void note_request(const degu_request *r)
{
    degu_range range;
    fuzz_note(r->method);
    fuzz_note(r->framing);
    fuzz_note(r->content_length);
    fuzz_note_view(r->target);
    fuzz_note_view(r->host);
    fuzz_note(r->close);
    fuzz_note(r->expect_continue);
    if (degu_find_range(&r->fields, &range))
        fuzz_note(range.stop);
}

/* What was parsed can be sent, and says the same.  A body that nobody waits
   for cannot be expected, so such an expect is not sent. */
static void request_again(const degu_request *r)
{
    const bool expects = r->expect_continue && r->framing != DEGU_NO_BODY;
    degu_header headers[DEGU_HEADER_MAX + 1];
    size_t count = fuzz_headers_of(&r->fields, headers);
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX), exact;
    degu_frame frame;
    degu_request again;
    degu_err err;
    frame.framing = r->framing;
    frame.length = r->content_length;
    frame.close = r->close;
    if (expects) {
        headers[count].name = degu_string("expect");
        headers[count++].value = degu_string("100-continue");
    }
    err = degu_format_request(&dst, r->method, r->target, headers, count,
                              frame);
    /* What the library adds may be what is one too many. */
    if (err == DEGU_E_PREAMBLE_SIZE || err == DEGU_E_HEADER_COUNT ||
        err == DEGU_E_TARGET_SIZE) {
        free(dst.ptr);
        return;
    }
    fuzz_same_err(err, DEGU_OK, "formatting what was parsed");
    exact = fuzz_buffer(dst.len);
    fuzz_same_err(degu_format_request(&exact, r->method, r->target, headers,
                                      count, frame),
                  DEGU_OK, "formatting into the space it needs");
    fuzz_same_view(degu_bytes(exact.ptr, exact.len),
                   degu_bytes(dst.ptr, dst.len), "formatting twice");
    exact.len = 0;
    --exact.cap;
    fuzz_same_err(degu_format_request(&exact, r->method, r->target, headers,
                                      count, frame),
                  DEGU_E_SPACE, "formatting into a byte less");
    fuzz_same_number(exact.len, 0, "what was not formatted");
    free(exact.ptr);
    fuzz_same_err(degu_parse_request(dst.ptr, dst.len, &again), DEGU_OK,
                  "parsing what was formatted");
    fuzz_same_request(r, &again, "request, parsed again");
    fuzz_same_number(again.expect_continue, expects, "expect, parsed again");
    free(dst.ptr);
}

/* Layer 6, in pieces, says what layers 3 and 4 said; and once it has refused
   a head it asks for nothing more. */
static void request_in_pieces(fuzz_input input, degu_err want,
                              const degu_request *whole)
{
    fuzz_transport t;
    fuzz_conn c;
    degu_request r;
    degu_err err;
    fuzz_transport_init(&t, input.ptr, input.len);
    t.random = fuzz_hash(input.ptr, input.len);
    t.most = 1 + t.random % 9;
    t.hesitates = (t.random & 16) != 0;
    t.may_wait = true;
    fuzz_conn_init(&c, DEGU_SERVER, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    do
        err = degu_read_request(&c.conn, &r);
    while (err == DEGU_MORE);
    fuzz_error_is_inside(&c.conn);
    if (want == DEGU_MORE)
        want = input.len == 0 ? DEGU_E_CLOSED : DEGU_E_TRUNCATED;
    fuzz_same_err(err, want, "a head in pieces");
    if (err == DEGU_OK) {
        fuzz_same_request(whole, &r, "request in pieces");
    } else {
        const unsigned calls = t.calls;
        fuzz_require(!degu_conn_is_open(&c.conn), "the end after an error");
        fuzz_same_err(degu_read_request(&c.conn, &r), err, "the error again");
        fuzz_same_number(t.calls, calls, "calls after an error");
    }
    fuzz_conn_free(&c);
}

/* Parsed without having been scanned, it need not be one head; if it is taken
   for one, the scan says so too. */
static void request_unscanned(fuzz_input input)
{
    char *head = fuzz_copy(input.ptr, input.len);
    degu_request r;
    size_t used = 0;
    const degu_err err = degu_parse_request(head, input.len, &r);
    fuzz_require(err <= 0, "parsing refuses or accepts");
    fuzz_require(r.error_at <= input.len, "offset of an error");
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_same_err(degu_scan_head(head, input.len, &used), DEGU_OK,
                      "scanning what was parsed");
        fuzz_same_number(used, input.len, "length of what was parsed");
    }
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    char *head = fuzz_copy(input.ptr, size);
    degu_request r, again;
    size_t used = 0;
    degu_err err;
    fuzz_spans(head, size, DEGU_VALUE);
    memset(&r, 0x55, sizeof r);
    err = fuzz_scan(head, size, &used);
    if (err == DEGU_OK) {
        /* Alone, so that nothing behind it is looked at. */
        free(head);
        head = fuzz_copy(input.ptr, used);
        err = degu_parse_request(head, used, &r);
        fuzz_require(err <= 0, "a complete head is refused or accepted");
        fuzz_require(r.error_at <= used, "offset of an error");
        fuzz_note(r.error_at);
    }
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK) {
        fuzz_same_number(r.error_at, 0, "no offset without an error");
        fuzz_head_is_clean(input.ptr, head, used);
        request_inside(&r, head, used);
        note_request(&r);
        fuzz_same_err(degu_parse_request(head, used, &again), DEGU_OK,
                      "parsing what was folded");
        fuzz_same_request(&r, &again, "request, folded");
        request_again(&r);
    }
    request_in_pieces(input, err, &r);
    request_unscanned(input);
    free(head);
    return 0;
}

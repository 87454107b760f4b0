/* SPDX-License-Identifier: MIT OR 0BSD

   A response's head: the input is what a server sends, as the answer to GET
   and as the answer to HEAD. */

#include "harness.h"
#include "transport.h"

static void note_response(const degu_response *r)
{
    degu_content_range range;
    fuzz_note((uint64_t)r->status);
    fuzz_note(r->framing);
    fuzz_note(r->content_length);
    fuzz_note_view(r->reason);
    fuzz_note(r->close);
    if (degu_find_content_range(&r->fields, &range))
        fuzz_note(range.total);
}

/* What was parsed can be sent, and says the same.  A body until the close is
   never sent: chunks say more. */
static void response_again(const degu_response *r, degu_method asked)
{
    degu_header headers[DEGU_HEADER_MAX];
    size_t count = fuzz_headers_of(&r->fields, headers);
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX), small;
    degu_frame frame;
    degu_response again;
    degu_err err;
    frame.framing = r->framing;
    frame.length = r->content_length;
    frame.close = r->close;
    err = degu_format_response(&dst, asked, r->status, r->reason, headers,
                               count, frame);
    /* What the library adds may be what is one too many. */
    if (err == DEGU_E_PREAMBLE_SIZE || err == DEGU_E_HEADER_COUNT) {
        free(dst.ptr);
        return;
    }
    fuzz_same_err(err, DEGU_OK, "formatting what was parsed");
    small = fuzz_buffer(dst.len - 1);
    fuzz_same_err(degu_format_response(&small, asked, r->status, r->reason,
                                       headers, count, frame),
                  DEGU_E_SPACE, "formatting into a byte less");
    fuzz_same_number(small.len, 0, "what was not formatted");
    free(small.ptr);
    fuzz_same_err(degu_parse_response(dst.ptr, dst.len, asked, &again),
                  DEGU_OK, "parsing what was formatted");
    /* To an HTTP/1.0 response connection: close is added, which takes a field
       of that name with it. */
    if (!r->close || degu_find(&r->fields, "close").ptr == NULL)
        fuzz_same_response(r, &again, "response, parsed again");
    free(dst.ptr);
}

/* The first response that is no interim one, and how it went. */
static degu_err response_over(fuzz_input input, degu_method asked,
                              unsigned most, degu_response *r, size_t *used)
{
    fuzz_transport t;
    fuzz_conn c;
    degu_err err;
    char sent[128];
    fuzz_transport_init(&t, input.ptr, input.len);
    t.random = fuzz_hash(input.ptr, input.len);
    t.most = most;
    t.shown = 0;
    t.out = sent;
    t.out_cap = sizeof sent;
    t.at_end = input.len == 0 ? DEGU_E_AGAIN : 0;
    fuzz_conn_init(&c, DEGU_CLIENT, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    fuzz_same_err(degu_send_request(&c.conn, asked, degu_string("/"), NULL, 0,
                                    degu_no_body()),
                  DEGU_OK, "a request");
    t.shown = t.in_len;
    t.at_end = 0;
    err = degu_read_response(&c.conn, r);
    fuzz_error_is_inside(&c.conn);
    *used = err == DEGU_OK ? fuzz_used(&c.conn, &t) : 0;
    if (err != DEGU_OK) {
        degu_response other;
        fuzz_require(!degu_conn_is_open(&c.conn), "the end after an error");
        fuzz_same_err(degu_read_response(&c.conn, &other), err,
                      "the error again");
        fuzz_same_err(degu_send_request(&c.conn, asked, degu_string("/"), NULL,
                                        0, degu_no_body()),
                      err, "no request after an error");
    }
    /* Its views go with the connection; what they say is compared whole. */
    r->reason = degu_bytes(NULL, 0);
    fuzz_note(r->fields.count);
    r->fields.count = 0;
    fuzz_conn_free(&c);
    return err;
}

static void response_in_pieces(fuzz_input input, degu_method asked)
{
    const unsigned most = 1 + fuzz_hash(input.ptr, input.len) % 9;
    degu_response whole, pieces;
    size_t used[2];
    degu_err err = response_over(input, asked, 0, &whole, &used[0]);
    fuzz_same_err(response_over(input, asked, most, &pieces, &used[1]), err,
                  "responses in pieces");
    fuzz_same_number(used[0], used[1], "bytes of responses in pieces");
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_note(used[0]);
    if (err == DEGU_OK)
        fuzz_same_response(&whole, &pieces, "response in pieces");
}

static void response_whole(fuzz_input head, degu_method asked)
{
    char *copy = fuzz_copy(head.ptr, head.len);
    degu_response r, again;
    degu_err err;
    memset(&r, 0x55, sizeof r);
    err = degu_parse_response(copy, head.len, asked, &r);
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_require(err <= 0, "a complete head is refused or accepted");
    fuzz_require(r.error_at <= head.len, "offset of an error");
    fuzz_note(r.error_at);
    if (err == DEGU_OK) {
        fuzz_head_is_clean(head.ptr, copy, head.len);
        fuzz_inside(r.reason, copy, head.len, "reason inside the head");
        fuzz_fields_inside(&r.fields, copy, head.len);
        fuzz_require(r.status >= 100 && r.status <= 599, "status");
        note_response(&r);
        fuzz_same_err(degu_parse_response(copy, head.len, asked, &again),
                      DEGU_OK, "parsing what was folded");
        fuzz_same_response(&r, &again, "response, folded");
        if (r.framing != DEGU_UNTIL_CLOSE)
            response_again(&r, asked);
    }
    free(copy);
}

/* Parsed without having been scanned, it need not be one head; if it is taken
   for one, the scan says so too. */
static void response_unscanned(fuzz_input input)
{
    char *head = fuzz_copy(input.ptr, input.len);
    degu_response r;
    size_t used = 0;
    const degu_err err = degu_parse_response(head, input.len, DEGU_GET, &r);
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
    fuzz_input input = fuzz_from(data, size), head = input;
    char *copy = fuzz_copy(input.ptr, size);
    const degu_err err = fuzz_scan(copy, size, &head.len);
    free(copy);
    if (err == DEGU_OK) {
        response_whole(head, DEGU_GET);
        response_whole(head, DEGU_HEAD);
    }
    fuzz_note((uint64_t)(int64_t)err);
    response_in_pieces(input, DEGU_GET);
    response_in_pieces(input, DEGU_HEAD);
    response_unscanned(input);
    return 0;
}

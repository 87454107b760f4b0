/* SPDX-License-Identifier: MIT OR 0BSD

   Trailers: the input is field lines, without the empty line behind them. */

#include "harness.h"
#include "transport.h"

static void trailers_again(const degu_fields *fields)
{
    degu_header headers[DEGU_HEADER_MAX];
    const size_t count = fuzz_headers_of(fields, headers);
    degu_buffer dst = fuzz_buffer(2 * DEGU_TRAILER_MAX);
    degu_err err = degu_format_trailers(&dst, headers, count);
    degu_fields again;
    size_t error_at;
    if (err != DEGU_E_TRAILER_SIZE) {
        fuzz_same_err(err, DEGU_OK, "formatting what was parsed");
        fuzz_require(dst.len <= DEGU_TRAILER_MAX, "trailers are bounded");
        fuzz_same_err(degu_parse_fields(dst.ptr, dst.len - 2, true, &again,
                                        &error_at),
                      DEGU_OK, "parsing what was formatted");
        fuzz_same_fields(fields, &again, "trailers, parsed again");
    }
    free(dst.ptr);
}

/* As the end of a chunked body, through layer 6. */
static degu_err trailers_over(fuzz_input stream, unsigned most,
                              fuzz_story *story, size_t *count)
{
    fuzz_transport t;
    fuzz_conn c;
    degu_fields fields;
    degu_chunk chunk;
    degu_err err;
    *count = 0;
    fuzz_transport_init(&t, stream.ptr, stream.len);
    t.random = fuzz_hash(stream.ptr, stream.len);
    t.most = most;
    fuzz_conn_init(&c, DEGU_SERVER, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    fuzz_same_err(degu_expect_body(&c.conn, DEGU_CHUNKED, 0), DEGU_OK,
                  "a body is expected");
    err = degu_read_chunk(&c.conn, &chunk);
    fuzz_error_is_inside(&c.conn);
    fuzz_tell_err(story, "trailers", err);
    fuzz_tell(story, "error at", degu_conn_error_at(&c.conn));
    if (err == DEGU_OK) {
        fuzz_same_err(degu_read_trailers(&c.conn, &fields), DEGU_OK,
                      "trailers of a body that was read");
        fuzz_fields_inside(&fields, c.in, DEGU_RECV_BUFFER);
        fuzz_tell_fields(story, &fields);
        fuzz_tell(story, "used", fuzz_used(&c.conn, &t));
        *count = fields.count;
    } else {
        fuzz_same_err(degu_read_trailers(&c.conn, &fields), err,
                      "the error again");
    }
    fuzz_conn_free(&c);
    return err;
}

static void trailers_in_pieces(fuzz_input input, degu_err want, size_t count)
{
    const unsigned most = 1 + fuzz_hash(input.ptr, input.len) % 9;
    degu_buffer stream = fuzz_buffer(input.len + 5);
    fuzz_input all;
    fuzz_story whole, pieces;
    size_t seen, again;
    degu_err err;
    memcpy(stream.ptr, "0\r\n", 3);
    if (input.len > 0)
        memcpy(stream.ptr + 3, input.ptr, input.len);
    memcpy(stream.ptr + 3 + input.len, "\r\n", 2);
    all.ptr = stream.ptr;
    all.len = stream.cap;
    fuzz_story_init(&whole);
    fuzz_story_init(&pieces);
    err = trailers_over(all, 0, &whole, &seen);
    (void)trailers_over(all, most, &pieces, &again);
    fuzz_same_story(&whole, &pieces, "trailers in pieces");
    fuzz_note(fuzz_hash(whole.text, whole.len));
    if (want == DEGU_OK) {
        fuzz_same_err(err, DEGU_OK, "trailers in layers 4 and 6");
        fuzz_same_number(seen, count, "trailers in layers 4 and 6");
    }
    free(whole.text);
    free(pieces.text);
    free(stream.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    degu_fields fields, trailers;
    size_t at[2] = {SIZE_MAX, SIZE_MAX};
    degu_err err, as_trailer;
    char *lines = fuzz_copy(input.ptr, size);
    as_trailer = degu_parse_fields(lines, size, true, &trailers, &at[0]);
    fuzz_require(at[0] <= size, "offset of an error");
    fuzz_fields_inside(&trailers, lines, size);
    if (as_trailer == DEGU_OK)
        trailers_again(&trailers);
    err = degu_parse_fields(lines, size, false, &fields, &at[1]);
    fuzz_require(at[1] <= size, "offset of an error");
    fuzz_fields_inside(&fields, lines, size);
    fuzz_note((uint64_t)(int64_t)as_trailer);
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_note(at[0]);
    fuzz_note(at[1]);
    fuzz_require(as_trailer != DEGU_OK || size + 2 <= DEGU_TRAILER_MAX,
                 "trailers are bounded");
    if (as_trailer == DEGU_OK) {
        fuzz_same_err(err, DEGU_OK, "a trailer is good as a field");
        fuzz_same_fields(&trailers, &fields, "as trailer and as field");
    }
    trailers_in_pieces(input, as_trailer, trailers.count);
    free(lines);
    return 0;
}

/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 6: the steps that read a body, on any connection. */

#include "connection.h"

BOUND("buffers of up to 128 KiB")
PROOF(degu_conn_init)
{
    degu_conn conn;
    degu_io io = {NULL, any_recv, any_send};
    size_t in_cap = up_to(ANY), out_cap = up_to(ANY);
    given(in_cap >= 64);
    degu_conn_init(&conn, nondet_bool() ? DEGU_SERVER : DEGU_CLIENT, io,
                   any_bytes(in_cap), in_cap, any_bytes(out_cap), out_cap);
    proved(is_valid(&conn));
    proved(degu_conn_is_idle(&conn) && degu_conn_is_open(&conn));
    reached(conn.server);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
SUMMED(degu_priv_find_lf)
ENFORCED(degu_priv_read_line)
PROOF(degu_priv_read_line)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    size_t len, max = nondet_size();
    degu_err err =
        degu_priv_read_line(&conn, max, DEGU_E_CHUNK_LINE_SIZE, &len);
    reached(err == DEGU_OK && len > 5000);
    reached(err == DEGU_E_CHUNK_LINE_SIZE && max == 100);
    reached(err == DEGU_E_CHUNK_LINE_SIZE && conn.in_cap < max);
    reached(err == DEGU_E_TRUNCATED && source.received > 0);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_priv_read_mark)
PROOF(degu_priv_read_mark)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    degu_err err = degu_priv_read_mark(&conn);
    reached(err == DEGU_OK);
    reached(err == DEGU_E_CHUNK_END);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_priv_read_trailer)
CONTRACTED(degu_priv_read_line, degu_parse_fields)
PROOF(degu_priv_read_trailer)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    degu_err err = degu_priv_read_trailer(&conn);
    reached(err == DEGU_OK && conn.trailer_len > 5000);
    reached(err == DEGU_E_TRAILER);
    reached(err == DEGU_E_LINE_END);
}

BOUND("any connection, buffers of up to 128 KiB")
ENFORCED(degu_priv_continue)
PROOF(degu_priv_continue)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    bool expect = conn.expect;
    degu_err err = degu_priv_continue(&conn);
    reached(err == DEGU_OK && expect);
    reached(err == DEGU_E_TIMEOUT);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_read_chunk)
CONTRACTED(degu_priv_read_line, degu_priv_read_mark, degu_priv_read_trailer,
           degu_priv_continue, degu_parse_chunk_line)
PROOF(degu_read_chunk)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    degu_conn before = conn;
    degu_chunk chunk;
    degu_err err = degu_read_chunk(&conn, &chunk);
    check_conn(&conn, &before, err);
    if (err == DEGU_OK)
        proved(before.body == DEGU_PRIV_LINE || before.body == DEGU_PRIV_MARK);
    if (before.failed)
        proved(source.received == 0 &&
               err == (conn.framing == DEGU_CHUNKED ? conn.failed : DEGU_END));
    reached(err == DEGU_OK && chunk.size > 0);
    reached(err == DEGU_OK && chunk.size == 0 && conn.trailer_len > 100);
    reached(err == DEGU_E_CHUNK_END);
}

BOUND("any connection, buffers of up to 128 KiB")
CONTRACTED(degu_priv_continue)
PROOF(degu_read_chunk_data)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    degu_str buf = any_text(ANY);
    size_t len;
    degu_err err = degu_read_chunk_data(&conn, (char *)buf.ptr, buf.len, &len);
    check_conn(&conn, &before, err);
    check_part(&conn, &before, &source, buf.len, len, err);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_MARK);
    reached(err == DEGU_OK && source.received > len && len);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_read_body)
CONTRACTED(degu_priv_continue, degu_read_chunk)
PROOF(degu_read_body)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn), before = conn;
    degu_str buf = any_text(ANY);
    size_t len;
    degu_err err = degu_read_body(&conn, (char *)buf.ptr, buf.len, &len);
    check_conn(&conn, &before, err);
    if (before.body == DEGU_PRIV_PLAIN || before.body == DEGU_PRIV_DATA)
        check_part(&conn, &before, &source, buf.len, len, err);
    if (before.failed)
        proved(err == before.failed && source.received == 0);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_READ);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_STREAM);
    reached(err == DEGU_OK && before.body == DEGU_PRIV_MARK);
    reached(err == DEGU_END && conn.framing == DEGU_UNTIL_CLOSE);
    reached(err == DEGU_E_TIMEOUT);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_priv_drain_part)
CONTRACTED(degu_read_chunk, degu_read_body)
PROOF(degu_priv_drain_part)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    size_t len;
    degu_err err = degu_priv_drain_part(&conn, &len);
    reached(err == DEGU_OK && len == 0);
    reached(err == DEGU_OK && len > 100);
    reached(err == DEGU_END && conn.framing == DEGU_CHUNKED);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
CONTRACTED(degu_priv_drain_part)
PROOF(degu_drain_body)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    uint64_t max = nondet_u64();
    degu_err err = degu_drain_body(&conn, max);
    proved(is_result(&conn, err) && err != DEGU_END);
    proved(err != DEGU_OK || conn.body == DEGU_PRIV_READ);
    proved(conn.step == 0 && conn.framing == before.framing);
    reached(err == DEGU_OK && max > 1000);
    reached(err == DEGU_E_BODY_LIMIT);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
CONTRACTED(degu_parse_fields)
PROOF(degu_read_trailers)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    degu_fields fields;
    degu_err err = degu_read_trailers(&conn, &fields);
    check_conn(&conn, &before, err);
    proved(source.received == 0);
    proved(err || conn.body == DEGU_PRIV_READ);
    reached(err == DEGU_OK && conn.trailer_len > 100);
    reached(err == DEGU_E_TIMEOUT);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
PROOF(degu_expect_body)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn);
    degu_framing framing = nondet_unsigned() & 3;
    degu_err err = degu_expect_body(&conn, framing, nondet_u64());
    proved(is_valid(&conn));
    proved(err || is_read(&conn) || is_reading(&conn));
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_PLAIN);
    reached(err == DEGU_E_ORDER && conn.failed);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
PROOF(degu_conn_error_bytes)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn);
    degu_str bytes = degu_conn_error_bytes(&conn);
    proved(is_absent(bytes) || (conn.failed && bytes.len <= 32 &&
           is_inside(bytes, degu_bytes(conn.in, conn.in_end))));
    reached(bytes.len == 32);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
PROOF(degu_conn_check)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    degu_err err = degu_conn_check(&conn);
    proved(is_valid(&conn) && source.received == 0);
    proved(!err || err == before.failed || err == DEGU_E_ORDER ||
           err == DEGU_E_FINISHED || has_failed(&conn, err));
    proved(err || (conn.in_pos == conn.in_end && degu_conn_is_open(&conn)));
    reached(err == DEGU_OK);
    reached(err == DEGU_E_UNASKED && conn.in_pos == conn.in_end);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
ENFORCED(degu_priv_read_head)
CONTRACTED(degu_scan_head, degu_priv_head_too_large)
PROOF(degu_priv_read_head)
{
    degu_source source;
    degu_conn conn = any_conn(&source, &conn);
    degu_err err = degu_priv_read_head(&conn);
    reached(err == DEGU_OK && source.received > 100);
    reached(err == DEGU_MORE);
    reached(err == DEGU_E_CLOSED);
    reached(err == DEGU_E_PREAMBLE_SIZE);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
CONTRACTED(degu_priv_read_head, degu_parse_request)
PROOF(degu_read_request)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    degu_request request;
    degu_err err = degu_read_request(&conn, &request);
    proved(is_valid(&conn));
    proved(err == DEGU_OK || err == DEGU_MORE || err == DEGU_E_ORDER ||
           err == DEGU_E_FINISHED || has_failed(&conn, err));
    proved(err ? conn.turn == before.turn
               : conn.turn == DEGU_PRIV_ANSWER && !before.close);
    if (before.failed)
        proved(err == before.failed && source.received == 0);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_PLAIN);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_LINE && conn.expect);
    reached(err == DEGU_MORE);
    reached(err == DEGU_E_TARGET);
}

BOUND("any connection, buffers of up to 128 KiB")
LONG
CONTRACTED(degu_priv_read_head, degu_parse_response)
PROOF(degu_read_response)
{
    degu_source source;
    degu_conn conn = any_valid_conn(&source, &conn), before = conn;
    degu_response response;
    degu_err err = degu_read_response(&conn, &response);
    proved(is_valid(&conn));
    proved(err == DEGU_OK || err == DEGU_E_ORDER || has_failed(&conn, err));
    proved(conn.turn == (err ? before.turn : DEGU_PRIV_READY));
    if (before.failed)
        proved(err == before.failed && source.received == 0);
    reached(err == DEGU_OK && conn.body == DEGU_PRIV_STREAM);
    reached(err == DEGU_E_INTERIM_COUNT);
    reached(err == DEGU_E_TRUNCATED);
}

/* SPDX-License-Identifier: MIT OR 0BSD

   A chunk line and its extensions: the input is the line, CR LF included. */

#include "harness.h"
#include "transport.h"

#define EXTENSIONS DEGU_CHUNK_LINE_MAX

typedef struct line_parts {
    degu_extension at[EXTENSIONS];
    size_t count;
    char *text; /* unescaped values */
} line_parts;

/* The extensions with their values as they are meant. */
static void take_extensions(line_parts *parts, degu_str text)
{
    degu_str rest = text;
    char *to = fuzz_buffer(text.len).ptr;
    parts->text = to;
    parts->count = 0;
    for (;;) {
        degu_extension *e = &parts->at[parts->count];
        fuzz_require(parts->count < EXTENSIONS, "number of extensions");
        if (!degu_next_extension(&rest, e))
            break;
        ++parts->count;
        fuzz_inside(e->key, text.ptr, text.len, "key inside the line");
        fuzz_inside(e->value, text.ptr, text.len, "value inside the line");
        fuzz_inside(rest, text.ptr, text.len, "rest inside the line");
        fuzz_require(e->key.len > 0, "a key is not empty");
        fuzz_same_number(e->escaped, e->value.ptr != NULL &&
                                         memchr(e->value.ptr, '\\',
                                                e->value.len) != NULL,
                         "backslashes in a value");
        if (e->escaped) {
            e->value.len = degu_unescape(e->value, to);
            e->value.ptr = to;
            to += e->value.len;
        }
        fuzz_note_view(e->key);
        fuzz_note_view(e->value);
    }
    fuzz_same_number(rest.len, 0, "what is left behind the extensions");
}

/* Quotes may be added, and then the line may be too long. */
static void line_again(uint64_t size, const line_parts *was)
{
    degu_buffer dst = fuzz_buffer(3 * DEGU_CHUNK_LINE_MAX);
    degu_err err = degu_format_chunk_line(&dst, size, was->at, was->count);
    line_parts is;
    degu_chunk again;
    size_t i;
    if (err == DEGU_E_CHUNK_LINE_SIZE) {
        free(dst.ptr);
        return;
    }
    fuzz_same_err(err, DEGU_OK, "formatting what was parsed");
    fuzz_same_err(degu_parse_chunk_line(dst.ptr, dst.len, &again), DEGU_OK,
                  "parsing what was formatted");
    fuzz_same_number(again.size, size, "size, parsed again");
    take_extensions(&is, again.extensions);
    fuzz_same_number(is.count, was->count, "number, parsed again");
    for (i = 0; i < is.count; ++i) {
        fuzz_same_view(is.at[i].key, was->at[i].key, "key, parsed again");
        fuzz_same_view(is.at[i].value, was->at[i].value,
                       "value, parsed again");
    }
    free(is.text);
    free(dst.ptr);
}

/* The size by the letter: up to sixteen hex digits. */
static uint64_t line_size(const char *line)
{
    char digits[17] = "";
    size_t len = strspn(line, "0123456789abcdefABCDEF");
    fuzz_require(len >= 1 && len <= 16, "1 to 16 digits");
    memcpy(digits, line, len);
    return strtoull(digits, NULL, 16);
}

/* Through layer 6; the first line is what comes up to the first LF.  Its
   extensions are those of the line, also behind the trailer. */
static degu_err line_over(fuzz_input input, unsigned most,
                          const degu_chunk *want, degu_chunk *chunk,
                          size_t *error_at)
{
    fuzz_transport t;
    fuzz_conn c;
    degu_err err;
    fuzz_transport_init(&t, input.ptr, input.len);
    t.random = fuzz_hash(input.ptr, input.len);
    t.most = most;
    fuzz_conn_init(&c, DEGU_SERVER, &t, DEGU_RECV_BUFFER, DEGU_SEND_BUFFER);
    fuzz_same_err(degu_expect_body(&c.conn, DEGU_CHUNKED, 0), DEGU_OK,
                  "a body is expected");
    err = degu_read_chunk(&c.conn, chunk);
    fuzz_error_is_inside(&c.conn);
    fuzz_inside(chunk->extensions, c.in, DEGU_RECV_BUFFER,
                "extensions inside the buffer");
    if (want != NULL) {
        fuzz_same_err(err, DEGU_OK, "a chunk line in layers 4 and 6");
        fuzz_same_number(chunk->size, want->size, "size in layers 4 and 6");
        fuzz_require(degu_equal(chunk->extensions, want->extensions),
                     "extensions in layers 4 and 6");
    }
    *error_at = degu_conn_error_at(&c.conn);
    fuzz_conn_free(&c);
    return err;
}

/* want: what layer 4 made of it, or NULL. */
static void line_in_pieces(fuzz_input input, const degu_chunk *want)
{
    static const char trailer[] = "x-a: b\r\n\r\n";
    const unsigned most = 1 + fuzz_hash(input.ptr, input.len) % 9;
    degu_buffer stream = fuzz_buffer(input.len + sizeof trailer - 1);
    degu_chunk whole, pieces;
    size_t at[2];
    degu_err err;
    if (input.len > 0)
        memcpy(stream.ptr, input.ptr, input.len);
    memcpy(stream.ptr + input.len, trailer, sizeof trailer - 1);
    input.ptr = stream.ptr;
    input.len = stream.cap;
    err = line_over(input, 0, want, &whole, &at[0]);
    fuzz_same_err(line_over(input, most, want, &pieces, &at[1]), err,
                  "a chunk line in pieces");
    fuzz_same_number(at[0], at[1], "a chunk line in pieces, its error");
    fuzz_same_number(whole.size, pieces.size, "a chunk line in pieces, size");
    fuzz_note((uint64_t)(int64_t)err);
    free(stream.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = fuzz_from(data, size);
    char *line = fuzz_copy(input.ptr, size);
    degu_chunk chunk;
    line_parts parts;
    degu_err err;
    memset(&chunk, 0x55, sizeof chunk);
    err = degu_parse_chunk_line(line, size, &chunk);
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_note(chunk.error_at);
    fuzz_note(chunk.size);
    fuzz_require(chunk.error_at <= size, "offset of an error");
    if (err == DEGU_OK) {
        fuzz_inside(chunk.extensions, line, size, "extensions in the line");
        fuzz_same_number(line_size(line), chunk.size, "size by the letter");
        take_extensions(&parts, chunk.extensions);
        line_again(chunk.size, &parts);
        free(parts.text);
    }
    line_in_pieces(input, err == DEGU_OK ? &chunk : NULL);
    free(line);
    return 0;
}

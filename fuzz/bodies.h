/* SPDX-License-Identifier: MIT OR 0BSD

   Bodies to be sent, and ways to read one, as the script chooses.  Include it
   behind transport.h. */

#ifndef FUZZ_BODIES_H
#define FUZZ_BODIES_H

static const char fuzz_text[] =
    "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"
    "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";

/* A source that gives its text in pieces, as chunks, or sends it itself. */
typedef struct fuzz_source {
    size_t left;
    size_t piece;
    degu_err at_end; /* what it says when nothing is left */
    fuzz_transport *way;
    unsigned pulls;
    degu_extension extension[2];
    degu_header trailer;
} fuzz_source;

static inline degu_str fuzz_next_piece(fuzz_source *source)
{
    const size_t len =
        source->left < source->piece ? source->left : source->piece;
    source->left -= len;
    fuzz_require(++source->pulls < 1000, "an end of the pulls");
    return degu_bytes(fuzz_text + source->left, len);
}

static inline degu_err fuzz_pull(void *ctx, degu_str *piece)
{
    fuzz_source *source = (fuzz_source *)ctx;
    if (source->left == 0 && source->at_end != DEGU_OK)
        return source->at_end;
    *piece = fuzz_next_piece(source);
    return DEGU_OK;
}

static inline degu_err fuzz_next_chunk(void *ctx, degu_chunk_out *chunk)
{
    fuzz_source *source = (fuzz_source *)ctx;
    if (source->left == 0 && source->at_end != DEGU_OK)
        return source->at_end;
    chunk->data = fuzz_next_piece(source);
    chunk->extensions = source->extension;
    chunk->count = source->pulls % 3;
    chunk->trailers = &source->trailer;
    chunk->trailer_count = chunk->data.len == 0 ? source->pulls % 2 : 0;
    return DEGU_OK;
}

static inline ptrdiff_t fuzz_push(void *ctx, uint64_t left, unsigned flags)
{
    fuzz_source *source = (fuzz_source *)ctx;
    degu_str piece;
    ptrdiff_t n;
    piece.ptr = fuzz_text + sizeof fuzz_text - 1 - source->left;
    piece.len =
        source->left < source->piece ? source->left : source->piece;
    if (piece.len > left)
        piece.len = (size_t)left;
    if (piece.len == 0)
        return 0;
    n = fuzz_send(source->way, &piece, 1, flags);
    source->left -= n > 0 ? (size_t)n : 0;
    return n;
}

static inline void fuzz_source_init(fuzz_source *source, size_t len,
                                    size_t piece)
{
    memset(source, 0, sizeof *source);
    source->left = len;
    source->piece = piece;
    source->extension[0].key = degu_string("k");
    source->extension[0].value = degu_string("a \"b\\");
    source->extension[1].key = degu_string("n");
    source->trailer.name = degu_string("x-sum");
    source->trailer.value = degu_string("1");
}

enum {
    FUZZ_BODY_NONE,
    FUZZ_BODY_BYTES,
    FUZZ_BODY_PULL,
    FUZZ_BODY_CHUNKS,
    FUZZ_BODY_SHORT,  /* ends before its length */
    FUZZ_BODY_LONG,   /* gives more than its length */
    FUZZ_BODY_FAILS,  /* the source says so */
    FUZZ_BODY_LEAKS,  /* a chunk whose extension would break the line */
    FUZZ_BODY_PUSH,   /* sends itself, */
    FUZZ_BODY_PUSH_SHORT, /* and not all of it */
    FUZZ_BODY_KINDS
};

/* A body of this kind, whose source stays with the caller. */
static inline degu_body fuzz_body(unsigned kind, fuzz_source *source,
                                  fuzz_transport *way, fuzz_input *script)
{
    static const size_t pieces[] = {7, 1, 64, 100};
    const size_t len = 1 + 35 * fuzz_choose(script, 4);
    fuzz_source_init(source, len, pieces[fuzz_choose(script, 4)]);
    source->way = way;
    switch (kind) {
    case FUZZ_BODY_PUSH: return degu_body_push(fuzz_push, source, len);
    case FUZZ_BODY_PUSH_SHORT:
        return degu_body_push(fuzz_push, source, len + 1);
    case FUZZ_BODY_BYTES: return degu_body_bytes(fuzz_text, len);
    case FUZZ_BODY_PULL: return degu_body_pull(fuzz_pull, source, len);
    case FUZZ_BODY_SHORT: return degu_body_pull(fuzz_pull, source, len + 1);
    case FUZZ_BODY_LONG: return degu_body_pull(fuzz_pull, source, len - 1);
    case FUZZ_BODY_FAILS: source->at_end = DEGU_E_SOURCE; break;
    case FUZZ_BODY_LEAKS:
        source->extension[0].value = degu_string("a\r\n\r\nb");
        break;
    case FUZZ_BODY_CHUNKS: break;
    default: return degu_no_body();
    }
    return degu_body_chunks(fuzz_next_chunk, source);
}

/* ---- Reading ---- */

/* Reads up to most bytes and tells them; DEGU_OK if there may be more. */
static inline degu_err fuzz_tell_some(fuzz_story *s, degu_conn *conn,
                                      size_t cap, size_t most)
{
    char *buf = fuzz_buffer(cap).ptr;
    degu_err err = DEGU_OK;
    while (most > 0 && err == DEGU_OK) {
        size_t len;
        err = degu_read_body(conn, buf, cap < most ? cap : most, &len);
        fuzz_require(len <= cap && (err == DEGU_OK) == (len > 0),
                     "length of a read");
        fuzz_tell_data(s, buf, len);
        most -= len;
    }
    free(buf);
    return err;
}

static inline void fuzz_tell_extensions(fuzz_story *s, degu_str rest)
{
    degu_extension extension;
    while (degu_next_extension(&rest, &extension)) {
        fuzz_tell_view(s, "key", extension.key);
        fuzz_tell_view(s, "value", extension.value);
    }
}

/* Reads all with the boundaries of chunks. */
static inline degu_err fuzz_tell_chunks(fuzz_story *s, degu_conn *conn,
                                        size_t cap)
{
    char *buf = fuzz_buffer(cap).ptr;
    degu_chunk chunk;
    degu_err err;
    while ((err = degu_read_chunk(conn, &chunk)) == DEGU_OK) {
        size_t len;
        fuzz_inside(chunk.extensions, conn->in, conn->in_cap,
                    "extensions inside the buffer");
        fuzz_tell(s, "chunk", chunk.size);
        fuzz_tell_extensions(s, chunk.extensions);
        while ((err = degu_read_chunk_data(conn, buf, cap, &len)) == DEGU_OK)
            fuzz_tell_data(s, buf, len);
        if (err != DEGU_END)
            break;
    }
    free(buf);
    return err;
}

static inline void fuzz_tell_trailers(fuzz_story *s, degu_conn *conn)
{
    degu_fields fields;
    const degu_err err = degu_read_trailers(conn, &fields);
    fuzz_tell_err(s, "trailers", err);
    if (err == DEGU_OK) {
        fuzz_fields_inside(&fields, conn->in, conn->in_cap);
        fuzz_tell_fields(s, &fields);
    }
}

enum {
    FUZZ_READ_ALL,
    FUZZ_READ_CHUNKS,
    FUZZ_READ_HALF,
    FUZZ_READ_NOTHING,
    FUZZ_READ_DRAIN,
    FUZZ_READ_DRAIN_SOME,
    FUZZ_READ_RELAY,
    FUZZ_READ_KINDS
};

/* Reads the body in hand; DEGU_OK or the error. */
static inline degu_err fuzz_read(unsigned kind, fuzz_story *s, degu_conn *conn,
                                 fuzz_input *script)
{
    static const size_t caps[] = {100, 1, 17, 4096};
    const size_t cap = caps[fuzz_choose(script, 4)];
    degu_err err = DEGU_OK;
    switch (kind) {
    case FUZZ_READ_ALL: err = fuzz_tell_some(s, conn, cap, SIZE_MAX); break;
    case FUZZ_READ_CHUNKS:
        err = degu_body_framing(conn) == DEGU_CHUNKED
                  ? fuzz_tell_chunks(s, conn, cap)
                  : fuzz_tell_some(s, conn, cap, SIZE_MAX);
        break;
    case FUZZ_READ_HALF: err = fuzz_tell_some(s, conn, cap, 3); break;
    case FUZZ_READ_DRAIN: err = degu_drain_body(conn, UINT64_MAX); break;
    case FUZZ_READ_DRAIN_SOME: err = degu_drain_body(conn, cap); break;
    default: return DEGU_OK;
    }
    fuzz_tell_err(s, "read", err);
    if (degu_body_is_read(conn))
        fuzz_tell_trailers(s, conn);
    return err == DEGU_END ? DEGU_OK : err;
}

#endif

/* SPDX-License-Identifier: MIT OR 0BSD

   Runs tests/vectors on the target, all of them, and says of each what came
   out of it, a line each:

       ok NAME
       differs NAME ERROR      (ERROR: what this case's input gave here)

   and in the end their number.  Which of them fit the limits of config.h, so
   must be ok, the host knows (firmware.py). */

#include "degu.h"

#include "../vectors/outcome.h"
#include "../vectors/story.h"

#include "../c/wire.h"

#include <stdio.h>

/* The files, one behind the other. */
__asm__(".section .rodata.vectors, \"a\"\n"
        ".global vectors_text\n"
        "vectors_text: .incbin \"" VECTORS "\"\n"
        ".global vectors_end\n"
        "vectors_end: .byte 0\n"
        ".previous\n");
extern const char vectors_text[], vectors_end[];

static char input[128 * 1024]; /* of one case */
static char spare[sizeof input];
static char told_text[64 * 1024], wanted_text[sizeof told_text];
static char receive[DEGU_RECV_BUFFER], sends[DEGU_SEND_BUFFER];

/* ---- Heads, lines and values: layers 3 and 4 ---- */

static const char *error_of_head(const vec_case *c)
{
    degu_fields fields;
    degu_request request;
    degu_response response;
    degu_chunk chunk;
    size_t at;
    degu_err err = DEGU_OK;
    if (vec_is_kind(c, "request"))
        err = vec_parse_request(c->in, c->in_len, &request, &at);
    else if (vec_is_kind(c, "response"))
        err = vec_parse_response(c->in, c->in_len, vec_asked(c), &response,
                                 &at);
    else if (vec_is_kind(c, "fields") || vec_is_kind(c, "trailer"))
        err = degu_parse_fields(c->in, c->in_len, vec_is_kind(c, "trailer"),
                                &fields, &at);
    else if (vec_is_kind(c, "chunk-line"))
        err = degu_parse_chunk_line(c->in, c->in_len, &chunk);
    return degu_err_name(err);
}

/* ---- Streams: layer 6 ---- */

static vec_story told, wanted;

/* With each way to cut what comes, and with and without boundaries. */
static bool stream_differs(const vec_case *c, size_t step, bool chunks)
{
    degu_conn conn;
    wire w;
    size_t want_at;
    memcpy(spare, c->in, c->in_len); /* names are folded where they stand */
    wire_init(&w, spare, c->in_len, NULL, 0);
    w.step = step;
    w.gated = vec_is_client(c);
    degu_conn_init(&conn, w.gated ? DEGU_CLIENT : DEGU_SERVER, wire_io(&w),
                   receive, sizeof receive, sends, sizeof sends);
    vec_story_init(&told, told_text, sizeof told_text, chunks);
    vec_tell_stream(c, &conn, &told);
    vec_story_init(&wanted, wanted_text, sizeof wanted_text, chunks);
    want_at = vec_want_story(c, &wanted);
    return !vec_story_same(&told, &wanted) ||
           (want_at != VEC_NO_MARK && want_at != degu_conn_error_at(&conn));
}

static bool any_differs(const vec_case *c)
{
    return stream_differs(c, 0, true) || stream_differs(c, 0, false) ||
           stream_differs(c, 1, true) || stream_differs(c, 1, false);
}

/* The last word of what came out, which is the error. */
static const char *error_of_stream(void)
{
    size_t at = told.len;
    if (!told.good || at == sizeof told_text)
        return "UNTOLD";
    told_text[at] = '\0';
    while (at > 0 && told_text[at - 1] != ' ')
        --at;
    return told_text + at;
}

/* ---- All cases ---- */

static void run_case(const vec_case *c)
{
    bool whole, bad = !c->good || !c->fits ||
                      vec_differs(c, &whole) != NULL;
    const char *error;
    if (!bad && !whole)
        bad = any_differs(c);
    if (!bad) {
        printf("ok %.*s\n", (int)c->name.len, c->name.ptr);
        return;
    }
    error = vec_is_kind(c, "requests") || vec_is_kind(c, "responses") ||
                    vec_is_kind(c, "body")
                ? error_of_stream()
                : error_of_head(c);
    printf("differs %.*s %s\n", (int)c->name.len, c->name.ptr, error);
}

int main(void)
{
    const char *pos = vectors_text;
    vec_case c;
    unsigned count = 0;
    while (vec_next(&pos, vectors_end, &c, input, sizeof input)) {
        run_case(&c);
        ++count;
    }
    printf("%u cases\n", count);
    return 0;
}

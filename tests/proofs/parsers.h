/* SPDX-License-Identifier: MIT OR 0BSD */
/* What layer 6 counts on of layers 3 and 4: contracts that the proofs of
   exchange.c assume (CONTRACTED), for any length, and those of scan.c and
   parse.c show, within their bounds.  Some do so by ENFORCED(); goto-instrument
   cannot enforce those of functions with loops that are unwound, so these have
   a macro that their proof shows.  That they write nothing else, such a proof
   shows by having nothing else: degu.h has no variables of its own. */

#ifndef DEGU_PARSERS_H
#define DEGU_PARSERS_H

#include "prove.h"

/* What scan.c shows of it. */
size_t sum_degu_priv_find_lf(const char *ptr, size_t len)
{
    size_t n = up_to(len);
    proved(__CPROVER_r_ok(ptr, len));
    given(n == len || ptr[n] == '\n');
    return n;
}

DEGU_API degu_err degu_scan_head(const char *buf, size_t len, size_t *pos)
    __CPROVER_requires(__CPROVER_r_ok(buf, len) && *pos <= len)
    __CPROVER_assigns(*pos)
    __CPROVER_ensures(__CPROVER_return_value <= DEGU_MORE && *pos <= len);

static degu_err degu_priv_head_too_large(const char *buf, size_t len)
    __CPROVER_requires(__CPROVER_r_ok(buf, len))
    __CPROVER_assigns()
    __CPROVER_ensures(__CPROVER_return_value == DEGU_E_PREAMBLE_SIZE ||
                      __CPROVER_return_value == DEGU_E_TARGET_SIZE);

#define ARE_FIELDS(err, error_at, len) ((err) <= 0 && (error_at) <= (len))

DEGU_API degu_err degu_parse_fields(char *lines, size_t len, bool trailer,
                                    degu_fields *fields, size_t *error_at)
    __CPROVER_requires(__CPROVER_rw_ok(lines, len))
    __CPROVER_requires(fields == NULL ||
                       __CPROVER_w_ok(fields, sizeof *fields))
    __CPROVER_requires(__CPROVER_w_ok(error_at, sizeof *error_at))
    __CPROVER_assigns(*error_at, __CPROVER_object_whole(lines))
    __CPROVER_assigns(fields != NULL: *fields)
    __CPROVER_ensures(ARE_FIELDS(__CPROVER_return_value, *error_at, len));

/* A message of len bytes was parsed, its framing being one of the first most;
   or it was not. */
#define IS_MESSAGE(err, message, most, len)                                   \
    ((err) <= 0 && (message)->error_at <= (len) &&                            \
     ((err) < 0 || ((message)->framing >= DEGU_NO_BODY &&                     \
                    (message)->framing <= (most) &&                           \
                    ((message)->framing != DEGU_LENGTH ||                     \
                     (message)->content_length > 0))))
#define IS_REQUEST(err, request, len)                                         \
    IS_MESSAGE(err, request, DEGU_CHUNKED, len)
#define IS_RESPONSE(err, response, len)                                       \
    IS_MESSAGE(err, response, DEGU_UNTIL_CLOSE, len)

DEGU_API degu_err degu_parse_request(char *head, size_t len,
                                     degu_request *request)
    __CPROVER_requires(__CPROVER_rw_ok(head, len))
    __CPROVER_requires(__CPROVER_w_ok(request, sizeof *request))
    __CPROVER_assigns(*request, __CPROVER_object_whole(head))
    __CPROVER_ensures(IS_REQUEST(__CPROVER_return_value, request, len));

DEGU_API degu_err degu_parse_response(char *head, size_t len,
                                      degu_method asked,
                                      degu_response *response)
    __CPROVER_requires(__CPROVER_rw_ok(head, len))
    __CPROVER_requires(__CPROVER_w_ok(response, sizeof *response))
    __CPROVER_assigns(*response, __CPROVER_object_whole(head))
    __CPROVER_ensures(IS_RESPONSE(__CPROVER_return_value, response, len));

DEGU_API degu_err degu_parse_chunk_line(const char *line, size_t len,
                                        degu_chunk *chunk)
    __CPROVER_requires(__CPROVER_r_ok(line, len))
    __CPROVER_requires(__CPROVER_w_ok(chunk, sizeof *chunk))
    __CPROVER_assigns(*chunk)
    __CPROVER_ensures(__CPROVER_return_value <= 0)
    __CPROVER_ensures(__CPROVER_return_value == 0 ||
                      (chunk->size == 0 && chunk->extensions.len == 0 &&
                       chunk->error_at <= len))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      __CPROVER_pointer_in_range_dfcc(
                          line, chunk->extensions.ptr, line + len))
    __CPROVER_ensures(__CPROVER_return_value < 0 ||
                      (len >= 3 && chunk->extensions.len <= len &&
                       chunk->extensions.len <= 4096 &&
                       chunk->extensions.ptr - line <=
                           (ptrdiff_t)(len - chunk->extensions.len)));

#endif

/* size.c - what a program pays that only parses: built with -DPARSE=0 (none),
   1 (requests), 2 (and responses), 3 (and formats both), and compared
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#define DEGU_STATIC
#define DEGU_NO_SOCKETS
#include "degu.h"
#include <unistd.h>

static char head[1024];
static degu_request request;
static degu_response response;
volatile int result;

int main(void)
{
    ssize_t got = read(0, head, sizeof head);
    size_t have = got > 0 ? (size_t)got : 0, len = 0;

#if PARSE >= 1
    if (!degu_scan_head(head, have, &len))
        result = degu_parse_request(head, len, &request);
#endif
#if PARSE >= 2
    result += degu_parse_response(head, len, DEGU_GET, &response);
#endif
#if PARSE >= 3
    {
        degu_frame frame = {DEGU_CHUNKED, 0, false};
        degu_buffer buffer = {head, sizeof head, 0};
        result += degu_format_request(&buffer, DEGU_POST, request.target,
                                      NULL, 0, frame);
        result += degu_format_response(&buffer, DEGU_GET, response.status,
                                       response.reason, NULL, 0, frame);
    }
#endif
    return result + request.method + response.status + (int)have;
}

/* parse_request.c - a request out of a byte array, with no I/O at all
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#define DEGU_NO_SOCKETS
#include "degu.h"
#include <stdio.h>

int main(void)
{
    char bytes[] = "GET /lamp/3?on=1 HTTP/1.1\r\nHost: hall\r\n\r\n";
    degu_request request;
    size_t len = 0;

    if (degu_scan_head(bytes, sizeof bytes - 1, &len) ||
        degu_parse_request(bytes, len, &request))
        return 1;
    fwrite(request.path.ptr, 1, request.path.len, stdout);
    puts(degu_is(degu_find(&request.fields, "host"), "hall") ? " ok" : "");
    return request.method != DEGU_GET || !degu_is(request.query, "on=1");
}

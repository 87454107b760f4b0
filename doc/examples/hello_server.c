/* hello_server.c - answers GET /hello; the address is the argument
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include <stdio.h>

static degu_err hello(degu_session *session, const degu_request *request)
{
    if (!degu_is(request->path, "/hello"))
        return degu_reply(session->conn, 404, "Not Found", "");
    return degu_reply(session->conn, 200, "OK", "hello, world\n");
}

int main(int argc, char **argv)
{
    static degu_slot slots[25];
    static degu_server server;
    const char *at = argc > 1 ? argv[1] : "127.0.0.1:8080";
    char text[DEGU_ADDRESS_TEXT];
    degu_address address;
    degu_server_config config = degu_server_defaults(hello, slots, 25);
    degu_err err = degu_server_open(&server, at, &config);

    if (!err)
        err = degu_server_address(&server, &address);
    if (!err) {
        puts(degu_format_address(&address, text));
        fflush(stdout);
        err = degu_serve(&server, NULL);
    }
    if (err)
        fprintf(stderr, "%s: %s\n", at, degu_strerror(err));
    return err != DEGU_OK;
}

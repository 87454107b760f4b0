/* hello.c - a server of degu.h that greets: hello PORT, on 127.0.0.1
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include <stdio.h>

enum { CONNECTIONS = 300 };

static degu_err hello(degu_session *session, const degu_request *request)
{
    (void)request;
    return degu_reply(session->conn, 200, "OK", "hello, world");
}

int main(int argc, char **argv)
{
    static degu_slot slots[CONNECTIONS];
    static degu_server server;
    degu_server_config config = degu_server_defaults(hello, slots, CONNECTIONS);
    char address[32];
    degu_err err;

    if (argc != 2)
        return 2;
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    err = degu_server_open(&server, address, &config);
    if (!err)
        err = degu_serve(&server, NULL);
    if (err)
        fprintf(stderr, "%s: %s\n", address, degu_strerror(err));
    return err != DEGU_OK;
}

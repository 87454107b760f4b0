/* hello_tls_server.c - hello_server.c for clients with a certificate:
       hello_tls_server ADDRESS CERTIFICATE KEY AUTHORITY
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu_tls.h"
#include <stdio.h>

static degu_err hello(degu_session *session, const degu_request *request)
{
    const degu_tls_peer *peer = degu_tls_peer_of(session->conn);

    if (!degu_is(request->path, "/hello"))
        return degu_reply(session->conn, 404, "Not Found", "");
    return degu_send_response(session->conn, 200, degu_string("OK"), NULL, 0,
                              degu_body_bytes(peer->subject.ptr,
                                              peer->subject.len));
}

int main(int argc, char **argv)
{
    static degu_slot slots[25];
    static degu_server server;
    static degu_tls tls;
    char text[DEGU_ADDRESS_TEXT];
    degu_address address;
    degu_tls_config files = {0};
    degu_server_config config = degu_server_defaults(hello, slots, 25);
    degu_err err;

    if (argc != 5)
        return 2;
    files.cert_file = argv[2];
    files.key_file = argv[3];
    files.ca_file = argv[4];
    err = degu_tls_open_server(&tls, &files);
    if (err) {
        fprintf(stderr, "%s\n", degu_tls_why(&tls));
        return 1;
    }
    config.transport = degu_tls_transport(&tls);
    err = degu_server_open(&server, argv[1], &config);
    if (!err)
        err = degu_server_address(&server, &address);
    if (!err) {
        puts(degu_format_address(&address, text));
        fflush(stdout);
        err = degu_serve(&server, NULL);
    }
    if (err)
        fprintf(stderr, "%s: %s\n", argv[1], degu_strerror(err));
    return err != DEGU_OK;
}

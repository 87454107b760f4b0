/* hello_tls_client.c - hello_client.c with a certificate, for a server with a
   certificate for localhost:
       hello_tls_client ADDRESS CERTIFICATE KEY AUTHORITY
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu_tls.h"
#include <stdio.h>

static degu_err get(degu_client *client)
{
    degu_response response;
    char text[4096];
    size_t len;
    degu_err err = degu_client_get(client, "/hello", &response);

    if (!err)
        printf("%d\n", response.status);
    while (!err) {
        err = degu_read_body(&client->conn, text, sizeof text, &len);
        fwrite(text, 1, err ? 0 : len, stdout);
    }
    return err == DEGU_END ? DEGU_OK : err;
}

int main(int argc, char **argv)
{
    static degu_client client;
    static degu_tls tls;
    degu_tls_config files = {0};
    degu_err err;

    if (argc != 5)
        return 2;
    files.cert_file = argv[2];
    files.key_file = argv[3];
    files.ca_file = argv[4];
    if (degu_tls_open_client(&tls, &files)) {
        fprintf(stderr, "%s\n", degu_tls_why(&tls));
        return 1;
    }
    err = degu_client_open(&client, argv[1], 5000);
    if (!err)
        err = degu_tls_connect(&tls, &client, "localhost");
    if (!err)
        err = get(&client);
    if (err)
        fprintf(stderr, "%s: %s\n", argv[1], degu_strerror(err));
    degu_client_close(&client);
    degu_tls_close(&tls);
    return err != DEGU_OK;
}

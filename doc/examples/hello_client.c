/* hello_client.c - GET /hello from the address that is the argument
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    static degu_client client;
    const char *at = argc > 1 ? argv[1] : "127.0.0.1:8080";
    degu_response response;
    char text[4096];
    size_t len;
    degu_err err = degu_client_open(&client, at, 5000);

    if (!err) {
        err = degu_client_get(&client, "/hello", &response);
        if (!err)
            printf("%d\n", response.status);
        while (!err) {
            err = degu_read_body(&client.conn, text, sizeof text, &len);
            fwrite(text, 1, err ? 0 : len, stdout);
        }
        degu_client_close(&client);
    }
    if (err != DEGU_END)
        fprintf(stderr, "%s: %s\n", at, degu_strerror(err));
    return err != DEGU_END;
}

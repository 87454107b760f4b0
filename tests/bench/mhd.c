/* mhd.c - the same with GNU libmicrohttpd, epoll in one thread: mhd PORT
   SPDX-License-Identifier: MIT OR 0BSD */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum MHD_Result hello(void *cls, struct MHD_Connection *connection,
                             const char *url, const char *method,
                             const char *version, const char *data,
                             size_t *size, void **state)
{
    static char text[] = "hello, world";
    struct MHD_Response *response;
    enum MHD_Result result;

    (void)cls, (void)url, (void)method, (void)version, (void)data, (void)size;
    if (!*state) {
        /* Who answers the first call, before the body, ends the connection. */
        *state = text;
        return MHD_YES;
    }
    response = MHD_create_response_from_buffer(sizeof text - 1, text,
                                               MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "content-type", "text/plain");
    result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;

    if (argc != 2)
        return 2;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, hello,
                          NULL, MHD_OPTION_SOCK_ADDR, &address,
                          MHD_OPTION_CONNECTION_LIMIT, 1000U, MHD_OPTION_END))
        return 1;
    for (;;)
        pause();
}

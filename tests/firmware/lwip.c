/* SPDX-License-Identifier: MIT OR 0BSD

   doc/examples/lwip/server.c on a real lwIP, in a process: its only network
   interface sends to itself. */

#include "../../doc/examples/lwip/server.c"

#include "lwip/sockets.h"
#include "lwip/tcpip.h"
#include <stdio.h>
#include <string.h>

static sys_sem_t ready;

static err_t output(struct netif *netif, struct pbuf *data,
                    const ip4_addr_t *address)
{
    (void)netif;
    (void)data;
    (void)address;
    return ERR_RTE; /* there is nobody else */
}

static err_t interface_init(struct netif *netif)
{
    netif->mtu = 1500;
    netif->output = output;
    return ERR_OK;
}

static void begin(void *ctx)
{
    static struct netif interface;
    ip4_addr_t address, mask, gateway;
    (void)ctx;
    IP4_ADDR(&address, 10, 0, 0, 1);
    IP4_ADDR(&mask, 255, 0, 0, 0);
    IP4_ADDR(&gateway, 0, 0, 0, 0);
    netif_add(&interface, &address, &mask, &gateway, NULL, interface_init,
              tcpip_input);
    netif_set_default(&interface);
    netif_set_up(&interface);
    netif_set_link_up(&interface);
    http_start();
    sys_sem_signal(&ready);
}

/* Sends text, step bytes at a time, and reads to the end. */
static int ask(const char *text, size_t step, char *got, size_t cap)
{
    struct sockaddr_in to;
    size_t i = 0, len = strlen(text), have = 0;
    int fd = lwip_socket(AF_INET, SOCK_STREAM, 0), one = 1;
    ssize_t n = -1;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = lwip_htons(80);
    to.sin_addr.s_addr = lwip_htonl(0x0a000001);
    lwip_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!lwip_connect(fd, (struct sockaddr *)&to, sizeof to)) {
        for (; i < len; i += step)
            lwip_write(fd, text + i, LWIP_MIN(step, len - i));
        while ((n = lwip_read(fd, got + have, cap - 1 - have)) > 0)
            have += (size_t)n;
    }
    got[have] = '\0';
    lwip_close(fd);
    return n == 0; /* an orderly end, and not a cut */
}

#define CLOSE "connection: close\r\n"
#define REFUSED(status) \
    "HTTP/1.1 " status "\r\ncontent-length: 0\r\n" CLOSE "\r\n"

int main(void)
{
    static const char *const cases[][2] = {
        {"GET /echo HTTP/1.1\r\n" CLOSE "\r\n", REFUSED("200 OK")},
        {"GET / HTTP/1.1\r\n" CLOSE "\r\n", REFUSED("404 Not Found")},
        {"POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
         "PUT /echo HTTP/1.1\r\ncontent-length: 2\r\n" CLOSE "\r\nhi",
         "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
         "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" CLOSE "\r\nhi"},
        {"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
         "5\r\nhello\r\n0\r\n\r\n", REFUSED("411 Length Required")},
        {"PUT /echo HTTP/1.1\r\ncontent-length: 257\r\n\r\n",
         REFUSED("413 Content Too Large")},
        {"GET  / HTTP/1.1\r\n\r\n", REFUSED("400 Bad Request")},
    };
    const size_t count = sizeof cases / sizeof cases[0];
    size_t step, i;
    int passed = 0, failed = 0;
    char got[2000];
    sys_sem_new(&ready, 0);
    tcpip_init(NULL, NULL);
    tcpip_callback(begin, NULL);
    sys_sem_wait(&ready);
    for (step = 1; step <= 400; step += step < 8 ? 3 : 392)
        for (i = 0; i < count; i++) {
            bool whole = ask(cases[i][0], step, got, sizeof got);
            if (whole && !strcmp(got, cases[i][1])) {
                passed++;
                continue;
            }
            failed++;
            printf("%s, %u at a time: %s%s\n", cases[i][0],
                   (unsigned)step, got, whole ? "" : " and a cut");
        }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

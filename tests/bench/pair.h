/* pair.h - what the programs share that measure a client and a server, two
   processes of one program
   SPDX-License-Identifier: MIT OR 0BSD */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

/* The server's account, in memory that both processes see. */
static struct account {
    double cpu;
    long served;
} *account;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void check(degu_err err)
{
    if (err == DEGU_OK)
        return;
    fprintf(stderr, "bench: %s\n", degu_strerror(err));
    exit(1);
}

static void open_account(void)
{
    account = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (account == MAP_FAILED)
        die("mmap");
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        die("sched_setaffinity");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Where a server without degu.h listens. */
struct place {
    struct sockaddr_storage at;
    socklen_t len;
    int listener;
};

static struct place raw_listen(const char *family)
{
    struct place place;
    struct sockaddr_in6 in6 = {0};

    memset(&place, 0, sizeof place);
    place.at.ss_family = AF_UNIX;
    place.len = sizeof place.at.ss_family; /* the kernel chooses a name */
    if (!strcmp(family, "inet6")) {
        in6.sin6_family = AF_INET6;
        in6.sin6_addr = in6addr_loopback;
        place.len = sizeof in6;
        memcpy(&place.at, &in6, sizeof in6);
    }
    place.listener = socket(place.at.ss_family, SOCK_STREAM, 0);
    if (place.listener < 0 ||
        bind(place.listener, (struct sockaddr *)&place.at, place.len) ||
        listen(place.listener, 128))
        die("listen");
    place.len = sizeof place.at;
    if (getsockname(place.listener, (struct sockaddr *)&place.at, &place.len))
        die("getsockname");
    return place;
}

static void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int raw_connect(const struct place *place)
{
    int fd = socket(place->at.ss_family, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&place->at, place->len))
        die("connect");
    no_delay(fd);
    return fd;
}

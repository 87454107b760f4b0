/* parse.c - nanoseconds and instructions that the parser takes for a head
   SPDX-License-Identifier: MIT OR 0BSD

   Scans and parses each of the heads below, as the server and the client do.
   Time is CPU time, the median of several rounds.  Instructions are counted
   exactly, where the system lets a process be traced: a child that parses is
   stepped one instruction at a time, for 1 and for 3 heads; the difference is
   halved.  So they are the same in each run, and are what to compare. */
#define _GNU_SOURCE
#define DEGU_IMPLEMENTATION
#define DEGU_NO_SOCKETS
#include "degu.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 9, BATCH = 2000 };

struct sample {
    const char *name;
    const char *head;
};

static const struct sample samples[] = {
    {"least GET", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"},
    {"POST, length",
     "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 108\r\n\r\n"},
    {"GET, 20 fields",
     "GET /places/garden/lamps?floor=1&side=south HTTP/1.1\r\n"
     "Host: hub.example:8080\r\n"
     "Connection: keep-alive\r\n"
     "Cache-Control: max-age=0\r\n"
     "Upgrade-Insecure-Requests: 1\r\n"
     "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
     "(KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n"
     "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
     "image/avif,image/webp,*/*;q=0.8\r\n"
     "Sec-Ch-Ua: \"Chromium\";v=\"120\", \"Not?A_Brand\";v=\"8\"\r\n"
     "Sec-Ch-Ua-Mobile: ?0\r\n"
     "Sec-Ch-Ua-Platform: \"Linux\"\r\n"
     "Sec-Fetch-Site: same-origin\r\n"
     "Sec-Fetch-Mode: navigate\r\n"
     "Sec-Fetch-User: ?1\r\n"
     "Sec-Fetch-Dest: document\r\n"
     "Referer: http://hub.example:8080/places/garden\r\n"
     "Accept-Encoding: gzip, deflate, br\r\n"
     "Accept-Language: en-GB,en;q=0.9,fr;q=0.8\r\n"
     "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
     "If-None-Match: \"5f2c-61f0\"\r\n"
     "If-Modified-Since: Sat, 14 Nov 2026 09:30:00 GMT\r\n"
     "X-Request-Id: 8d1c5c1e-6f0a-4c39-9b0e-2f5a7d3b1c00\r\n\r\n"},
    {"200, 10 fields",
     "HTTP/1.1 200 OK\r\n"
     "Server: hub\r\n"
     "Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
     "Content-Type: application/json; charset=utf-8\r\n"
     "Content-Length: 108\r\n"
     "Connection: keep-alive\r\n"
     "Cache-Control: no-store\r\n"
     "Etag: \"6c-18bd0\"\r\n"
     "Vary: accept-encoding\r\n"
     "X-Content-Type-Options: nosniff\r\n"
     "X-Request-Id: 8d1c5c1e-6f0a-4c39-9b0e-2f5a7d3b1c00\r\n\r\n"},
};

static char head[4096];
static size_t head_len;
static int is_response;

static void take(const struct sample *sample)
{
    head_len = strlen(sample->head);
    memcpy(head, sample->head, head_len);
    is_response = !strncmp(head, "HTTP/", 5);
}

static degu_err parse(void)
{
    static degu_request request;
    static degu_response response;
    size_t len = 0;
    degu_err err = degu_scan_head(head, head_len, &len);

    if (err)
        return err;
    if (is_response)
        return degu_parse_response(head, len, DEGU_GET, &response);
    return degu_parse_request(head, len, &request);
}

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double nanoseconds(void)
{
    double start = cpu(), spent;
    long n = 0;

    do {
        for (int i = 0; i < BATCH; i++) {
            if (parse())
                exit(1);
            __asm__ volatile("" ::: "memory");
        }
        n += BATCH;
        spent = cpu() - start;
    } while (spent < 0.04);
    return spent / (double)n * 1e9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_nanoseconds(void)
{
    double rounds[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = nanoseconds();
    qsort(rounds, ROUNDS, sizeof *rounds, ascending);
    return rounds[ROUNDS / 2];
}

/* Instructions of a child between two signals, n heads apart; -1: no tracing
   here. */
static long steps(int n)
{
    long count = 0;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(1);
        parse();
        raise(SIGSTOP);
        for (int i = 0; i < n; i++)
            parse();
        raise(SIGUSR1);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    while (!ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) &&
           waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) &&
           WSTOPSIG(status) == SIGTRAP)
        count++;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return count;
}

int main(void)
{
    printf("%-16s %6s %6s %8s %6s %13s\n", "parser", "bytes", "fields", "ns",
           "GB/s", "instructions");
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        double ns;
        long one, three;
        size_t lines = 0;

        take(&samples[i]);
        if (parse()) {
            fprintf(stderr, "%s is refused\n", samples[i].name);
            return 1;
        }
        for (size_t k = 0; k < head_len; k++)
            lines += head[k] == '\n';
        ns = median_nanoseconds();
        one = steps(1);
        three = steps(3);
        printf("%-16s %6zu %6zu %8.1f %6.2f ", samples[i].name, head_len,
               lines - 2, ns, (double)head_len / ns);
        if (one < 0 || three < 0)
            printf("%13s\n", "n/a");
        else
            printf("%13ld\n", (three - one) / 2);
    }
    return 0;
}

/* parse.c - what a parser takes for a head: each contestant is this program
   built with one of parse_*.c
   SPDX-License-Identifier: MIT OR 0BSD

       parse ns MS FILE...     CPU time of a head in ns, measured for so long
       parse steps FILE...     instructions of a head
       parse show FILE         what it reads in it

   A FILE has one head; that of a response has a name that ends in .response.
   Instructions are counted exactly, where the system lets a process be traced:
   a child that parses is stepped one instruction at a time, for 1 and for 3
   heads; the difference is halved.  So they are the same in each run.  It
   prints -1 where nothing may be traced.  (degu.h folds names where they stand:
   from the second time on they are in lower case already, which costs it the
   same.) */
#define _GNU_SOURCE
#include "parse.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 500 };

static char head[4096];
static size_t head_len;
static bool is_response;

static void take(const char *path)
{
    static const char ending[] = ".response";
    const size_t len = strlen(path), end = sizeof ending - 1;
    FILE *file = fopen(path, "rb");

    if (!file) {
        perror(path);
        exit(1);
    }
    head_len = fread(head, 1, sizeof head, file);
    fclose(file);
    is_response = len > end && !strcmp(path + len - end, ending);
    if (!parse(head, head_len, is_response)) {
        fprintf(stderr, "%s is refused\n", path);
        exit(1);
    }
}

static double cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double nanoseconds(double seconds)
{
    const double start = cpu();
    double spent;
    long n = 0;

    do {
        for (int i = 0; i < BATCH; i++)
            if (!parse(head, head_len, is_response))
                exit(1);
        n += BATCH;
        spent = cpu() - start;
    } while (spent < seconds);
    return spent / (double)n * 1e9;
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
        parse(head, head_len, is_response);
        raise(SIGSTOP);
        for (int i = 0; i < n; i++)
            parse(head, head_len, is_response);
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

int main(int argc, char **argv)
{
    const char *what = argc < 3 ? "" : argv[1];

    if (!strcmp(what, "ns"))
        for (int i = 3; i < argc; i++) {
            take(argv[i]);
            nanoseconds(atof(argv[2]) / 1e4);
            printf("%.3f\n", nanoseconds(atof(argv[2]) / 1e3));
        }
    else if (!strcmp(what, "steps"))
        for (int i = 2; i < argc; i++) {
            long one, three;

            take(argv[i]);
            one = steps(1);
            three = steps(3);
            printf("%ld\n", one < 0 || three < 0 ? -1 : (three - one) / 2);
        }
    else if (!strcmp(what, "show")) {
        take(argv[2]);
        show(is_response);
    } else
        return 2;
    return 0;
}

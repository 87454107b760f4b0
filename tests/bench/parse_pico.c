/* parse_pico.c - picohttpparser as a contestant of parse.c
   SPDX-License-Identifier: MIT OR 0BSD */
#include "parse.h"
#include "picohttpparser.h"

enum { FIELDS = 64 };

static struct {
    const char *method, *target, *reason;
    size_t method_len, target_len, reason_len;
    int minor, status;
    struct phr_header fields[FIELDS];
    size_t count;
} got;

bool parse(char *head, size_t len, bool is_response)
{
    int n;

    got.count = FIELDS;
    if (is_response)
        n = phr_parse_response(head, len, &got.minor, &got.status, &got.reason,
                               &got.reason_len, got.fields, &got.count, 0);
    else
        n = phr_parse_request(head, len, &got.method, &got.method_len,
                              &got.target, &got.target_len, &got.minor,
                              got.fields, &got.count, 0);
    return n == (int)len;
}

void show(bool is_response)
{
    if (is_response)
        printf("%d\n", got.status);
    else
        print_pair(got.method, got.method_len, " ", got.target,
                   got.target_len);
    for (size_t i = 0; i < got.count; i++)
        print_pair(got.fields[i].name, got.fields[i].name_len, ": ",
                   got.fields[i].value, got.fields[i].value_len);
}

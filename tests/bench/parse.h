/* parse.h - what a contestant of parse.c is
   SPDX-License-Identifier: MIT OR 0BSD */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Parses a head; false: not a good one of len bytes.  What it has read stays
   with the contestant, in the form that its users get. */
bool parse(char *head, size_t len, bool is_response);

/* Prints what the last one has read: the start line's parts, and NAME: VALUE of
   each field. */
void show(bool is_response);

static inline void print_span(const char *ptr, size_t len, const char *end)
{
    printf("%.*s%s", (int)len, ptr, end);
}

static inline void print_pair(const char *a, size_t a_len, const char *between,
                              const char *b, size_t b_len)
{
    print_span(a, a_len, between);
    print_span(b, b_len, "\n");
}

/* parse_llhttp.c - llhttp as a contestant of parse.c
   SPDX-License-Identifier: MIT OR 0BSD */
#include "parse.h"
#include <llhttp.h>
#include <string.h>

enum { FIELDS = 64 };

struct span {
    const char *ptr;
    size_t len;
};

static struct {
    struct span target, names[FIELDS], values[FIELDS];
    size_t count;
} got;
static llhttp_t parser;

static int on_target(llhttp_t *unused, const char *at, size_t len)
{
    (void)unused;
    got.target.ptr = at;
    got.target.len = len;
    return 0;
}

static int on_name(llhttp_t *unused, const char *at, size_t len)
{
    (void)unused;
    if (got.count == FIELDS)
        return HPE_USER;
    got.names[got.count].ptr = at;
    got.names[got.count].len = len;
    return 0;
}

static int on_value(llhttp_t *unused, const char *at, size_t len)
{
    (void)unused;
    got.values[got.count].ptr = at;
    got.values[got.count++].len = len;
    return 0;
}

static int on_end(llhttp_t *unused)
{
    (void)unused;
    return HPE_PAUSED; /* behind the head, as the others */
}

bool parse(char *head, size_t len, bool is_response)
{
    static llhttp_settings_t settings;

    if (!settings.on_url) {
        llhttp_settings_init(&settings);
        settings.on_header_field = on_name;
        settings.on_header_value = on_value;
        settings.on_headers_complete = on_end;
        settings.on_url = on_target;
    }
    got.count = 0;
    llhttp_init(&parser, is_response ? HTTP_RESPONSE : HTTP_REQUEST,
                &settings);
    return llhttp_execute(&parser, head, len) == HPE_PAUSED &&
           llhttp_get_error_pos(&parser) == head + len;
}

void show(bool is_response)
{
    const char *method = llhttp_method_name(llhttp_get_method(&parser));

    if (is_response)
        printf("%d\n", llhttp_get_status_code(&parser));
    else
        print_pair(method, strlen(method), " ", got.target.ptr,
                   got.target.len);
    for (size_t i = 0; i < got.count; i++)
        print_pair(got.names[i].ptr, got.names[i].len, ": ",
                   got.values[i].ptr, got.values[i].len);
}

/* parse_degu.c - degu.h as a contestant of parse.c
   SPDX-License-Identifier: MIT OR 0BSD */
#define DEGU_IMPLEMENTATION
#define DEGU_NO_SOCKETS
#include "degu.h"
#include "parse.h"

static degu_request request;
static degu_response response;

bool parse(char *head, size_t have, bool is_response)
{
    size_t len = 0;

    if (degu_scan_head(head, have, &len) || len != have)
        return false;
    if (is_response)
        return !degu_parse_response(head, len, DEGU_GET, &response);
    return !degu_parse_request(head, len, &request);
}

void show(bool is_response)
{
    const degu_fields *fields = is_response ? &response.fields
                                            : &request.fields;
    const degu_str method = degu_method_name(request.method);

    if (is_response)
        printf("%d\n", response.status);
    else
        print_pair(method.ptr, method.len, " ", request.target.ptr,
                   request.target.len);
    for (size_t i = 0; i < fields->count; i++) {
        degu_header field = degu_field_at(fields, i);
        print_pair(field.name.ptr, field.name.len, ": ", field.value.ptr,
                   field.value.len);
    }
}

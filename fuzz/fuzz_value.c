/* SPDX-License-Identifier: MIT OR 0BSD

   The values that the library reads: length, range, content-range, method and
   host.  The input is one value; it is tried as each of them, alone, in a
   head, and by the system's own reader of addresses. */

#include "harness.h"

#include <arpa/inet.h>

/* Numbers have one spelling: what is accepted is written the same. */
static void spelled_once(degu_err err, degu_str text, const degu_buffer *dst,
                         const char *what)
{
    fuzz_same_err(err, DEGU_OK, what);
    fuzz_same_view(degu_bytes(dst->ptr, dst->len), text, what);
}

static void as_number(degu_str text)
{
    char space[64];
    degu_buffer dst = {space, sizeof space, 0};
    degu_content_range content;
    degu_range range;
    uint64_t length = 1;
    if (degu_parse_length(text, &length) == DEGU_OK) {
        fuzz_require(length <= DEGU_LENGTH_MAX, "largest length");
        spelled_once(degu_format_length(&dst, length), text, &dst, "length");
    }
    fuzz_note(length);
    dst.len = 0;
    if (degu_parse_range(text, &range) == DEGU_OK) {
        fuzz_require(range.start < range.stop, "a range is not empty");
        spelled_once(degu_format_range(&dst, range), text, &dst, "range");
    }
    fuzz_note(range.stop);
    dst.len = 0;
    if (degu_parse_content_range(text, &content) == DEGU_OK) {
        fuzz_require(content.start < content.stop &&
                         content.stop <= content.total,
                     "a content-range lies in its total");
        spelled_once(degu_format_content_range(&dst, content), text, &dst,
                     "content-range");
    }
    fuzz_note(content.total);
}

static void as_method(degu_str text)
{
    degu_method method = DEGU_GET;
    const degu_err err = degu_parse_method(text, &method);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK)
        fuzz_same_view(degu_method_name(method), text, "method");
    else
        fuzz_same_number(err == DEGU_E_METHOD,
                         text.len > 0 && fuzz_slow_span(text.ptr, text.len,
                                                        DEGU_TOKEN) ==
                                             text.len,
                         "a method that is a token");
}

/* [v6], v4 and names, with what inet_pton(3) thinks of the first. */
static bool is_host(degu_str text)
{
    char literal[64];
    struct in6_addr address;
    size_t end = 0, i;
    unsigned port = 0;
    if (text.len == 0)
        return true;
    if (text.ptr[0] == '[') {
        while (end < text.len && text.ptr[end] != ']')
            ++end;
        if (end == text.len || end > sizeof literal)
            return false;
        memcpy(literal, text.ptr + 1, end - 1);
        literal[end - 1] = '\0';
        if (strlen(literal) != end - 1 ||
            inet_pton(AF_INET6, literal, &address) != 1)
            return false;
        ++end;
    } else {
        end = fuzz_slow_span(text.ptr, text.len, DEGU_REGNAME);
        for (i = 0; i < end; ++i)
            if (text.ptr[i] == '%' &&
                (end - i < 3 ||
                 fuzz_slow_span(text.ptr + i + 1, 2, DEGU_HEX) < 2))
                return false;
        if (end == 0)
            return false;
    }
    if (end == text.len)
        return true;
    if (text.ptr[end++] != ':')
        return false;
    for (i = end; i < text.len; ++i) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text.ptr[i] - '0');
        if (port > 65535)
            return false;
    }
    return true;
}

/* A head with this field and the text as its value. */
static degu_buffer head_with(const char *start, degu_str text)
{
    degu_buffer head = fuzz_buffer(strlen(start) + text.len + 4);
    memcpy(head.ptr, start, strlen(start));
    head.len = strlen(start);
    if (text.len > 0)
        memcpy(head.ptr + head.len, text.ptr, text.len);
    memcpy(head.ptr + head.len + text.len, "\r\n\r\n", 4);
    head.len += text.len + 4;
    return head;
}

/* In a head the value means what it means alone. */
static void in_a_head(degu_str text)
{
    static const char coding[] = "PUT / HTTP/1.1\r\ntransfer-encoding:";
    degu_buffer head = head_with("PUT / HTTP/1.1\r\ncontent-length:", text);
    degu_request r;
    degu_response response;
    degu_range range;
    degu_content_range content;
    uint64_t length;
    degu_err err = degu_parse_request(head.ptr, head.len, &r);
    fuzz_same_number(err == DEGU_OK,
                     degu_parse_length(text, &length) == DEGU_OK,
                     "content-length alone and in a head");
    if (err == DEGU_OK)
        fuzz_same_number(r.content_length, length, "content-length");
    free(head.ptr);
    head = head_with("GET / HTTP/1.1\r\nrange:", text);
    fuzz_same_err(degu_parse_request(head.ptr, head.len, &r), DEGU_OK,
                  "any range may be asked for");
    fuzz_same_number(degu_find_range(&r.fields, &range),
                     degu_parse_range(text, &range) == DEGU_OK,
                     "range alone and in a head");
    free(head.ptr);
    head = head_with("HTTP/1.1 206 OK\r\ncontent-range:", text);
    fuzz_same_err(degu_parse_response(head.ptr, head.len, DEGU_GET, &response),
                  DEGU_OK, "any content-range may be answered");
    fuzz_same_number(degu_find_content_range(&response.fields, &content),
                     degu_parse_content_range(text, &content) == DEGU_OK,
                     "content-range alone and in a head");
    free(head.ptr);
    head = head_with("GET / HTTP/1.1\r\nhost:", text);
    fuzz_same_number(degu_parse_request(head.ptr, head.len, &r) == DEGU_OK,
                     is_host(text), "host here and by inet_pton");
    fuzz_note(r.error_at);
    free(head.ptr);
    head = head_with(coding, text);
    err = degu_parse_request(head.ptr, head.len, &r);
    fuzz_note((uint64_t)(int64_t)err);
    if (err == DEGU_OK)
        fuzz_require(text.len == 7 && r.framing == DEGU_CHUNKED,
                     "chunked is the only coding");
    free(head.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = fuzz_copy((const char *)data, size);
    degu_str text = degu_bytes(copy, size);
    fuzz_kernels(copy, size);
    as_number(text);
    as_method(text);
    /* Blanks at the ends are not part of a value in a head, and other bytes
       do not stand in one. */
    if (size <= DEGU_PREAMBLE_MAX / 2 &&
        fuzz_slow_span(copy, size, DEGU_VALUE) == size &&
        (size == 0 || (copy[0] != ' ' && copy[0] != '\t' &&
                       copy[size - 1] != ' ' && copy[size - 1] != '\t')))
        in_a_head(text);
    free(copy);
    return 0;
}

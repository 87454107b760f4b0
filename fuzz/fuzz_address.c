/* SPDX-License-Identifier: MIT OR 0BSD

   The text of an address.  The input is tried as a text, and as the bytes of
   an address that somebody has filled in. */

#define FUZZ_WITH_SOCKETS
#include "harness.h"

static void same_address(const degu_address *a, const degu_address *b,
                         const char *what)
{
    fuzz_same_number(a->family, b->family, what);
    fuzz_same_number(a->port, b->port, what);
    fuzz_same_number(a->flowinfo, b->flowinfo, what);
    fuzz_same_number(a->scope_id, b->scope_id, what);
    fuzz_same_view(degu_bytes(a->ip, sizeof a->ip),
                   degu_bytes(b->ip, sizeof b->ip), what);
    fuzz_same_view(degu_bytes(a->name, a->name_len),
                   degu_bytes(b->name, b->name_len), what);
}

/* Formatted, it is bounded, and parsed it is the same again.  What is sent as
   host of it, a server accepts. */
static void address_again(const degu_address *address, bool good)
{
    char *text = fuzz_buffer(DEGU_ADDRESS_TEXT).ptr;
    char *twice = fuzz_buffer(DEGU_ADDRESS_TEXT).ptr;
    degu_address again;
    degu_str host;
    (void)degu_format_address(address, text);
    fuzz_require(memchr(text, '\0', DEGU_ADDRESS_TEXT) != NULL,
                 "an address that is terminated");
    fuzz_note_view(degu_string(text));
    if (good) {
        fuzz_same_err(degu_parse_address(text, &again), DEGU_OK,
                      "parsing what was formatted");
        same_address(address, &again, "address, parsed again");
        (void)degu_format_address(&again, twice);
        fuzz_same_view(degu_string(text), degu_string(twice),
                       "address, formatted again");
    }
    host = degu_string(degu_format_host(address, 80, twice));
    fuzz_require(host.len < DEGU_ADDRESS_TEXT, "a host that is terminated");
    fuzz_require(host.len > 0 && degu_priv_is_host(host),
                 "a host that a server accepts");
    free(text);
    free(twice);
}

static void as_text(const char *ptr, size_t len)
{
    char *text = fuzz_buffer(len + 1).ptr;
    degu_address address;
    degu_err err;
    if (len > 0)
        memcpy(text, ptr, len);
    text[len] = '\0';
    memset(&address, 0x55, sizeof address);
    err = degu_parse_address(text, &address);
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_require(err == DEGU_OK || err == DEGU_E_ADDRESS, "error of a text");
    if (err == DEGU_OK)
        address_again(&address, true);
    free(text);
}

static uint32_t number_at(const char *ptr)
{
    const unsigned char *b = (const unsigned char *)ptr;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
           (uint32_t)b[3] << 24;
}

/* A flow label has 20 bits, a path begins with a slash and holds no NUL, and
   a name behind a NUL has room for it: without that it is no address. */
static bool is_address(const degu_address *a)
{
    if (a->family == DEGU_UNIX)
        return a->name_len > 0 && a->name[0] == '/' &&
               memchr(a->name, '\0', a->name_len) == NULL;
    if (a->family == DEGU_ABSTRACT)
        return a->name_len < sizeof a->name;
    return a->family != DEGU_UNNAMED && a->flowinfo <= 0xfffff;
}

static void as_address(const char *ptr, size_t len)
{
    static const degu_family families[] = {DEGU_UNNAMED, DEGU_IPV4, DEGU_IPV6,
                                           DEGU_UNIX, DEGU_ABSTRACT};
    degu_address a;
    size_t name;
    memset(&a, 0, sizeof a);
    if (len < 12)
        return;
    a.family = families[(unsigned char)ptr[0] % 5];
    name = len - 12 < sizeof a.name ? len - 12 : sizeof a.name;
    if (a.family == DEGU_IPV4 || a.family == DEGU_IPV6) {
        const size_t ip = a.family == DEGU_IPV4 ? 4 : 16;
        a.port = (uint16_t)(number_at(ptr) >> 8);
        memcpy(a.ip, ptr + 12, name < ip ? name : ip);
    }
    if (a.family == DEGU_IPV6) {
        a.flowinfo = number_at(ptr + 4);
        a.scope_id = number_at(ptr + 8);
    }
    if (a.family == DEGU_UNIX || a.family == DEGU_ABSTRACT) {
        memcpy(a.name, ptr + 12, name);
        a.name_len = (uint8_t)name;
    }
    address_again(&a, is_address(&a));
    /* A length beyond the array is the caller's mistake, and yet harmless. */
    a.name_len = 255;
    address_again(&a, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_text((const char *)data, size);
    as_address((const char *)data, size);
    return 0;
}

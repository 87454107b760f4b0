/* SPDX-License-Identifier: MIT OR 0BSD

   The class table against the grammar of RFC 9110, 9112 and 3986, spelled out
   here a second time; the fast scans against one-line references; every byte
   value in every region of what is parsed; and the list of errors. */

#define DEGU_IMPLEMENTATION
#include "../../degu.h"

#include "check.h"
#include "page.h"

static page_area page;

/* ---- The grammar, as the RFCs have it ---- */

static bool is_one_of(int b, const char *set)
{
    return b != 0 && strchr(set, b) != NULL;
}

static bool is_digit(int b)
{
    return b >= '0' && b <= '9';
}

static bool is_alpha(int b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}

static bool is_hexdig(int b)
{
    return is_digit(b) || (b >= 'a' && b <= 'f') || (b >= 'A' && b <= 'F');
}

/* RFC 9110 5.6.2: tchar */
static bool is_tchar(int b)
{
    return is_digit(b) || is_alpha(b) || is_one_of(b, "!#$%&'*+-.^_`|~");
}

/* RFC 3986 2.3: unreserved, 2.2: sub-delims */
static bool is_unreserved(int b)
{
    return is_alpha(b) || is_digit(b) || is_one_of(b, "-._~");
}

static bool is_sub_delim(int b)
{
    return is_one_of(b, "!$&'()*+,;=");
}

/* RFC 3986 3.3: pchar, the % of an escape included */
static bool is_pchar(int b)
{
    return is_unreserved(b) || is_sub_delim(b) || is_one_of(b, ":@%");
}

/* RFC 3986 3.4: query */
static bool is_query(int b)
{
    return is_pchar(b) || b == '/' || b == '?';
}

/* RFC 3986 3.2.2: reg-name, the % of an escape included */
static bool is_regname(int b)
{
    return is_unreserved(b) || is_sub_delim(b) || b == '%';
}

/* RFC 9110 5.5 without obs-text (D5): VCHAR, space, tab */
static bool is_value(int b)
{
    return (b >= 0x21 && b <= 0x7e) || b == ' ' || b == '\t';
}

/* RFC 9110 5.6.4: qdtext without obs-text */
static bool is_qdtext(int b)
{
    return b == '\t' || b == ' ' || b == 0x21 || (b >= 0x23 && b <= 0x5b) ||
           (b >= 0x5d && b <= 0x7e);
}

typedef struct class_rule {
    unsigned bit;
    const char *name;
    bool (*holds)(int b);
} class_rule;

static const class_rule classes[] = {
    {DEGU_TOKEN, "token", is_tchar},   {DEGU_PATH, "path", is_pchar},
    {DEGU_QUERY, "query", is_query},   {DEGU_VALUE, "value", is_value},
    {DEGU_QUOTED, "quoted", is_qdtext}, {DEGU_REGNAME, "reg-name", is_regname},
    {DEGU_DIGIT, "digit", is_digit},   {DEGU_HEX, "hex", is_hexdig}};
#define CLASSES (sizeof classes / sizeof classes[0])

static void test_classes(void)
{
    int b;
    size_t c;
    for (c = 0; c < CLASSES; ++c) {
        check_start(classes[c].name);
        for (b = 0; b < 256; ++b)
            CHECK_INT((degu_class((unsigned char)b) & classes[c].bit) != 0,
                      classes[c].holds(b));
    }
}

/* ---- The fast scans ---- */

/* Every byte value at every position of texts of 0 to 80 bytes; the text ends
   at the page, so its start runs through all alignments. */
static void test_span(const class_rule *rule)
{
    size_t len, at;
    int b;
    check_start(rule->name);
    for (len = 0; len <= 80; ++len) {
        char *text = page_last(page, len);
        memset(text, '0', len);
        CHECK_INT(degu_span(text, len, rule->bit), len);
        for (at = 0; at < len; ++at) {
            for (b = 0; b < 256; ++b) {
                text[at] = (char)(unsigned char)b;
                if (degu_span(text, len, rule->bit) !=
                    (rule->holds(b) ? len : at))
                    CHECK_INT(b, -1);
            }
            text[at] = '0';
        }
    }
    CHECK_INT(degu_span(NULL, 0, rule->bit), 0);
}

/* Two bad bytes: the first counts. */
static void test_span_first(void)
{
    size_t len, at, second;
    check_start("first of two");
    for (len = 2; len <= 72; ++len) {
        char *text = page_last(page, len);
        memset(text, 'a', len);
        for (at = 0; at < len; ++at)
            for (second = at + 1; second < len; second += 5) {
                text[at] = text[second] = '\n';
                CHECK_INT(degu_span(text, len, DEGU_VALUE), at);
                CHECK_INT(degu_span(text, len, DEGU_TOKEN), at);
                text[at] = text[second] = 'a';
            }
    }
}

/* What degu_scan_head promises, the slow way. */
static degu_err slow_scan(const char *text, size_t len, size_t *pos)
{
    size_t i, start = 0;
    for (i = 0; i < len; ++i) {
        if (i == 1 && text[0] == '\r' && text[1] != '\n') {
            *pos = 0;
            return DEGU_E_LINE_END;
        }
        if (text[i] != '\n')
            continue;
        *pos = i;
        if (i == 0 || text[i - 1] != '\r')
            return DEGU_E_LINE_END;
        if (i - 1 == start && start == 0)
            return DEGU_E_EMPTY_LINE;
        if (i - 1 == start) {
            *pos = i + 1;
            return DEGU_OK;
        }
        start = i + 1;
    }
    return DEGU_MORE;
}

static void scan_agrees(const char *text, size_t len)
{
    size_t pos = 0, want_pos = 0;
    degu_err want = slow_scan(text, len, &want_pos);
    degu_err got = degu_scan_head(text, len, &pos);
    if (!CHECK_ERR(got, want)) {
        check_show(text, len);
        printf("\n");
    } else if (want == DEGU_OK || want == DEGU_E_LINE_END) {
        CHECK_INT(pos, want_pos);
    }
}

/* All texts of seven bytes out of a letter, CR and LF, behind 0 to 40 letters,
   so that they cross the edges of every vector register. */
static void test_scan(void)
{
    static const char alphabet[] = "a\r\n";
    size_t before;
    unsigned number, rest, i;
    check_start("scan");
    for (before = 0; before <= 40; ++before) {
        char *text = page_last(page, before + 7);
        memset(text, 'a', before);
        for (number = 0; number < 2187; ++number) {
            for (rest = number, i = 0; i < 7; ++i, rest /= 3)
                text[before + i] = alphabet[rest % 3];
            scan_agrees(text, before + 7);
        }
    }
}

/* A head of every length from 4 to 200, its end anywhere in a register. */
static void test_scan_lengths(void)
{
    char head[300];
    size_t len, pos;
    check_start("scan lengths");
    for (len = 5; len <= 200; ++len) {
        memset(head, 'a', len - 4);
        memcpy(head + len - 4, "\r\n\r\n", 4);
        memset(head + len, 'b', 60);
        pos = 0;
        CHECK_OK(degu_scan_head(head, len + 60, &pos));
        CHECK_INT(pos, len);
        pos = 0;
        CHECK_OK(degu_scan_head(page_put(page, head, len), len, &pos));
        CHECK_INT(pos, len);
        pos = 0;
        CHECK_ERR(degu_scan_head(head, len - 1, &pos), DEGU_MORE);
        CHECK_OK(degu_scan_head(head, len, &pos));
        CHECK_INT(pos, len);
    }
}

/* ---- Every byte in every region ---- */

typedef degu_err (*parse_text)(char *text, size_t len);

static degu_err parse_request(char *text, size_t len)
{
    degu_request request;
    size_t pos = 0;
    degu_err err = degu_scan_head(text, len, &pos);
    return err ? err : degu_parse_request(text, pos, &request);
}

static degu_err parse_response(char *text, size_t len)
{
    degu_response response;
    size_t pos = 0;
    degu_err err = degu_scan_head(text, len, &pos);
    return err ? err : degu_parse_response(text, pos, DEGU_HEAD, &response);
}

static degu_err parse_chunk_line(char *text, size_t len)
{
    degu_chunk chunk;
    return degu_parse_chunk_line(text, len, &chunk);
}

static degu_err parse_trailer(char *text, size_t len)
{
    degu_fields fields;
    size_t error_at;
    return degu_parse_fields(text, len, true, &fields, &error_at);
}

static degu_err parse_target(char *text, size_t len)
{
    degu_str path, query;
    size_t error_at;
    return degu_parse_target(degu_bytes(text, len), &path, &query, &error_at);
}

/* Bytes that a region takes beside its class, or does not although they are
   in its class, each with what it means there. */
typedef struct region {
    const char *name;
    parse_text parse;
    const char *before;
    const char *behind;
    bool (*holds)(int b);
    const char *also;  /* accepted beside those */
    const char *never; /* not accepted though they hold */
} region;

static const region regions[] = {
    /* / starts a part and ? the query; % wants two hex digits. */
    {"path", parse_request, "GET /a", "g HTTP/1.1\r\n\r\n", is_pchar, "/?",
     "%"},
    {"path alone", parse_target, "/a", "g", is_pchar, "/?", "%"},
    /* An empty part or a dot cannot stand between slashes. */
    {"path part", parse_target, "/a/", "/b", is_pchar, "?", "%."},
    {"query", parse_request, "GET /a?b", "g HTTP/1.1\r\n\r\n", is_query, "",
     "%"},
    {"query alone", parse_target, "/a?b", "g", is_query, "", "%"},
    /* %00 is refused in a path. */
    {"escape, first digit", parse_target, "/%", "0", is_hexdig, "", "0"},
    {"escape, second digit", parse_target, "/%4", "", is_hexdig, "", ""},
    /* %2e is a dot, %2f a slash. */
    {"escape of 2", parse_target, "/%2", "", is_hexdig, "", "eEfF"},
    {"escape of 5", parse_target, "/%5", "", is_hexdig, "", "cC"},
    {"escape in query", parse_target, "/?%", "0", is_hexdig, "", ""},
    {"version, minor", parse_request, "GET / HTTP/1.", "\r\n\r\n", NULL, "1",
     ""},
    {"version, major", parse_request, "GET / HTTP/", ".1\r\n\r\n", NULL, "1",
     ""},
    {"version, dot", parse_request, "GET / HTTP/1", "1\r\n\r\n", NULL, ".",
     ""},
    {"space before target", parse_request, "GET", "/ HTTP/1.1\r\n\r\n", NULL,
     " ", ""},
    {"space behind target", parse_request, "GET /", "HTTP/1.1\r\n\r\n", NULL,
     " ", ""},
    /* A colon ends the name. */
    {"field name", parse_request, "GET / HTTP/1.1\r\na", "c: d\r\n\r\n",
     is_tchar, ":", ""},
    {"field name, first byte", parse_request, "GET / HTTP/1.1\r\n",
     "c: d\r\n\r\n", is_tchar, "", ""},
    {"colon", parse_request, "GET / HTTP/1.1\r\nab", " d\r\n\r\n", NULL, ":",
     ""},
    {"field value", parse_request, "GET / HTTP/1.1\r\na: b", "c\r\n\r\n",
     is_value, "", ""},
    {"field value, alone", parse_request, "GET / HTTP/1.1\r\na:", "\r\n\r\n",
     is_value, "", ""},
    {"field value, far", parse_request,
     "GET / HTTP/1.1\r\na: 0123456789012345678901234567890123456789",
     "0123456789\r\n\r\n", is_value, "", ""},
    {"trailer name", parse_trailer, "a", "c: d\r\n", is_tchar, ":", ""},
    {"trailer value", parse_trailer, "a: b", "c\r\n", is_value, "", ""},
    {"status, second digit", parse_response, "HTTP/1.1 2", "0 OK\r\n\r\n",
     is_digit, "", ""},
    {"status, first digit", parse_response, "HTTP/1.1 ", "00 OK\r\n\r\n", NULL,
     "12345", ""},
    {"response version", parse_response, "HTTP/1.", " 200 OK\r\n\r\n", NULL,
     "01", ""},
    {"space behind status", parse_response, "HTTP/1.1 200", "OK\r\n\r\n", NULL,
     " ", ""},
    {"reason", parse_response, "HTTP/1.1 200 O", "K\r\n\r\n", is_value, "",
     ""},
    {"reason, alone", parse_response, "HTTP/1.1 200 ", "\r\n\r\n", is_value,
     "", ""},
    /* : starts a port, which "g" is not. */
    {"host", parse_request, "GET / HTTP/1.1\r\nhost: a", "g\r\n\r\n",
     is_regname, "", "%"},
    {"host, port", parse_request, "GET / HTTP/1.1\r\nhost: a:1", "2\r\n\r\n",
     is_digit, "", ""},
    {"host, in brackets", parse_request, "GET / HTTP/1.1\r\nhost: [::",
     "]\r\n\r\n", is_hexdig, "", ""},
    {"content-length", parse_request, "PUT / HTTP/1.1\r\ncontent-length: 1",
     "2\r\n\r\n", is_digit, "", ""},
    {"transfer-encoding", parse_request,
     "PUT / HTTP/1.1\r\ntransfer-encoding: chun", "ed\r\n\r\n", NULL, "kK",
     ""},
    {"chunk size", parse_chunk_line, "1", "\r\n", is_hexdig, "", ""},
    {"chunk size, first digit", parse_chunk_line, "", "0\r\n", is_hexdig, "",
     ""},
    {"extension key", parse_chunk_line, "1;a", "c\r\n", is_tchar, ";=", ""},
    {"extension key, first", parse_chunk_line, "1;", "c\r\n", is_tchar, "",
     ""},
    {"extension value", parse_chunk_line, "1;a=b", "c\r\n", is_tchar, ";",
     ""},
    /* A quote opens a string that is not closed. */
    {"extension value, first", parse_chunk_line, "1;a=", "c\r\n", is_tchar, "",
     ""},
    /* A backslash escapes what stands behind it. */
    {"quoted value", parse_chunk_line, "1;a=\"b", "c\"\r\n", is_qdtext, "\\",
     ""},
    {"escaped in quotes", parse_chunk_line, "1;a=\"\\", "\"\r\n", is_value, "",
     ""},
    {"behind quotes", parse_chunk_line, "1;a=\"b\"", "c\r\n", NULL, ";", ""}};
#define REGIONS (sizeof regions / sizeof regions[0])

static size_t join(char *text, const char *before, int b, const char *behind)
{
    size_t len = strlen(before);
    memcpy(text, before, len);
    text[len++] = (char)(unsigned char)b;
    memcpy(text + len, behind, strlen(behind));
    return len + strlen(behind);
}

static void test_region(const region *r)
{
    char text[200];
    int b;
    check_start(r->name);
    for (b = 0; b < 256; ++b) {
        size_t len = join(text, r->before, b, r->behind);
        bool want = ((r->holds != NULL && r->holds(b)) ||
                     is_one_of(b, r->also)) &&
                    !is_one_of(b, r->never);
        degu_err err = r->parse(page_put(page, text, len), len);
        if (!CHECK_INT(err == DEGU_OK, want))
            printf("    byte %02x: %s\n", (unsigned)b, degu_err_name(err));
        CHECK(err <= 0);
    }
}

/* A head that is not whole, or more than one, is no head, even for who did not
   scan it. */
static void test_no_heads(void)
{
    static const char head[] = "GET /a?b HTTP/1.1\r\nhost: a\r\nb: c\r\n\r\n";
    static const char answer[] = "HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n";
    static char large[DEGU_PREAMBLE_MAX + 1];
    degu_request request;
    degu_response response;
    size_t len;
    check_start("no heads");
    for (len = 0; len < sizeof head - 1; ++len)
        CHECK(degu_parse_request(page_put(page, head, len), len, &request) <
              0);
    for (len = 0; len < sizeof answer - 1; ++len)
        CHECK(degu_parse_response(page_put(page, answer, len), len, DEGU_GET,
                                  &response) < 0);
    CHECK(degu_parse_request(page_put(page, head, sizeof head), sizeof head,
                             &request) < 0);
    CHECK(degu_parse_response(page_put(page, answer, sizeof answer),
                              sizeof answer, DEGU_GET, &response) < 0);
    memset(large, 'a', sizeof large);
    CHECK_ERR(degu_parse_request(large, sizeof large, &request),
              DEGU_E_TARGET_SIZE);
    memcpy(large, "HTTP/1.1 200 OK\r\n", 17);
    CHECK_ERR(degu_parse_response(large, sizeof large, DEGU_GET, &response),
              DEGU_E_PREAMBLE_SIZE);
}

/* A method with a token's byte in it is unknown, another is malformed. */
static void test_method_bytes(void)
{
    char text[200];
    int b;
    check_start("method");
    for (b = 0; b < 256; ++b) {
        size_t len = join(text, "GE", b, "T / HTTP/1.1\r\n\r\n");
        degu_err err = parse_request(page_put(page, text, len), len);
        degu_method method;
        /* A space ends it: GE is unknown, too. */
        CHECK_INT(err == DEGU_E_METHOD, is_tchar(b) || b == ' ');
        CHECK(err != DEGU_OK);
        len = join(text, "GE", b, "");
        if (b != 'T')
            CHECK_ERR(degu_parse_method(degu_bytes(text, len), &method),
                      is_tchar(b) ? DEGU_E_METHOD : DEGU_E_METHOD_SYNTAX);
    }
}

/* Capitals of names are folded, and no other byte is written. */
static void test_folding(void)
{
    int b;
    check_start("folding");
    for (b = 0; b < 256; ++b) {
        char text[64], was[64];
        size_t len = join(text, "xX", b, "Y: Ab Cd\r\n"), i, error_at;
        degu_fields fields;
        memcpy(was, text, len);
        if (!is_tchar(b) || degu_parse_fields(text, len, false, &fields,
                                              &error_at) != DEGU_OK)
            continue;
        for (i = 0; i < 4; ++i)
            CHECK_INT(text[i],
                      was[i] >= 'A' && was[i] <= 'Z' ? was[i] + 32 : was[i]);
        CHECK(memcmp(text + 4, was + 4, len - 4) == 0);
    }
}

/* ---- Vocabulary ---- */

static const degu_err all_errors[] = {
#define ERROR_ROW(name, number, status, text) DEGU_##name,
    DEGU_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};
static const int all_numbers[] = {
#define ERROR_ROW(name, number, status, text) number,
    DEGU_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};
static const char *const all_names[] = {
#define ERROR_ROW(name, number, status, text) #name,
    DEGU_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};
#define ERRORS (sizeof all_errors / sizeof all_errors[0])

/* The statuses that D2 names, and none for what cannot be answered. */
static bool is_answer(int status)
{
    static const int answers[] = {0,   400, 408, 413, 414, 417,
                                  431, 500, 501, 503, 505};
    size_t i;
    for (i = 0; i < sizeof answers / sizeof answers[0]; ++i)
        if (answers[i] == status)
            return true;
    return false;
}

static void test_errors(void)
{
    size_t i, k;
    check_start("errors");
    for (i = 0; i < ERRORS; ++i) {
        degu_err err = all_errors[i];
        const char *text = degu_strerror(err);
        size_t len = strlen(text);
        CHECK_INT(err, all_numbers[i]);
        CHECK_MEM(degu_err_name(err), strlen(degu_err_name(err)),
                  all_names[i]);
        CHECK_INT(strncmp(all_names[i], "E_", 2) == 0, err < 0);
        CHECK(is_answer(degu_err_status(err)));
        CHECK(err < 0 || degu_err_status(err) == 0);
        check_start(all_names[i]);
        CHECK(len >= 4 && len < 80);
        CHECK(text[len - 1] != '.' || text[len - 2] == '.'); /* ".." */
        CHECK(!(text[0] >= 'A' && text[0] <= 'Z') || strncmp(text, "HTTP", 4));
        for (k = 0; k < i; ++k) {
            CHECK(all_numbers[k] != all_numbers[i]);
            CHECK(strcmp(all_names[k], all_names[i]) != 0);
            CHECK(strcmp(degu_strerror(all_errors[k]), text) != 0);
        }
    }
}

/* Any number may be asked for. */
static void test_unknown_errors(void)
{
    int number;
    check_start("unknown errors");
    for (number = -1000; number < 1000; ++number) {
        bool known = false;
        size_t i;
        for (i = 0; i < ERRORS; ++i)
            known = known || all_numbers[i] == number;
        if (known)
            continue;
        CHECK(strcmp(degu_err_name((degu_err)number), "UNKNOWN") == 0);
        CHECK_INT(degu_err_status((degu_err)number), 500);
        CHECK(strlen(degu_strerror((degu_err)number)) > 4);
    }
}

static void test_methods(void)
{
    static const char *const names[] = {"GET",    "PUT",   "POST",   "HEAD",
                                        "DELETE", "PATCH", "OPTIONS"};
    degu_method method;
    int bits;
    check_start("methods");
    for (bits = 0; bits < 7; ++bits) {
        method = DEGU_PRIV_METHOD_LAST;
        CHECK_STR(degu_method_name((degu_method)(1 << bits)), names[bits]);
        CHECK_OK(degu_parse_method(degu_string(names[bits]), &method));
        CHECK_INT(method, 1 << bits);
    }
    for (bits = -1; bits < 300; ++bits)
        if (bits <= 0 || (bits & (bits - 1)) != 0 || bits > DEGU_OPTIONS)
            CHECK_STR(degu_method_name((degu_method)bits), NULL);
    CHECK_ERR(degu_parse_method(degu_string(""), &method),
              DEGU_E_METHOD_SYNTAX);
    CHECK_ERR(degu_parse_method(degu_string(NULL), &method),
              DEGU_E_METHOD_SYNTAX);
}

/* Not there and empty are different, and equal. */
static void test_views(void)
{
    degu_str none = degu_string(NULL), empty = degu_string("");
    check_start("views");
    CHECK(none.ptr == NULL && none.len == 0);
    CHECK(empty.ptr != NULL && empty.len == 0);
    CHECK(degu_equal(none, empty));
    CHECK(degu_equal(none, none));
    CHECK(degu_equal(degu_string("ab"), degu_bytes("abc", 2)));
    CHECK(!degu_equal(degu_string("ab"), degu_string("abc")));
    CHECK(!degu_equal(degu_string("ab"), degu_string("aB")));
    CHECK(degu_equal(degu_bytes("a\0b", 3), degu_bytes("a\0b", 3)));
    CHECK(!degu_equal(degu_bytes("a\0b", 3), degu_bytes("a\0c", 3)));
    CHECK(degu_is(degu_string("ab"), "ab"));
    CHECK(!degu_is(degu_string("ab"), "a"));
    CHECK(!degu_is(degu_string("ab"), "abc"));
    CHECK(!degu_is(degu_bytes("ab\0", 3), "ab"));
    CHECK(degu_is(empty, ""));
    CHECK(degu_is(none, ""));
    CHECK(strcmp(degu_version(), DEGU_VERSION_STRING) == 0);
}

static void test_fields(void)
{
    char lines[] = "A: 1\r\nb:\r\nA: 2\r\n";
    degu_fields fields;
    degu_header header;
    size_t error_at;
    check_start("fields");
    CHECK_OK(degu_parse_fields(lines, sizeof lines - 1, false, &fields,
                               &error_at));
    CHECK_STR(degu_find(&fields, "a"), "1");
    CHECK_STR(degu_find(&fields, "b"), "");
    CHECK_STR(degu_find(&fields, "c"), NULL);
    CHECK_STR(degu_find(&fields, ""), NULL);
    header = degu_field_at(&fields, 2);
    CHECK_STR(header.name, "a");
    CHECK_STR(header.value, "2");
    header = degu_field_at(&fields, 3);
    CHECK_STR(header.name, NULL);
    CHECK_STR(header.value, NULL);
    header = degu_field_at(&fields, SIZE_MAX);
    CHECK_STR(header.name, NULL);
}

/* "/a/b/" has three parts, "/" none. */
static void test_parts(void)
{
    degu_str rest = degu_string("/a/bc/"), part;
    check_start("parts");
    CHECK(degu_next_part(&rest, &part));
    CHECK_STR(part, "a");
    CHECK(degu_next_part(&rest, &part));
    CHECK_STR(part, "bc");
    CHECK(degu_next_part(&rest, &part));
    CHECK_STR(part, "");
    CHECK(!degu_next_part(&rest, &part));
    CHECK(!degu_next_part(&rest, &part));
    rest = degu_string("/");
    CHECK(!degu_next_part(&rest, &part));
}

static void test_unescape(void)
{
    char text[] = "a\\\"b\\\\c";
    char out[16];
    check_start("unescape");
    CHECK_MEM(out, degu_unescape(degu_string(text), out), "a\"b\\c");
    CHECK_MEM(text, degu_unescape(degu_string(text), text), "a\"b\\c");
    CHECK_INT(degu_unescape(degu_string(""), out), 0);
    /* No quoted string ends so; it is not read beyond. */
    CHECK_MEM(out, degu_unescape(degu_string("a\\"), out), "a\\");
}

/* Text that no chunk line was parsed into has no extension, and stays. */
static void test_no_extensions(void)
{
    static const char *const texts[] = {";=b", ";a=", ";a=\"b", "a", ";"};
    size_t i;
    check_start("no extensions");
    for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
        degu_str rest = degu_string(texts[i]);
        degu_extension extension;
        CHECK(!degu_next_extension(&rest, &extension));
        CHECK_STR(extension.key, NULL);
        CHECK_STR(rest, texts[i]);
    }
}

/* A line that stops at its name, in its value, and with half an end; on the
   wire the bytes behind it would belong to it. */
static void test_fields_without_end(void)
{
    static const struct {
        const char *lines;
        degu_err err;
        size_t error_at;
    } cases[] = {{"Content-Type-of-it", DEGU_E_COLON, 18},
                 {"Content-Type: text/plain", DEGU_E_LINE_END, 24},
                 {"Content-Type: text/plain\r", DEGU_E_LINE_END, 24}};
    size_t i;

    check_start("fields without an end");
    for (i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const size_t len = strlen(cases[i].lines);
        degu_fields fields;
        size_t error_at;
        char *lines = page_put(page, cases[i].lines, len);
        CHECK_ERR(degu_parse_fields(lines, len, false, &fields, &error_at),
                  cases[i].err);
        CHECK(error_at == cases[i].error_at);
    }
}

int main(void)
{
    size_t i;
    page = page_map(4096);
    test_classes();
    for (i = 0; i < CLASSES; ++i)
        test_span(&classes[i]);
    test_span_first();
    test_scan();
    test_scan_lengths();
    for (i = 0; i < REGIONS; ++i)
        test_region(&regions[i]);
    test_no_heads();
    test_method_bytes();
    test_folding();
    test_errors();
    test_unknown_errors();
    test_methods();
    test_views();
    test_fields();
    test_fields_without_end();
    test_parts();
    test_unescape();
    test_no_extensions();
    return check_done();
}

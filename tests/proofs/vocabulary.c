/* SPDX-License-Identifier: MIT OR 0BSD */
/* Layer 2: vocabulary. */

#include "prove.h"

/* A C string of any length up to most, in an object that ends with it. */
static const char *any_string(size_t most)
{
    size_t len = up_to(most);
    char *text = any_bytes(len + 1);
    text[len] = 0;
    return text;
}

BOUND("any string, or NULL")
PROOF(degu_string)
{
    const char *text = nondet_bool() ? NULL : any_string(ANY);
    degu_str s = degu_string(text);
    proved(s.ptr == text);
    if (text)
        proved(s.len < __CPROVER_OBJECT_SIZE(text) && text[s.len] == 0);
    else
        proved(s.len == 0);
    reached(!text);
    reached(s.len > 100000);
}

BOUND("strings of up to 20 bytes")
UNWOUND
PROOF(degu_string__result)
{
    const char *text = any_string(20);
    degu_str s = degu_string(text);
    size_t k = nondet_size();
    if (k < s.len)
        proved(text[k] != 0);
    reached(s.len == 20);
}

BOUND("any view")
PROOF(degu_bytes)
{
    degu_str text = any_view(ANY), s = degu_bytes(text.ptr, text.len);
    proved(s.ptr == text.ptr && s.len == text.len);
    reached(s.ptr && s.len > 100000);
    reached(!s.ptr);
}

BOUND("any two views")
PROOF(degu_equal)
{
    degu_str a = any_view(ANY), b = any_view(ANY);
    bool same = degu_equal(a, b);
    if (a.len != b.len)
        proved(!same);
    if (a.len == 0 && b.len == 0)
        proved(same);
    reached(same && a.len > 100000);
    reached(!same && a.len == b.len);
    reached(same && a.ptr && !b.ptr);
}

BOUND("views of up to 12 bytes")
UNWOUND
PROOF(degu_equal__result)
{
    degu_str a = any_view(12), b = any_view(12);
    bool same = degu_equal(a, b);
    size_t k = nondet_size(), n;
    if (same)
        proved(a.len == b.len && (k >= a.len || a.ptr[k] == b.ptr[k]));
    if (!same && a.len == b.len) {
        for (n = 0; n < a.len && a.ptr[n] == b.ptr[n]; n++)
            ;
        proved(n < a.len);
    }
    reached(same && a.len == 12);
    reached(!same && a.len == b.len);
}

BOUND("any view, any string or NULL")
PROOF(degu_is)
{
    degu_str a = any_view(ANY);
    const char *text = nondet_bool() ? NULL : any_string(ANY);
    bool same = degu_is(a, text);
    if (same && text)
        proved(text[a.len] == 0);
    if (!text)
        proved(same == (a.len == 0));
    reached(same && a.len > 100000);
    reached(!same && text);
}

/* What each row of the list says; any other number gets the first values. */
typedef struct row {
    int number;
    int status;
    const char *name;
    const char *text;
    size_t name_size; /* with the terminator */
    size_t text_size;
} row;

static row any_row(void)
{
    row r = {0, 500, "UNKNOWN", "not an error of this library", 8, 29};
    r.number = nondet_int();
#define EXPECT(what, its_number, its_status, its_text)                        \
    if (r.number == its_number) {                                             \
        r.status = its_status;                                                \
        r.name = #what;                                                       \
        r.text = its_text;                                                    \
        r.name_size = sizeof #what;                                           \
        r.text_size = sizeof its_text;                                        \
    }
    DEGU_ERRORS(EXPECT)
    return r;
}

BOUND("any number")
UNWIND(100)
PROOF(degu_err_name)
{
    row r = any_row();
    const char *name = degu_err_name((degu_err)r.number);
    size_t k = nondet_size();
    given(k < r.name_size);
    proved(name[k] == r.name[k]);
    reached(r.name[0] == 'M');
    reached(r.name[0] == 'U');
}

BOUND("any number")
UNWIND(100)
PROOF(degu_strerror)
{
    row r = any_row();
    const char *text = degu_strerror((degu_err)r.number);
    size_t k = nondet_size();
    given(k < r.text_size);
    proved(text[k] == r.text[k]);
    reached(r.number == -109);
    reached(r.number == -110);
}

BOUND("any number")
UNWIND(100)
PROOF(degu_err_status)
{
    row r = any_row();
    proved(degu_err_status((degu_err)r.number) == r.status);
    reached(r.status == 505);
    reached(r.number == 77 && r.status == 500);
}

BOUND("any byte")
PROOF(degu_class)
{
    unsigned char byte = (unsigned char)(nondet_unsigned() & 0xff);
    unsigned class = degu_class(byte);
    bool digit = byte >= '0' && byte <= '9';
    proved(class < 256);
    proved(((class & DEGU_DIGIT) != 0) == digit);
    proved(((class & DEGU_HEX) != 0) ==
           (digit || (byte >= 'A' && byte <= 'F') ||
            (byte >= 'a' && byte <= 'f')));
    proved(((class & DEGU_VALUE) != 0) ==
           (byte == '\t' || (byte >= 0x20 && byte < 0x7f)));
    reached(class == 0xff);
}

BOUND("any number")
UNWOUND
PROOF(degu_method_name)
{
    int number = nondet_int();
    degu_str name = degu_method_name((degu_method)number);
    bool one = number == DEGU_GET || number == DEGU_PUT ||
               number == DEGU_POST || number == DEGU_HEAD ||
               number == DEGU_DELETE || number == DEGU_PATCH ||
               number == DEGU_OPTIONS;
    proved(one ? name.len >= 3 && name.len <= 7 && name.ptr[name.len] == 0
               : is_absent(name));
    reached(one && name.len == 7);
    reached(!one);
}

BOUND("any view")
PROOF(degu_parse_method)
{
    degu_str text = any_view(ANY);
    degu_method method = (degu_method)nondet_int();
    degu_err err = degu_parse_method(text, &method);
    proved(err == DEGU_OK || err == DEGU_E_METHOD ||
           err == DEGU_E_METHOD_SYNTAX);
    if (err == DEGU_OK)
        proved(text.len >= 3 && text.len <= 7);
    else
        proved(method == DEGU_GET);
    if (text.len == 0)
        proved(err == DEGU_E_METHOD_SYNTAX);
    reached(err == DEGU_OK && method == DEGU_OPTIONS);
    reached(err == DEGU_E_METHOD && text.len > 100000);
    reached(err == DEGU_E_METHOD_SYNTAX && text.len > 100000);
}

BOUND("views of up to 10 bytes")
UNWOUND
PROOF(degu_parse_method__result)
{
    degu_str text = any_view(10);
    degu_method method;
    degu_err err = degu_parse_method(text, &method);
    size_t k = nondet_size(), n;
    if (err == DEGU_OK)
        proved(degu_equal(degu_method_name(method), text));
    if (err == DEGU_E_METHOD)
        proved(k >= text.len ||
               degu_class((unsigned char)(text.ptr[k] & 0xff)) & DEGU_TOKEN);
    if (err == DEGU_E_METHOD_SYNTAX) {
        for (n = 0; n < text.len; n++)
            if (!(degu_class((unsigned char)(text.ptr[n] & 0xff)) &
                  DEGU_TOKEN))
                break;
        proved(text.len == 0 || n < text.len);
    }
    for (n = 0; n < 7; n++)
        if (err)
            proved(!degu_equal(degu_method_name((degu_method)(1 << n)), text));
    reached(err == DEGU_OK && method == DEGU_OPTIONS);
    reached(err == DEGU_E_METHOD && text.len == 10);
    reached(err == DEGU_E_METHOD_SYNTAX && text.len == 10);
}

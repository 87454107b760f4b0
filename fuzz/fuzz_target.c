/* SPDX-License-Identifier: MIT OR 0BSD

   A target, its path and its query: the input is the target. */

#include "harness.h"

static int target_hex(char digit)
{
    const char *digits = "0123456789abcdef";
    const char lower = digit >= 'A' && digit <= 'F' ? (char)(digit + 32)
                                                    : digit;
    const char *at = lower != '\0' ? strchr(digits, lower) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* The byte that stands at *i, decoded; moves *i behind it.  -1: none that a
   target may have, but for ? and /. */
static int target_byte(degu_str text, size_t *i)
{
    static const char others[] = "-._~!$&'()*+,;=:@/?";
    const char byte = text.ptr[(*i)++];
    int high, low;
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
        (byte >= 'A' && byte <= 'Z') ||
        (byte != '\0' && strchr(others, byte) != NULL))
        return byte;
    if (byte != '%' || text.len - *i < 2)
        return -1;
    high = target_hex(text.ptr[*i]);
    low = target_hex(text.ptr[*i + 1]);
    *i += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* What is accepted, by the letter: a part at a time, decoded. */
static bool target_is_good(degu_str text)
{
    size_t i = 0, start;
    if (text.len == 0 || text.ptr[0] != '/')
        return false;
    while (i < text.len && text.ptr[i] == '/') {
        unsigned dots = 0;
        size_t bytes = 0;
        for (start = ++i; i < text.len && text.ptr[i] != '/' &&
                          text.ptr[i] != '?'; ++bytes) {
            const int byte = target_byte(text, &i);
            if (byte <= 0 || byte == '/' || byte == '\\')
                return false;
            dots += byte == '.';
        }
        if ((bytes == 1 || bytes == 2) && dots == bytes)
            return false;
        if (i == start && i < text.len && text.ptr[i] == '/')
            return false;
    }
    while (i < text.len)
        if (target_byte(text, &i) < 0)
            return false;
    return true;
}

/* The parts with slashes in front of each are the path again. */
static void path_of_parts(degu_str path)
{
    degu_buffer made = fuzz_buffer(path.len + 1);
    degu_str rest = path, part;
    while (degu_next_part(&rest, &part)) {
        fuzz_inside(part, path.ptr, path.len, "a part inside its path");
        fuzz_require(made.len + 1 + part.len <= path.len, "length of parts");
        made.ptr[made.len++] = '/';
        if (part.len > 0)
            memcpy(made.ptr + made.len, part.ptr, part.len);
        made.len += part.len;
        fuzz_note_view(part);
    }
    if (path.len == 1)
        made.ptr[made.len++] = '/';
    fuzz_same_view(degu_bytes(made.ptr, made.len), path, "path of its parts");
    free(made.ptr);
}

/* Written raw into a request line: read in the same way.  With a space or a
   line end in it, or with nothing, the line has other parts than were meant. */
static void target_in_a_line(degu_str target, degu_err want)
{
    static const char before[] = "GET ", behind[] = " HTTP/1.1\r\n\r\n";
    const size_t room = sizeof before + sizeof behind - 2;
    degu_buffer line;
    degu_request r;
    degu_err err;
    if (target.len == 0 ||
        fuzz_slow_span(target.ptr, target.len, DEGU_VALUE) < target.len ||
        memchr(target.ptr, ' ', target.len) != NULL)
        return;
    line = fuzz_buffer(target.len + room);
    memcpy(line.ptr, before, sizeof before - 1);
    memcpy(line.ptr + sizeof before - 1, target.ptr, target.len);
    memcpy(line.ptr + sizeof before - 1 + target.len, behind,
           sizeof behind - 1);
    err = degu_parse_request(line.ptr, line.cap, &r);
    if (line.cap > DEGU_PREAMBLE_MAX)
        fuzz_require(err != DEGU_OK, "a line beyond the limit is refused");
    else
        fuzz_same_err(err, want, "a target alone and in a request line");
    if (err == DEGU_OK)
        fuzz_same_view(r.target, target, "target in a request line");
    free(line.ptr);
}

/* Any text may be asked for its parts. */
static void parts_of_anything(degu_str text)
{
    degu_str rest = text, part;
    size_t count = 0;
    while (degu_next_part(&rest, &part)) {
        fuzz_inside(part, text.ptr, text.len, "a part inside its text");
        fuzz_require(++count <= text.len + 1, "number of parts");
    }
    fuzz_note(count);
}

static void target_accepted(degu_str target, degu_str path, degu_str query)
{
    degu_buffer made = fuzz_buffer(target.len);
    fuzz_inside(path, target.ptr, target.len, "path inside the target");
    fuzz_inside(query, target.ptr, target.len, "query inside the target");
    path_of_parts(path);
    fuzz_note_view(query);
    if (target.len <= DEGU_PREAMBLE_MAX) {
        fuzz_same_err(degu_format_target(&made, path, query), DEGU_OK,
                      "formatting what was parsed");
        fuzz_same_view(degu_bytes(made.ptr, made.len), target,
                       "target, formatted");
    }
    free(made.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = fuzz_copy((const char *)data, size);
    degu_str target = degu_bytes(copy, size), path, query;
    degu_buffer dst = fuzz_buffer(2 * DEGU_PREAMBLE_MAX);
    degu_frame frame = {DEGU_NO_BODY, 0, false};
    size_t error_at = SIZE_MAX;
    degu_err err = degu_parse_target(target, &path, &query, &error_at), sent;
    fuzz_note((uint64_t)(int64_t)err);
    fuzz_note(error_at);
    fuzz_require(error_at <= size, "offset of an error");
    fuzz_same_number(err == DEGU_OK, target_is_good(target),
                     "accepted, and by the letter");
    if (err == DEGU_OK)
        target_accepted(target, path, query);
    sent = degu_format_request(&dst, DEGU_GET, target, NULL, 0, frame);
    if (sent != DEGU_E_TARGET_SIZE)
        fuzz_same_err(sent, err, "what is sent and what is received");
    target_in_a_line(target, err);
    parts_of_anything(target);
    free(dst.ptr);
    free(copy);
    return 0;
}

/* degu.h - HTTP/1.1 server and client in one header - version 0.1.0
   SPDX-License-Identifier: MIT OR 0BSD

   Do this:
       #define DEGU_IMPLEMENTATION
   before you include this file in *one* C or C++ file; include it anywhere
   else without.  On POSIX systems build with -pthread.

       #define DEGU_IMPLEMENTATION
       #include "degu.h"

       static degu_err hello(degu_session *session, const degu_request *request)
       {
           if (!degu_is(request->path, "/hello"))
               return degu_reply(session->conn, 404, "Not Found", "");
           return degu_reply(session->conn, 200, "OK", "hello, world");
       }

       int main(void)
       {
           static degu_slot slots[25];
           static degu_server server;
           degu_server_config config = degu_server_defaults(hello, slots, 25);
           if (degu_server_open(&server, "127.0.0.1:8080", &config))
               return 1;
           return degu_serve(&server, NULL);
       }

   WHAT IT IS

   Everything there is of HTTP in the project, in eight layers; a layer calls
   only what stands above it:

       1  configuration, platform     5  format: the exact inverse of 4
       2  vocabulary                  6  exchange: one connection, two callbacks
       3  scan                        7  sockets (POSIX)
       4  parse                       8  a server and a blocking client

   Layers 1 to 6 allocate nothing, keep no globals that change, know neither
   time nor sockets, and need no more of a C library than memcpy, memmove,
   memset and memcmp.  Layers 3 to 5 are pure functions over your bytes.

   It accepts exactly what RFC 9110, 9112 and 3986 define without ambiguity
   and refuses everything that two implementations could read in two ways.
   It never guesses and never repairs.  What it sends it would accept.

   CONVENTIONS

   - Text is a view, degu_str: pointer and length, no terminator.  ptr == NULL
     means "was not there", len == 0 with a pointer "there, and empty".
   - Functions that can fail return a degu_err: 0 (DEGU_OK), a note (> 0) or
     an error (< 0).  Outputs are meaningful only with DEGU_OK, unless the
     function's comment says more.
   - The library keeps pointers to your buffers in a degu_conn and in what is
     made of it, nowhere else.  Views that it hands out point into these
     buffers; how long they are good is said where they are handed out.
   - An object may be used by one thread at a time.  Functions without an
     object are free of shared state.  The exceptions, degu_serve() and
     degu_server_stop(), say so.
   - Names: degu_ and DEGU_ are public, degu_priv_ and DEGU_PRIV_ are not.

   CONFIGURATION: define before the include, the same way in every file.

       macro                 default      what it does
       DEGU_IMPLEMENTATION   -            the implementation comes here
       DEGU_STATIC           -            all functions static to this file
       DEGU_API              extern       linkage of the functions
       DEGU_NO_SOCKETS       -            no layers 7 and 8: firmware, fuzzing
       DEGU_NO_SERVER        -            no layer 8
       DEGU_NO_SIMD          -            portable scanning only
       DEGU_SMALL            with -Os     smaller rather than faster code
       DEGU_USE_POLL         -            poll(2) where epoll(7) is to be had
       DEGU_ASSERT(x)        nothing      checks our reasoning, never input
       DEGU_PREAMBLE_MAX     32768        bytes of a head, last CR LF CR LF in
       DEGU_HEADER_MAX       64           field lines in a head or a trailer
       DEGU_NAME_MAX         64           bytes of a field name
       DEGU_CHUNK_LINE_MAX   4096         bytes of a chunk line, CR LF included
       DEGU_TRAILER_MAX      8192         bytes of trailers, last CR LF included
       DEGU_CHUNK_MAX        16777216     bytes of a chunk read as a whole
       DEGU_INTERIM_MAX      16           1xx responses a client skips in a row
       DEGU_COPY_MAX         4096         a body piece up to this many bytes is
                                          copied behind its head and sent with
                                          it; a longer one is sent from where
                                          it lies, in the same call
       DEGU_STEP_BYTES       65536        so much of a body sent or relayed
                                          begins a new step, with a deadline of
                                          its own
       DEGU_MIN_RATE         256          bytes a second of a body or answer,
                                          see degu_socket
       DEGU_LINGER_MAX       16           connections being closed gracefully
       DEGU_POLL_MAX         256 and 2    descriptors with DEGU_USE_POLL, which
                             and LINGER   bounds max_connections

   The licence is at the end of the file. */

#ifndef DEGU_H
#define DEGU_H

#define DEGU_VERSION_MAJOR 0
#define DEGU_VERSION_MINOR 1
#define DEGU_VERSION_PATCH 0
#define DEGU_VERSION                                                          \
    (DEGU_VERSION_MAJOR * 10000 + DEGU_VERSION_MINOR * 100 +                  \
     DEGU_VERSION_PATCH)
#define DEGU_VERSION_STRING "0.1.0"

/* ======================================================================== */
/* 1  Configuration and platform                                            */
/* ======================================================================== */

/* The implementation of layers 7 and 8 wants what lies beyond ISO C; so in the
   file that holds it this header comes before the system's. */
#if defined(DEGU_IMPLEMENTATION) && !defined(DEGU_NO_SOCKETS) &&              \
    !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef DEGU_PREAMBLE_MAX
#define DEGU_PREAMBLE_MAX 32768
#endif
#ifndef DEGU_HEADER_MAX
#define DEGU_HEADER_MAX 64
#endif
#ifndef DEGU_NAME_MAX
#define DEGU_NAME_MAX 64
#endif
#ifndef DEGU_CHUNK_LINE_MAX
#define DEGU_CHUNK_LINE_MAX 4096
#endif
#ifndef DEGU_TRAILER_MAX
#define DEGU_TRAILER_MAX 8192
#endif
#ifndef DEGU_CHUNK_MAX
#define DEGU_CHUNK_MAX 16777216
#endif
#ifndef DEGU_INTERIM_MAX
#define DEGU_INTERIM_MAX 16
#endif
#ifndef DEGU_COPY_MAX
#define DEGU_COPY_MAX 4096
#endif
#ifndef DEGU_STEP_BYTES
#define DEGU_STEP_BYTES 65536
#endif
#ifndef DEGU_MIN_RATE
#define DEGU_MIN_RATE 256
#endif
#ifndef DEGU_LINGER_MAX
#define DEGU_LINGER_MAX 16
#endif

#if DEGU_PREAMBLE_MAX > 65535 || DEGU_PREAMBLE_MAX < 64
#error "degu.h: DEGU_PREAMBLE_MAX must lie between 64 and 65535"
#endif
#if DEGU_HEADER_MAX < 1 || DEGU_HEADER_MAX > 1000
#error "degu.h: DEGU_HEADER_MAX must lie between 1 and 1000"
#endif
#if DEGU_NAME_MAX < 19 || DEGU_NAME_MAX > 255
#error "degu.h: DEGU_NAME_MAX must lie between 19 and 255"
#endif
#if DEGU_CHUNK_LINE_MAX < 32
#error "degu.h: DEGU_CHUNK_LINE_MAX must be at least 32"
#endif
#if DEGU_TRAILER_MAX < 2 || DEGU_TRAILER_MAX > 65535
#error "degu.h: DEGU_TRAILER_MAX must lie between 2 and 65535"
#endif

/* The largest length that is understood or sent: sixteen decimal digits. */
#define DEGU_LENGTH_MAX UINT64_C(9999999999999999)

/* Sizes of the two buffers of a connection that let every limit be reached.
   Smaller buffers work, and make the limits smaller (see degu_conn_init). */
#define DEGU_RECV_BUFFER                                                      \
    (DEGU_PREAMBLE_MAX + DEGU_CHUNK_LINE_MAX + DEGU_TRAILER_MAX)
#define DEGU_SEND_BUFFER (DEGU_PREAMBLE_MAX + DEGU_COPY_MAX)

#if defined(DEGU_NO_SOCKETS) && !defined(DEGU_NO_SERVER)
#define DEGU_NO_SERVER
#endif

#ifndef DEGU_API
#ifdef DEGU_STATIC
#if defined(__GNUC__)
#define DEGU_API __attribute__((unused)) static
#else
#define DEGU_API static
#endif
#else
#define DEGU_API extern
#endif
#endif

#if defined(__GNUC__)
#define DEGU_NODISCARD __attribute__((warn_unused_result))
#else
#define DEGU_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version as DEGU_VERSION_STRING of the implementation that is linked. */
DEGU_API const char *degu_version(void);

/* ======================================================================== */
/* 2  Vocabulary                                                            */
/* ======================================================================== */

/* A view of bytes that belong to somebody else. */
typedef struct degu_str {
    const char *ptr; /* NULL: was not there */
    size_t len;
} degu_str;

/* A view of a C string; the terminator is not part of it.  NULL gives the
   view that "was not there". */
DEGU_API degu_str degu_string(const char *text);
DEGU_API degu_str degu_bytes(const void *ptr, size_t len);
/* Do both hold the same bytes?  A view that was not there equals an empty
   one. */
DEGU_API bool degu_equal(degu_str a, degu_str b);
/* The same against a C string, which reads better in a handler. */
DEGU_API bool degu_is(degu_str a, const char *text);

/* Every outcome there is: name, number, status that a server answers with
   (0: none is sent), sentence.  Numbers are permanent.  The same error on
   output means that the caller asked to send what no reader may accept;
   nothing has been sent then, unless the comment of the function says so. */
#define DEGU_ERRORS(X)                                                        \
    X(OK, 0, 0, "done")                                                       \
    X(MORE, 1, 0, "needs more bytes")                                         \
    X(END, 2, 0, "nothing is left")                                           \
    /* a head that two readers could read in two ways */                      \
    X(E_EMPTY_LINE, -10, 400, "an empty line stands before the start line")   \
    X(E_LINE_END, -11, 400, "a line ends in LF or CR alone, not in CR LF")    \
    X(E_START_LINE, -12, 400,                                                 \
      "the start line is not three parts with single spaces between")         \
    X(E_TARGET, -13, 400, "a byte that may not stand in a target")            \
    X(E_TARGET_FORM, -14, 400, "the target does not start with a slash")      \
    X(E_PERCENT, -15, 400, "a percent sign without two hex digits behind it") \
    X(E_PATH_EMPTY, -16, 400, "an empty part inside the path")                \
    X(E_PATH_DOTS, -17, 400, "a path part that is . or ..")                   \
    X(E_PATH_ESCAPE, -18, 400, "%00, %2f or %5c in the path")                 \
    X(E_STATUS, -19, 400, "the status is not three digits from 100 to 599")   \
    X(E_REASON, -20, 400, "a byte that may not stand in a reason")            \
    X(E_NAME, -21, 400,                                                       \
      "a field name that is empty or not a token (to be sent: in lower case)") \
    X(E_VALUE, -22, 400, "a byte that may not stand in a field value")        \
    X(E_FOLDED, -23, 400, "a field line that begins with a blank")            \
    X(E_COLON, -24, 400, "no colon directly behind the field name")           \
    X(E_REPEATED, -25, 400, "a field that may stand only once stands twice")  \
    X(E_LENGTH, -26, 400, "content-length is not 1 to 16 plain digits")       \
    X(E_LENGTH_AND_CODING, -27, 400,                                          \
      "content-length and transfer-encoding in one message")                  \
    X(E_BODY_METHOD, -28, 400, "a body with a method that has none")          \
    X(E_RANGE_BODY, -29, 400, "range in a request with a body")               \
    X(E_RANGE_PLACE, -30, 400,                                                \
      "range in a response, or content-range in a request")                   \
    X(E_HOST, -31, 400, "host is not a host with an optional port")           \
    X(E_RANGE, -32, 400, "not a single range of plain decimals")              \
    X(E_CODING_SYNTAX, -33, 400, "an empty transfer-encoding")                \
    X(E_METHOD_SYNTAX, -34, 400, "the method is not a token")                 \
    /* a body that two readers could end in two places */                     \
    X(E_CHUNK_SIZE, -40, 400, "the chunk size is not 1 to 16 hex digits")     \
    X(E_CHUNK_EXTENSION, -41, 400, "a malformed chunk extension")             \
    X(E_CHUNK_END, -42, 400, "chunk data without CR LF behind it")            \
    X(E_TRAILER, -43, 400, "a field that may not stand in a trailer")         \
    /* limits */                                                              \
    X(E_PREAMBLE_SIZE, -50, 431, "the head is larger than its limit")         \
    X(E_TARGET_SIZE, -51, 414, "the request line is larger than its limit")   \
    X(E_HEADER_COUNT, -52, 431, "more field lines than the limit")            \
    X(E_NAME_SIZE, -53, 431, "a field name longer than the limit")            \
    X(E_CHUNK_LINE_SIZE, -54, 400, "a chunk line longer than the limit")      \
    X(E_TRAILER_SIZE, -55, 431, "trailers larger than their limit")           \
    X(E_CHUNK_LIMIT, -56, 413, "a chunk larger than is read as a whole")      \
    X(E_BODY_LIMIT, -57, 413, "a body larger than is read as a whole")        \
    X(E_INTERIM_COUNT, -58, 0, "too many interim responses")                  \
    /* well formed, and not for us */                                         \
    X(E_METHOD, -60, 501, "an unknown method")                                \
    X(E_CODING, -61, 501, "a transfer-encoding other than chunked")           \
    X(E_VERSION, -62, 505, "an HTTP version that is not spoken here")         \
    X(E_EXPECT, -63, 417, "an expectation other than 100-continue")           \
    X(E_INTERIM, -64, 0, "a 1xx response with a body, or a 101 unasked")      \
    /* the other end, or what lies between */                                 \
    X(E_CLOSED, -70, 0, "closed before the first byte of a message")          \
    X(E_TRUNCATED, -71, 400, "closed inside a message")                       \
    X(E_RESET, -72, 0, "the connection was cut")                              \
    X(E_TIMEOUT, -73, 408, "not done in time")                                \
    X(E_AGAIN, -74, 0, "not without waiting")                                 \
    X(E_INTERRUPTED, -75, 0, "a signal came in")                              \
    X(E_UNASKED, -76, 0, "bytes that nobody asked for")                       \
    X(E_REFUSED, -77, 0, "nobody listens at this address")                    \
    X(E_UNREACHABLE, -78, 0, "no way to this address")                        \
    /* this end */                                                            \
    X(E_HANDLER, -80, 500, "the handler failed")                              \
    X(E_NO_RESPONSE, -81, 500, "the handler sent no response")                \
    X(E_BODY_SHORT, -82, 500, "a body source ended before its length")        \
    X(E_BODY_LONG, -83, 500, "a body source gave more than its length")       \
    X(E_NO_CONTENT, -84, 500, "content where there must be none")             \
    X(E_FRAMING_FIELD, -85, 500,                                              \
      "content-length or transfer-encoding that does not fit the body")       \
    X(E_HOP_FIELD, -86, 500,                                                  \
      "connection other than close, keep-alive, or proxy-connection")         \
    X(E_ORDER, -87, 500, "out of turn: another step comes first")             \
    X(E_SPACE, -88, 500, "does not fit in the buffer")                        \
    X(E_STOPPED, -89, 503, "the server is stopping")                          \
    X(E_BUSY, -90, 503, "all places are taken")                               \
    X(E_SOURCE, -91, 500, "a body source failed")                             \
    X(E_INTERIM_ANSWER, -92, 500, "a handler cannot answer 1xx")              \
    X(E_FINISHED, -93, 500, "the connection carries no more messages")        \
    X(E_ARGUMENT, -94, 500, "an argument out of range")                       \
    X(E_ADDRESS, -95, 0, "not an address")                                    \
    X(E_SCOPE, -96, 0, "a link-local address without its scope")              \
    X(E_IN_USE, -97, 0, "the address is in use")                              \
    X(E_SYSTEM, -98, 0, "a system call failed; errno tells why")              \
    /* TLS; degu_tls.h knows more */                                          \
    X(E_TLS_FILE, -100, 0,                                                    \
      "a certificate, key or authority that cannot be used")                  \
    X(E_TLS_TRUST, -101, 0, "nothing says whom to trust")                     \
    X(E_HANDSHAKE, -102, 0, "the TLS handshake failed")                       \
    X(E_CERTIFICATE, -103, 0, "the other end's certificate is not trusted")   \
    X(E_CERTIFICATE_MISSING, -104, 0,                                         \
      "the other end has shown no certificate")                               \
    X(E_CERTIFICATE_NAME, -105, 0,                                            \
      "the other end's certificate is for another name")                      \
    X(E_CERTIFICATE_REFUSED, -106, 0,                                         \
      "the other end has refused our certificate")                            \
    X(E_PIN, -107, 0, "the other end's key is none of the pinned ones")       \
    X(E_NOT_TLS, -108, 0, "the other end does not speak TLS")                 \
    X(E_TLS, -109, 0, "TLS records that are broken or out of place")

typedef enum degu_err {
#define DEGU_PRIV_ENUM(name, number, status, text) DEGU_##name = number,
    DEGU_ERRORS(DEGU_PRIV_ENUM)
#undef DEGU_PRIV_ENUM
    DEGU_PRIV_ERR_LAST = INT_MAX /* an int, with -fshort-enums too */
} degu_err;

/* "E_TARGET", "a byte that may not stand in a target", 400.  Any number may
   be given; one that is not in the list gives "UNKNOWN", a sentence saying
   so, and 500. */
DEGU_API const char *degu_err_name(degu_err err);
DEGU_API const char *degu_strerror(degu_err err);
DEGU_API int degu_err_status(degu_err err);

/* The one table of what may stand where: bits of degu_class(byte). */
#define DEGU_TOKEN 1u    /* method, field name, extension key: tchar */
#define DEGU_PATH 2u     /* path part: pchar, where % opens two hex digits */
#define DEGU_QUERY 4u    /* query: pchar, / and ? */
#define DEGU_VALUE 8u    /* field value, reason: VCHAR, space, tab */
#define DEGU_QUOTED 16u  /* inside a quoted string, unescaped: qdtext */
#define DEGU_REGNAME 32u /* host that is a name: reg-name */
#define DEGU_DIGIT 64u   /* 0-9 */
#define DEGU_HEX 128u    /* 0-9 A-F a-f */
DEGU_API unsigned degu_class(unsigned char byte);

/* Methods are bits, so that a set of them is an unsigned. */
typedef enum degu_method {
    DEGU_GET = 1,
    DEGU_PUT = 2,
    DEGU_POST = 4,
    DEGU_HEAD = 8,
    DEGU_DELETE = 16,
    DEGU_PATCH = 32,
    DEGU_OPTIONS = 64,
    DEGU_PRIV_METHOD_LAST = INT_MAX
} degu_method;

/* "GET" for DEGU_GET; not there for what is no single method. */
DEGU_API degu_str degu_method_name(degu_method method);
/* DEGU_OK, or DEGU_E_METHOD for a token that is none of ours, or
   DEGU_E_METHOD_SYNTAX for what is no token. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_method(degu_str name,
                                                   degu_method *method);

/* How the end of a message's body is found (RFC 9112 6.3). */
typedef enum degu_framing {
    DEGU_NO_BODY = 0,
    DEGU_LENGTH = 1,     /* content-length, above zero */
    DEGU_CHUNKED = 2,    /* transfer-encoding: chunked */
    DEGU_UNTIL_CLOSE = 3, /* responses only: the end is the close */
    DEGU_PRIV_FRAMING_LAST = INT_MAX
} degu_framing;

/* A field to be sent.  Names in lower case, values without blanks around. */
typedef struct degu_header {
    degu_str name;
    degu_str value;
} degu_header;

/* Bytes [start, stop) of something. */
typedef struct degu_range {
    uint64_t start;
    uint64_t stop; /* exclusive; the wire's number is one less */
} degu_range;

typedef struct degu_content_range {
    uint64_t start;
    uint64_t stop; /* exclusive */
    uint64_t total;
} degu_content_range;

/* Space to format into: cap bytes at ptr, of which len are in use.  A
   function that appends leaves len alone when it fails. */
typedef struct degu_buffer {
    char *ptr;
    size_t cap;
    size_t len;
} degu_buffer;

/* ======================================================================== */
/* 3  Scan                                                                  */
/* ======================================================================== */

/* Is the head that starts at buf complete?

   *pos is 0 at the first call and is handed back unchanged at later calls
   for the same head with more bytes, so that no byte is looked at twice.
   DEGU_OK: complete; *pos is its length, the CR LF CR LF included.
   DEGU_MORE: not yet; *pos is where to go on.
   DEGU_E_EMPTY_LINE, DEGU_E_LINE_END: cannot become a head; *pos is the
   offset of the byte that shows it.
   DEGU_E_PREAMBLE_SIZE, DEGU_E_TARGET_SIZE: more than DEGU_PREAMBLE_MAX bytes,
   the second when not even the first line fits. */
DEGU_API DEGU_NODISCARD degu_err degu_scan_head(const char *buf, size_t len,
                                                size_t *pos);

/* Length of the longest prefix of [ptr, ptr + len) whose bytes all have the
   bit in degu_class(). */
DEGU_API size_t degu_span(const char *ptr, size_t len, unsigned bit);

/* ======================================================================== */
/* 4  Parse                                                                 */
/* ======================================================================== */

/* A received field: offsets from degu_fields.base, so that the head may be
   moved.  id is 0, or says that the library knows the name. */
typedef struct degu_field {
    uint16_t name;
    uint16_t value;
    uint16_t value_len;
    uint8_t name_len;
    uint8_t id;
} degu_field;

/* The field lines of a head, in order, names in lower case, values trimmed.
   Not among them, because they belong to the library: connection and what it
   names, keep-alive, proxy-connection, expect; and a content-length that says
   "no body". */
typedef struct degu_fields {
    const char *base; /* where the head stands; set anew if it was moved */
    size_t count;
    degu_field at[DEGU_HEADER_MAX];
} degu_fields;

/* Field i of 0 .. count - 1 as views; both not there for another i. */
DEGU_API degu_header degu_field_at(const degu_fields *fields, size_t i);
/* Value of the first field of this name (give it in lower case); not there
   when there is none. */
DEGU_API degu_str degu_find(const degu_fields *fields, const char *name);
/* The range that is asked for with range: bytes=a-b, or that content-range:
   bytes a-b/n tells of.  false: no such field; in another form it is just
   text. */
DEGU_API bool degu_find_range(const degu_fields *fields, degu_range *range);
DEGU_API bool degu_find_content_range(const degu_fields *fields,
                                      degu_content_range *range);

/* A request's head.  Views point into the buffer that was parsed. */
typedef struct degu_request {
    degu_method method;
    degu_framing framing;
    bool close;              /* connection: close */
    bool expect_continue;    /* expect: 100-continue */
    uint64_t content_length; /* with DEGU_LENGTH */
    degu_str target;         /* as it stands in the request line */
    degu_str path;           /* target up to the first ?; see degu_next_part */
    degu_str query;          /* behind it; not there without a ? */
    degu_str host;           /* not there without a host field */
    size_t error_at; /* after an error: offset of the byte that caused it */
    degu_fields fields;
} degu_request;

/* A response's head. */
typedef struct degu_response {
    int status; /* 100 to 599 */
    degu_framing framing;
    bool close;              /* connection: close, or HTTP/1.0 */
    uint64_t content_length; /* with DEGU_LENGTH */
    degu_str reason;         /* may be empty */
    size_t error_at;
    degu_fields fields;
} degu_response;

/* Parse a complete head of len bytes, CR LF CR LF included.  Field names are
   folded to lower case where they stand; nothing else is written.  Any error
   of the list's first, third and fourth block; ->error_at tells where. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_request(char *head, size_t len,
                                                    degu_request *request);
/* The same for a response; its body depends on the method that was asked
   (RFC 9112 6.3). */
DEGU_API DEGU_NODISCARD degu_err degu_parse_response(char *head, size_t len,
                                                     degu_method asked,
                                                     degu_response *response);

/* Field lines alone, each with its CR LF, without the empty line: the rules for
   names, values and repetition, those of known fields included, but none about
   what fields mean together.  For trailers (then names that may not stand in
   one are DEGU_E_TRAILER) and for tests.  As many bytes as a trailer, or else a
   head, may have: DEGU_E_TRAILER_SIZE, DEGU_E_PREAMBLE_SIZE. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_fields(char *lines, size_t len,
                                                   bool trailer,
                                                   degu_fields *fields,
                                                   size_t *error_at);

/* A target in origin-form, split at its first question mark. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_target(degu_str target,
                                                   degu_str *path,
                                                   degu_str *query,
                                                   size_t *error_at);
/* Takes the next part off a path: "/a/b/" gives "a", "b" and "", "/" gives
   none.  Parts are handed on as they stand, never decoded.

       degu_str rest = request->path, part;
       while (degu_next_part(&rest, &part)) ...  */
DEGU_API bool degu_next_part(degu_str *path, degu_str *part);

/* 1 to 16 digits without leading zeros: DEGU_OK or DEGU_E_LENGTH. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_length(degu_str text,
                                                   uint64_t *length);
/* bytes=a-b with a <= b: DEGU_OK or DEGU_E_RANGE. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_range(degu_str text,
                                                  degu_range *range);
/* bytes a-b/n with a <= b < n: DEGU_OK or DEGU_E_RANGE. */
DEGU_API DEGU_NODISCARD degu_err
degu_parse_content_range(degu_str text, degu_content_range *range);

/* A chunk's line. */
typedef struct degu_chunk {
    uint64_t size;       /* bytes of data; 0: the last chunk */
    degu_str extensions; /* as on the wire, first ; included; may be empty */
    size_t error_at;
} degu_chunk;

/* line: len bytes that end with the CR LF.  DEGU_E_CHUNK_SIZE,
   DEGU_E_CHUNK_EXTENSION, DEGU_E_CHUNK_LINE_SIZE or DEGU_E_LINE_END. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_chunk_line(const char *line,
                                                       size_t len,
                                                       degu_chunk *chunk);

/* key is a token.  value is not there, or the text without its quotes. */
typedef struct degu_extension {
    degu_str key;
    degu_str value;
    bool escaped; /* received: value has backslashes, see degu_unescape */
} degu_extension;

/* Takes the next extension off a parsed chunk's text; false: none is left.

       degu_str rest = chunk.extensions;
       degu_extension extension;
       while (degu_next_extension(&rest, &extension)) ...  */
DEGU_API bool degu_next_extension(degu_str *extensions,
                                  degu_extension *extension);
/* Copies text without its backslashes to dst, which holds text.len bytes at
   least and may be where text stands.  Returns the length. */
DEGU_API size_t degu_unescape(degu_str text, char *dst);

/* ======================================================================== */
/* 5  Format                                                                */
/* ======================================================================== */

/* Each appends to dst, checks what it writes by the grammar and limits of
   layer 4, and fails with layer 4's error, or with DEGU_E_SPACE when dst is
   too small; dst->len is then as it was. */

/* What there is to say about a body, for the heads below. */
typedef struct degu_frame {
    degu_framing framing;
    uint64_t length; /* with DEGU_LENGTH, up to DEGU_LENGTH_MAX */
    bool close;      /* write connection: close */
} degu_frame;

/* A request's head, CR LF CR LF included.  The field that frames the body is
   written by itself: content-length (0 for PUT, POST and PATCH without a body)
   or transfer-encoding.  If it is among the headers it must say the same, else
   DEGU_E_FRAMING_FIELD. */
DEGU_API DEGU_NODISCARD degu_err
degu_format_request(degu_buffer *dst, degu_method method, degu_str target,
                    const degu_header *headers, size_t count,
                    degu_frame frame);
/* A response's head, asked being the method of its request.  Without a body
   content-length: 0 is written, unless asked is HEAD or the status is 1xx, 204
   or 304; the answer to HEAD and a 304 may have a content-length or
   transfer-encoding among the headers, to tell of the body that is not
   there.  DEGU_E_NO_CONTENT for a body where there must be none. */
DEGU_API DEGU_NODISCARD degu_err
degu_format_response(degu_buffer *dst, degu_method asked, int status,
                     degu_str reason, const degu_header *headers,
                     size_t count, degu_frame frame);
/* Field lines of a trailer and the empty line behind them. */
DEGU_API DEGU_NODISCARD degu_err
degu_format_trailers(degu_buffer *dst, const degu_header *headers,
                     size_t count);
/* A chunk's line with its CR LF.  A value that is no token is quoted. */
DEGU_API DEGU_NODISCARD degu_err
degu_format_chunk_line(degu_buffer *dst, uint64_t size,
                       const degu_extension *extensions, size_t count);
/* "12", "bytes=0-4", "bytes 0-4/9"; DEGU_E_LENGTH or DEGU_E_RANGE for numbers
   that parsing would refuse. */
DEGU_API DEGU_NODISCARD degu_err degu_format_length(degu_buffer *dst,
                                                    uint64_t length);
DEGU_API DEGU_NODISCARD degu_err degu_format_range(degu_buffer *dst,
                                                   degu_range range);
DEGU_API DEGU_NODISCARD degu_err
degu_format_content_range(degu_buffer *dst, degu_content_range range);
/* The target with this path, which starts with a slash, and this query,
   which may be not there. */
DEGU_API DEGU_NODISCARD degu_err
degu_format_target(degu_buffer *dst, degu_str path, degu_str query);

/* ======================================================================== */
/* 6  Exchange                                                              */
/* ======================================================================== */

/* The way to the other end: two functions and what they need.

   recv puts 1 to len bytes at buf and returns their number.  0: the other end
   has finished sending, and this is certain (under TLS: close_notify;
   DEGU_E_TRUNCATED is an end that is not, which between messages does no
   harm).
   send takes a prefix of the count pieces (1 to 4, none of them empty) and
   returns its length, 1 at least.
   Both return a degu_err below 0 otherwise: DEGU_E_RESET, DEGU_E_TIMEOUT, ...
   DEGU_E_AGAIN from recv, "nothing there, and I do not wait", makes
   degu_read_request() return DEGU_MORE and is an error anywhere else.

   flags tell what the call is for.  DEGU_IO_BEGIN and DEGU_IO_LINE may be
   ignored; for DEGU_IO_PEEK recv must never wait, and says DEGU_E_AGAIN if it
   cannot look. */
typedef struct degu_io {
    void *ctx;
    ptrdiff_t (*recv)(void *ctx, void *buf, size_t len, unsigned flags);
    ptrdiff_t (*send)(void *ctx, const degu_str *pieces, size_t count,
                      unsigned flags);
} degu_io;

#define DEGU_IO_BEGIN 1u /* first call of a step: its deadline starts here */
#define DEGU_IO_LINE 2u  /* a line is wanted: a source that cannot give bytes
                            back may stop behind the next LF */
#define DEGU_IO_PEEK 4u  /* recv of one byte: is anything there?  Do not wait
                            (DEGU_E_AGAIN), do not take it */
#define DEGU_IO_BODY 16u /* recv of a body, not of a head */

/* One connection.  All fields are private; the struct is visible so that it
   can be allocated by you. */
typedef struct degu_conn {
    uint8_t server;   /* which end this is */
    uint8_t turn;     /* what comes next */
    uint8_t body;     /* where the input body stands */
    uint8_t touched;  /* the input body has been begun */
    uint8_t close;    /* no message after this one, as after any fault */
    uint8_t expect;   /* an interim 100 is due */
    uint8_t sent;     /* a byte of this message has left */
    uint8_t heard;    /* an interim response to it has come, or a head */
    uint8_t sending;  /* inside a send function */
    uint8_t begin;    /* the next call of io is the first of a step */
    uint8_t deaf;     /* io.send has failed */
    uint16_t status;  /* of the response in hand, 0: none */
    degu_err failed;  /* nothing can be read any more, and why */
    degu_err broken;  /* nothing can be sent any more, and why */
    degu_method method;   /* of the request in hand */
    degu_framing framing; /* of the input body in hand */
    degu_io io;
    char *in; /* received bytes: [in_pos, in_end) of in_cap are not used up */
    size_t in_cap;
    size_t in_pos;
    size_t in_end;
    size_t in_base; /* in front of it stands the head of the message in hand */
    size_t scanned; /* resume hint of degu_scan_head */
    char *out;      /* a head waits here for the first piece of its body */
    size_t out_cap;
    size_t out_len;
    uint64_t in_bytes;  /* received in all */
    uint64_t out_bytes; /* sent in all */
    uint64_t left;      /* of the input body, or of its chunk */
    size_t step;        /* bytes relayed since the step in hand began */
    size_t error_at;
    size_t origin;  /* where in in the head, line or trailer begins */
    size_t trailer; /* where the trailer stands in in, */
    size_t trailer_len;
    const int *ending; /* not NULL: another thread may set it, and then no
                          message follows the one in hand */
} degu_conn;

typedef enum degu_role {
    DEGU_CLIENT = 0,
    DEGU_SERVER = 1,
    DEGU_PRIV_ROLE_LAST = INT_MAX
} degu_role;

/* Makes a connection of a way and two buffers, which it uses until it is
   given up.  in bounds the head (up to DEGU_PREAMBLE_MAX) and, in what the
   head leaves, chunk lines and trailers; out bounds the heads that are sent.
   At least 64 bytes each, and DEGU_RECV_BUFFER and DEGU_SEND_BUFFER for all
   that the limits allow.  Cannot fail. */
DEGU_API void degu_conn_init(degu_conn *conn, degu_role role, degu_io io,
                             char *in, size_t in_cap, char *out,
                             size_t out_cap);
/* Another way to the same other end, from now on. */
DEGU_API void degu_conn_set_io(degu_conn *conn, degu_io io);
DEGU_API degu_io degu_conn_io(const degu_conn *conn);
/* May another message follow on this connection, once the one in hand is
   done?  false after an error, after connection: close from either end, and
   when a body was left unread. */
DEGU_API bool degu_conn_is_open(const degu_conn *conn);
/* Is the exchange in hand done, its bodies included? */
DEGU_API bool degu_conn_is_idle(const degu_conn *conn);
/* Has a byte of the message that is being answered or sent left?  If not, a
   request that failed may be sent on another connection, whatever its method.
   One that was out of turn (DEGU_E_ORDER, DEGU_E_FINISHED, an error from
   before) changes nothing: this is about the one before it then. */
DEGU_API bool degu_conn_has_sent(const degu_conn *conn);
/* Bytes of messages that have been received and used, and sent, so far; they
   count what layer 6 sees, which under TLS is what was protected. */
DEGU_API uint64_t degu_conn_bytes_in(const degu_conn *conn);
DEGU_API uint64_t degu_conn_bytes_out(const degu_conn *conn);
/* The status of the last response that was sent or begun; 0: none since the
   last request was asked for. */
DEGU_API int degu_conn_status(const degu_conn *conn);
/* Has a byte of the response to it come?  If not, a request that may be done
   twice may be sent again on another connection (RFC 9110 9.2.2). */
DEGU_API bool degu_conn_is_answered(const degu_conn *conn);
/* Are received bytes waiting in the buffer?  Then wait for no more before
   degu_read_request(). */
DEGU_API bool degu_conn_has_input(const degu_conn *conn);
/* Why nothing more can be read; DEGU_OK if that is not known to be so.  Tells
   which end of a relay failed. */
DEGU_API degu_err degu_conn_read_error(const degu_conn *conn);
/* After an error of what was received: offset of the byte that caused it, in
   its head, chunk line or trailer; and up to 32 bytes from there on, for a
   message.  Good until the connection is given up. */
DEGU_API size_t degu_conn_error_at(const degu_conn *conn);
DEGU_API degu_str degu_conn_error_bytes(const degu_conn *conn);
/* No message after the one in hand; a server says so in its response. */
DEGU_API void degu_conn_close_after(degu_conn *conn);

/* Would degu_send_request() be able to send now?  DEGU_OK; else its error:
   DEGU_E_ORDER while a body is unread; DEGU_E_CLOSED, DEGU_E_UNASKED,
   DEGU_E_RESET, DEGU_E_FINISHED when this connection is of no more use.  Does
   not wait.  For who keeps connections: a request that is not sent on this one
   may be sent on another, whatever its method. */
DEGU_API DEGU_NODISCARD degu_err degu_conn_check(degu_conn *conn);

/* ---- Sending a body ---- */

/* A chunk to be sent.  Empty data makes it the last one. */
typedef struct degu_chunk_out {
    degu_str data;
    const degu_extension *extensions;
    size_t count;
    const degu_header *trailers; /* with the last one */
    size_t trailer_count;
} degu_chunk_out;

/* Where a body comes from; make one with the functions below.  All fields are
   private.  send brings it to the other end; as only the function that makes a
   body of a kind names it, a program has no more kinds than it makes. */
typedef struct degu_body {
    degu_err (*send)(degu_conn *conn, const struct degu_body *body, bool raw);
    union {
        const char *bytes;
        degu_err (*pull)(void *ctx, degu_str *piece);
        degu_err (*next)(void *ctx, degu_chunk_out *chunk);
        ptrdiff_t (*push)(void *ctx, uint64_t left, unsigned flags);
    } source;
    void *ctx;
    degu_conn *from; /* NULL: nothing is relayed */
    uint64_t length;
    degu_framing framing;
} degu_body;

DEGU_API degu_body degu_no_body(void);
/* len bytes at ptr; sent with content-length.  0 bytes are no body. */
DEGU_API degu_body degu_body_bytes(const void *ptr, size_t len);
/* length bytes in pieces: pull sets *piece to the next, which must stay as it
   is until the next call, or to an empty view at the end.  Anything but
   DEGU_OK ends the message with that error, seen by the other end as cut. */
DEGU_API degu_body degu_body_pull(degu_err (*pull)(void *ctx, degu_str *piece),
                                  void *ctx, uint64_t length);
/* Chunks: next sets *chunk, which comes to it empty, its data and extensions
   to stay as they are until the next call; up to and including one with empty
   data. */
DEGU_API degu_body degu_body_chunks(degu_err (*next)(void *ctx,
                                                     degu_chunk_out *chunk),
                                    void *ctx);
/* length bytes that push itself brings to the other end, past the connection's
   io, as sendfile(2) does: called when all before them has left, with the
   number that is left and the flags of degu_io, until none is; returns how
   many it sent, 0 at an end that comes too early, or an error.  See
   degu_body_file(). */
DEGU_API degu_body degu_body_push(ptrdiff_t (*push)(void *ctx, uint64_t left,
                                                    unsigned flags),
                                  void *ctx, uint64_t length);
/* The input body of another connection, of which nothing has been read: with
   its length, or chunk by chunk with boundaries and extensions kept, or (one
   that lasts until the close) as chunks.  A connection without an input body
   gives no body.  A response's head goes ahead if DEGU_IO_PEEK finds that
   nothing of the body has come yet. */
DEGU_API degu_body degu_body_relay(degu_conn *from);

/* ---- Server: read a request, read its body, send a response, repeat ---- */

/* Reads the next head.  Request and views are good until the response has
   been sent.
   DEGU_OK; DEGU_MORE after DEGU_E_AGAIN from recv: call again;
   DEGU_E_CLOSED: the other end has finished, between messages;
   DEGU_E_ORDER: the last request is not answered; DEGU_E_FINISHED: no message
   may follow; else an error of the head or of recv, which is final: send
   degu_send_error() if it has a status, then close. */
DEGU_API DEGU_NODISCARD degu_err degu_read_request(degu_conn *conn,
                                                   degu_request *request);
/* Sends the response to it.  Errors of the arguments (layer 5's, DEGU_E_ORDER,
   DEGU_E_INTERIM_ANSWER, ...) leave everything as it was, as does a body source
   that fails before its first byte; later ones are final.  If the request's
   body has not been read to its end the response says connection: close. */
DEGU_API DEGU_NODISCARD degu_err
degu_send_response(degu_conn *conn, int status, degu_str reason,
                   const degu_header *headers, size_t count, degu_body body);
/* The same in short: text as the body (NULL or "": none; left out for HEAD,
   where its length is told). */
DEGU_API DEGU_NODISCARD degu_err degu_reply(degu_conn *conn, int status,
                                            const char *reason,
                                            const char *text);
/* The bare answer to what went wrong: status, content-length: 0,
   connection: close; nothing if the error has no status or a byte of a
   response has left.  No message may follow.  Returns what send did. */
DEGU_API degu_err degu_send_error(degu_conn *conn, degu_err err);

/* ---- Client: send a request, read the response, read its body, repeat ---- */

/* Before it sends, it looks whether bytes lie there that nobody asked for, or
   the end (DEGU_E_UNASKED, DEGU_E_CLOSED).  Errors as degu_send_response.
   DEGU_E_RESET in the middle of a body: the other end may have answered
   early; degu_read_response() may be tried. */
DEGU_API DEGU_NODISCARD degu_err
degu_send_request(degu_conn *conn, degu_method method, degu_str target,
                  const degu_header *headers, size_t count, degu_body body);
/* Reads the response, skipping interim ones.  Response and views are good
   until the next request is sent. */
DEGU_API DEGU_NODISCARD degu_err degu_read_response(degu_conn *conn,
                                                    degu_response *response);

/* ---- Reading a body, at both ends ---- */

/* The framing of the input body in hand. */
DEGU_API degu_framing degu_body_framing(const degu_conn *conn);
/* Has it been read to its end?  (True when there is none.) */
DEGU_API bool degu_body_is_read(const degu_conn *conn);

/* Up to cap bytes of the body; chunk boundaries do not show.
   DEGU_OK: *len bytes, 1 at least.  DEGU_END: there is no more, *len is 0.
   An error, which is final: DEGU_E_TRUNCATED, DEGU_E_CHUNK_..., recv's.
   A body with a length is read once its last byte has been handed out, one
   of the other kinds once DEGU_END has.
   cap 0 gives DEGU_OK and 0, or DEGU_END. */
DEGU_API DEGU_NODISCARD degu_err degu_read_body(degu_conn *conn, void *buf,
                                                size_t cap, size_t *len);

/* For those who want the boundaries: the next chunk's line, and then its
   data up to DEGU_END.  The chunk of size 0 is the last and is returned
   once; its trailers are then there.  After it, and with a body that is not
   chunked, DEGU_END.  DEGU_E_ORDER while the last chunk has data unread.  The
   views are good until the next call for this body. */
DEGU_API DEGU_NODISCARD degu_err degu_read_chunk(degu_conn *conn,
                                                 degu_chunk *chunk);
DEGU_API DEGU_NODISCARD degu_err degu_read_chunk_data(degu_conn *conn,
                                                      void *buf, size_t cap,
                                                      size_t *len);
/* The trailers of a chunked body that was read to its end; none otherwise.
   Good until the next message. */
DEGU_API DEGU_NODISCARD degu_err degu_read_trailers(degu_conn *conn,
                                                    degu_fields *fields);
/* Reads and throws away the rest of the body, max bytes at most of data and
   chunk extensions: DEGU_E_BODY_LIMIT if that is not enough, which is final. */
DEGU_API DEGU_NODISCARD degu_err degu_drain_body(degu_conn *conn,
                                                 uint64_t max);

/* ---- Bodies without heads: files that hold a body, and the like ---- */

/* An input body comes next on an idle connection, framed like this. */
DEGU_API DEGU_NODISCARD degu_err degu_expect_body(degu_conn *conn,
                                                  degu_framing framing,
                                                  uint64_t length);
/* Sends a body as a message would have it, without its head.  *sent is the
   number of bytes sent, framing included, also after an error. */
DEGU_API DEGU_NODISCARD degu_err degu_send_body(degu_conn *conn,
                                                degu_body body,
                                                uint64_t *sent);

#ifndef DEGU_NO_SOCKETS
/* ======================================================================== */
/* 7  Sockets                                                               */
/* ======================================================================== */

typedef enum degu_family {
    DEGU_UNNAMED = 0, /* a peer on AF_UNIX that bound no name */
    DEGU_IPV4 = 4,
    DEGU_IPV6 = 6,
    DEGU_UNIX = 1,     /* a path */
    DEGU_ABSTRACT = 2, /* a Linux abstract name */
    DEGU_PRIV_FAMILY_LAST = INT_MAX
} degu_family;

/* Any address there is, by value. */
typedef struct degu_address {
    degu_family family;
    uint16_t port;
    uint32_t flowinfo; /* IPv6 */
    uint32_t scope_id; /* IPv6: the interface of a link-local address */
    uint8_t ip[16];    /* network order; IPv4 uses the first four */
    uint8_t name_len;  /* DEGU_UNIX, DEGU_ABSTRACT: */
    uint8_t name[108]; /* the path, or the abstract name behind its NUL */
} degu_address;

#define DEGU_ADDRESS_TEXT 384 /* bytes that hold any text, NUL included */

/* Text forms, the same both ways:
       127.0.0.1:80  [::1]:80  [fe80::1%2]:80  [::1]:80;flowinfo=5
       /run/app.sock  @name
   The scope may be given as an interface's name, and is written as a number.
   Bytes of an abstract name that are no visible ASCII, and %, are %XX; with
   an @ alone the kernel chooses the name.  DEGU_E_ADDRESS for other text. */
DEGU_API DEGU_NODISCARD degu_err degu_parse_address(const char *text,
                                                    degu_address *address);
/* text: DEGU_ADDRESS_TEXT bytes; returned, terminated. */
DEGU_API const char *degu_format_address(const degu_address *address,
                                         char *text);
/* What to send as host: "[::1]:8080", never with a scope; "localhost" for
   AF_UNIX.  The port is left out when it is default_port. */
DEGU_API const char *degu_format_host(const degu_address *address,
                                      uint16_t default_port, char *text);

/* Monotonic milliseconds.  Time here is absolute: a timeout covers a whole
   step, and a peer that drips bytes does not extend it. */
typedef int64_t degu_time;
DEGU_API degu_time degu_now(void);

/* How spinning has gone. */
typedef struct degu_priv_spin {
    uint16_t misses; /* in a row */
    uint16_t rest;   /* waits until it is tried again */
} degu_priv_spin;

/* A connected stream socket as a way for layer 6. */
typedef struct degu_socket {
    int fd;
    int timeout_ms;     /* for a step; -1: none */
    uint32_t min_rate;  /* bytes a second, see below; 0: none */
    uint32_t spin_us;   /* to look for input before waiting, see below.  0 */
    bool nonblocking;   /* neither recv nor send waits: DEGU_E_AGAIN */
    bool signals;       /* DEGU_E_INTERRUPTED after a signal, else go on */
    int sys_errno;      /* errno of the last failure */
    degu_io over;       /* what files must be sent through, such as TLS;
                           send NULL: they go straight into the socket */
    degu_time deadline; /* private: of the step in hand, 0: not reckoned */
    int64_t behind;     /* private: by min_rate, in ns */
    int64_t empty_at;   /* private: when recv found nothing more, in ns */
    bool brief;         /* private: recv waits as the kernel's limit says */
    bool local;          /* private: AF_UNIX, and ours */
    degu_priv_spin spin; /* private */
} degu_socket;

/* min_rate is how many bytes a second the other end has to keep up while a body
   is waited for, or room to send; the time that our own program takes does not
   count.  Whoever is slower falls behind, and makes up for it with every byte;
   each step of a body has a timeout less what was lost.  So bytes that drip are
   put up with for little more than a timeout, and who has been fast may pause
   as long.

   spin_us is for two ends on one host that have a core each: who waits looks
   again and again for so many microseconds, DEGU_SPIN_MAX_US at most, before it
   lets itself be put to sleep, which with the waking takes longer than a short
   answer.  It is tried the more rarely the more often in a row it was in vain.
   Meanwhile signals do not interrupt. */
#define DEGU_SPIN_MAX_US 1000000u

/* Takes over fd: close-on-exec, no SIGPIPE, TCP_NODELAY, timeouts in the
   kernel; min_rate is DEGU_MIN_RATE.  DEGU_E_SYSTEM if fd is no socket; fd is
   then still yours. */
DEGU_API DEGU_NODISCARD degu_err degu_socket_init(degu_socket *sock, int fd,
                                                  int timeout_ms);
DEGU_API degu_io degu_socket_io(degu_socket *sock);
/* What degu_socket_io() calls, for a wrapper of your own. */
DEGU_API ptrdiff_t degu_socket_recv(void *sock, void *buf, size_t len,
                                    unsigned flags);
DEGU_API ptrdiff_t degu_socket_send(void *sock, const degu_str *pieces,
                                    size_t count, unsigned flags);
#define DEGU_IO_NOWAIT 8u /* degu_socket_send: DEGU_E_AGAIN, do not wait */
/* Waits for what the step in hand has left of its time until there is input,
   or room for output; flags as above.  For a way that reads and writes by other
   means.  DEGU_OK, DEGU_E_TIMEOUT, DEGU_E_INTERRUPTED, or DEGU_E_AGAIN if the
   socket is nonblocking. */
DEGU_API DEGU_NODISCARD degu_err degu_socket_wait(degu_socket *sock,
                                                  bool output, unsigned flags);
/* Tells of bytes that such a way has moved, for min_rate. */
DEGU_API void degu_socket_moved(degu_socket *sock, size_t len);
/* Sends up to left bytes of the file fd, from its position on, which moves:
   within the kernel where that can be done (Linux; a regular file), else
   through a buffer.  Within the kernel, bytes of the file that are changed
   before they have reached the other end may reach it changed, and the socket
   is O_NONBLOCK for that moment to all who share it.  Through sock->over, if
   something stands there, and then never within the kernel.  Returns how many,
   0 at the end of the file, or an error as degu_socket_send(); DEGU_E_SOURCE
   if the file cannot be read. */
DEGU_API ptrdiff_t degu_socket_send_file(degu_socket *sock, int fd,
                                         uint64_t left, unsigned flags);
/* An open file as a body: length bytes from its position on, for a connection
   whose io is degu_socket_io(file->socket), or stands over it.  A file that
   ends too early ends the message, seen by the other end as cut. */
typedef struct degu_file {
    degu_socket *socket;
    int fd;
} degu_file;
DEGU_API degu_body degu_body_file(degu_file *file, uint64_t length);
DEGU_API void degu_socket_close(degu_socket *sock);

/* A listening socket, *fd.  SO_REUSEADDR for TCP, IPv6 only for IPv6; an
   AF_UNIX path must not exist yet.  mode: permissions of a path, 0 for those
   that umask leaves.  DEGU_E_IN_USE, DEGU_E_ADDRESS, DEGU_E_SYSTEM. */
DEGU_API DEGU_NODISCARD degu_err degu_listen(const degu_address *address,
                                             int backlog, unsigned mode,
                                             int *fd);
/* A connection to address within timeout_ms (-1: no bound), which then is the
   socket's timeout.  DEGU_E_REFUSED, DEGU_E_TIMEOUT, DEGU_E_UNREACHABLE,
   DEGU_E_SCOPE, DEGU_E_SYSTEM. */
DEGU_API DEGU_NODISCARD degu_err degu_connect(const degu_address *address,
                                              int timeout_ms,
                                              degu_socket *sock);
/* The address that fd is bound to (after port 0 or an empty abstract name), or
   that its other end has. */
DEGU_API DEGU_NODISCARD degu_err degu_local_address(int fd,
                                                    degu_address *address);
DEGU_API DEGU_NODISCARD degu_err degu_peer_address(int fd,
                                                   degu_address *address);

/* Who is at the other end of an AF_UNIX connection, as the kernel saw it when
   it was made. */
typedef struct degu_credentials {
    int64_t pid; /* -1 where the system does not tell */
    int64_t uid;
    int64_t gid;
} degu_credentials;
/* DEGU_E_SYSTEM if it is no AF_UNIX connection or the system cannot tell. */
DEGU_API DEGU_NODISCARD degu_err degu_peer_credentials(int fd,
                                                       degu_credentials *who);
#endif /* DEGU_NO_SOCKETS */

#ifndef DEGU_NO_SERVER
/* ======================================================================== */
/* 8  Serve                                                                 */
/* ======================================================================== */

/* One connection as a handler sees it; the same from on_connect to on_close. */
typedef struct degu_session {
    degu_conn *conn;      /* read bodies from it, send responses to it */
    degu_socket *socket;
    degu_address peer;
    bool has_credentials; /* AF_UNIX */
    degu_credentials credentials;
    uint64_t requests; /* exchanges finished so far */
    void *user;        /* degu_server_config.user */
    void *worker;      /* degu_serve()'s, of the thread that calls now */
    void *data;        /* yours; NULL at first */
} degu_session;

/* Answers one request through session->conn.  Called in a thread that is in
   degu_serve(); may block: another caller of degu_serve() then goes on.
   An error, or no response, is answered 500, or by the cut of what has left. */
typedef degu_err (*degu_handler)(degu_session *session,
                                 const degu_request *request);

/* One exchange that is over, for a log or statistics.  What concerns the
   connection is in the session. */
typedef struct degu_exchange {
    degu_method method; /* if there is a target */
    degu_str target;    /* ptr NULL if there was no good head; it is good until
                           the hook returns */
    int status;         /* of the response; 0: none was begun */
    uint64_t bytes_in;  /* of the request, head and framing included, that were
                           read; all that came if there was no good head */
    uint64_t bytes_out; /* of the response, interim ones included */
    int64_t duration_ns; /* from the end of the head to that of the response;
                            0 if there was no good head */
    degu_err why;       /* how it ended: DEGU_OK, the error of what was
                           received or sent, DEGU_E_HANDLER... */
} degu_exchange;

/* What stands between a server's connections and their sockets; degu_tls.h
   has one.  All zero: nothing does.  None of these may wait for input; secure
   is the ctx that open gave to *io.

   open makes the way that a new connection takes over session->socket; an
   error closes it.
   handshake goes on with what must be done before the first request.
   DEGU_OK: all is done; DEGU_E_AGAIN: call again once the socket has input;
   else the connection is given up.  May compute for long: it is called where
   handlers are.
   has_input: has it received what the socket shows no more?  NULL: nobody
   knows.
   close gives it back, before the socket is closed.  clean: nothing is
   missing, and the other end shall be told so. */
typedef struct degu_transport {
    void *ctx;
    degu_err (*open)(void *ctx, degu_session *session, degu_io *io);
    degu_err (*handshake)(void *secure);
    bool (*has_input)(void *secure);
    void (*close)(void *secure, bool clean);
} degu_transport;

/* Room for one connection.  Private; allocate as many as shall be served at
   one time.  Memory that is never touched costs nothing: take it zeroed from
   the system, not from memset. */
typedef struct degu_slot {
    degu_session session;
    degu_conn conn;
    degu_socket socket;
    void *secure;           /* the transport's */
    degu_time deadline;     /* of what it waits for */
    struct degu_slot *next; /* in the one list it is in */
    uint64_t told_in;       /* bytes that on_exchange knows of */
    uint64_t told_out;
    uint32_t generation;    /* tells an event for its predecessor */
    degu_err why;           /* how its last exchange went */
    uint8_t state;
    uint8_t muted;    /* not watched by the poller */
    uint8_t shaking;  /* the transport's handshake is not done */
    uint8_t greeted;  /* on_connect was due, so on_close will be */
    uint8_t counted;  /* a head has begun: its deadline runs */
    uint8_t end;      /* how it will be closed */
    char buffer[DEGU_RECV_BUFFER];
} degu_slot;

/* Start from degu_server_defaults() and change what you like. */
typedef struct degu_server_config {
    degu_handler handler;
    degu_slot *slots;
    size_t max_connections; /* number of slots, at least 1 */
    uint32_t max_requests;  /* a connection; 0: no limit.  Default 0 */
    int idle_timeout_ms;    /* until a request's first byte.  15000 */
    int head_timeout_ms;    /* from there to the end of its head, and for a
                               handshake.  15000 */
    int body_timeout_ms;    /* for each step of reading or sending.  15000 */
    uint32_t min_rate;      /* of bodies and answers, as degu_socket.min_rate.
                               256 */
    int linger_ms;          /* for reading on after the last answer.  2000 */
    int stop_ms;      /* for exchanges in flight at degu_server_stop().  5000.
                         It is a caller outside the handler who cuts them: have
                         one more than can be inside */
    int takeover_ms;  /* a handler that takes longer gives the polling away to
                         another caller of degu_serve().  1 */
    uint32_t spin_us; /* to look for input before waiting, as
                         degu_socket.spin_us.  0 */
    int backlog;      /* of degu_server_open().  128 */
    unsigned mode;    /* permissions of an AF_UNIX path; 0: as umask says */
    degu_transport transport; /* default: none */
    void *user;
    /* Optional hooks, NULL by default, called in a thread of degu_serve():
       on_connect before a connection's first request; anything but DEGU_OK
       closes it without an answer.
       on_close when a connection that on_connect saw is given up, why being
       DEGU_OK after a regular end.
       on_handshake_error when a connection is given up before its transport's
       handshake is done; on_connect and on_close do not see it.
       on_exchange when an exchange is over, and when a head was not good or
       did not come in time.
       on_refuse when a connection got a 503 for want of a place, or under a
       transport just a close.
       on_shortage when the last spare caller of degu_serve() became busy;
       with one caller alone there is nobody to notice.  It is told once: if
       no thread is to be had, another of the program's has to try again.
       on_signal after a signal, or when one may have come; true makes this call
       return DEGU_E_INTERRUPTED. */
    degu_err (*on_connect)(degu_session *session);
    void (*on_close)(degu_session *session, degu_err why);
    void (*on_handshake_error)(degu_session *session, degu_err why);
    void (*on_exchange)(degu_session *session, const degu_exchange *exchange);
    void (*on_refuse)(const degu_address *peer, void *user, void *worker);
    void (*on_shortage)(void *user, void *worker);
    bool (*on_signal)(void *user, void *worker);
} degu_server_config;

/* A connection whose other end may still be sending. */
typedef struct degu_priv_linger {
    int fd; /* -1: free */
    uint32_t budget;
    degu_time deadline;
} degu_priv_linger;

#if defined(DEGU_USE_POLL) || !defined(__linux__)
#define DEGU_PRIV_POLL
#ifndef DEGU_POLL_MAX
#define DEGU_POLL_MAX (256 + DEGU_LINGER_MAX + 2)
#endif
#endif

/* A server.  Private; visible so that it can be allocated by you. */
typedef struct degu_server {
    degu_server_config config;
    degu_address address;
    uint64_t path_dev; /* who the path was when it was made */
    uint64_t path_ino;
    bool is_open;
    bool is_mine;       /* the listener, and with it the path */
    int listener;
    int listener_flags; /* a foreign listener's, to be restored */
    int poller;
    int wake[2];        /* to the owner: look around */
    int tick[2];        /* to the standby */
    int baton[2];       /* to one of those behind it */
    int stopping;       /* atomically */

    /* Under the lock, a pthread_mutex_t. */
    union {
        void *align_pointer;
        uint64_t align_number;
        unsigned char bytes[64];
    } lock;
    void *owner;        /* the call of degu_serve() that polls */
    void *standby;      /* the one that watches it */
    size_t spare;       /* calls that could, the standby included */
    bool asleep;        /* the standby, until somebody writes to tick */
    degu_slot *handling; /* what the owner handles, */
    degu_time since;     /* and since when */
    uint32_t activity;   /* counts what was handled */
    size_t busy;         /* connections handled by former owners */
    degu_slot *returned; /* those that they have done with */

    /* The owner's. */
    degu_slot *vacant;
    degu_slot *ready_first; /* with input in their buffers */
    degu_slot *ready_last;
    degu_priv_spin spin;    /* on the poller */
    degu_slot *favourite;   /* the one busy connection, or NULL */
    degu_slot *latest;      /* the last that was answered, */
    degu_time streak_since; /* how long alone, */
    uint32_t streak;        /* and how often */
    size_t used;            /* slots that were ever in use */
    uint32_t generation;
    degu_time next_deadline;
    degu_time paused_until; /* the listener, for want of descriptors; or 0 */
    degu_time stop_at;
    degu_priv_linger linger[DEGU_LINGER_MAX];
    size_t lingering;
#ifdef DEGU_PRIV_POLL
    size_t watched;
    int watched_fd[DEGU_POLL_MAX];
    uint64_t watched_tag[DEGU_POLL_MAX];
#endif
} degu_server;

/* The settings above with their defaults. */
DEGU_API degu_server_config degu_server_defaults(degu_handler handler,
                                                 degu_slot *slots,
                                                 size_t max_connections);
/* Listens at an address in degu_parse_address()'s form.  The slots belong to
   the server until degu_server_close().  DEGU_E_ARGUMENT for a setting out of
   range, else degu_listen's errors; nothing is left behind then. */
DEGU_API DEGU_NODISCARD degu_err
degu_server_open(degu_server *server, const char *address,
                 const degu_server_config *config);
/* The same with a socket of yours that listens already and stays yours. */
DEGU_API DEGU_NODISCARD degu_err
degu_server_init(degu_server *server, int listener,
                 const degu_server_config *config);
/* Where it listens, port 0 resolved. */
DEGU_API DEGU_NODISCARD degu_err
degu_server_address(const degu_server *server, degu_address *address);
/* Serves until degu_server_stop().  May be called from as many threads as the
   program likes at the same time; one is enough while handlers do not block.
   worker is handed to the hooks that this thread calls.  Takes about
   DEGU_SEND_BUFFER bytes of stack.
   DEGU_OK when stopped; DEGU_E_INTERRUPTED when on_signal said so;
   DEGU_E_SYSTEM when the poller or the listener broke. */
DEGU_API DEGU_NODISCARD degu_err degu_serve(degu_server *server, void *worker);
/* Makes every degu_serve() return once the exchanges in flight are done, or
   stop_ms have passed and these were cut.  Idle connections end at once.
   May be called from any thread and from a signal handler, any number of
   times. */
DEGU_API void degu_server_stop(degu_server *server);
/* Gives everything back; an AF_UNIX path that degu_server_open() made is
   removed if it is still ours.  Not while degu_serve() runs. */
DEGU_API void degu_server_close(degu_server *server);

/* A blocking client: one connection with its buffers (about 72 KiB; make it
   static or allocate it). */
typedef struct degu_client {
    degu_socket socket;
    degu_conn conn;
    void *secure; /* what stands over the socket, and how it is ended */
    void (*close_secure)(void *secure, bool clean);
    char host[DEGU_ADDRESS_TEXT];
    char in[DEGU_RECV_BUFFER];
    char out[DEGU_SEND_BUFFER];
} degu_client;

/* Connects to an address in degu_parse_address()'s form; timeout_ms bounds
   this and every later step, -1: no bound.  degu_connect's errors. */
DEGU_API DEGU_NODISCARD degu_err degu_client_open(degu_client *client,
                                                  const char *address,
                                                  int timeout_ms);
/* Sends a request, with a host field if there is none among the headers, and
   reads its response; read its body with degu_read_body(&client->conn, ...).
   It must be read before the next request.  Errors of degu_send_request and
   degu_read_response; an early answer to a body that could not be sent whole
   is returned as the answer it is.  Nothing is ever sent twice. */
DEGU_API DEGU_NODISCARD degu_err
degu_client_request(degu_client *client, degu_method method,
                    const char *target, const degu_header *headers,
                    size_t count, degu_body body, degu_response *response);
/* GET without headers. */
DEGU_API DEGU_NODISCARD degu_err degu_client_get(degu_client *client,
                                                 const char *target,
                                                 degu_response *response);
/* May be called again, and after a degu_client_open() that failed. */
DEGU_API void degu_client_close(degu_client *client);
#endif /* DEGU_NO_SERVER */

#ifdef __cplusplus
}
#endif
#endif /* DEGU_H */

/* ======================================================================== */
/* Implementation                                                           */
/* ======================================================================== */

#if defined(DEGU_IMPLEMENTATION) && !defined(DEGU_IMPLEMENTATION_DONE)
#define DEGU_IMPLEMENTATION_DONE

/* ======================================================================== */
/* 1  Configuration and platform                                            */
/* ======================================================================== */

#define DEGU_PRIV static

#ifdef __cplusplus
#define DEGU_PRIV_CAST(type, x) static_cast<type>(x)
#else
#define DEGU_PRIV_CAST(type, x) ((type)(x))
#endif
#define DEGU_PRIV_U8(x) DEGU_PRIV_CAST(uint8_t, x)
#define DEGU_PRIV_U16(x) DEGU_PRIV_CAST(uint16_t, x)
#define DEGU_PRIV_MIN(a, b) ((a) < (b) ? (a) : (b))

#ifndef DEGU_ASSERT
#define DEGU_ASSERT(x) ((void)0)
#endif

#if defined(__OPTIMIZE_SIZE__) && !defined(DEGU_SMALL)
#define DEGU_SMALL
#endif

#if defined(__GNUC__)
#define DEGU_PRIV_LIKELY(x) __builtin_expect(!!(x), 1)
#ifdef DEGU_SMALL
#define DEGU_PRIV_INLINE static inline
#else
#define DEGU_PRIV_INLINE static inline __attribute__((always_inline))
#endif
#define DEGU_PRIV_MEMCPY __builtin_memcpy
#define DEGU_PRIV_MEMMOVE __builtin_memmove
#define DEGU_PRIV_MEMSET __builtin_memset
#define DEGU_PRIV_MEMCMP __builtin_memcmp
#else
#include <string.h>
#define DEGU_PRIV_LIKELY(x) (x)
#define DEGU_PRIV_INLINE static
#define DEGU_PRIV_MEMCPY memcpy
#define DEGU_PRIV_MEMMOVE memmove
#define DEGU_PRIV_MEMSET memset
#define DEGU_PRIV_MEMCMP memcmp
#endif

/* What layer 3 does with many bytes at once is written for a vector of
   DEGU_PRIV_WIDE of them; 0: there is none.  A comparison gives all bits of a
   byte or none, DEGU_PRIV_MASK one bit for each byte; bytes have signs.  (With
   the 32 bytes of AVX2 heads took a tenth longer: most lines are short.) */
#if defined(__SSE2__) && !defined(DEGU_NO_SIMD) && !defined(DEGU_SMALL)
#include <emmintrin.h>
#define DEGU_PRIV_WIDE 16
#define DEGU_PRIV_ALL_BYTES 0xffffu
typedef __m128i degu_priv_vector;
#else
#define DEGU_PRIV_WIDE 0
#endif

/* Without vectors words do, for bytes that are all alike. */
#if !DEGU_PRIV_WIDE && !defined(DEGU_SMALL)
#define DEGU_PRIV_WORDS 1
#else
#define DEGU_PRIV_WORDS 0
#endif

#if DEGU_PRIV_WIDE
#define DEGU_PRIV_ALL(byte) _mm_set1_epi8(byte)
#define DEGU_PRIV_EQUAL(a, b) _mm_cmpeq_epi8(a, b)
#define DEGU_PRIV_ABOVE(a, b) _mm_cmpgt_epi8(a, b)
#define DEGU_PRIV_AND(a, b) _mm_and_si128(a, b)
#define DEGU_PRIV_OR(a, b) _mm_or_si128(a, b)
#define DEGU_PRIV_LESS(a, b) _mm_andnot_si128(b, a) /* a & ~b */
#define DEGU_PRIV_SUM(a, b) _mm_add_epi8(a, b)
#define DEGU_PRIV_MASK(v) DEGU_PRIV_CAST(unsigned, _mm_movemask_epi8(v))
#define DEGU_PRIV_FIRST_BIT(x) DEGU_PRIV_CAST(size_t, __builtin_ctz(x))

DEGU_PRIV_INLINE degu_priv_vector degu_priv_load(const char *ptr)
{
    const void *bytes = ptr;
    return _mm_loadu_si128(DEGU_PRIV_CAST(const degu_priv_vector *, bytes));
}

DEGU_PRIV_INLINE void degu_priv_store(char *ptr, degu_priv_vector v)
{
    void *bytes = ptr;
    _mm_storeu_si128(DEGU_PRIV_CAST(degu_priv_vector *, bytes), v);
}
#endif

/* Called in several places, or with much on the stack: the compiler would
   rather have it where it is called, and that is larger. */
#if defined(DEGU_SMALL) && defined(__GNUC__)
#define DEGU_PRIV_APART static __attribute__((noinline))
#else
#define DEGU_PRIV_APART static
#endif

/* Small steps: part of what they are called from, or shared. */
#ifdef DEGU_SMALL
#define DEGU_PRIV_STEP DEGU_PRIV_APART
#else
#define DEGU_PRIV_STEP DEGU_PRIV_INLINE
#endif

/* The pointers of an empty view may be NULL, which memcpy must not see. */
DEGU_PRIV_INLINE void degu_priv_copy(void *dst, const void *src, size_t len)
{
    if (len)
        DEGU_PRIV_MEMCPY(dst, src, len);
}

DEGU_PRIV_INLINE void degu_priv_move(void *dst, const void *src, size_t len)
{
    if (len)
        DEGU_PRIV_MEMMOVE(dst, src, len);
}

DEGU_PRIV_INLINE void degu_priv_zero(void *dst, size_t len)
{
    DEGU_PRIV_MEMSET(dst, 0, len);
}

DEGU_PRIV_INLINE bool degu_priv_same(const void *a, const void *b, size_t len)
{
    return len == 0 || DEGU_PRIV_MEMCMP(a, b, len) == 0;
}

/* The same for a few bytes, without a call. */
DEGU_PRIV_INLINE bool degu_priv_is_short(const char *a, const char *b,
                                         size_t len)
{
    size_t i = 0;
    while (i < len && a[i] == b[i])
        i++;
    return i == len;
}

DEGU_API const char *degu_version(void)
{
    return DEGU_VERSION_STRING;
}

/* ======================================================================== */
/* 2  Vocabulary                                                            */
/* ======================================================================== */

/* RFC 9110 5.6.2 tchar, RFC 3986 pchar, query and reg-name, RFC 9110 5.5
   without obs-text, RFC 9110 5.6.4 qdtext without obs-text.  The upper half
   is in no class.  tests/c/test_table.c spells the grammar out once more. */
#ifdef DEGU_SMALL
static const uint8_t degu_priv_class[128] = {
#else
static const uint8_t degu_priv_class[256] = {
#endif
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 00 to 07 */
    0x00, 0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 08 to 0f: tab */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 10 to 17 */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 18 to 1f */
    0x18, 0x3f, 0x08, 0x19, 0x3f, 0x3f, 0x3f, 0x3f, /* 20 ! " # $ % & ' */
    0x3e, 0x3e, 0x3f, 0x3f, 0x3e, 0x3f, 0x3f, 0x1c, /* ( ) * + , - . / */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* 0 1 2 3 4 5 6 7 */
    0xff, 0xff, 0x1e, 0x3e, 0x18, 0x3e, 0x18, 0x1c, /* 8 9 : ; < = > ? */
    0x1e, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0x3f, /* @ A B C D E F G */
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, /* H I J K L M N O */
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, /* P Q R S T U V W */
    0x3f, 0x3f, 0x3f, 0x18, 0x08, 0x18, 0x19, 0x3f, /* X Y Z [ \ ] ^ _ */
    0x19, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0x3f, /* ` a b c d e f g */
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, /* h i j k l m n o */
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, /* p q r s t u v w */
    0x3f, 0x3f, 0x3f, 0x18, 0x19, 0x18, 0x3f, 0x00, /* x y z { | } ~ 7f */};

DEGU_API unsigned degu_class(unsigned char byte)
{
#ifdef DEGU_SMALL
    return byte < 128 ? degu_priv_class[byte] : 0;
#else
    return degu_priv_class[byte];
#endif
}

DEGU_PRIV_INLINE bool degu_priv_in(char c, unsigned bit)
{
#ifdef DEGU_SMALL
    return (degu_class(DEGU_PRIV_U8(c & 0xff)) & bit) != 0;
#else
    return (degu_priv_class[c & 0xff] & bit) != 0;
#endif
}

/* Only for letters: many other token bytes differ in this bit as well. */
DEGU_PRIV_INLINE char degu_priv_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? DEGU_PRIV_CAST(char, c + 32) : c;
}

DEGU_API degu_str degu_bytes(const void *ptr, size_t len)
{
    degu_str s;
    s.ptr = DEGU_PRIV_CAST(const char *, ptr);
    s.len = len;
    return s;
}

DEGU_API degu_str degu_string(const char *text)
{
    size_t len = 0;
    while (text && text[len])
        len++;
    return degu_bytes(text, len);
}

DEGU_API bool degu_equal(degu_str a, degu_str b)
{
    return a.len == b.len && degu_priv_same(a.ptr, b.ptr, a.len);
}

DEGU_API bool degu_is(degu_str a, const char *text)
{
    return degu_equal(a, degu_string(text));
}

/* What is told of an error stands in arrays of their own, and nowhere as a
   literal: a linker keeps all literals of a file or none. */
static const int16_t degu_priv_err_numbers[] = {
#define DEGU_PRIV_ROW(name, number, status, text) number,
    DEGU_ERRORS(DEGU_PRIV_ROW)
#undef DEGU_PRIV_ROW
};

static const char degu_priv_err_names[] =
#define DEGU_PRIV_ROW(name, number, status, text) #name "\0"
    DEGU_ERRORS(DEGU_PRIV_ROW)
#undef DEGU_PRIV_ROW
    "UNKNOWN";

static const char degu_priv_err_texts[] =
#define DEGU_PRIV_ROW(name, number, status, text) text "\0"
    DEGU_ERRORS(DEGU_PRIV_ROW)
#undef DEGU_PRIV_ROW
    "not an error of this library";

/* What these texts, one for each number and one for any other, say of it. */
DEGU_PRIV const char *degu_priv_err_text(const char *texts, degu_err err)
{
    size_t i;
    for (i = 0; i < sizeof degu_priv_err_numbers / sizeof(int16_t); i++) {
        if (degu_priv_err_numbers[i] == DEGU_PRIV_CAST(int, err))
            break;
        while (*texts++) {
        }
    }
    return texts;
}

DEGU_API const char *degu_err_name(degu_err err)
{
    return degu_priv_err_text(degu_priv_err_names, err);
}

DEGU_API const char *degu_strerror(degu_err err)
{
    return degu_priv_err_text(degu_priv_err_texts, err);
}

/* A status less 399 fits into a byte, and the switch becomes a table. */
DEGU_PRIV uint8_t degu_priv_err_status(int number)
{
    switch (number) {
#define DEGU_PRIV_ROW(name, number, status, text)                             \
    case number:                                                              \
        return status ? status - 399 : 0;
        DEGU_ERRORS(DEGU_PRIV_ROW) /* NOLINT(bugprone-branch-clone) */
#undef DEGU_PRIV_ROW
    default:
        return 500 - 399;
    }
}

DEGU_API int degu_err_status(degu_err err)
{
    int less = degu_priv_err_status(DEGU_PRIV_CAST(int, err));
    return less ? less + 399 : 0;
}

/* In the order of the bits of degu_method. */
static const struct degu_priv_method {
    char name[8];
    uint8_t len;
} degu_priv_methods[7] = {
    {"GET", 3},    {"PUT", 3},   {"POST", 4},   {"HEAD", 4},
    {"DELETE", 6}, {"PATCH", 5}, {"OPTIONS", 7}};
#define DEGU_PRIV_WITH_BODY (DEGU_PUT | DEGU_POST | DEGU_PATCH)

DEGU_API degu_str degu_method_name(degu_method method)
{
    int i;
    for (i = 0; i < 7; i++)
        if (DEGU_PRIV_CAST(int, method) == 1 << i)
            return degu_bytes(degu_priv_methods[i].name,
                              degu_priv_methods[i].len);
    return degu_bytes(NULL, 0);
}

DEGU_API degu_err degu_parse_method(degu_str name, degu_method *method)
{
    int i;
    *method = DEGU_GET;
    for (i = 0; i < 7; i++)
        if (name.len == degu_priv_methods[i].len &&
            degu_priv_is_short(name.ptr, degu_priv_methods[i].name,
                               name.len)) {
            *method = DEGU_PRIV_CAST(degu_method, 1 << i);
            return DEGU_OK;
        }
    if (name.len == 0 || degu_span(name.ptr, name.len, DEGU_TOKEN) < name.len)
        return DEGU_E_METHOD_SYNTAX;
    return DEGU_E_METHOD;
}

/* Field names that mean something here, by length and then alphabet; the
   number of a name is its place in this list plus one. */
enum {
    DEGU_PRIV_DATE = 1,
    DEGU_PRIV_ETAG,
    DEGU_PRIV_HOST,
    DEGU_PRIV_RANGE,
    DEGU_PRIV_EXPECT,
    DEGU_PRIV_IF_MATCH,
    DEGU_PRIV_IF_RANGE,
    DEGU_PRIV_LOCATION,
    DEGU_PRIV_CONNECTION,
    DEGU_PRIV_KEEP_ALIVE,
    DEGU_PRIV_SET_COOKIE,
    DEGU_PRIV_CONTENT_TYPE,
    DEGU_PRIV_AUTHORIZATION,
    DEGU_PRIV_CONTENT_RANGE,
    DEGU_PRIV_IF_NONE_MATCH,
    DEGU_PRIV_CONTENT_LENGTH,
    DEGU_PRIV_PROXY_CONNECTION,
    DEGU_PRIV_IF_MODIFIED_SINCE,
    DEGU_PRIV_TRANSFER_ENCODING,
    DEGU_PRIV_IF_UNMODIFIED_SINCE
};

/* Each with its number behind it. */
static const char degu_priv_names[] =
    "date\001" "etag\002" "host\003" "range\004" "expect\005" "if-match\006"
    "if-range\007" "location\010" "connection\011" "keep-alive\012"
    "set-cookie\013" "content-type\014" "authorization\015"
    "content-range\016" "if-none-match\017" "content-length\020"
    "proxy-connection\021" "if-modified-since\022" "transfer-encoding\023"
    "if-unmodified-since\024";

/* Where those of this length begin. */
static const uint8_t degu_priv_names_at[21] = {
    0,  0,  0,  0,  0,   15,  21,  28,  28,  55, 55,
    88, 88, 101, 143, 158, 158, 175, 211, 211, 231};

#define DEGU_PRIV_BIT(id) (UINT32_C(1) << (id))
/* All of the list but these may stand only once in a message. */
#define DEGU_PRIV_LISTS                                                       \
    (DEGU_PRIV_BIT(0) | DEGU_PRIV_BIT(DEGU_PRIV_CONNECTION) |                 \
     DEGU_PRIV_BIT(DEGU_PRIV_KEEP_ALIVE) |                                    \
     DEGU_PRIV_BIT(DEGU_PRIV_SET_COOKIE) |                                    \
     DEGU_PRIV_BIT(DEGU_PRIV_PROXY_CONNECTION))
/* These belong to the library and are never shown. */
#define DEGU_PRIV_HIDDEN                                                      \
    (DEGU_PRIV_BIT(DEGU_PRIV_CONNECTION) |                                    \
     DEGU_PRIV_BIT(DEGU_PRIV_KEEP_ALIVE) |                                    \
     DEGU_PRIV_BIT(DEGU_PRIV_PROXY_CONNECTION) |                              \
     DEGU_PRIV_BIT(DEGU_PRIV_EXPECT))

#ifndef DEGU_SMALL
/* A bit for each of these names, by length and first letter, which tells most
   others from them. */
#define DEGU_PRIV_NAME_BITS UINT64_C(0x2505829302130012)
#endif

/* The number of a name in lower case; 0: it means nothing here. */
DEGU_PRIV_INLINE unsigned degu_priv_name_id(const char *name, size_t len)
{
    const char *known, *end;
    if (len == 0 || len > 19)
        return 0;
#ifndef DEGU_SMALL
    if (!(DEGU_PRIV_NAME_BITS >>
              ((len * 11 + DEGU_PRIV_U8(name[0] & 0xff)) & 63) &
          1))
        return 0;
#endif
    known = degu_priv_names + degu_priv_names_at[len];
    end = degu_priv_names + degu_priv_names_at[len + 1];
    for (; known < end; known += len + 1)
        if (known[0] == name[0] && degu_priv_same(known, name, len))
            return DEGU_PRIV_U8(known[len]);
    return 0;
}

/* ======================================================================== */
/* 3  Scan                                                                  */
/* ======================================================================== */

#if DEGU_PRIV_WORDS
#define DEGU_PRIV_EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

DEGU_PRIV_INLINE uint64_t degu_priv_load_8(const char *ptr)
{
    uint64_t word;
    DEGU_PRIV_MEMCPY(&word, ptr, 8);
    return word;
}

/* The highest bit of each byte that is at least this one, 1 to 0x80; high
   bits of the word do not count. */
DEGU_PRIV_INLINE uint64_t degu_priv_reach(uint64_t word, unsigned least)
{
    return (word & DEGU_PRIV_EIGHT(0x7f)) + DEGU_PRIV_EIGHT(0x80 - least);
}
#endif

/* Offset of the first LF, or len. */
DEGU_PRIV_INLINE size_t degu_priv_find_lf(const char *ptr, size_t len)
{
    size_t i = 0;
#if DEGU_PRIV_WIDE
    for (; len - i >= DEGU_PRIV_WIDE; i += DEGU_PRIV_WIDE) {
        unsigned hits = DEGU_PRIV_MASK(
            DEGU_PRIV_EQUAL(degu_priv_load(ptr + i), DEGU_PRIV_ALL('\n')));
        if (hits)
            return i + DEGU_PRIV_FIRST_BIT(hits);
    }
#elif DEGU_PRIV_WORDS
    for (; len - i >= 8; i += 8) {
        uint64_t others = degu_priv_load_8(ptr + i) ^ DEGU_PRIV_EIGHT('\n');
        others |= degu_priv_reach(others, 1);
        if (~others & DEGU_PRIV_EIGHT(0x80))
            break;
    }
#endif
    while (i < len && ptr[i] != '\n')
        i++;
    return i;
}

#if DEGU_PRIV_WIDE
/* Which of the DEGU_PRIV_WIDE bytes at ptr are not of DEGU_VALUE: 0x20 to 0x7e
   and tab.  One more, the former are the bytes above 0x20, as signed ones. */
DEGU_PRIV_INLINE unsigned degu_priv_bad_values(const char *ptr)
{
    degu_priv_vector v = degu_priv_load(ptr);
    degu_priv_vector good = DEGU_PRIV_OR(
        DEGU_PRIV_ABOVE(DEGU_PRIV_SUM(v, DEGU_PRIV_ALL(1)),
                        DEGU_PRIV_ALL(0x20)),
        DEGU_PRIV_EQUAL(v, DEGU_PRIV_ALL('\t')));
    return DEGU_PRIV_MASK(good) ^ DEGU_PRIV_ALL_BYTES;
}
#endif

/* degu_span for DEGU_VALUE; bytes from base on may be looked at. */
DEGU_PRIV_INLINE size_t degu_priv_span_value(const char *base, const char *ptr,
                                             size_t len)
{
    size_t i = 0;
#if DEGU_PRIV_WIDE
    for (; len - i >= DEGU_PRIV_WIDE; i += DEGU_PRIV_WIDE) {
        unsigned bad = degu_priv_bad_values(ptr + i);
        if (bad)
            return i + DEGU_PRIV_FIRST_BIT(bad);
    }
    if (i < len && ptr + len - base >= DEGU_PRIV_WIDE) {
        unsigned bad = degu_priv_bad_values(ptr + len - DEGU_PRIV_WIDE) >>
                       (DEGU_PRIV_WIDE - (len - i));
        return bad ? i + DEGU_PRIV_FIRST_BIT(bad) : len;
    }
#else
    (void)base;
#endif
#if DEGU_PRIV_WORDS
    for (; len - i >= 8; i += 8) {
        uint64_t word = degu_priv_load_8(ptr + i);
        uint64_t bad = word | ~degu_priv_reach(word, 0x20) |
                       degu_priv_reach(word, 0x7f);
        if (bad & DEGU_PRIV_EIGHT(0x80))
            break;
    }
#endif
    while (i < len && degu_priv_in(ptr[i], DEGU_VALUE))
        i++;
    return i;
}

#if DEGU_PRIV_WIDE
/* The bit of lower case, DEGU_PRIV_WIDE times, and then nothing. */
static const char degu_priv_before[2 * DEGU_PRIV_WIDE + 1] =
    "                ";

/* How many of the DEGU_PRIV_WIDE bytes at ptr are letters, digits and dashes,
   as most names are; letters are put into lower case. */
DEGU_PRIV_INLINE size_t degu_priv_fold_wide(char *ptr)
{
    degu_priv_vector v = degu_priv_load(ptr);
    degu_priv_vector low = DEGU_PRIV_OR(v, DEGU_PRIV_ALL(0x20));
    degu_priv_vector letters =
        DEGU_PRIV_AND(DEGU_PRIV_ABOVE(low, DEGU_PRIV_ALL('a' - 1)),
                      DEGU_PRIV_ABOVE(DEGU_PRIV_ALL('z' + 1), low));
    degu_priv_vector others = DEGU_PRIV_OR(
        DEGU_PRIV_AND(DEGU_PRIV_ABOVE(v, DEGU_PRIV_ALL('0' - 1)),
                      DEGU_PRIV_ABOVE(DEGU_PRIV_ALL('9' + 1), v)),
        DEGU_PRIV_EQUAL(v, DEGU_PRIV_ALL('-')));
    unsigned bad = DEGU_PRIV_MASK(DEGU_PRIV_OR(letters, others)) ^
                   DEGU_PRIV_ALL_BYTES;
    size_t n = bad ? DEGU_PRIV_FIRST_BIT(bad) : DEGU_PRIV_WIDE;
    /* what follows the name stays as it is */
    degu_priv_vector inside = degu_priv_load(
        degu_priv_before + DEGU_PRIV_WIDE - n);
    degu_priv_store(ptr, DEGU_PRIV_OR(v, DEGU_PRIV_AND(letters, inside)));
    return n;
}
#endif

#if DEGU_PRIV_WORDS
/* Are all eight bytes at ptr letters and dashes, as in most names?  Then puts
   the letters into lower case. */
DEGU_PRIV_INLINE bool degu_priv_fold_word(char *ptr)
{
    const uint64_t word = degu_priv_load_8(ptr);
    const uint64_t low = word | DEGU_PRIV_EIGHT(0x20);
    const uint64_t letters = (degu_priv_reach(low, 'a') &
                              ~degu_priv_reach(low, 'z' + 1)) &
                             DEGU_PRIV_EIGHT(0x80);
    const uint64_t others = word ^ DEGU_PRIV_EIGHT('-');
    const uint64_t dashes = ~(others | degu_priv_reach(others, 1));
    const uint64_t folded = word | letters >> 2;
    if ((word | ~(letters | dashes)) & DEGU_PRIV_EIGHT(0x80))
        return false;
    DEGU_PRIV_MEMCPY(ptr, &folded, 8);
    return true;
}
#endif

/* degu_span for DEGU_TOKEN, which puts capitals into lower case. */
DEGU_PRIV_INLINE size_t degu_priv_fold(char *ptr, size_t len)
{
    size_t i = 0;
#if DEGU_PRIV_WIDE
    size_t n = DEGU_PRIV_WIDE;
    for (; n == DEGU_PRIV_WIDE && len - i >= DEGU_PRIV_WIDE; i += n)
        n = degu_priv_fold_wide(ptr + i);
#elif DEGU_PRIV_WORDS
    while (len - i >= 8 && degu_priv_fold_word(ptr + i))
        i += 8;
#endif
    for (; i < len && degu_priv_in(ptr[i], DEGU_TOKEN); i++)
        ptr[i] = degu_priv_lower(ptr[i]);
    return i;
}

DEGU_API size_t degu_span(const char *ptr, size_t len, unsigned bit)
{
    size_t i = 0;
    if (bit == DEGU_VALUE)
        return degu_priv_span_value(ptr, ptr, len);
    while (i < len && degu_priv_in(ptr[i], bit))
        i++;
    return i;
}

DEGU_PRIV_APART degu_err degu_priv_head_too_large(const char *buf, size_t len)
{
    bool line = degu_priv_find_lf(buf, len) < len;
    return line ? DEGU_E_PREAMBLE_SIZE : DEGU_E_TARGET_SIZE;
}

/* An empty line in front can never become a start line (RFC 9112 2.2 would
   let a server skip one; two ends that differ in this see other messages). */
DEGU_PRIV degu_err degu_priv_scan_start(const char *buf, size_t len)
{
    if (buf[0] == '\n')
        return DEGU_E_LINE_END;
    if (buf[0] != '\r' || len < 2)
        return DEGU_OK;
    return buf[1] == '\n' ? DEGU_E_EMPTY_LINE : DEGU_E_LINE_END;
}

#if DEGU_PRIV_WIDE
/* Which of the DEGU_PRIV_WIDE bytes at ptr are LF, but for those that end a
   line in order: behind a CR, and not of an empty line. */
DEGU_PRIV_INLINE degu_priv_vector degu_priv_odd_lfs(const char *ptr)
{
    const degu_priv_vector lf = DEGU_PRIV_ALL('\n');
    const degu_priv_vector here = DEGU_PRIV_EQUAL(degu_priv_load(ptr), lf);
    const degu_priv_vector cr =
        DEGU_PRIV_EQUAL(degu_priv_load(ptr - 1), DEGU_PRIV_ALL('\r'));
    const degu_priv_vector empty =
        DEGU_PRIV_EQUAL(degu_priv_load(ptr - 2), lf);
    return DEGU_PRIV_LESS(here, DEGU_PRIV_LESS(cr, empty));
}

/* From i on, to the first LF that ends no line in order, or as far as can be
   told at once. */
DEGU_PRIV_INLINE size_t degu_priv_skip_lines(const char *buf, size_t i,
                                             size_t end)
{
    if (i < 2) {
        if (end < 2 || buf[1] == '\n')
            return i;
        i = 2;
    }
    while (end - i >= DEGU_PRIV_WIDE + DEGU_PRIV_WIDE &&
           !DEGU_PRIV_MASK(DEGU_PRIV_OR(
               degu_priv_odd_lfs(buf + i),
               degu_priv_odd_lfs(buf + i + DEGU_PRIV_WIDE))))
        i += DEGU_PRIV_WIDE + DEGU_PRIV_WIDE;
    for (; end - i >= DEGU_PRIV_WIDE; i += DEGU_PRIV_WIDE) {
        unsigned odd = DEGU_PRIV_MASK(degu_priv_odd_lfs(buf + i));
        if (odd)
            return i + DEGU_PRIV_FIRST_BIT(odd);
    }
    if (i < end && end >= DEGU_PRIV_WIDE + 2) {
        unsigned odd =
            DEGU_PRIV_MASK(degu_priv_odd_lfs(buf + end - DEGU_PRIV_WIDE)) >>
            (DEGU_PRIV_WIDE - (end - i));
        return odd ? i + DEGU_PRIV_FIRST_BIT(odd) : end;
    }
    return i;
}
#endif

DEGU_API degu_err degu_scan_head(const char *buf, size_t len, size_t *pos)
{
    size_t end = DEGU_PRIV_MIN(len, DEGU_PREAMBLE_MAX), i = *pos;
    if (i <= 1 && end) {
        degu_err err = degu_priv_scan_start(buf, end);
        *pos = 0;
        if (err)
            return err;
    }
#if DEGU_PRIV_WIDE
    i = degu_priv_skip_lines(buf, i, end);
#endif
    for (; i < end; i++) {
        i += degu_priv_find_lf(buf + i, end - i);
        if (i == end)
            break;
        if (buf[i - 1] != '\r') { /* it is not the first: see above */
            *pos = i;
            return DEGU_E_LINE_END;
        }
        if (i >= 3 && buf[i - 2] == '\n') {
            *pos = i + 1;
            return DEGU_OK;
        }
    }
    *pos = end;
    if (end < DEGU_PREAMBLE_MAX)
        return DEGU_MORE;
    return degu_priv_head_too_large(buf, end);
}

/* ======================================================================== */
/* 4  Parse                                                                 */
/* ======================================================================== */

/* Where a parser is: at the next byte, and after a fault at the one that
   caused it.  Functions that take something move it behind that. */
typedef struct degu_priv_cursor {
    const char *at;
    const char *end;
} degu_priv_cursor;

/* The text is there: NULL has no end before C2y, not even without a byte. */
DEGU_PRIV_INLINE degu_priv_cursor degu_priv_over(degu_str text)
{
    degu_priv_cursor c;
    c.at = text.ptr;
    c.end = text.ptr + text.len;
    return c;
}

DEGU_PRIV_INLINE size_t degu_priv_left(const degu_priv_cursor *c)
{
    return DEGU_PRIV_CAST(size_t, c->end - c->at);
}

/* From start up to where the cursor is. */
DEGU_PRIV_INLINE degu_str degu_priv_since(const degu_priv_cursor *c,
                                          const char *start)
{
    return degu_bytes(start, DEGU_PRIV_CAST(size_t, c->at - start));
}

DEGU_PRIV_INLINE bool degu_priv_is_at(const degu_priv_cursor *c, char byte)
{
    return c->at < c->end && *c->at == byte;
}

DEGU_PRIV_STEP bool degu_priv_take(degu_priv_cursor *c, char byte)
{
    if (!degu_priv_is_at(c, byte))
        return false;
    c->at++;
    return true;
}

DEGU_PRIV_STEP size_t degu_priv_take_span(degu_priv_cursor *c, unsigned bit)
{
    size_t n = degu_span(c->at, degu_priv_left(c), bit);
    c->at += n;
    return n;
}

DEGU_PRIV_INLINE bool degu_priv_is_blank(char c)
{
    return c <= ' ' && (c == ' ' || c == '\t');
}

/* ---- Numbers ---- */

/* Digits up to a number of at most max, which need not be there; -1: it is
   above. */
DEGU_PRIV int32_t degu_priv_take_number(degu_priv_cursor *c, int32_t max)
{
    int32_t n = 0;
    for (; c->at < c->end && degu_priv_in(*c->at, DEGU_DIGIT); c->at++) {
        n = n * 10 + (*c->at - '0');
        if (n > max)
            return -1;
    }
    return n;
}

/* Ten times n, and a digit.  A small processor would call its compiler's
   library for the product of 64 bits. */
DEGU_PRIV_INLINE uint64_t degu_priv_add_digit(uint64_t n, char digit)
{
    const uint32_t d = DEGU_PRIV_CAST(uint32_t, digit - '0');
#ifdef DEGU_SMALL
    const uint32_t half = DEGU_PRIV_CAST(uint32_t, n & 0xffff) * 10 + d;
    const uint32_t next = DEGU_PRIV_CAST(uint32_t, n >> 16 & 0xffff) * 10 +
                          (half >> 16);
    const uint32_t high = DEGU_PRIV_CAST(uint32_t, n >> 32) * 10 +
                          (next >> 16);
    return DEGU_PRIV_CAST(uint64_t, high) << 32 | next << 16 |
           (half & 0xffff);
#else
    return n * 10 + d;
#endif
}

DEGU_API degu_err degu_parse_length(degu_str text, uint64_t *length)
{
    uint64_t n = 0;
    size_t i;
    *length = 0;
    if (text.len == 0 || text.len > 16 ||
        (text.len > 1 && text.ptr[0] == '0'))
        return DEGU_E_LENGTH;
    for (i = 0; i < text.len; i++) {
        if (!degu_priv_in(text.ptr[i], DEGU_DIGIT))
            return DEGU_E_LENGTH;
        n = degu_priv_add_digit(n, text.ptr[i]);
    }
    *length = n;
    return DEGU_OK;
}

/* A decimal, and the byte behind it (0: the end). */
DEGU_PRIV_APART bool degu_priv_take_length(degu_priv_cursor *c, char stop,
                                           uint64_t *length)
{
    const char *start = c->at;
    degu_priv_take_span(c, DEGU_DIGIT);
    return !degu_parse_length(degu_priv_since(c, start), length) &&
           (stop ? degu_priv_take(c, stop) : c->at == c->end);
}

/* Unit, six bytes, and a range up to stop, from the text's start, which may be
   NULL without any.  There must be room for its exclusive end. */
DEGU_PRIV bool degu_priv_open_range(degu_priv_cursor *c, degu_str text,
                                    const char *unit, char stop,
                                    degu_range *range)
{
    uint64_t last = 0;
    range->start = range->stop = 0;
    if (text.len < 6 || !degu_priv_same(text.ptr, unit, 6))
        return false;
    *c = degu_priv_over(text);
    c->at += 6;
    if (!degu_priv_take_length(c, '-', &range->start) ||
        !degu_priv_take_length(c, stop, &last) || range->start > last ||
        last >= DEGU_LENGTH_MAX)
        return false;
    range->stop = last + 1;
    return true;
}

DEGU_API degu_err degu_parse_range(degu_str text, degu_range *range)
{
    degu_priv_cursor c;
    return degu_priv_open_range(&c, text, "bytes=", 0, range) ? DEGU_OK
                                                              : DEGU_E_RANGE;
}

DEGU_API degu_err degu_parse_content_range(degu_str text,
                                           degu_content_range *range)
{
    degu_priv_cursor c;
    degu_range part;
    bool good = degu_priv_open_range(&c, text, "bytes ", '/', &part);
    range->start = part.start;
    range->stop = part.stop;
    range->total = 0;
    if (!good || !degu_priv_take_length(&c, 0, &range->total) ||
        range->stop > range->total)
        return DEGU_E_RANGE;
    return DEGU_OK;
}

/* ---- Targets ---- */

/* The value of a hex digit: a letter has bit 6. */
DEGU_PRIV_INLINE unsigned degu_priv_hex(char c)
{
    const unsigned byte = c & 0xff;
    return (byte & 15) + (byte >> 6) * 9;
}

/* The byte that %XX at ptr stands for; -1 if it is no %XX. */
DEGU_PRIV_APART int degu_priv_percent(const char *ptr, const char *end)
{
    if (end - ptr < 3 || *ptr != '%' || !degu_priv_in(ptr[1], DEGU_HEX) ||
        !degu_priv_in(ptr[2], DEGU_HEX))
        return -1;
    return DEGU_PRIV_CAST(int,
                          degu_priv_hex(ptr[1]) << 4 | degu_priv_hex(ptr[2]));
}

/* . and .., spelled with dots or with %2e: a server that decodes them later
   would leave its root (RFC 3986 6.2.2.2, 6.2.2.3). */
DEGU_PRIV_APART bool degu_priv_is_dots(const char *ptr, const char *end)
{
    int dots = 0;
    for (; ptr < end && dots < 3; dots++) {
        if (*ptr == '.')
            ptr++;
        else if (degu_priv_percent(ptr, end) == '.')
            ptr += 3;
        else
            return false;
    }
    return dots == 1 || dots == 2;
}

/* The bytes of a class in which % opens two hex digits.  In a path these may
   not stand for what would be a part of its own, or end a C string. */
DEGU_PRIV_STEP degu_err degu_priv_take_escaped(degu_priv_cursor *c,
                                               unsigned bit)
{
    const char *p = c->at, *end = c->end;
    degu_err err = DEGU_OK;
    for (; p < end && degu_priv_in(*p, bit); p++) {
        int byte;
        if (*p != '%')
            continue;
        byte = degu_priv_percent(p, end);
        if (byte < 0)
            err = DEGU_E_PERCENT;
        else if (bit == DEGU_PATH &&
                 (byte == 0 || byte == '/' || byte == '\\'))
            err = DEGU_E_PATH_ESCAPE;
        if (err)
            break;
        p += 2;
    }
    c->at = p;
    return err;
}

DEGU_PRIV_INLINE degu_err degu_priv_take_path(degu_priv_cursor *c)
{
    if (!degu_priv_is_at(c, '/'))
        return DEGU_E_TARGET_FORM;
    do {
        const char *part = ++c->at;
        degu_err err = degu_priv_take_escaped(c, DEGU_PATH);
        if (err)
            return err;
        if (c->at == part) {
            if (degu_priv_is_at(c, '/'))
                return DEGU_E_PATH_EMPTY;
        } else if ((*part == '.' || *part == '%') &&
                   degu_priv_is_dots(part, c->at)) {
            c->at = part;
            return DEGU_E_PATH_DOTS;
        }
    } while (degu_priv_is_at(c, '/'));
    return DEGU_OK;
}

/* A target in origin-form, up to the first byte that cannot be part of one. */
DEGU_PRIV_INLINE degu_err degu_priv_take_target(degu_priv_cursor *c,
                                                degu_str *path,
                                                degu_str *query)
{
    const char *start = c->at;
    degu_err err = degu_priv_take_path(c);
    *path = degu_priv_since(c, start);
    *query = degu_bytes(NULL, 0);
    if (!err && degu_priv_take(c, '?')) {
        start = c->at;
        err = degu_priv_take_escaped(c, DEGU_QUERY);
        *query = degu_priv_since(c, start);
    }
    return err;
}

DEGU_API degu_err degu_parse_target(degu_str target, degu_str *path,
                                    degu_str *query, size_t *error_at)
{
    degu_priv_cursor c;
    degu_err err;
    if (target.len == 0)
        target.ptr = "";
    c = degu_priv_over(target);
    err = degu_priv_take_target(&c, path, query);
    if (!err && c.at < c.end)
        err = DEGU_E_TARGET;
    *error_at = err ? degu_priv_since(&c, target.ptr).len : 0;
    return err;
}

/* What is left begins with a slash at the start only; it is not there any
   more once the last part, which may be empty, has been taken. */
DEGU_API bool degu_next_part(degu_str *path, degu_str *part)
{
    const char *ptr = path->ptr;
    size_t len = path->len, n = 0;
    if (ptr && len && ptr[0] == '/') {
        ptr++;
        if (--len == 0)
            ptr = NULL;
    }
    if (!ptr) {
        *path = *part = degu_bytes(NULL, 0);
        return false;
    }
    while (n < len && ptr[n] != '/')
        n++;
    *part = degu_bytes(ptr, n);
    *path = n < len ? degu_bytes(ptr + n + 1, len - n - 1)
                    : degu_bytes(NULL, 0);
    return true;
}

/* ---- Host (RFC 3986 3.2.2, RFC 9110 7.2) ---- */

/* Four decimals from 0 to 255 without leading zeros, up to the end. */
DEGU_PRIV bool degu_priv_is_ipv4(degu_priv_cursor *c)
{
    int k;
    for (k = 0; k < 4; k++) {
        const char *start;
        if (k && !degu_priv_take(c, '.'))
            return false;
        start = c->at;
        if (degu_priv_take_number(c, 255) < 0 || c->at == start ||
            (*start == '0' && c->at - start > 1))
            return false;
    }
    return c->at == c->end;
}

/* Eight groups, or fewer with one ::, the last two perhaps as IPv4. */
DEGU_PRIV bool degu_priv_is_ipv6(degu_priv_cursor *c)
{
    int groups = 0;
    bool gap = false;
    if (degu_priv_take(c, ':') && !degu_priv_is_at(c, ':'))
        return false;
    while (c->at < c->end) {
        const char *group = c->at;
        size_t n = degu_priv_take_span(c, DEGU_HEX);
        if (n == 0) {
            if (gap || !degu_priv_take(c, ':'))
                return false;
            gap = true;
        } else if (degu_priv_is_at(c, '.')) {
            c->at = group;
            groups += 2;
            if (!degu_priv_is_ipv4(c))
                return false;
        } else {
            if (n > 4 || ++groups > 8)
                return false;
            if (c->at < c->end && (!degu_priv_take(c, ':') || c->at == c->end))
                return false;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* Empty, or uri-host [ ":" port ]. */
DEGU_PRIV bool degu_priv_is_host(degu_str text)
{
    degu_priv_cursor c;
    if (text.len == 0)
        return true;
    c = degu_priv_over(text);
    if (degu_priv_take(&c, '[')) {
        degu_priv_cursor literal = c;
        while (c.at < c.end && *c.at != ']')
            c.at++;
        literal.end = c.at;
        if (!degu_priv_take(&c, ']') || !degu_priv_is_ipv6(&literal))
            return false;
    } else if (degu_priv_take_escaped(&c, DEGU_REGNAME) || c.at == text.ptr) {
        return false;
    }
    if (degu_priv_take(&c, ':') && degu_priv_take_number(&c, 65535) < 0)
        return false;
    return c.at == c.end;
}

/* ---- Field lines ---- */

/* What the lines of one head say, beyond the fields as such. */
typedef struct degu_priv_head {
    char *base;
    degu_fields *fields; /* NULL: nobody wants them */
    size_t lines;
    uint32_t seen;   /* bits of the names that the library knows */
    uint32_t barred; /* the same, of those that may not stand here */
    bool close;
    bool hops;       /* connection names fields */
    uint64_t length; /* 0 without one */
    degu_str host;   /* not there without one */
} degu_priv_head;

DEGU_PRIV_APART void degu_priv_head_init(degu_priv_head *h, char *base,
                                         degu_fields *fields)
{
    h->base = base;
    h->fields = fields;
    h->lines = 0;
    h->seen = h->barred = 0;
    h->close = h->hops = false;
    h->length = 0;
    h->host = degu_bytes(NULL, 0);
    if (fields) {
        fields->base = base;
        fields->count = 0;
    }
}

DEGU_PRIV_INLINE bool degu_priv_saw(const degu_priv_head *h, unsigned id)
{
    return (h->seen & DEGU_PRIV_BIT(id)) != 0;
}

DEGU_PRIV_INLINE bool degu_priv_saw_length(const degu_priv_head *h)
{
    return degu_priv_saw(h, DEGU_PRIV_CONTENT_LENGTH);
}

DEGU_PRIV_INLINE bool degu_priv_saw_coding(const degu_priv_head *h)
{
    return degu_priv_saw(h, DEGU_PRIV_TRANSFER_ENCODING);
}

DEGU_PRIV_INLINE bool degu_priv_saw_framing(const degu_priv_head *h)
{
    return degu_priv_saw_length(h) || degu_priv_saw_coding(h);
}

/* Does a, whose letters may be of any case, equal b, which is in lower case
   and as long? */
DEGU_PRIV bool degu_priv_is_folded(degu_str a, const char *b)
{
    size_t i = 0;
    while (i < a.len && degu_priv_lower(a.ptr[i]) == b[i])
        i++;
    return i == a.len;
}

#define DEGU_PRIV_IS_WORD(text, literal)                                      \
    ((text).len == sizeof(literal) - 1 && degu_priv_is_folded(text, literal))

/* The meaning of a field that the library knows, and that was seen. */
DEGU_PRIV degu_err degu_priv_note_field(degu_priv_head *h, unsigned id,
                                        degu_str value)
{
    switch (id) {
    case DEGU_PRIV_HOST:
        h->host = value;
        return degu_priv_is_host(value) ? DEGU_OK : DEGU_E_HOST;
    case DEGU_PRIV_CONNECTION: /* keep-alive is hidden anyhow */
        if (!DEGU_PRIV_IS_WORD(value, "keep-alive"))
            h->hops = true;
        return DEGU_OK;
    case DEGU_PRIV_EXPECT:
        return DEGU_PRIV_IS_WORD(value, "100-continue") ? DEGU_OK
                                                        : DEGU_E_EXPECT;
    case DEGU_PRIV_CONTENT_LENGTH:
        if (degu_parse_length(value, &h->length))
            return DEGU_E_LENGTH;
        break;
    case DEGU_PRIV_TRANSFER_ENCODING:
        if (!DEGU_PRIV_IS_WORD(value, "chunked"))
            return value.len ? DEGU_E_CODING : DEGU_E_CODING_SYNTAX;
        break;
    default:
        return DEGU_OK;
    }
    return degu_priv_saw_length(h) && degu_priv_saw_coding(h)
               ? DEGU_E_LENGTH_AND_CODING
               : DEGU_OK;
}

DEGU_PRIV_INLINE bool degu_priv_is_crlf(const degu_priv_cursor *c)
{
    return degu_priv_left(c) >= 2 && degu_priv_same(c->at, "\r\n", 2);
}

/* The CR LF; other is for a byte of neither. */
DEGU_PRIV_STEP degu_err degu_priv_take_crlf(degu_priv_cursor *c,
                                            degu_err other)
{
    if (degu_priv_is_crlf(c)) {
        c->at += 2;
        return DEGU_OK;
    }
    if (c->at < c->end && *c->at != '\r' && *c->at != '\n')
        return other;
    return DEGU_E_LINE_END;
}

/* Folds the name where the cursor is, at a byte; takes its colon, too. */
DEGU_PRIV_INLINE degu_err degu_priv_take_name(degu_priv_head *h,
                                              degu_priv_cursor *c)
{
    char *name = h->base + (c->at - h->base);
    size_t n = degu_priv_fold(name, degu_priv_left(c));
    c->at += n;
    if (n > DEGU_NAME_MAX) {
        c->at = name + DEGU_NAME_MAX;
        return DEGU_E_NAME_SIZE;
    }
    if (n && degu_priv_take(c, ':'))
        return DEGU_OK;
    if (c->at < c->end && degu_priv_is_blank(*c->at))
        return n ? DEGU_E_COLON : DEGU_E_FOLDED;
    return n && (c->at == c->end || *c->at == '\r') ? DEGU_E_COLON
                                                    : DEGU_E_NAME;
}

/* The value without the blanks around it, and its CR LF. */
DEGU_PRIV_INLINE degu_err degu_priv_take_value(const degu_priv_head *h,
                                               degu_priv_cursor *c,
                                               degu_str *value)
{
    const char *start, *end;
    while (c->at < c->end && degu_priv_is_blank(*c->at))
        c->at++;
    start = c->at;
    c->at = end =
        start + degu_priv_span_value(h->base, start, degu_priv_left(c));
    while (end > start && degu_priv_is_blank(end[-1]))
        end--;
    *value = degu_bytes(start, DEGU_PRIV_CAST(size_t, end - start));
    return degu_priv_take_crlf(c, DEGU_E_VALUE);
}

#if DEGU_PRIV_WIDE
/* A line as nearly all are: a name of letters, digits and dashes that fits
   into a vector, a space, a value between no other blanks.  false: it is not
   one, or ends too near to tell, and the cursor is where it was. */
DEGU_PRIV_INLINE bool degu_priv_take_usual(const degu_priv_head *h,
                                           degu_priv_cursor *c, degu_str *name,
                                           degu_str *value)
{
    const char *const line = c->at;
    degu_priv_cursor next = *c;
    size_t n;
    if (degu_priv_left(c) < DEGU_PRIV_WIDE + 3)
        return false;
    n = degu_priv_fold_wide(h->base + (line - h->base));
    if (n - 1 >= DEGU_PRIV_MIN(DEGU_PRIV_WIDE - 1, DEGU_NAME_MAX) ||
        !degu_priv_same(line + n, ": ", 2) || line[n + 2] <= ' ')
        return false;
    *name = degu_bytes(line, n);
    next.at += n + 2;
    next.at += degu_priv_span_value(h->base, next.at, degu_priv_left(&next));
    *value = degu_priv_since(&next, line + n + 2);
    if (!degu_priv_is_crlf(&next) || degu_priv_is_blank(next.at[-1]))
        return false;
    c->at = next.at + 2;
    return true;
}
#endif

DEGU_PRIV_INLINE void degu_priv_add_field(degu_priv_head *h, degu_str name,
                                          degu_str value, unsigned id)
{
    degu_field *f;
    if (!h->fields)
        return;
    DEGU_ASSERT(h->fields->count < DEGU_HEADER_MAX);
    f = &h->fields->at[h->fields->count++];
    f->name = DEGU_PRIV_U16(name.ptr - h->base);
    f->name_len = DEGU_PRIV_U8(name.len);
    f->value = DEGU_PRIV_U16(value.ptr - h->base);
    f->value_len = DEGU_PRIV_U16(value.len);
    f->id = DEGU_PRIV_U8(id);
}

/* What connection names is hidden at the end of the head. */
DEGU_PRIV_INLINE bool degu_priv_is_hidden(const degu_priv_head *h, unsigned id)
{
    return DEGU_PRIV_BIT(id) & DEGU_PRIV_HIDDEN &&
           !(id == DEGU_PRIV_CONNECTION && h->hops);
}

/* A field of a known name: may it stand here, and what does it say? */
DEGU_PRIV_STEP degu_err degu_priv_take_known(degu_priv_head *h,
                                             degu_priv_cursor *c, unsigned id,
                                             degu_str name, degu_str value)
{
    const uint32_t bit = DEGU_PRIV_BIT(id);
    const char *next = c->at;
    degu_err err;
    c->at = name.ptr;
    if (bit & h->barred)
        return DEGU_E_TRAILER;
    if (bit & h->seen & ~DEGU_PRIV_LISTS)
        return DEGU_E_REPEATED;
    h->seen |= bit;
    err = degu_priv_note_field(h, id, value);
    if (err != DEGU_E_LENGTH_AND_CODING)
        c->at = err ? value.ptr : next;
    return err;
}

/* Name and value of a line, which are taken. */
DEGU_PRIV_INLINE degu_err degu_priv_take_line(degu_priv_head *h,
                                              degu_priv_cursor *c,
                                              degu_str *name, degu_str *value)
{
    const char *const line = c->at;
    degu_err err;
#if DEGU_PRIV_WIDE
    if (degu_priv_take_usual(h, c, name, value))
        return DEGU_OK;
#endif
    err = degu_priv_take_name(h, c);
    if (err)
        return err;
    *name = degu_priv_since(c, line);
    name->len--; /* the colon */
    return degu_priv_take_value(h, c, value);
}

DEGU_PRIV_INLINE degu_err degu_priv_take_field(degu_priv_head *h,
                                               degu_priv_cursor *c)
{
    degu_str name, value;
    unsigned id;
    degu_err err;
    if (h->lines == DEGU_HEADER_MAX)
        return DEGU_E_HEADER_COUNT;
    h->lines++;
    err = degu_priv_take_line(h, c, &name, &value);
    if (err)
        return err;
    id = degu_priv_name_id(name.ptr, name.len);
    if (id) {
        err = degu_priv_take_known(h, c, id, name, value);
        if (err || degu_priv_is_hidden(h, id))
            return err;
    }
    degu_priv_add_field(h, name, value, id);
    return DEGU_OK;
}

/* Fields whose bits are among these are not shown. */
DEGU_PRIV void degu_priv_hide(degu_fields *fields, uint32_t bits)
{
    size_t i, kept = 0;
    for (i = 0; i < fields->count; i++)
        if (!(DEGU_PRIV_BIT(fields->at[i].id) & bits))
            fields->at[kept++] = fields->at[i];
    fields->count = kept;
}

/* Hides the fields of this name; those that the library knows are for whoever
   reads the message. */
DEGU_PRIV void degu_priv_hide_word(degu_fields *fields, degu_str word)
{
    size_t i;
    for (i = 0; i < fields->count; i++) {
        degu_field *f = &fields->at[i];
        if (!f->id && f->name_len == word.len &&
            degu_priv_is_folded(word, fields->base + f->name))
            f->id = DEGU_PRIV_KEEP_ALIVE; /* to be hidden as these are */
    }
}

/* The next word of a list with commas; false at its end. */
DEGU_PRIV bool degu_priv_take_word(degu_priv_cursor *c, degu_str *word)
{
    const char *start, *end;
    while (c->at < c->end && (*c->at == ',' || degu_priv_is_blank(*c->at)))
        c->at++;
    start = end = c->at;
    for (; c->at < c->end && *c->at != ','; c->at++)
        if (!degu_priv_is_blank(*c->at))
            end = c->at + 1;
    *word = degu_bytes(start, DEGU_PRIV_CAST(size_t, end - start));
    return end > start;
}

/* Connection = #connection-option (RFC 9110 7.6.1): close, or the name of a
   field which like connection itself is for one connection only. */
DEGU_PRIV_APART void degu_priv_heed_connection(degu_priv_head *h)
{
    degu_fields *fields = h->fields;
    size_t i;
    for (i = 0; i < fields->count; i++) {
        const degu_field *f = &fields->at[i];
        degu_priv_cursor c = degu_priv_over(
            degu_bytes(fields->base + f->value, f->value_len));
        degu_str word;
        if (f->id != DEGU_PRIV_CONNECTION)
            continue;
        while (degu_priv_take_word(&c, &word)) {
            if (DEGU_PRIV_IS_WORD(word, "close"))
                h->close = true;
            degu_priv_hide_word(fields, word);
        }
    }
    degu_priv_hide(fields, DEGU_PRIV_HIDDEN);
}

/* The field lines of a head, and the empty line. */
DEGU_PRIV_INLINE degu_err degu_priv_take_fields(degu_priv_head *h,
                                                degu_priv_cursor *cursor)
{
    degu_priv_cursor c = *cursor;
    degu_err err = DEGU_OK;
    while (!err && !degu_priv_is_crlf(&c))
        err = c.at < c.end ? degu_priv_take_field(h, &c) : DEGU_E_TRUNCATED;
    if (!err) {
        c.at += 2;
        err = c.at < c.end ? DEGU_E_ARGUMENT : DEGU_OK;
    }
    *cursor = c;
    if (err)
        return err;
    if (h->hops)
        degu_priv_heed_connection(h);
    return DEGU_OK;
}

/* These decide how a message is framed or whom it is for; coming last they
   would be heeded by some and not by others (RFC 9110 6.5.1). */
#define DEGU_PRIV_BARRED                                                      \
    (~(DEGU_PRIV_BIT(0) | DEGU_PRIV_BIT(DEGU_PRIV_SET_COOKIE)))

DEGU_API degu_err degu_parse_fields(char *lines, size_t len, bool trailer,
                                    degu_fields *fields, size_t *error_at)
{
    const size_t max = trailer ? DEGU_TRAILER_MAX - 2 : DEGU_PREAMBLE_MAX;
    degu_priv_cursor c = degu_priv_over(degu_bytes(len ? lines : "", len));
    degu_priv_head h;
    degu_err err = DEGU_OK;
    degu_priv_head_init(&h, lines, fields);
    if (len > max) { /* the offsets of fields have 16 bits */
        *error_at = max;
        return trailer ? DEGU_E_TRAILER_SIZE : DEGU_E_PREAMBLE_SIZE;
    }
    h.barred = trailer ? DEGU_PRIV_BARRED : 0;
    while (c.at < c.end && !err)
        err = degu_priv_take_field(&h, &c);
    if (fields && h.hops)
        degu_priv_heed_connection(&h);
    *error_at = err ? degu_priv_since(&c, lines).len : 0;
    return err;
}

DEGU_API degu_header degu_field_at(const degu_fields *fields, size_t i)
{
    degu_header h = {{NULL, 0}, {NULL, 0}};
    if (i < fields->count) {
        const degu_field *f = &fields->at[i];
        h.name = degu_bytes(fields->base + f->name, f->name_len);
        h.value = degu_bytes(fields->base + f->value, f->value_len);
    }
    return h;
}

DEGU_API degu_str degu_find(const degu_fields *fields, const char *name)
{
    const degu_str wanted = degu_string(name);
    size_t i;
    for (i = 0; i < fields->count; i++) {
        const degu_field *f = &fields->at[i];
        if (f->name_len == wanted.len &&
            degu_priv_same(fields->base + f->name, name, wanted.len))
            return degu_bytes(fields->base + f->value, f->value_len);
    }
    return degu_bytes(NULL, 0);
}

DEGU_API bool degu_find_range(const degu_fields *fields, degu_range *range)
{
    return !degu_parse_range(degu_find(fields, "range"), range);
}

DEGU_API bool degu_find_content_range(const degu_fields *fields,
                                      degu_content_range *range)
{
    return !degu_parse_content_range(degu_find(fields, "content-range"),
                                     range);
}

/* ---- Request line and status line ---- */

/* HTTP/1.1, or with least as its last digit, which c->at[-1] then is. */
DEGU_PRIV_INLINE degu_err degu_priv_take_version(degu_priv_cursor *c,
                                                 char least)
{
    const char *p = c->at;
    if (degu_priv_left(c) < 8 || !degu_priv_same(p, "HTTP/", 5) ||
        !degu_priv_in(p[5], DEGU_DIGIT) || p[6] != '.' ||
        !degu_priv_in(p[7], DEGU_DIGIT))
        return DEGU_E_START_LINE;
    if (p[5] != '1' || (p[7] != '1' && p[7] != least))
        return DEGU_E_VERSION;
    c->at += 8;
    return DEGU_OK;
}

/* The space behind a part; other is for what may not stand in that. */
DEGU_PRIV_INLINE degu_err degu_priv_take_space(degu_priv_cursor *c,
                                               degu_err other)
{
    if (degu_priv_take(c, ' '))
        return DEGU_OK;
    return c->at == c->end || *c->at == '\r' ? DEGU_E_START_LINE : other;
}

DEGU_PRIV_INLINE degu_err degu_priv_end_start_line(degu_priv_cursor *c,
                                                   degu_err other)
{
    return c->at == c->end ? other : degu_priv_take_crlf(c, other);
}

DEGU_PRIV_INLINE degu_err degu_priv_take_request_line(degu_priv_cursor *c,
                                                      degu_request *r)
{
    const char *start = c->at;
    degu_str method;
    degu_err err;
    degu_priv_take_span(c, DEGU_TOKEN);
    method = degu_priv_since(c, start);
    err = degu_priv_take_space(c, DEGU_E_METHOD_SYNTAX);
    if (err)
        return err;
    err = degu_parse_method(method, &r->method);
    if (err) {
        c->at = start;
        return err;
    }
    start = c->at;
    if (degu_priv_is_at(c, ' '))
        return DEGU_E_START_LINE;
    err = degu_priv_take_target(c, &r->path, &r->query);
    r->target = degu_priv_since(c, start);
    if (!err)
        err = degu_priv_take_space(c, DEGU_E_TARGET);
    if (!err)
        err = degu_priv_take_version(c, '1');
    return err ? err : degu_priv_end_start_line(c, DEGU_E_START_LINE);
}

/* "HTTP/1.1 200 OK" */
DEGU_PRIV_INLINE degu_err degu_priv_take_status_line(degu_priv_cursor *c,
                                                     degu_response *r)
{
    const char *start;
    degu_err err = degu_priv_take_version(c, '0');
    if (err)
        return err;
    r->close = c->at[-1] == '0';
    if (!degu_priv_take(c, ' '))
        return DEGU_E_START_LINE;
    start = c->at;
    r->status = degu_priv_take_number(c, 599);
    if (r->status < 100 || c->at - start != 3) {
        c->at = start;
        return DEGU_E_STATUS;
    }
    if (!degu_priv_take(c, ' '))
        return DEGU_E_START_LINE;
    start = c->at;
    c->at += degu_priv_span_value(start, start, degu_priv_left(c));
    r->reason = degu_priv_since(c, start);
    return degu_priv_end_start_line(c, DEGU_E_REASON);
}

/* ---- Heads ---- */

/* What can be said before the first line is read. */
DEGU_PRIV_INLINE degu_err degu_priv_open_head(degu_priv_cursor *c,
                                              const char *head, size_t len)
{
    *c = degu_priv_over(degu_bytes(head, len));
    if (len > DEGU_PREAMBLE_MAX) {
        c->at += DEGU_PREAMBLE_MAX;
        return degu_priv_head_too_large(head, DEGU_PREAMBLE_MAX);
    }
    return len ? degu_priv_scan_start(head, len) : DEGU_E_TRUNCATED;
}

/* Where the field of this number is, which is there. */
DEGU_PRIV const char *degu_priv_place(const degu_fields *fields, unsigned id)
{
    const degu_field *f = fields->at;
    while (f->id != id)
        f++;
    return fields->base + f->name;
}

DEGU_PRIV_INLINE unsigned degu_priv_framing_id(const degu_priv_head *h)
{
    return degu_priv_saw_coding(h) ? DEGU_PRIV_TRANSFER_ENCODING
                                   : DEGU_PRIV_CONTENT_LENGTH;
}

/* What the fields say; a content-length of zero says "no body" and is not
   shown. */
DEGU_PRIV degu_framing degu_priv_told_framing(const degu_priv_head *h)
{
    if (degu_priv_saw_coding(h))
        return DEGU_CHUNKED;
    if (h->length)
        return DEGU_LENGTH;
    if (degu_priv_saw_length(h))
        degu_priv_hide(h->fields, DEGU_PRIV_BIT(DEGU_PRIV_CONTENT_LENGTH));
    return DEGU_NO_BODY;
}

/* RFC 9112 6.3 for requests; *culprit is the field at fault. */
DEGU_PRIV_INLINE degu_err degu_priv_frame_request(degu_request *r,
                                                  const degu_priv_head *h,
                                                  unsigned *culprit)
{
    *culprit = DEGU_PRIV_CONTENT_RANGE;
    if (degu_priv_saw(h, DEGU_PRIV_CONTENT_RANGE))
        return DEGU_E_RANGE_PLACE;
    r->framing = degu_priv_told_framing(h);
    r->content_length = h->length;
    if (!r->framing)
        return DEGU_OK;
    *culprit = degu_priv_framing_id(h);
    if (!(DEGU_PRIV_CAST(unsigned, r->method) & DEGU_PRIV_WITH_BODY))
        return DEGU_E_BODY_METHOD;
    *culprit = DEGU_PRIV_RANGE;
    return degu_priv_saw(h, DEGU_PRIV_RANGE) ? DEGU_E_RANGE_BODY : DEGU_OK;
}

DEGU_PRIV_INLINE void degu_priv_reset_request(degu_request *r)
{
    const degu_str none = {NULL, 0};
    r->method = DEGU_GET;
    r->framing = DEGU_NO_BODY;
    r->close = r->expect_continue = false;
    r->content_length = 0;
    r->target = r->path = r->query = r->host = none;
    r->error_at = 0;
}

DEGU_API degu_err degu_parse_request(char *head, size_t len,
                                     degu_request *request)
{
    degu_priv_head h;
    degu_priv_cursor c;
    degu_err err;
    degu_priv_reset_request(request);
    degu_priv_head_init(&h, head, &request->fields);
    err = degu_priv_open_head(&c, head, len);
    if (!err)
        err = degu_priv_take_request_line(&c, request);
    if (!err)
        err = degu_priv_take_fields(&h, &c);
    if (!err) {
        unsigned culprit;
        err = degu_priv_frame_request(request, &h, &culprit);
        if (err)
            c.at = degu_priv_place(&request->fields, culprit);
    }
    if (err) {
        request->error_at = degu_priv_since(&c, head).len;
        return err;
    }
    request->close = h.close;
    request->expect_continue = degu_priv_saw(&h, DEGU_PRIV_EXPECT);
    request->host = h.host;
    return DEGU_OK;
}

/* RFC 9112 6.3 for responses, in its order; *culprit is the field at fault. */
DEGU_PRIV_INLINE degu_err degu_priv_frame_response(degu_response *r,
                                                   const degu_priv_head *h,
                                                   degu_method asked,
                                                   unsigned *culprit)
{
    *culprit = DEGU_PRIV_RANGE;
    if (degu_priv_saw(h, DEGU_PRIV_RANGE))
        return DEGU_E_RANGE_PLACE;
    *culprit = degu_priv_framing_id(h);
    /* HTTP/1.0 knows no coding: its end is a guess (RFC 9112 6.1). */
    if (degu_priv_saw_coding(h) && r->fields.base[7] == '0')
        return DEGU_E_CODING;
    if (r->status < 200)
        return degu_priv_saw_framing(h) ? DEGU_E_INTERIM : DEGU_OK;
    r->content_length = h->length;
    if (r->status == 204)
        degu_priv_hide(&r->fields,
                       DEGU_PRIV_BIT(DEGU_PRIV_CONTENT_LENGTH) |
                           DEGU_PRIV_BIT(DEGU_PRIV_TRANSFER_ENCODING));
    else if (asked != DEGU_HEAD && r->status != 304)
        r->framing = degu_priv_saw_framing(h) ? degu_priv_told_framing(h)
                                              : DEGU_UNTIL_CLOSE;
    return DEGU_OK;
}

DEGU_PRIV_INLINE void degu_priv_reset_response(degu_response *r)
{
    r->status = 0;
    r->framing = DEGU_NO_BODY;
    r->close = false;
    r->content_length = 0;
    r->reason = degu_bytes(NULL, 0);
    r->error_at = 0;
}

DEGU_API degu_err degu_parse_response(char *head, size_t len,
                                      degu_method asked,
                                      degu_response *response)
{
    degu_priv_head h;
    degu_priv_cursor c;
    degu_err err;
    degu_priv_reset_response(response);
    degu_priv_head_init(&h, head, &response->fields);
    err = degu_priv_open_head(&c, head, len);
    if (!err)
        err = degu_priv_take_status_line(&c, response);
    if (!err)
        err = degu_priv_take_fields(&h, &c);
    if (!err) {
        unsigned culprit;
        err = degu_priv_frame_response(response, &h, asked, &culprit);
        if (err)
            c.at = degu_priv_place(&response->fields, culprit);
    }
    if (err)
        response->error_at = degu_priv_since(&c, head).len;
    else
        response->close = response->close || h.close;
    return err;
}

/* ---- Chunk lines (RFC 9112 7.1.1) ---- */

/* A quoted string, up to its last quote. */
DEGU_PRIV degu_err degu_priv_take_quoted(degu_priv_cursor *c)
{
    while (++c->at < c->end) {
        if (*c->at == '"') {
            c->at++;
            return DEGU_OK;
        }
        if (*c->at == '\\')
            c->at++;
        else if (!degu_priv_in(*c->at, DEGU_QUOTED))
            break;
        if (c->at == c->end || !degu_priv_in(*c->at, DEGU_VALUE))
            break;
    }
    return DEGU_E_CHUNK_EXTENSION;
}

/* ;key, ;key=token or ;key="quoted" */
DEGU_PRIV degu_err degu_priv_take_extension(degu_priv_cursor *c)
{
    if (!degu_priv_take(c, ';') || !degu_priv_take_span(c, DEGU_TOKEN))
        return DEGU_E_CHUNK_EXTENSION;
    if (!degu_priv_take(c, '='))
        return DEGU_OK;
    if (degu_priv_is_at(c, '"'))
        return degu_priv_take_quoted(c);
    return degu_priv_take_span(c, DEGU_TOKEN) ? DEGU_OK
                                              : DEGU_E_CHUNK_EXTENSION;
}

/* A line that ends with CR LF, but for these. */
DEGU_PRIV_INLINE degu_err degu_priv_take_chunk_line(degu_priv_cursor *c,
                                                    degu_chunk *chunk)
{
    const char *start = c->at;
    int digits = 0;
    for (; c->at < c->end && degu_priv_in(*c->at, DEGU_HEX); c->at++) {
        if (++digits > 16)
            return DEGU_E_CHUNK_SIZE;
        chunk->size = chunk->size << 4 | degu_priv_hex(*c->at);
    }
    if (c->at == start || (c->at < c->end && *c->at != ';'))
        return DEGU_E_CHUNK_SIZE;
    start = c->at;
    while (c->at < c->end) {
        degu_err err = degu_priv_take_extension(c);
        if (err)
            return err;
    }
    chunk->extensions = degu_priv_since(c, start);
    return DEGU_OK;
}

DEGU_API degu_err degu_parse_chunk_line(const char *line, size_t len,
                                        degu_chunk *chunk)
{
    degu_priv_cursor c;
    degu_err err;
    if (len == 0)
        line = "";
    c = degu_priv_over(degu_bytes(line, len));
    chunk->size = 0;
    chunk->extensions = degu_bytes(NULL, 0);
    if (len > DEGU_CHUNK_LINE_MAX) {
        c.at += DEGU_CHUNK_LINE_MAX;
        err = DEGU_E_CHUNK_LINE_SIZE;
    } else if (len < 2 || line[len - 1] != '\n' || line[len - 2] != '\r') {
        c.at += len ? len - 1 : 0;
        err = DEGU_E_LINE_END;
    } else {
        c.end -= 2;
        err = degu_priv_take_chunk_line(&c, chunk);
    }
    chunk->error_at = err ? degu_priv_since(&c, line).len : 0;
    if (err)
        chunk->size = 0;
    return err;
}

DEGU_API bool degu_next_extension(degu_str *extensions,
                                  degu_extension *extension)
{
    const char *start = extensions->ptr;
    degu_priv_cursor c;
    degu_str key, value = {NULL, 0};
    size_t i;
    extension->key = extension->value = value;
    extension->escaped = false;
    if (extensions->len == 0)
        return false;
    c = degu_priv_over(*extensions);
    if (degu_priv_take_extension(&c))
        return false;
    key = degu_bytes(start + 1, degu_span(start + 1, extensions->len - 1,
                                          DEGU_TOKEN));
    start = key.ptr + key.len;
    if (start < c.at) {
        value = degu_priv_since(&c, start + 1);
        if (start[1] == '"') {
            value.ptr++;
            value.len -= 2;
        }
        for (i = 0; i < value.len; i++)
            extension->escaped = extension->escaped || value.ptr[i] == '\\';
    }
    extension->key = key;
    extension->value = value;
    *extensions = degu_bytes(c.at, degu_priv_left(&c));
    return true;
}

DEGU_API size_t degu_unescape(degu_str text, char *dst)
{
    size_t i, n = 0;
    for (i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\\' && i + 1 < text.len)
            i++;
        dst[n++] = text.ptr[i];
    }
    return n;
}

/* ======================================================================== */
/* 5  Format                                                                */
/* ======================================================================== */

/* Bytes appended to a buffer.  need counts those that did not fit as well, so
   that a limit is told from a small buffer; it stays at SIZE_MAX once there,
   which one long view given many times can reach. */
typedef struct degu_priv_writer {
    char *ptr;
    size_t room;
    size_t need;
} degu_priv_writer;

DEGU_PRIV_INLINE degu_priv_writer degu_priv_write_to(const degu_buffer *dst)
{
    degu_priv_writer w;
    w.ptr = dst->ptr ? dst->ptr + dst->len : NULL;
    w.room = dst->ptr ? dst->cap - dst->len : 0;
    w.need = 0;
    return w;
}

DEGU_PRIV_INLINE void degu_priv_put(degu_priv_writer *w, const char *ptr,
                                    size_t len)
{
    if (w->need <= w->room && len <= w->room - w->need)
        degu_priv_copy(w->ptr + w->need, ptr, len);
    w->need += DEGU_PRIV_MIN(len, SIZE_MAX - w->need);
}

DEGU_PRIV_INLINE void degu_priv_put_str(degu_priv_writer *w, degu_str s)
{
    degu_priv_put(w, s.ptr, s.len);
}

DEGU_PRIV_INLINE void degu_priv_put_byte(degu_priv_writer *w, char byte)
{
    degu_priv_put(w, &byte, 1);
}

/* A literal, without its terminator. */
#define DEGU_PRIV_PUT(w, literal)                                             \
    degu_priv_put((w), (literal), sizeof(literal) - 1)

/* Ends what was begun with degu_priv_write_to: nothing is appended unless all
   of it fits into the buffer and under the limit. */
DEGU_PRIV_INLINE degu_err degu_priv_commit(degu_buffer *dst,
                                           const degu_priv_writer *w,
                                           size_t limit, degu_err over)
{
    if (w->need > limit)
        return over;
    if (w->need > w->room)
        return DEGU_E_SPACE;
    dst->len += w->need;
    return DEGU_OK;
}

#ifdef DEGU_SMALL
/* n of up to sixteen digits, divided bit by bit: for numbers of 64 bits, and
   on some processors for any, the compiler's library would do it. */
DEGU_PRIV void degu_priv_put_number(degu_priv_writer *w, uint64_t n,
                                    unsigned base)
{
    char text[16];
    size_t i = 16;
    do {
        unsigned digit = 0;
        int k;
        for (k = 0; k < 64; k++) {
            digit = digit << 1 | DEGU_PRIV_CAST(unsigned, n >> 63);
            n <<= 1;
            if (digit >= base) {
                digit -= base;
                n |= 1;
            }
        }
        text[--i] = "0123456789abcdef"[digit];
    } while (n);
    degu_priv_put(w, text + i, 16 - i);
}

DEGU_PRIV void degu_priv_put_decimal(degu_priv_writer *w, uint64_t n)
{
    degu_priv_put_number(w, n, 10);
}

DEGU_PRIV void degu_priv_put_hex(degu_priv_writer *w, uint64_t n)
{
    degu_priv_put_number(w, n, 16);
}
#else
/* n of up to sixteen digits, in two halves of eight: small targets divide 64
   bits by a loop, so the upper half is found by subtraction. */
DEGU_PRIV void degu_priv_put_decimal(degu_priv_writer *w, uint64_t n)
{
    char text[16];
    size_t i = 16;
    uint32_t low, high = 0, step = 10000000;
    for (; n >= 100000000; step /= 10) {
        const uint64_t unit = UINT64_C(100000000) * step;
        for (; n >= unit; n -= unit)
            high += step;
    }
    low = DEGU_PRIV_CAST(uint32_t, n);
    do {
        text[--i] = DEGU_PRIV_CAST(char, '0' + low % 10);
        low /= 10;
    } while (low || (high && i > 8));
    for (; high; high /= 10)
        text[--i] = DEGU_PRIV_CAST(char, '0' + high % 10);
    degu_priv_put(w, text + i, 16 - i);
}

DEGU_PRIV void degu_priv_put_hex(degu_priv_writer *w, uint64_t n)
{
    char text[16];
    size_t i = 16;
    do {
        text[--i] = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n);
    degu_priv_put(w, text + i, 16 - i);
}
#endif

DEGU_API degu_err degu_format_length(degu_buffer *dst, uint64_t length)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    if (length > DEGU_LENGTH_MAX)
        return DEGU_E_LENGTH;
    degu_priv_put_decimal(&w, length);
    return degu_priv_commit(dst, &w, 16, DEGU_E_LENGTH);
}

DEGU_API degu_err degu_format_range(degu_buffer *dst, degu_range range)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    if (range.stop <= range.start || range.stop > DEGU_LENGTH_MAX)
        return DEGU_E_RANGE;
    DEGU_PRIV_PUT(&w, "bytes=");
    degu_priv_put_decimal(&w, range.start);
    degu_priv_put_byte(&w, '-');
    degu_priv_put_decimal(&w, range.stop - 1);
    return degu_priv_commit(dst, &w, 64, DEGU_E_RANGE);
}

DEGU_API degu_err degu_format_content_range(degu_buffer *dst,
                                            degu_content_range range)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    if (range.stop <= range.start || range.stop > range.total ||
        range.total > DEGU_LENGTH_MAX)
        return DEGU_E_RANGE;
    DEGU_PRIV_PUT(&w, "bytes ");
    degu_priv_put_decimal(&w, range.start);
    degu_priv_put_byte(&w, '-');
    degu_priv_put_decimal(&w, range.stop - 1);
    degu_priv_put_byte(&w, '/');
    degu_priv_put_decimal(&w, range.total);
    return degu_priv_commit(dst, &w, 64, DEGU_E_RANGE);
}

DEGU_API degu_err degu_format_target(degu_buffer *dst, degu_str path,
                                     degu_str query)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    degu_str p, q;
    size_t i;
    degu_err err = degu_parse_target(path, &p, &q, &i);
    if (err || q.ptr)
        return err ? err : DEGU_E_TARGET;
    degu_priv_put_str(&w, path);
    if (query.ptr) {
        degu_priv_cursor c = degu_priv_over(query);
        err = degu_priv_take_escaped(&c, DEGU_QUERY);
        if (err || c.at < c.end)
            return err ? err : DEGU_E_TARGET;
        degu_priv_put_byte(&w, '?');
        degu_priv_put_str(&w, query);
    }
    return degu_priv_commit(dst, &w, DEGU_PREAMBLE_MAX, DEGU_E_TARGET_SIZE);
}

/* ---- Field lines ---- */

DEGU_PRIV_INLINE degu_err degu_priv_check_name(degu_str name)
{
    size_t i;
    if (name.len > DEGU_NAME_MAX)
        return DEGU_E_NAME_SIZE;
    for (i = 0; i < name.len; i++)
        if (!degu_priv_in(name.ptr[i], DEGU_TOKEN) ||
            (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z'))
            return DEGU_E_NAME;
    return name.len ? DEGU_OK : DEGU_E_NAME;
}

DEGU_PRIV_INLINE degu_err degu_priv_check_value(degu_str value)
{
    if (value.len == 0)
        return DEGU_OK;
    if (degu_priv_span_value(value.ptr, value.ptr, value.len) < value.len ||
        degu_priv_is_blank(value.ptr[0]) ||
        degu_priv_is_blank(value.ptr[value.len - 1]))
        return DEGU_E_VALUE;
    return DEGU_OK;
}

DEGU_PRIV_INLINE void degu_priv_put_field(degu_priv_writer *w,
                                          const degu_header *header)
{
    degu_priv_put_str(w, header->name);
    DEGU_PRIV_PUT(w, ": ");
    degu_priv_put_str(w, header->value);
    DEGU_PRIV_PUT(w, "\r\n");
}

/* The same after it has been checked; *id is the number of its name, which is
   right if it has one. */
DEGU_PRIV_INLINE degu_err degu_priv_put_checked(degu_priv_writer *w,
                                                const degu_header *header,
                                                unsigned *id)
{
    degu_err err = DEGU_OK;
    *id = degu_priv_name_id(header->name.ptr, header->name.len);
    if (!*id)
        err = degu_priv_check_name(header->name);
    if (!err)
        err = degu_priv_check_value(header->value);
    if (!err)
        degu_priv_put_field(w, header);
    return err;
}

/* Hop-by-hop fields belong to the library; all that a caller may say is
   connection: close. */
DEGU_PRIV degu_err degu_priv_note_hop(degu_priv_head *h, unsigned id,
                                      degu_str value)
{
    h->close = id == DEGU_PRIV_CONNECTION && degu_is(value, "close");
    return h->close ? DEGU_OK : DEGU_E_HOP_FIELD;
}

/* Checks and writes the caller's fields, noting in h what they say. */
DEGU_PRIV degu_err degu_priv_put_fields(degu_priv_writer *w,
                                        degu_priv_head *h,
                                        const degu_header *headers,
                                        size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        const degu_header *f = &headers[i];
        unsigned id;
        degu_err err = degu_priv_put_checked(w, f, &id);
        if (err)
            return err;
        if (id) {
            uint32_t bit = DEGU_PRIV_BIT(id);
            if (h->seen & bit & (~DEGU_PRIV_LISTS | DEGU_PRIV_HIDDEN))
                return DEGU_E_REPEATED;
            h->seen |= bit;
            if (bit & DEGU_PRIV_HIDDEN && id != DEGU_PRIV_EXPECT)
                err = degu_priv_note_hop(h, id, f->value);
            else
                err = degu_priv_note_field(h, id, f->value);
            if (err)
                return err == DEGU_E_LENGTH_AND_CODING ? DEGU_E_FRAMING_FIELD
                                                       : err;
        }
        h->lines++;
    }
    return DEGU_OK;
}

/* A framing field among the caller's must say what the body is. */
DEGU_PRIV degu_err degu_priv_check_frame(const degu_priv_head *h,
                                         const degu_frame *frame)
{
    bool counted = frame->framing == DEGU_LENGTH ||
                   frame->framing == DEGU_NO_BODY;
    if (degu_priv_saw_coding(h) && frame->framing != DEGU_CHUNKED)
        return DEGU_E_FRAMING_FIELD;
    if (degu_priv_saw_length(h) && (!counted || h->length != frame->length))
        return DEGU_E_FRAMING_FIELD;
    return DEGU_OK;
}

/* Adds the fields that the library writes, and the empty line.  frame->close
   tells then whether one says connection: close. */
DEGU_PRIV degu_err degu_priv_end_head(degu_buffer *dst, degu_priv_writer *w,
                                      degu_priv_head *h, degu_frame *frame,
                                      bool tell_zero)
{
    bool counted = frame->framing == DEGU_LENGTH;
    if (counted && frame->length > DEGU_LENGTH_MAX)
        return DEGU_E_LENGTH;
    if (frame->framing == DEGU_NO_BODY)
        counted = tell_zero || frame->length;
    if (frame->framing == DEGU_CHUNKED && !degu_priv_saw_coding(h)) {
        DEGU_PRIV_PUT(w, "transfer-encoding: chunked\r\n");
        h->lines++;
    }
    if (counted && !degu_priv_saw_length(h)) {
        DEGU_PRIV_PUT(w, "content-length: ");
        degu_priv_put_decimal(w, frame->length);
        DEGU_PRIV_PUT(w, "\r\n");
        h->lines++;
    }
    if (frame->close && !h->close) {
        DEGU_PRIV_PUT(w, "connection: close\r\n");
        h->lines++;
    }
    frame->close = frame->close || h->close;
    DEGU_PRIV_PUT(w, "\r\n");
    if (h->lines > DEGU_HEADER_MAX)
        return DEGU_E_HEADER_COUNT;
    return degu_priv_commit(dst, w, DEGU_PREAMBLE_MAX, DEGU_E_PREAMBLE_SIZE);
}

/* A length of zero is no body. */
DEGU_PRIV void degu_priv_settle_frame(degu_frame *frame)
{
    if (frame->framing == DEGU_LENGTH && frame->length == 0)
        frame->framing = DEGU_NO_BODY;
}

/* The heads: with DEGU_NO_BODY frame->length is 0, or that of a body which is
   told of and not there; frame->close comes back as it was written. */
DEGU_PRIV degu_err degu_priv_format_request(degu_buffer *dst,
                                            degu_method method,
                                            degu_str target,
                                            const degu_header *headers,
                                            size_t count,
                                            degu_frame *frame)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    degu_priv_head h;
    degu_str name = degu_method_name(method), path, query;
    size_t i;
    bool has_body, may;
    degu_err err;
    if (!name.ptr)
        return DEGU_E_METHOD;
    degu_priv_settle_frame(frame);
    has_body = frame->framing != DEGU_NO_BODY;
    may = (DEGU_PRIV_CAST(unsigned, method) & DEGU_PRIV_WITH_BODY) != 0;
    err = degu_parse_target(target, &path, &query, &i);
    if (err)
        return err;
    degu_priv_put_str(&w, name);
    degu_priv_put_byte(&w, ' ');
    degu_priv_put_str(&w, target);
    DEGU_PRIV_PUT(&w, " HTTP/1.1\r\n");
    if (w.need > DEGU_PREAMBLE_MAX - 2)
        return DEGU_E_TARGET_SIZE;
    degu_priv_head_init(&h, NULL, NULL);
    err = degu_priv_put_fields(&w, &h, headers, count);
    if (!err && (has_body ? !may : !may && degu_priv_saw_framing(&h)))
        err = has_body ? DEGU_E_BODY_METHOD : DEGU_E_FRAMING_FIELD;
    if (!err && frame->framing == DEGU_UNTIL_CLOSE)
        err = DEGU_E_ARGUMENT;
    if (!err)
        err = degu_priv_check_frame(&h, frame);
    if (!err && degu_priv_saw(&h, DEGU_PRIV_CONTENT_RANGE))
        err = DEGU_E_RANGE_PLACE;
    if (!err && has_body && degu_priv_saw(&h, DEGU_PRIV_RANGE))
        err = DEGU_E_RANGE_BODY;
    if (!err && degu_priv_saw(&h, DEGU_PRIV_EXPECT) && !has_body)
        err = DEGU_E_EXPECT;
    return err ? err : degu_priv_end_head(dst, &w, &h, frame, may);
}

DEGU_API degu_err degu_format_request(degu_buffer *dst, degu_method method,
                                      degu_str target,
                                      const degu_header *headers,
                                      size_t count, degu_frame frame)
{
    if (frame.framing != DEGU_LENGTH)
        frame.length = 0;
    return degu_priv_format_request(dst, method, target, headers, count,
                                    &frame);
}

DEGU_PRIV void degu_priv_put_status_line(degu_priv_writer *w, int status,
                                         degu_str reason)
{
    DEGU_PRIV_PUT(w, "HTTP/1.1 ");
    degu_priv_put_decimal(w, DEGU_PRIV_CAST(uint64_t, status));
    degu_priv_put_byte(w, ' ');
    degu_priv_put_str(w, reason);
    DEGU_PRIV_PUT(w, "\r\n");
}

/* The rules for a response's framing fields and its content: RFC 9110 6.4.1,
   8.6, 15.4.5. */
DEGU_PRIV degu_err degu_priv_check_response(const degu_priv_head *h,
                                            degu_method asked, int status,
                                            const degu_frame *frame)
{
    bool describes = asked == DEGU_HEAD || status == 304;
    bool bare = describes || status < 200 || status == 204;
    if (degu_priv_saw(h, DEGU_PRIV_RANGE))
        return DEGU_E_RANGE_PLACE;
    if (degu_priv_saw(h, DEGU_PRIV_EXPECT))
        return DEGU_E_EXPECT;
    if (bare && frame->framing != DEGU_NO_BODY)
        return DEGU_E_NO_CONTENT;
    if (bare && (degu_priv_saw_framing(h) || frame->length)) {
        bool lone = status >= 200 && status != 204;
        return describes && lone ? DEGU_OK : DEGU_E_FRAMING_FIELD;
    }
    return degu_priv_check_frame(h, frame);
}

DEGU_PRIV degu_err degu_priv_format_response(degu_buffer *dst,
                                             degu_method asked, int status,
                                             degu_str reason,
                                             const degu_header *headers,
                                             size_t count,
                                             degu_frame *frame)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    degu_priv_head h;
    degu_err err;
    bool bare = asked == DEGU_HEAD || status < 200 || status == 204 ||
                status == 304;
    if (status < 100 || status > 599)
        return DEGU_E_STATUS;
    if (degu_priv_span_value(reason.ptr, reason.ptr, reason.len) < reason.len)
        return DEGU_E_REASON;
    degu_priv_settle_frame(frame);
    degu_priv_put_status_line(&w, status, reason);
    degu_priv_head_init(&h, NULL, NULL);
    err = degu_priv_put_fields(&w, &h, headers, count);
    if (!err)
        err = degu_priv_check_response(&h, asked, status, frame);
    if (err)
        return err;
    if (frame->framing == DEGU_UNTIL_CLOSE)
        frame->close = true;
    return degu_priv_end_head(dst, &w, &h, frame, !bare);
}

DEGU_API degu_err degu_format_response(degu_buffer *dst, degu_method asked,
                                       int status, degu_str reason,
                                       const degu_header *headers,
                                       size_t count, degu_frame frame)
{
    if (frame.framing != DEGU_LENGTH)
        frame.length = 0;
    return degu_priv_format_response(dst, asked, status, reason, headers,
                                     count, &frame);
}

DEGU_API degu_err degu_format_trailers(degu_buffer *dst,
                                       const degu_header *headers,
                                       size_t count)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    size_t i;
    if (count > DEGU_HEADER_MAX)
        return DEGU_E_HEADER_COUNT;
    for (i = 0; i < count; i++) {
        unsigned id;
        degu_err err = degu_priv_put_checked(&w, &headers[i], &id);
        if (err)
            return err;
        if (DEGU_PRIV_BIT(id) & DEGU_PRIV_BARRED)
            return DEGU_E_TRAILER;
    }
    DEGU_PRIV_PUT(&w, "\r\n");
    return degu_priv_commit(dst, &w, DEGU_TRAILER_MAX, DEGU_E_TRAILER_SIZE);
}

/* ---- Chunk lines ---- */

DEGU_PRIV degu_err degu_priv_put_quoted(degu_priv_writer *w, degu_str value)
{
    size_t i;
    if (degu_span(value.ptr, value.len, DEGU_VALUE) < value.len)
        return DEGU_E_CHUNK_EXTENSION;
    degu_priv_put_byte(w, '"');
    for (i = 0; i < value.len; i++) {
        if (!degu_priv_in(value.ptr[i], DEGU_QUOTED))
            degu_priv_put_byte(w, '\\');
        degu_priv_put_byte(w, value.ptr[i]);
    }
    degu_priv_put_byte(w, '"');
    return DEGU_OK;
}

DEGU_API degu_err degu_format_chunk_line(degu_buffer *dst, uint64_t size,
                                         const degu_extension *extensions,
                                         size_t count)
{
    degu_priv_writer w = degu_priv_write_to(dst);
    size_t i;
    degu_priv_put_hex(&w, size);
    for (i = 0; i < count; i++) {
        degu_str key = extensions[i].key, value = extensions[i].value;
        degu_err err = DEGU_OK;
        if (key.len == 0 || degu_span(key.ptr, key.len, DEGU_TOKEN) < key.len)
            return DEGU_E_CHUNK_EXTENSION;
        degu_priv_put_byte(&w, ';');
        degu_priv_put_str(&w, key);
        if (!value.ptr)
            continue;
        degu_priv_put_byte(&w, '=');
        if (value.len &&
            degu_span(value.ptr, value.len, DEGU_TOKEN) == value.len)
            degu_priv_put_str(&w, value);
        else
            err = degu_priv_put_quoted(&w, value);
        if (err)
            return err;
    }
    DEGU_PRIV_PUT(&w, "\r\n");
    return degu_priv_commit(dst, &w, DEGU_CHUNK_LINE_MAX,
                            DEGU_E_CHUNK_LINE_SIZE);
}

/* ======================================================================== */
/* 6  Exchange                                                              */
/* ======================================================================== */

/* degu_conn.turn: what comes next */
enum {
    DEGU_PRIV_READY = 0,  /* a new message */
    DEGU_PRIV_ANSWER = 1, /* server: the response */
    DEGU_PRIV_AWAIT = 2   /* client: the response */
};

/* degu_conn.body: where the input body stands */
enum {
    DEGU_PRIV_READ = 0,   /* at its end; or there is none */
    DEGU_PRIV_PLAIN = 1,  /* left bytes follow */
    DEGU_PRIV_STREAM = 2, /* bytes follow until the close */
    DEGU_PRIV_LINE = 3,   /* a chunk line follows */
    DEGU_PRIV_DATA = 4,   /* left bytes of a chunk follow */
    DEGU_PRIV_MARK = 5,   /* the CR LF behind a chunk follows */
    DEGU_PRIV_LOST = 6    /* it cannot be read any more */
};

DEGU_API void degu_conn_init(degu_conn *conn, degu_role role, degu_io io,
                             char *in, size_t in_cap, char *out,
                             size_t out_cap)
{
    degu_priv_zero(conn, sizeof *conn);
    conn->io = io;
    conn->in = in;
    conn->in_cap = in_cap;
    conn->out = out;
    conn->out_cap = out_cap;
    conn->method = DEGU_GET;
    conn->server = role == DEGU_SERVER;
}

DEGU_API void degu_conn_set_io(degu_conn *conn, degu_io io)
{
    conn->io = io;
}

DEGU_API degu_io degu_conn_io(const degu_conn *conn)
{
    return conn->io;
}

/* May be set by another thread at any time; when it is seen does not matter. */
DEGU_PRIV_INLINE bool degu_priv_is_ending(const degu_conn *conn)
{
#if defined(__GNUC__)
    return conn->ending && __atomic_load_n(conn->ending, __ATOMIC_RELAXED);
#else
    return conn->ending && *conn->ending;
#endif
}

DEGU_API bool degu_conn_is_open(const degu_conn *conn)
{
    return !conn->close;
}

DEGU_API bool degu_conn_is_idle(const degu_conn *conn)
{
    return conn->turn == DEGU_PRIV_READY && conn->body == DEGU_PRIV_READ &&
           !conn->sending;
}

DEGU_API bool degu_conn_has_sent(const degu_conn *conn)
{
    return conn->sent;
}

DEGU_API uint64_t degu_conn_bytes_in(const degu_conn *conn)
{
    return conn->in_bytes - (conn->in_end - conn->in_pos);
}

DEGU_API uint64_t degu_conn_bytes_out(const degu_conn *conn)
{
    return conn->out_bytes;
}

DEGU_API int degu_conn_status(const degu_conn *conn)
{
    return conn->status;
}

DEGU_API bool degu_conn_is_answered(const degu_conn *conn)
{
    return conn->sent && (conn->heard || conn->in_pos < conn->in_end);
}

DEGU_API bool degu_conn_has_input(const degu_conn *conn)
{
    return conn->in_pos < conn->in_end;
}

DEGU_API degu_err degu_conn_read_error(const degu_conn *conn)
{
    return conn->failed;
}

DEGU_API size_t degu_conn_error_at(const degu_conn *conn)
{
    return conn->error_at;
}

DEGU_API degu_str degu_conn_error_bytes(const degu_conn *conn)
{
    size_t at = conn->origin + conn->error_at;
    bool received = conn->failed && conn->failed > DEGU_E_CLOSED;
    if (!received || at >= conn->in_end)
        return degu_bytes(NULL, 0);
    return degu_bytes(conn->in + at, DEGU_PRIV_MIN(conn->in_end - at, 32));
}

DEGU_API void degu_conn_close_after(degu_conn *conn)
{
    conn->close = 1;
}

DEGU_API degu_framing degu_body_framing(const degu_conn *conn)
{
    return conn->framing;
}

DEGU_API bool degu_body_is_read(const degu_conn *conn)
{
    return conn->body == DEGU_PRIV_READ;
}

/* ---- Receiving ---- */

/* A framing error is final: no later byte can be trusted. */
DEGU_PRIV degu_err degu_priv_fail(degu_conn *conn, degu_err err, size_t at)
{
    conn->failed = err;
    conn->error_at = at;
    conn->body = DEGU_PRIV_LOST;
    conn->close = 1;
    return err;
}

/* Makes of what a callback of degu_io returned (0 or less) an error. */
DEGU_PRIV degu_err degu_priv_io_error(ptrdiff_t n, degu_err end)
{
    return n == 0 ? end : DEGU_PRIV_CAST(degu_err, n);
}

/* The same where nothing of a message has come: whoever cut the connection
   there has taken nothing away. */
DEGU_PRIV degu_err degu_priv_io_closed(ptrdiff_t n)
{
    return degu_priv_io_error(n == DEGU_E_TRUNCATED ? 0 : n, DEGU_E_CLOSED);
}

DEGU_PRIV ptrdiff_t degu_priv_recv(degu_conn *conn, void *buf, size_t len,
                                   unsigned flags)
{
    ptrdiff_t n;
    if (conn->begin && conn->step == 0)
        flags |= DEGU_IO_BEGIN;
    if (conn->body != DEGU_PRIV_READ)
        flags |= DEGU_IO_BODY;
    conn->begin = 0;
    n = conn->io.recv(conn->io.ctx, buf, len, flags);
    DEGU_ASSERT(n < 0 || DEGU_PRIV_CAST(size_t, n) <= len);
    if (n > 0)
        conn->in_bytes += DEGU_PRIV_CAST(size_t, n);
    return n;
}

/* Receives behind what lies in the buffer already. */
DEGU_PRIV ptrdiff_t degu_priv_recv_more(degu_conn *conn, unsigned flags)
{
    ptrdiff_t n = degu_priv_recv(conn, conn->in + conn->in_end,
                                 conn->in_cap - conn->in_end, flags);
    if (n > 0)
        conn->in_end += DEGU_PRIV_CAST(size_t, n);
    return n;
}

/* The same for a line, of which at bytes have come. */
DEGU_PRIV degu_err degu_priv_recv_line(degu_conn *conn, size_t at)
{
    ptrdiff_t n = degu_priv_recv_more(conn, DEGU_IO_LINE);
    return n > 0 ? DEGU_OK
                 : degu_priv_fail(
                       conn, degu_priv_io_error(n, DEGU_E_TRUNCATED), at);
}

/* Moves the bytes that are not used up to base. */
DEGU_PRIV void degu_priv_compact(degu_conn *conn, size_t base)
{
    size_t len = conn->in_end - conn->in_pos;
    if (conn->in_pos > base)
        degu_priv_move(conn->in + base, conn->in + conn->in_pos, len);
    conn->in_pos = base;
    conn->in_end = base + len;
}

/* Reads until a whole head lies at conn->in, conn->scanned bytes long.
   DEGU_MORE when io would wait. */
DEGU_PRIV degu_err degu_priv_read_head(degu_conn *conn)
{
    degu_err err;
    if (conn->in_pos) {
        degu_priv_compact(conn, 0);
        conn->scanned = 0;
    }
    conn->in_base = conn->origin = conn->trailer = conn->trailer_len = 0;
    for (;;) {
        ptrdiff_t n;
        err = degu_scan_head(conn->in, conn->in_end, &conn->scanned);
        if (err != DEGU_MORE)
            break;
        if (conn->in_end == conn->in_cap) {
            err = degu_priv_head_too_large(conn->in, conn->in_end);
            break;
        }
        n = degu_priv_recv_more(conn, 0);
        if (n == DEGU_E_AGAIN)
            return DEGU_MORE;
        if (n <= 0) {
            err = conn->in_end ? degu_priv_io_error(n, DEGU_E_TRUNCATED)
                               : degu_priv_io_closed(n);
            return degu_priv_fail(conn, err, conn->in_end);
        }
    }
    if (err)
        return degu_priv_fail(conn, err, conn->scanned);
    return DEGU_OK;
}

/* The head at conn->in has been parsed: its body begins. */
DEGU_PRIV void degu_priv_begin_body(degu_conn *conn, degu_framing framing,
                                    uint64_t length)
{
    static const uint8_t start[4] = {DEGU_PRIV_READ, DEGU_PRIV_PLAIN,
                                     DEGU_PRIV_LINE, DEGU_PRIV_STREAM};
    conn->framing = framing;
    conn->left = length;
    conn->body = start[framing];
    conn->touched = 0;
    conn->trailer = 0;
    conn->trailer_len = 0;
}

DEGU_PRIV void degu_priv_use_head(degu_conn *conn)
{
    conn->in_pos = conn->in_base = conn->scanned;
    conn->scanned = 0;
}

DEGU_API degu_err degu_read_request(degu_conn *conn, degu_request *request)
{
    degu_err err;
    degu_priv_reset_request(request);
    request->fields.count = 0;
    if (conn->failed)
        return conn->failed;
    if (!conn->server || conn->turn != DEGU_PRIV_READY || conn->sending)
        return DEGU_E_ORDER;
    if (conn->close)
        return DEGU_E_FINISHED;
    if (conn->body != DEGU_PRIV_READ)
        return DEGU_E_ORDER;
    conn->sent = 0;
    conn->status = 0;
    conn->begin = 1;
    err = degu_priv_read_head(conn);
    request->error_at = conn->error_at;
    if (err)
        return err;
    err = degu_parse_request(conn->in, conn->scanned, request);
    if (err)
        return degu_priv_fail(conn, err, request->error_at);
    degu_priv_use_head(conn);
    degu_priv_begin_body(conn, request->framing, request->content_length);
    conn->method = request->method;
    conn->turn = DEGU_PRIV_ANSWER;
    if (request->close)
        conn->close = 1;
    conn->expect = request->expect_continue && request->framing;
    return DEGU_OK;
}

/* One head of a response; DEGU_MORE if it was an interim one. */
DEGU_PRIV degu_err degu_priv_read_status(degu_conn *conn,
                                         degu_response *response)
{
    degu_err err = degu_priv_read_head(conn);
    response->error_at = conn->error_at;
    if (err == DEGU_MORE)
        return degu_priv_fail(conn, DEGU_E_AGAIN, 0);
    if (err)
        return err;
    err = degu_parse_response(conn->in, conn->scanned, conn->method, response);
    if (!err && response->status == 101)
        err = DEGU_E_INTERIM;
    if (err)
        return degu_priv_fail(conn, err, response->error_at);
    degu_priv_use_head(conn);
    conn->heard = 1;
    return response->status < 200 ? DEGU_MORE : DEGU_OK;
}

DEGU_API degu_err degu_read_response(degu_conn *conn, degu_response *response)
{
    degu_err err = DEGU_MORE;
    int count;
    degu_priv_reset_response(response);
    response->fields.count = 0;
    if (conn->failed)
        return conn->failed;
    if (conn->server || conn->turn != DEGU_PRIV_AWAIT)
        return DEGU_E_ORDER;
    conn->begin = 1;
    for (count = 0; err == DEGU_MORE; count++) {
        if (count > DEGU_INTERIM_MAX)
            return degu_priv_fail(conn, DEGU_E_INTERIM_COUNT, 0);
        err = degu_priv_read_status(conn, response);
    }
    if (err == DEGU_E_CLOSED && count > 1) /* behind an interim response */
        err = degu_priv_fail(conn, DEGU_E_TRUNCATED, 0);
    if (err)
        return err;
    degu_priv_begin_body(conn, response->framing, response->content_length);
    conn->turn = DEGU_PRIV_READY;
    conn->close = conn->close || response->close ||
                  response->framing == DEGU_UNTIL_CLOSE;
    return DEGU_OK;
}

/* ---- Reading a body ---- */

/* RFC 9110 10.1.1: at the first read, once, unless the body is coming anyway
   or the answer is under way. */
DEGU_PRIV degu_err degu_priv_continue(degu_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    degu_str rest = degu_bytes(text, sizeof text - 1);
    if (!conn->expect)
        return DEGU_OK;
    conn->expect = 0;
    if (conn->sent || conn->in_pos < conn->in_end)
        return DEGU_OK;
    while (rest.len) {
        ptrdiff_t n = conn->io.send(conn->io.ctx, &rest, 1, DEGU_IO_BEGIN);
        if (n <= 0) {
            conn->broken = degu_priv_io_error(n, DEGU_E_RESET);
            return degu_priv_fail(conn, conn->broken, 0);
        }
        rest.ptr += n;
        rest.len -= DEGU_PRIV_CAST(size_t, n);
    }
    return DEGU_OK;
}

/* First lines of every function that reads a body. */
DEGU_PRIV degu_err degu_priv_begin_read(degu_conn *conn)
{
    if (conn->body == DEGU_PRIV_READ)
        return DEGU_END;
    if (conn->body == DEGU_PRIV_LOST)
        return conn->failed ? conn->failed : DEGU_E_ORDER;
    conn->begin = 1;
    conn->touched = 1;
    return degu_priv_continue(conn);
}

/* Makes a line lie at in_pos; *len is its length with the LF. */
DEGU_PRIV degu_err degu_priv_read_line(degu_conn *conn, size_t max,
                                       degu_err over, size_t *len)
{
    size_t seen = 0;
    for (;;) {
        size_t have = conn->in_end - conn->in_pos;
        degu_err err;
        conn->origin = conn->in_pos;
        seen += degu_priv_find_lf(conn->in + conn->in_pos + seen, have - seen);
        *len = seen + 1;
        if (seen < have && *len <= max)
            return DEGU_OK;
        if (seen >= max)
            return degu_priv_fail(conn, over, max);
        if (conn->in_end == conn->in_cap) {
            degu_priv_compact(conn, conn->in_base + conn->trailer_len);
            if (conn->in_end == conn->in_cap)
                return degu_priv_fail(conn, over, have);
        }
        err = degu_priv_recv_line(conn, have);
        if (err)
            return err;
    }
}

/* The trailer section up to and including its empty line (RFC 9112 7.1.2).
   It is kept at in_base, so that it can be read later. */
DEGU_PRIV degu_err degu_priv_read_trailer(degu_conn *conn)
{
    size_t len, at;
    degu_err err;
    do {
        char *line;
        err = degu_priv_read_line(conn, DEGU_TRAILER_MAX - conn->trailer_len,
                                  DEGU_E_TRAILER_SIZE, &len);
        conn->origin = conn->in_pos - conn->trailer_len;
        if (err) {
            conn->error_at += conn->trailer_len;
            return err;
        }
        line = conn->in + conn->in_base + conn->trailer_len;
        degu_priv_move(line, conn->in + conn->in_pos, len);
        conn->trailer_len += len;
        conn->in_pos += len;
        if (len == 1 || line[len - 2] != '\r')
            return degu_priv_fail(conn, DEGU_E_LINE_END,
                                  conn->trailer_len - 1);
    } while (len > 2);
    conn->trailer = conn->origin = conn->in_base;
    conn->trailer_len -= 2;
    err = degu_parse_fields(conn->in + conn->trailer, conn->trailer_len, true,
                            NULL, &at);
    if (err)
        return degu_priv_fail(conn, err, at);
    conn->body = DEGU_PRIV_READ;
    return DEGU_OK;
}

/* The CR LF behind a chunk's data. */
DEGU_PRIV degu_err degu_priv_read_mark(degu_conn *conn)
{
    char *mark;
    while (conn->in_end - conn->in_pos < 2) {
        degu_err err;
        if (conn->in_pos < conn->in_end && conn->in[conn->in_pos] != '\r')
            break;
        if (conn->in_cap - conn->in_end < 2) /* the chunk's line had room */
            degu_priv_compact(conn, conn->in_base);
        err = degu_priv_recv_line(conn, 0);
        if (err)
            return err;
    }
    conn->origin = conn->in_pos;
    mark = conn->in + conn->in_pos;
    if (mark[0] != '\r' || mark[1] != '\n')
        return degu_priv_fail(conn, DEGU_E_CHUNK_END, 0);
    conn->in_pos += 2;
    conn->body = DEGU_PRIV_LINE;
    return DEGU_OK;
}

/* The next chunk's line; after the last one its trailers as well.  The line
   stays where it is until the buffer is filled again. */
DEGU_PRIV degu_err degu_priv_read_chunk_line(degu_conn *conn,
                                             degu_chunk *chunk)
{
    size_t len;
    degu_err err;
    if (conn->body == DEGU_PRIV_MARK) {
        err = degu_priv_read_mark(conn);
        if (err)
            return err;
    }
    err = degu_priv_read_line(conn, DEGU_CHUNK_LINE_MAX,
                              DEGU_E_CHUNK_LINE_SIZE, &len);
    if (err)
        return err;
    conn->origin = conn->in_pos;
    err = degu_parse_chunk_line(conn->in + conn->in_pos, len, chunk);
    if (err)
        return degu_priv_fail(conn, err, chunk->error_at);
    conn->in_pos += len;
    conn->left = chunk->size;
    conn->body = DEGU_PRIV_DATA;
    return DEGU_OK;
}

DEGU_API degu_err degu_read_chunk(degu_conn *conn, degu_chunk *chunk)
{
    degu_err err;
    chunk->size = 0;
    chunk->extensions = degu_bytes(NULL, 0);
    chunk->error_at = 0;
    if (conn->framing != DEGU_CHUNKED)
        return DEGU_END;
    if (conn->body == DEGU_PRIV_DATA)
        return DEGU_E_ORDER;
    err = degu_priv_begin_read(conn);
    if (!err)
        err = degu_priv_read_chunk_line(conn, chunk);
    if (err || chunk->size)
        return err;
    /* The last chunk's extensions have to outlive the reading of the trailer:
       they move to the front and count as part of what the head keeps. */
    degu_priv_move(conn->in + conn->in_base, chunk->extensions.ptr,
                   chunk->extensions.len);
    chunk->extensions.ptr = conn->in + conn->in_base;
    conn->in_base += chunk->extensions.len;
    return degu_priv_read_trailer(conn);
}

/* Up to cap bytes of max, from the buffer or straight into buf.  A small
   read fills the buffer, so that a caller who reads bit by bit does not pay a
   system call a bit; never beyond max. */
DEGU_PRIV ptrdiff_t degu_priv_read_bytes(degu_conn *conn, char *buf,
                                         size_t cap, uint64_t max)
{
    size_t have = conn->in_end - conn->in_pos;
    if (cap > max)
        cap = DEGU_PRIV_CAST(size_t, max);
    if (have == 0 && cap < DEGU_COPY_MAX / 4 && cap < max) {
        size_t room;
        ptrdiff_t n;
        conn->in_pos = conn->in_end = conn->in_base;
        room = conn->in_cap - conn->in_base;
        if (room > max)
            room = DEGU_PRIV_CAST(size_t, max);
        if (room > cap) {
            n = degu_priv_recv(conn, conn->in + conn->in_base, room, 0);
            if (n <= 0)
                return n;
            have = DEGU_PRIV_CAST(size_t, n);
            conn->in_end += have;
        }
    }
    if (have == 0)
        return degu_priv_recv(conn, buf, cap, 0);
    have = DEGU_PRIV_MIN(have, cap);
    degu_priv_copy(buf, conn->in + conn->in_pos, have);
    conn->in_pos += have;
    return DEGU_PRIV_CAST(ptrdiff_t, have);
}

/* Bytes of a body with a length, or of the chunk in hand. */
DEGU_PRIV degu_err degu_priv_read_left(degu_conn *conn, char *buf, size_t cap,
                                       size_t *len, uint8_t next)
{
    ptrdiff_t n = degu_priv_read_bytes(conn, buf, cap, conn->left);
    if (n <= 0)
        return degu_priv_fail(conn, degu_priv_io_error(n, DEGU_E_TRUNCATED),
                              0);
    *len = DEGU_PRIV_CAST(size_t, n);
    conn->left -= *len;
    if (conn->left == 0)
        conn->body = next;
    return DEGU_OK;
}

/* Only an end that the way below is sure of ends this body (D7). */
DEGU_PRIV degu_err degu_priv_read_stream(degu_conn *conn, char *buf,
                                         size_t cap, size_t *len)
{
    ptrdiff_t n = degu_priv_read_bytes(conn, buf, cap, UINT64_MAX);
    if (n < 0)
        return degu_priv_fail(conn, degu_priv_io_error(n, DEGU_E_RESET), 0);
    *len = DEGU_PRIV_CAST(size_t, n);
    if (n)
        return DEGU_OK;
    conn->body = DEGU_PRIV_READ;
    return DEGU_END;
}

DEGU_API degu_err degu_read_chunk_data(degu_conn *conn, void *buf, size_t cap,
                                       size_t *len)
{
    degu_err err;
    *len = 0;
    if (conn->framing != DEGU_CHUNKED)
        return DEGU_END;
    if (conn->body == DEGU_PRIV_LINE || conn->body == DEGU_PRIV_MARK)
        return DEGU_END;
    err = degu_priv_begin_read(conn);
    if (err || cap == 0)
        return err;
    return degu_priv_read_left(conn, DEGU_PRIV_CAST(char *, buf), cap, len,
                               DEGU_PRIV_MARK);
}

DEGU_API degu_err degu_read_body(degu_conn *conn, void *buf, size_t cap,
                                 size_t *len)
{
    char *dst = DEGU_PRIV_CAST(char *, buf);
    degu_err err;
    *len = 0;
    err = degu_priv_begin_read(conn);
    if (err || cap == 0)
        return err;
    if (conn->body == DEGU_PRIV_PLAIN)
        return degu_priv_read_left(conn, dst, cap, len, DEGU_PRIV_READ);
    if (conn->body == DEGU_PRIV_STREAM)
        return degu_priv_read_stream(conn, dst, cap, len);
    if (conn->body != DEGU_PRIV_DATA) {
        degu_chunk chunk;
        err = degu_read_chunk(conn, &chunk);
        if (err || chunk.size == 0)
            return err ? err : DEGU_END;
    }
    return degu_priv_read_left(conn, dst, cap, len, DEGU_PRIV_MARK);
}

DEGU_API degu_err degu_read_trailers(degu_conn *conn, degu_fields *fields)
{
    size_t at;
    fields->base = conn->in;
    fields->count = 0;
    if (conn->failed)
        return conn->failed;
    if (conn->body != DEGU_PRIV_READ)
        return DEGU_E_ORDER;
    return degu_parse_fields(conn->in + conn->trailer, conn->trailer_len, true,
                             fields, &at);
}

/* Many reads, and yet one step for each DEGU_STEP_BYTES: a peer that drips must
   not win a whole timeout with each byte. */
DEGU_PRIV void degu_priv_count_step(degu_conn *from, size_t len)
{
    from->step += len + 1; /* an empty chunk counts too */
    if (from->step >= DEGU_STEP_BYTES)
        from->step = 0;
}

/* A part of the body, or a chunk's line; len is what counts of it.  What is
   thrown away goes to where nothing waits to be sent. */
DEGU_PRIV degu_err degu_priv_drain_part(degu_conn *conn, size_t *len)
{
    char byte = 0;
    degu_chunk chunk;
    degu_err err;
    if (conn->framing != DEGU_CHUNKED || conn->body == DEGU_PRIV_DATA) {
        size_t room = DEGU_PRIV_MIN(conn->out_cap - conn->out_len, 128);
        char *scrap = room ? conn->out + conn->out_len : &byte;
        return degu_read_body(conn, scrap, room ? room : 1, len);
    }
    err = degu_read_chunk(conn, &chunk);
    *len = chunk.extensions.len;
    return !err && chunk.size == 0 ? DEGU_END : err;
}

DEGU_API degu_err degu_drain_body(degu_conn *conn, uint64_t max)
{
    degu_err err = DEGU_OK;
    conn->step = 0;
    while (!err) {
        size_t len;
        err = degu_priv_drain_part(conn, &len);
        degu_priv_count_step(conn, len);
        if (!err && len > max)
            err = degu_priv_fail(conn, DEGU_E_BODY_LIMIT, 0);
        if (!err)
            max -= len;
    }
    conn->step = 0;
    return err == DEGU_END ? DEGU_OK : err;
}

DEGU_API degu_err degu_expect_body(degu_conn *conn, degu_framing framing,
                                   uint64_t length)
{
    if (!degu_conn_is_idle(conn))
        return DEGU_E_ORDER;
    if (framing == DEGU_LENGTH && length == 0)
        framing = DEGU_NO_BODY;
    conn->in_base = conn->scanned = 0; /* there is no head to keep */
    degu_priv_begin_body(conn, framing, length);
    return DEGU_OK;
}

/* ---- Sending ---- */

/* Sends the pieces, some of which may be empty, and forgets what waited. */
DEGU_PRIV degu_err degu_priv_send(degu_conn *conn, degu_str *pieces,
                                  size_t count)
{
    size_t i, kept = 0, step = conn->step;
    unsigned flags = step ? 0 : DEGU_IO_BEGIN;
    for (i = 0; i < count; i++)
        if (pieces[i].len)
            pieces[kept++] = pieces[i];
    conn->out_len = 0;
    for (i = 0; i < kept;) {
        ptrdiff_t n =
            conn->io.send(conn->io.ctx, pieces + i, kept - i, flags);
        size_t used = DEGU_PRIV_CAST(size_t, n);
        if (n <= 0) {
            conn->broken = degu_priv_io_error(n, DEGU_E_RESET);
            conn->deaf = 1;
            return conn->broken;
        }
        conn->sent = 1;
        conn->out_bytes += used;
        step += used;
        flags = step >= DEGU_STEP_BYTES ? DEGU_IO_BEGIN : 0;
        step = flags ? 0 : step;
        while (i < kept && used >= pieces[i].len)
            used -= pieces[i++].len;
        if (i < kept) {
            pieces[i].ptr += used;
            pieces[i].len -= used;
        }
    }
    return DEGU_OK;
}

/* Sends what waits and piece behind it, tail being what a chunk ends with:
   in one call, copied together when that is little. */
DEGU_PRIV degu_err degu_priv_send_piece(degu_conn *conn, degu_str piece,
                                        degu_str tail)
{
    degu_str pieces[3];
    size_t room = conn->out_cap - conn->out_len;
    if (conn->out_len && piece.len <= DEGU_COPY_MAX &&
        piece.len + tail.len <= room) {
        char *dst = conn->out + conn->out_len;
        degu_priv_copy(dst, piece.ptr, piece.len);
        degu_priv_copy(dst + piece.len, tail.ptr, tail.len);
        pieces[0] = degu_bytes(conn->out,
                               conn->out_len + piece.len + tail.len);
        return degu_priv_send(conn, pieces, 1);
    }
    pieces[0] = degu_bytes(conn->out, conn->out_len);
    pieces[1] = piece;
    pieces[2] = tail;
    return degu_priv_send(conn, pieces, 3);
}

DEGU_PRIV degu_err degu_priv_flush(degu_conn *conn)
{
    const degu_str none = {NULL, 0};
    return conn->out_len ? degu_priv_send_piece(conn, none, none) : DEGU_OK;
}

DEGU_PRIV degu_err degu_priv_send_bytes(degu_conn *conn,
                                        const degu_body *body, bool raw)
{
    const degu_str none = {NULL, 0};
    (void)raw;
    return degu_priv_send_piece(
        conn,
        degu_bytes(body->source.bytes, DEGU_PRIV_CAST(size_t, body->length)),
        none);
}

DEGU_PRIV degu_err degu_priv_send_pull(degu_conn *conn, const degu_body *body,
                                       bool raw)
{
    const degu_str none = {NULL, 0};
    uint64_t left = body->length;
    (void)raw;
    for (;;) {
        degu_str piece = {NULL, 0};
        degu_err err = body->source.pull(body->ctx, &piece);
        if (err)
            return err;
        if (piece.len > left)
            return DEGU_E_BODY_LONG;
        if (piece.len == 0)
            return left ? DEGU_E_BODY_SHORT : degu_priv_flush(conn);
        left -= piece.len;
        err = degu_priv_send_piece(conn, piece, none);
        if (err)
            return err;
    }
}

/* What push reports, as an error if it sent none of left. */
DEGU_PRIV degu_err degu_priv_push_error(degu_conn *conn, ptrdiff_t n,
                                        uint64_t left)
{
    if (n == 0)
        return DEGU_E_BODY_SHORT;
    if (n > 0)
        return DEGU_PRIV_CAST(uint64_t, n) > left ? DEGU_E_BODY_LONG :
                                                    DEGU_OK;
    conn->broken = degu_priv_io_error(n, DEGU_E_RESET);
    conn->deaf = conn->broken != DEGU_E_SOURCE;
    return conn->broken;
}

/* The head has left, so a failure from here on is a message that is cut. */
DEGU_PRIV degu_err degu_priv_send_push(degu_conn *conn, const degu_body *body,
                                       bool raw)
{
    uint64_t left = body->length;
    size_t step = 0;
    degu_err err = degu_priv_flush(conn);
    (void)raw;
    while (!err && left) {
        ptrdiff_t n =
            body->source.push(body->ctx, left, step ? 0 : DEGU_IO_BEGIN);
        err = degu_priv_push_error(conn, n, left);
        if (err)
            break;
        conn->sent = 1;
        conn->out_bytes += DEGU_PRIV_CAST(uint64_t, n);
        left -= DEGU_PRIV_CAST(uint64_t, n);
        step += DEGU_PRIV_CAST(size_t, n);
        if (step >= DEGU_STEP_BYTES)
            step = 0;
    }
    return err;
}

/* The space behind what waits in the out buffer. */
DEGU_PRIV degu_buffer degu_priv_out(const degu_conn *conn)
{
    degu_buffer b;
    b.ptr = conn->out;
    b.cap = conn->out_cap;
    b.len = conn->out_len;
    return b;
}

/* The line, and behind the last one the trailers, after what waits; this goes
   ahead when there is no room for both. */
DEGU_PRIV degu_err degu_priv_put_chunk_line(degu_conn *conn,
                                            const degu_chunk_out *chunk)
{
    for (;;) {
        degu_buffer b = degu_priv_out(conn);
        degu_err err = degu_format_chunk_line(
            &b, chunk->data.len, chunk->extensions, chunk->count);
        if (!err && chunk->data.len == 0)
            err = degu_format_trailers(&b, chunk->trailers,
                                       chunk->trailer_count);
        if (!err)
            conn->out_len = b.len;
        if (err != DEGU_E_SPACE || conn->out_len == 0)
            return err;
        err = degu_priv_flush(conn);
        if (err)
            return err;
    }
}

DEGU_PRIV degu_err degu_priv_send_chunks(degu_conn *conn,
                                         const degu_body *body, bool raw)
{
    const degu_str crlf = {"\r\n", 2};
    (void)raw;
    for (;;) {
        degu_chunk_out chunk;
        degu_err err;
        degu_priv_zero(&chunk, sizeof chunk);
        err = body->source.next(body->ctx, &chunk);
        if (!err)
            err = degu_priv_put_chunk_line(conn, &chunk);
        if (err)
            return err;
        if (chunk.data.len == 0)
            return degu_priv_flush(conn);
        err = degu_priv_send_piece(conn, chunk.data, crlf);
        if (err)
            return err;
    }
}

/* ---- Relaying: the out buffer is where the bytes pass through ---- */

DEGU_PRIV degu_err degu_priv_relay_bytes(degu_conn *conn, degu_conn *from)
{
    for (;;) {
        size_t len;
        degu_err err =
            degu_read_body(from, conn->out + conn->out_len,
                           conn->out_cap - conn->out_len, &len);
        if (err == DEGU_END)
            return degu_priv_flush(conn);
        if (err)
            return err;
        degu_priv_count_step(from, len);
        conn->out_len += len;
        err = degu_priv_flush(conn);
        if (err)
            return err;
    }
}

/* The data of the chunk whose line waits in the out buffer. */
DEGU_PRIV degu_err degu_priv_relay_data(degu_conn *conn, degu_conn *from)
{
    for (;;) {
        size_t len, room = conn->out_cap - conn->out_len;
        degu_err err;
        if (room <= 2) {
            err = degu_priv_flush(conn);
            if (err)
                return err;
            continue;
        }
        err = degu_read_chunk_data(from, conn->out + conn->out_len, room - 2,
                                   &len);
        if (err)
            return err;
        degu_priv_count_step(from, len);
        conn->out_len += len;
        if (from->body != DEGU_PRIV_DATA) {
            degu_priv_copy(conn->out + conn->out_len, "\r\n", 2);
            conn->out_len += 2;
            return degu_priv_flush(conn);
        }
        err = degu_priv_flush(conn);
        if (err)
            return err;
    }
}

/* A chunk's line as it came in, and the end of the trailers behind the last. */
DEGU_PRIV degu_err degu_priv_relay_line(degu_conn *conn,
                                        const degu_chunk *chunk)
{
    degu_buffer b = degu_priv_out(conn);
    degu_priv_writer w = degu_priv_write_to(&b);
    degu_err err;
    degu_priv_put_hex(&w, chunk->size);
    degu_priv_put_str(&w, chunk->extensions);
    if (chunk->size == 0)
        DEGU_PRIV_PUT(&w, "\r\n");
    DEGU_PRIV_PUT(&w, "\r\n");
    err = degu_priv_commit(&b, &w, SIZE_MAX, DEGU_E_SPACE);
    if (!err)
        conn->out_len = b.len;
    return err;
}

DEGU_PRIV degu_err degu_priv_relay_chunks(degu_conn *conn, degu_conn *from)
{
    for (;;) {
        degu_chunk chunk;
        degu_err err = degu_read_chunk(from, &chunk);
        if (err)
            return err;
        degu_priv_count_step(from, 0);
        err = degu_priv_relay_line(conn, &chunk);
        if (err == DEGU_E_SPACE && conn->out_len) {
            err = degu_priv_flush(conn);
            if (!err)
                err = degu_priv_relay_line(conn, &chunk);
        }
        if (!err && chunk.size)
            err = degu_priv_relay_data(conn, from);
        else if (!err)
            err = degu_priv_flush(conn);
        if (err || chunk.size == 0)
            return err;
    }
}

/* A body without a length becomes chunks as it comes in. */
DEGU_PRIV degu_err degu_priv_relay_stream(degu_conn *conn, degu_conn *from)
{
    const size_t most = 20; /* bytes of a chunk line without extensions */
    for (;;) {
        size_t len, at = conn->out_len + most;
        degu_buffer b = degu_priv_out(conn);
        degu_priv_writer w = degu_priv_write_to(&b);
        degu_err err;
        if (conn->out_cap < at + 3)
            return DEGU_E_SPACE;
        err = degu_read_body(from, conn->out + at, conn->out_cap - at - 2,
                             &len);
        if (err && err != DEGU_END)
            return err;
        degu_priv_count_step(from, len);
        degu_priv_put_hex(&w, len);
        DEGU_PRIV_PUT(&w, "\r\n");
        conn->out_len += w.need;
        degu_priv_move(conn->out + conn->out_len, conn->out + at, len);
        conn->out_len += len;
        degu_priv_copy(conn->out + conn->out_len, "\r\n", 2);
        conn->out_len += 2;
        err = degu_priv_flush(conn);
        if (err || len == 0)
            return err;
    }
}

/* The head of a response does not wait for a body of which nothing has come
   yet: that may take long, and the head is news.  A request's does, as nobody
   would listen to what is answered to it. */
DEGU_PRIV degu_err degu_priv_lead(degu_conn *conn, degu_conn *from)
{
    char byte;
    if (!conn->server || from == conn || conn->out_len == 0 ||
        from->in_pos < from->in_end)
        return DEGU_OK;
    if (from->io.recv(from->io.ctx, &byte, 1, DEGU_IO_PEEK) != DEGU_E_AGAIN)
        return DEGU_OK;
    return degu_priv_flush(conn);
}

DEGU_PRIV degu_err degu_priv_relay(degu_conn *conn, const degu_body *body,
                                   bool raw)
{
    degu_conn *from = body->from;
    degu_err err = degu_priv_lead(conn, from);
    if (err)
        return err;
    from->step = 0;
    if (from->framing == DEGU_CHUNKED)
        err = degu_priv_relay_chunks(conn, from);
    else if (from->framing == DEGU_UNTIL_CLOSE && !raw)
        err = degu_priv_relay_stream(conn, from);
    else
        err = degu_priv_relay_bytes(conn, from);
    from->step = 0;
    return err;
}

/* ---- Bodies ---- */

DEGU_API degu_body degu_no_body(void)
{
    degu_body body;
    degu_priv_zero(&body, sizeof body);
    return body;
}

DEGU_API degu_body degu_body_bytes(const void *ptr, size_t len)
{
    degu_body body = degu_no_body();
    if (len) {
        body.send = degu_priv_send_bytes;
        body.source.bytes = DEGU_PRIV_CAST(const char *, ptr);
        body.length = len;
        body.framing = DEGU_LENGTH;
    }
    return body;
}

DEGU_API degu_body degu_body_pull(degu_err (*pull)(void *ctx, degu_str *piece),
                                  void *ctx, uint64_t length)
{
    degu_body body = degu_no_body();
    body.send = degu_priv_send_pull;
    body.source.pull = pull;
    body.ctx = ctx;
    body.length = length;
    body.framing = DEGU_LENGTH;
    return body;
}

DEGU_API degu_body degu_body_push(ptrdiff_t (*push)(void *ctx, uint64_t left,
                                                    unsigned flags),
                                  void *ctx, uint64_t length)
{
    degu_body body = degu_no_body();
    if (length) {
        body.send = degu_priv_send_push;
        body.source.push = push;
        body.ctx = ctx;
        body.length = length;
        body.framing = DEGU_LENGTH;
    }
    return body;
}

DEGU_API degu_body degu_body_chunks(degu_err (*next)(void *ctx,
                                                     degu_chunk_out *chunk),
                                    void *ctx)
{
    degu_body body = degu_no_body();
    body.send = degu_priv_send_chunks;
    body.source.next = next;
    body.ctx = ctx;
    body.framing = DEGU_CHUNKED;
    return body;
}

DEGU_API degu_body degu_body_relay(degu_conn *from)
{
    degu_body body = degu_no_body();
    if (from->framing != DEGU_NO_BODY) {
        body.send = degu_priv_relay;
        body.from = from;
    }
    return body;
}

/* ---- Sending messages ---- */

/* How the body will be framed; an error if it cannot be sent any more. */
DEGU_PRIV degu_err degu_priv_frame_body(const degu_body *body,
                                        degu_frame *frame)
{
    const degu_conn *from = body->from;
    frame->framing = body->framing;
    frame->length = body->length;
    if (!from)
        return DEGU_OK;
    frame->framing = from->framing;
    frame->length = from->left;
    if (frame->framing == DEGU_UNTIL_CLOSE)
        frame->framing = DEGU_CHUNKED;
    return from->touched || from->body == DEGU_PRIV_READ ? DEGU_E_ORDER
                                                         : DEGU_OK;
}

/* The body, behind the head that waits in the out buffer. */
DEGU_PRIV degu_err degu_priv_send_content(degu_conn *conn,
                                          const degu_body *body, bool raw)
{
    degu_err err;
    conn->sending = 1;
    err = body->send ? body->send(conn, body, raw) : degu_priv_flush(conn);
    conn->sending = 0;
    conn->out_len = 0;
    /* Part of a message has left: the other end must see that it is cut. */
    if (err && conn->sent && !conn->broken)
        conn->broken = err;
    if (err && conn->broken)
        conn->close = 1;
    return err;
}

/* May the body of the message in hand still be left unread?  The answer that
   hands it back reads it. */
DEGU_PRIV bool degu_priv_leaves_body(const degu_conn *conn,
                                     const degu_body *body)
{
    return conn->body != DEGU_PRIV_READ && body->from != conn;
}

/* The request in hand is answered; what is left of its body is not read. */
DEGU_PRIV void degu_priv_end_answer(degu_conn *conn)
{
    conn->turn = DEGU_PRIV_READY;
    conn->expect = 0;
    if (conn->body != DEGU_PRIV_READ)
        conn->body = DEGU_PRIV_LOST;
}

DEGU_PRIV degu_err degu_priv_send_answer(degu_conn *conn, int status,
                                         degu_str reason,
                                         const degu_header *headers,
                                         size_t count, const degu_body *body)
{
    degu_buffer b = degu_priv_out(conn);
    degu_frame frame;
    degu_err err;
    if (!conn->server || conn->turn != DEGU_PRIV_ANSWER || conn->sending)
        return DEGU_E_ORDER;
    if (conn->broken)
        return DEGU_E_FINISHED;
    if (status >= 100 && status < 200)
        return DEGU_E_INTERIM_ANSWER;
    err = degu_priv_frame_body(body, &frame);
    if (err)
        return err;
    frame.close = conn->close || degu_priv_is_ending(conn) ||
                  degu_priv_leaves_body(conn, body);
    err = degu_priv_format_response(&b, conn->method, status, reason, headers,
                                    count, &frame);
    if (err)
        return err;
    conn->out_len = b.len;
    conn->status = DEGU_PRIV_U16(status);
    err = degu_priv_send_content(conn, body, false);
    if (err && !conn->broken)
        return err;
    conn->close = conn->close || frame.close;
    degu_priv_end_answer(conn);
    return err;
}

DEGU_API degu_err degu_send_response(degu_conn *conn, int status,
                                     degu_str reason,
                                     const degu_header *headers, size_t count,
                                     degu_body body)
{
    return degu_priv_send_answer(conn, status, reason, headers, count, &body);
}

/* The answer to HEAD tells of the length and has no more of the body. */
DEGU_API degu_err degu_reply(degu_conn *conn, int status, const char *reason,
                             const char *text)
{
    degu_str content = degu_string(text);
    degu_body body = degu_body_bytes(content.ptr, content.len);
    if (conn->method == DEGU_HEAD) {
        body.send = NULL;
        body.framing = DEGU_NO_BODY;
    }
    return degu_priv_send_answer(conn, status, degu_string(reason), NULL, 0,
                                 &body);
}

/* The reasons of the statuses in DEGU_ERRORS (RFC 9110 15, RFC 6585), each
   behind its number. */
DEGU_PRIV const char *degu_priv_reason(int status)
{
    static const char reasons[] = "400Bad Request\0"
                                  "408Request Timeout\0"
                                  "413Content Too Large\0"
                                  "414URI Too Long\0"
                                  "417Expectation Failed\0"
                                  "431Request Header Fields Too Large\0"
                                  "500Internal Server Error\0"
                                  "501Not Implemented\0"
                                  "503Service Unavailable\0"
                                  "505HTTP Version Not Supported\0";
    const char *r = reasons;
    while (*r && r[0] * 100 + r[1] * 10 + r[2] - '0' * 111 != status)
        r += degu_string(r).len + 1;
    return *r ? r + 3 : r;
}

DEGU_API degu_err degu_send_error(degu_conn *conn, degu_err err)
{
    degu_buffer b = degu_priv_out(conn);
    degu_frame frame = {DEGU_NO_BODY, 0, true};
    int status = degu_err_status(err);
    if (!conn->server || conn->sending)
        return DEGU_E_ORDER;
    conn->close = 1;
    degu_priv_end_answer(conn);
    if (status == 0 || conn->sent || conn->broken)
        return DEGU_OK;
    /* Whatever was asked, a peer must know that nothing follows. */
    err = degu_priv_format_response(&b, DEGU_GET, status,
                                    degu_string(degu_priv_reason(status)),
                                    NULL, 0, &frame);
    if (err)
        return err;
    conn->out_len = b.len;
    conn->status = DEGU_PRIV_U16(status);
    return degu_priv_flush(conn);
}

/* Is there anything that nobody asked for?  It would be taken for the answer
   to the request that is about to be sent. */
DEGU_PRIV degu_err degu_priv_check_silence(degu_conn *conn)
{
    char byte;
    ptrdiff_t n;
    if (conn->in_pos < conn->in_end)
        return degu_priv_fail(conn, DEGU_E_UNASKED, 0);
    n = conn->io.recv(conn->io.ctx, &byte, 1, DEGU_IO_PEEK);
    if (n == DEGU_E_AGAIN)
        return DEGU_OK;
    if (n > 0)
        return degu_priv_fail(conn, DEGU_E_UNASKED, 0);
    return degu_priv_fail(conn, degu_priv_io_closed(n), 0);
}

/* Whose turn is it, and will there be another? */
DEGU_PRIV degu_err degu_priv_check_turn(const degu_conn *conn)
{
    if (conn->failed)
        return conn->failed;
    if (conn->server || !degu_conn_is_idle(conn))
        return DEGU_E_ORDER;
    return conn->close ? DEGU_E_FINISHED : DEGU_OK;
}

DEGU_API degu_err degu_conn_check(degu_conn *conn)
{
    degu_err err = degu_priv_check_turn(conn);
    return err ? err : degu_priv_check_silence(conn);
}

DEGU_API degu_err degu_send_request(degu_conn *conn, degu_method method,
                                    degu_str target,
                                    const degu_header *headers, size_t count,
                                    degu_body body)
{
    degu_buffer b = degu_priv_out(conn);
    degu_frame frame;
    degu_err err = degu_priv_check_turn(conn);
    if (err)
        return err;
    conn->sent = conn->heard = 0;
    err = degu_priv_frame_body(&body, &frame);
    frame.close = false;
    if (!err)
        err = degu_priv_format_request(&b, method, target, headers, count,
                                       &frame);
    if (!err)
        err = degu_priv_check_silence(conn);
    if (err)
        return err;
    conn->out_len = b.len;
    err = degu_priv_send_content(conn, &body, false);
    if (err && !conn->broken)
        return err;
    conn->method = method;
    conn->close = conn->close || frame.close;
    /* Who listens no longer may have answered already (RFC 9112 9.5). */
    if (!err || (err == DEGU_E_RESET && conn->deaf))
        conn->turn = DEGU_PRIV_AWAIT;
    return err;
}

DEGU_API degu_err degu_send_body(degu_conn *conn, degu_body body,
                                 uint64_t *sent)
{
    uint64_t before = conn->out_bytes;
    degu_frame frame;
    degu_err err;
    *sent = 0;
    if (conn->sending || conn->turn != DEGU_PRIV_READY)
        return DEGU_E_ORDER;
    if (conn->broken)
        return DEGU_E_FINISHED;
    conn->sent = 0;
    err = degu_priv_frame_body(&body, &frame);
    if (!err)
        err = degu_priv_send_content(conn, &body, true);
    *sent = conn->out_bytes - before;
    return err;
}
#ifndef DEGU_NO_SOCKETS
/* ======================================================================== */
/* 7  Sockets                                                               */
/* ======================================================================== */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#if defined(__linux__)
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#endif
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(CLOCK_MONOTONIC)
#error "degu.h: put DEGU_IMPLEMENTATION and degu.h in front of other includes"
#endif

#ifdef MSG_NOSIGNAL
#define DEGU_PRIV_NOSIGNAL MSG_NOSIGNAL
#else
#define DEGU_PRIV_NOSIGNAL 0 /* SO_NOSIGPIPE does it */
#endif

/* ---- Time ---- */

#define DEGU_PRIV_NEVER INT64_MAX
#define DEGU_PRIV_JUST_NOW_NS 2000
#define DEGU_PRIV_SEND_MS 100     /* that send() itself waits, */
#define DEGU_PRIV_SEND_MUCH 16384 /* with so many bytes or more */

DEGU_PRIV int64_t degu_priv_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return DEGU_PRIV_CAST(int64_t, now.tv_sec) * 1000000000 + now.tv_nsec;
}

DEGU_API degu_time degu_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return DEGU_PRIV_CAST(degu_time, now.tv_sec) * 1000 +
           now.tv_nsec / 1000000;
}

DEGU_PRIV degu_time degu_priv_after(degu_time now, int timeout_ms)
{
    return timeout_ms < 0 ? DEGU_PRIV_NEVER : now + timeout_ms;
}

/* For poll(2): what is left until then, -1 for no bound. */
DEGU_PRIV int degu_priv_remaining(degu_time now, degu_time then)
{
    if (then == DEGU_PRIV_NEVER)
        return -1;
    if (then <= now)
        return 0;
    return DEGU_PRIV_CAST(int, DEGU_PRIV_MIN(then - now, 3600000));
}

/* ---- Spinning ---- */

/* One time that it is tried. */
typedef struct degu_priv_spell {
    int64_t now; /* of the last look, in ns */
    int64_t end;
    int64_t shortest; /* time from one look to the next */
    uint32_t looks;
    bool paid;
} degu_priv_spell;

/* Shall it be tried this time, until then?  Each miss in a row doubles how
   often it is not, up to a thousand times: then the other end has no core of
   its own, or takes its time. */
DEGU_PRIV bool degu_priv_begin_spell(degu_priv_spell *spell,
                                     degu_priv_spin *spin, uint32_t us,
                                     degu_time then)
{
    if (us == 0)
        return false;
    if (spin->rest) {
        spin->rest--;
        return false;
    }
    degu_priv_zero(spell, sizeof *spell);
    spell->now = degu_priv_nanoseconds();
    spell->end = spell->now + DEGU_PRIV_CAST(int64_t, us) * 1000;
    if (then != DEGU_PRIV_NEVER)
        spell->end = DEGU_PRIV_MIN(spell->end, then * 1000000);
    return true;
}

/* Look again?  What is found after a gap has come because others had this core
   meanwhile: to sleep would have been better. */
DEGU_PRIV bool degu_priv_look_again(degu_priv_spell *spell, int found)
{
    const int64_t before = spell->now;
    int64_t took;

    spell->now = degu_priv_nanoseconds();
    took = spell->now - before;
    if (spell->looks++ == 0)
        spell->shortest = took;
    spell->paid = found > 0 && took <= spell->shortest * 4;
    spell->shortest = DEGU_PRIV_MIN(took, spell->shortest);
    return found == 0 && spell->now < spell->end;
}

/* What was there at the first look says nothing. */
DEGU_PRIV void degu_priv_end_spell(const degu_priv_spell *spell,
                                   degu_priv_spin *spin)
{
    if (spell->paid && spell->looks > 1)
        spin->misses = 0;
    if (spell->paid)
        return;
    if (spin->misses < 10)
        spin->misses++;
    spin->rest = DEGU_PRIV_CAST(uint16_t, (1u << spin->misses) - 1);
}

/* ---- Addresses ---- */

typedef union degu_priv_sockaddr {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
} degu_priv_sockaddr;

#define DEGU_PRIV_PATH_AT offsetof(struct sockaddr_un, sun_path)
#define DEGU_PRIV_PATH_MAX (sizeof(struct sockaddr_un) - DEGU_PRIV_PATH_AT)
#define DEGU_PRIV_FLOWINFO_MAX 0xfffff /* RFC 6437: a label of 20 bits */

/* A path needs no NUL in the kernel's form; an abstract name is told from one
   by the NUL in front and ends where the length says. */
DEGU_PRIV socklen_t degu_priv_local_sockaddr(const degu_address *address,
                                             struct sockaddr_un *local)
{
    size_t len = address->name_len;

    local->sun_family = AF_UNIX;
    if (address->family == DEGU_UNIX) {
        if (len == 0 || len > sizeof local->sun_path)
            return 0;
        degu_priv_copy(local->sun_path, address->name, len);
        return DEGU_PRIV_CAST(socklen_t, DEGU_PRIV_PATH_AT + len);
    }
#ifdef __linux__
    if (len >= sizeof local->sun_path)
        return 0;
    if (len == 0) /* the kernel chooses (unix(7): autobind) */
        return DEGU_PRIV_CAST(socklen_t, DEGU_PRIV_PATH_AT);
    degu_priv_copy(local->sun_path + 1, address->name, len);
    return DEGU_PRIV_CAST(socklen_t, DEGU_PRIV_PATH_AT + 1 + len);
#else
    return 0;
#endif
}

/* The kernel's form and its length; 0 for what is no address here. */
DEGU_PRIV socklen_t degu_priv_to_sockaddr(const degu_address *address,
                                          degu_priv_sockaddr *sa)
{
    degu_priv_zero(sa, sizeof *sa);
    if (address->family == DEGU_IPV4) {
        sa->ipv4.sin_family = AF_INET;
        sa->ipv4.sin_port = htons(address->port);
        degu_priv_copy(&sa->ipv4.sin_addr, address->ip, 4);
        return sizeof sa->ipv4;
    }
    if (address->family == DEGU_IPV6) {
        sa->ipv6.sin6_family = AF_INET6;
        sa->ipv6.sin6_port = htons(address->port);
        sa->ipv6.sin6_flowinfo = htonl(address->flowinfo);
        sa->ipv6.sin6_scope_id = address->scope_id;
        degu_priv_copy(&sa->ipv6.sin6_addr, address->ip, 16);
        return sizeof sa->ipv6;
    }
    if (address->family == DEGU_UNIX || address->family == DEGU_ABSTRACT)
        return degu_priv_local_sockaddr(address, &sa->local);
    return 0;
}

DEGU_PRIV void degu_priv_from_local(const struct sockaddr_un *local,
                                    size_t len, degu_address *address)
{
    const char *name = local->sun_path;
    size_t n = 0;

    if (len <= DEGU_PRIV_PATH_AT)
        return; /* unnamed */
    len = DEGU_PRIV_MIN(len - DEGU_PRIV_PATH_AT, sizeof local->sun_path);
    if (name[0] == '\0') {
#ifdef __linux__
        address->family = DEGU_ABSTRACT;
        address->name_len = DEGU_PRIV_CAST(uint8_t, len - 1);
        degu_priv_copy(address->name, name + 1, len - 1);
#endif
        return; /* elsewhere a NUL in front means that there is no name */
    }
    while (n < len && name[n] != '\0')
        n++;
    address->family = DEGU_UNIX;
    address->name_len = DEGU_PRIV_CAST(uint8_t, n);
    degu_priv_copy(address->name, name, n);
}

DEGU_PRIV void degu_priv_from_sockaddr(const degu_priv_sockaddr *sa,
                                       socklen_t len, degu_address *address)
{
    degu_priv_zero(address, sizeof *address);
    if (len == 0)
        return;
    if (sa->any.sa_family == AF_INET) {
        address->family = DEGU_IPV4;
        address->port = ntohs(sa->ipv4.sin_port);
        degu_priv_copy(address->ip, &sa->ipv4.sin_addr, 4);
    } else if (sa->any.sa_family == AF_INET6) {
        address->family = DEGU_IPV6;
        address->port = ntohs(sa->ipv6.sin6_port);
        address->flowinfo = ntohl(sa->ipv6.sin6_flowinfo);
        address->scope_id = sa->ipv6.sin6_scope_id;
        degu_priv_copy(address->ip, &sa->ipv6.sin6_addr, 16);
    } else if (sa->any.sa_family == AF_UNIX) {
        degu_priv_from_local(&sa->local, len, address);
    }
}

/* Takes what stands in front of the next stop off text; false without one. */
DEGU_PRIV bool degu_priv_take_until(degu_str *text, char stop, degu_str *front)
{
    size_t i = 0;

    while (i < text->len && text->ptr[i] != stop)
        i++;
    if (i == text->len)
        return false;
    *front = degu_bytes(text->ptr, i);
    *text = degu_bytes(text->ptr + i + 1, text->len - i - 1);
    return true;
}

DEGU_PRIV bool degu_priv_parse_number(degu_str text, uint64_t max,
                                      uint64_t *number)
{
    return degu_parse_length(text, number) == DEGU_OK && *number <= max;
}

DEGU_PRIV bool degu_priv_parse_port(degu_str text, degu_address *address)
{
    uint64_t port;

    if (!degu_priv_parse_number(text, UINT16_MAX, &port))
        return false;
    address->port = DEGU_PRIV_CAST(uint16_t, port);
    return true;
}

DEGU_PRIV bool degu_priv_parse_ip(degu_str text, int family,
                                  degu_address *address)
{
    char literal[INET6_ADDRSTRLEN];

    if (text.len >= sizeof literal)
        return false;
    degu_priv_copy(literal, text.ptr, text.len);
    literal[text.len] = '\0';
    return inet_pton(family, literal, address->ip) == 1;
}

DEGU_PRIV bool degu_priv_parse_ipv4(degu_str text, degu_address *address)
{
    degu_str ip;

    address->family = DEGU_IPV4;
    return degu_priv_take_until(&text, ':', &ip) &&
           degu_priv_parse_ip(ip, AF_INET, address) &&
           degu_priv_parse_port(text, address);
}

/* A number, or the name of an interface. */
DEGU_PRIV bool degu_priv_parse_scope(degu_str text, degu_address *address)
{
    char name[IF_NAMESIZE];
    uint64_t number;

    if (degu_priv_parse_number(text, UINT32_MAX, &number)) {
        address->scope_id = DEGU_PRIV_CAST(uint32_t, number);
        return true;
    }
    if (text.len == 0 || text.len >= sizeof name)
        return false;
    degu_priv_copy(name, text.ptr, text.len);
    name[text.len] = '\0';
    address->scope_id = if_nametoindex(name);
    return address->scope_id != 0;
}

/* What stands behind the opening bracket. */
DEGU_PRIV bool degu_priv_parse_ipv6(degu_str text, degu_address *address)
{
    static const char flowinfo[] = "flowinfo=";
    const size_t n = sizeof flowinfo - 1;
    degu_str ip, scope, port;
    uint64_t number;

    address->family = DEGU_IPV6;
    if (!degu_priv_take_until(&text, ']', &scope))
        return false;
    if (!degu_priv_take_until(&scope, '%', &ip))
        ip = scope;
    else if (!degu_priv_parse_scope(scope, address))
        return false;
    if (!degu_priv_parse_ip(ip, AF_INET6, address))
        return false;
    if (text.len == 0 || text.ptr[0] != ':')
        return false;
    text = degu_bytes(text.ptr + 1, text.len - 1);
    if (!degu_priv_take_until(&text, ';', &port))
        return degu_priv_parse_port(text, address);
    if (text.len < n || !degu_is(degu_bytes(text.ptr, n), flowinfo) ||
        !degu_priv_parse_number(degu_bytes(text.ptr + n, text.len - n),
                                DEGU_PRIV_FLOWINFO_MAX, &number))
        return false;
    address->flowinfo = DEGU_PRIV_CAST(uint32_t, number);
    return degu_priv_parse_port(port, address);
}

DEGU_PRIV bool degu_priv_parse_local(degu_str text, degu_address *address)
{
    if (text.len > DEGU_PRIV_MIN(DEGU_PRIV_PATH_MAX, sizeof address->name))
        return false;
    address->family = DEGU_UNIX;
    address->name_len = DEGU_PRIV_CAST(uint8_t, text.len);
    degu_priv_copy(address->name, text.ptr, text.len);
    return true;
}

DEGU_PRIV unsigned degu_priv_hex_value(unsigned char digit)
{
    return digit <= '9' ? digit - 48u : (digit | 32u) - 87u;
}

/* One byte of an abstract name: itself, or %XX. */
DEGU_PRIV bool degu_priv_next_byte(degu_str *text, uint8_t *byte)
{
    unsigned char a, b;

    a = DEGU_PRIV_CAST(unsigned char, text->ptr[0]);
    if (a <= ' ' || a > '~')
        return false;
    *byte = a;
    *text = degu_bytes(text->ptr + 1, text->len - 1);
    if (a != '%')
        return true;
    if (text->len < 2 || degu_span(text->ptr, 2, DEGU_HEX) != 2)
        return false;
    a = DEGU_PRIV_CAST(unsigned char, text->ptr[0]);
    b = DEGU_PRIV_CAST(unsigned char, text->ptr[1]);
    *byte = DEGU_PRIV_CAST(uint8_t, degu_priv_hex_value(a) << 4 |
                                        degu_priv_hex_value(b));
    *text = degu_bytes(text->ptr + 2, text->len - 2);
    return true;
}

/* What stands behind the @. */
DEGU_PRIV bool degu_priv_parse_abstract(degu_str text, degu_address *address)
{
    size_t n = 0;

#ifndef __linux__
    return false;
#endif
    address->family = DEGU_ABSTRACT;
    for (; text.len > 0; n++) {
        if (n == DEGU_PRIV_PATH_MAX - 1)
            return false;
        if (!degu_priv_next_byte(&text, &address->name[n]))
            return false;
    }
    address->name_len = DEGU_PRIV_CAST(uint8_t, n);
    return true;
}

DEGU_API degu_err degu_parse_address(const char *text, degu_address *address)
{
    degu_str whole = degu_string(text), rest;
    bool good;

    degu_priv_zero(address, sizeof *address);
    if (whole.len == 0)
        return DEGU_E_ADDRESS;
    rest = degu_bytes(whole.ptr + 1, whole.len - 1);
    if (whole.ptr[0] == '/')
        good = degu_priv_parse_local(whole, address);
    else if (whole.ptr[0] == '@')
        good = degu_priv_parse_abstract(rest, address);
    else if (whole.ptr[0] == '[')
        good = degu_priv_parse_ipv6(rest, address);
    else
        good = degu_priv_parse_ipv4(whole, address);
    return good ? DEGU_OK : DEGU_E_ADDRESS;
}

/* DEGU_ADDRESS_TEXT holds the longest text, so nothing here can be cut. */
DEGU_PRIV void degu_priv_add_text(degu_buffer *dst, const char *text)
{
    degu_str str = degu_string(text);

    if (str.len >= dst->cap - dst->len)
        return;
    degu_priv_copy(dst->ptr + dst->len, str.ptr, str.len);
    dst->len += str.len;
}

DEGU_PRIV void degu_priv_add_number(degu_buffer *dst, const char *before,
                                    uint32_t number)
{
    degu_err err;

    degu_priv_add_text(dst, before);
    err = degu_format_length(dst, number);
    DEGU_ASSERT(!err);
    (void)err;
}

DEGU_PRIV void degu_priv_add_abstract(degu_buffer *dst,
                                      const degu_address *address)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t i, n = DEGU_PRIV_MIN(address->name_len, sizeof address->name);

    dst->ptr[dst->len++] = '@';
    for (i = 0; i < n; i++) {
        const unsigned byte = address->name[i];
        if (byte > ' ' && byte <= '~' && byte != '%') {
            dst->ptr[dst->len++] = DEGU_PRIV_CAST(char, byte);
            continue;
        }
        dst->ptr[dst->len++] = '%';
        dst->ptr[dst->len++] = digits[byte >> 4];
        dst->ptr[dst->len++] = digits[byte & 15];
    }
}

DEGU_PRIV void degu_priv_add_ip(degu_buffer *dst, const degu_address *address)
{
    char literal[INET6_ADDRSTRLEN];
    const int family = address->family == DEGU_IPV4 ? AF_INET : AF_INET6;

    if (inet_ntop(family, address->ip, literal, sizeof literal))
        degu_priv_add_text(dst, literal);
}

DEGU_API const char *degu_format_address(const degu_address *address,
                                         char *text)
{
    degu_buffer dst;

    dst.ptr = text;
    dst.cap = DEGU_ADDRESS_TEXT;
    dst.len = 0;
    if (address->family == DEGU_IPV4) {
        degu_priv_add_ip(&dst, address);
        degu_priv_add_number(&dst, ":", address->port);
    } else if (address->family == DEGU_IPV6) {
        degu_priv_add_text(&dst, "[");
        degu_priv_add_ip(&dst, address);
        if (address->scope_id)
            degu_priv_add_number(&dst, "%", address->scope_id);
        degu_priv_add_number(&dst, "]:", address->port);
        if (address->flowinfo)
            degu_priv_add_number(&dst, ";flowinfo=", address->flowinfo);
    } else if (address->family == DEGU_UNIX) {
        dst.len = DEGU_PRIV_MIN(address->name_len, sizeof address->name);
        degu_priv_copy(text, address->name, dst.len);
    } else if (address->family == DEGU_ABSTRACT) {
        degu_priv_add_abstract(&dst, address);
    }
    text[dst.len] = '\0';
    return text;
}

DEGU_API const char *degu_format_host(const degu_address *address,
                                      uint16_t default_port, char *text)
{
    const bool ipv6 = address->family == DEGU_IPV6;
    degu_buffer dst;

    dst.ptr = text;
    dst.cap = DEGU_ADDRESS_TEXT;
    dst.len = 0;
    if (ipv6 || address->family == DEGU_IPV4) {
        degu_priv_add_text(&dst, ipv6 ? "[" : "");
        degu_priv_add_ip(&dst, address);
        degu_priv_add_text(&dst, ipv6 ? "]" : "");
        if (address->port != default_port)
            degu_priv_add_number(&dst, ":", address->port);
    } else {
        degu_priv_add_text(&dst, "localhost");
    }
    text[dst.len] = '\0';
    return text;
}

DEGU_API degu_err degu_local_address(int fd, degu_address *address)
{
    degu_priv_sockaddr sa;
    socklen_t len = sizeof sa;

    degu_priv_zero(&sa, sizeof sa);
    degu_priv_zero(address, sizeof *address);
    if (getsockname(fd, &sa.any, &len))
        return DEGU_E_SYSTEM;
    degu_priv_from_sockaddr(&sa, len, address);
    return DEGU_OK;
}

DEGU_API degu_err degu_peer_address(int fd, degu_address *address)
{
    degu_priv_sockaddr sa;
    socklen_t len = sizeof sa;

    degu_priv_zero(&sa, sizeof sa);
    degu_priv_zero(address, sizeof *address);
    if (getpeername(fd, &sa.any, &len))
        return DEGU_E_SYSTEM;
    degu_priv_from_sockaddr(&sa, len, address);
    return DEGU_OK;
}

#ifdef SO_PEERCRED
/* struct ucred, which <sys/socket.h> shows to _GNU_SOURCE only. */
typedef struct degu_priv_ucred {
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
} degu_priv_ucred;
#endif

DEGU_API degu_err degu_peer_credentials(int fd, degu_credentials *who)
{
    degu_priv_sockaddr sa;
    socklen_t len = sizeof sa;

    who->pid = who->uid = who->gid = -1;
    degu_priv_zero(&sa, sizeof sa);
    if (getpeername(fd, &sa.any, &len))
        return DEGU_E_SYSTEM;
    if (sa.any.sa_family != AF_UNIX) {
        errno = EOPNOTSUPP;
        return DEGU_E_SYSTEM;
    }
#if defined(SO_PEERCRED) && defined(__linux__)
    {
        degu_priv_ucred peer;
        socklen_t size = sizeof peer;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
            return DEGU_E_SYSTEM;
        who->pid = peer.pid;
        who->uid = peer.uid;
        who->gid = peer.gid;
        return DEGU_OK;
    }
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) ||    \
    defined(__OpenBSD__) || defined(__DragonFly__)
    {
        uid_t uid;
        gid_t gid;
        if (getpeereid(fd, &uid, &gid))
            return DEGU_E_SYSTEM;
        who->uid = uid;
        who->gid = gid;
        return DEGU_OK;
    }
#else
    errno = EOPNOTSUPP;
    return DEGU_E_SYSTEM;
#endif
}

/* ---- A connected socket ---- */

DEGU_PRIV bool degu_priv_would_block(int number)
{
#if EAGAIN != EWOULDBLOCK
    if (number == EWOULDBLOCK)
        return true;
#endif
    return number == EAGAIN;
}

/* Keeps what a system call left in errno, and says what it means. */
DEGU_PRIV degu_err degu_priv_broke(degu_socket *sock)
{
    sock->sys_errno = errno;
    if (errno == ECONNRESET || errno == EPIPE || errno == ECONNABORTED)
        return DEGU_E_RESET;
    if (errno == ETIMEDOUT)
        return DEGU_E_TIMEOUT;
    return DEGU_E_SYSTEM;
}

DEGU_PRIV int degu_priv_close_on_exec(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

DEGU_PRIV int degu_priv_set_blocking(int fd, bool blocking)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -1;
    return fcntl(fd, F_SETFL,
                 blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/* How long recv() waits by itself, or send(); -1: for ever. */
DEGU_PRIV bool degu_priv_limit(int fd, int which, int timeout_ms)
{
    const int ms = timeout_ms == 0 ? 1 : timeout_ms;
    struct timeval limit;

    degu_priv_zero(&limit, sizeof limit);
    if (ms > 0) {
        limit.tv_sec = ms / 1000;
        limit.tv_usec = ms % 1000;
        limit.tv_usec *= 1000;
    }
    return !setsockopt(fd, SOL_SOCKET, which, &limit, sizeof limit);
}

/* What the kernel shall do by itself: wait no longer than a step may last,
   send small pieces at once, raise no signal.  ours: nobody else sends on it
   and would be surprised that send() waits but briefly. */
DEGU_PRIV degu_err degu_priv_adopt(degu_socket *sock, int fd, int timeout_ms,
                                   bool ours)
{
    const int one = 1;

    degu_priv_zero(sock, sizeof *sock);
    sock->fd = fd;
    sock->timeout_ms = timeout_ms;
    sock->min_rate = DEGU_MIN_RATE;
    if (!degu_priv_limit(fd, SO_RCVTIMEO, timeout_ms))
        return degu_priv_broke(sock);
    /* AF_UNIX has no such option, and no need of it. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) && ours)
        sock->local = degu_priv_limit(fd, SO_SNDTIMEO, DEGU_PRIV_SEND_MS);
#ifdef SO_NOSIGPIPE
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
    return DEGU_OK;
}

DEGU_API degu_err degu_socket_init(degu_socket *sock, int fd, int timeout_ms)
{
    degu_err err = degu_priv_adopt(sock, fd, timeout_ms, false);

    if (!err && degu_priv_close_on_exec(fd))
        err = degu_priv_broke(sock);
    return err ? DEGU_E_SYSTEM : DEGU_OK;
}

DEGU_API degu_io degu_socket_io(degu_socket *sock)
{
    degu_io io;

    io.ctx = sock;
    io.recv = degu_socket_recv;
    io.send = degu_socket_send;
    return io;
}

DEGU_API void degu_socket_close(degu_socket *sock)
{
    if (sock->fd >= 0)
        close(sock->fd);
    sock->fd = -1;
}

/* A step begins: what is left of the timeout, behind is taken away. */
DEGU_PRIV void degu_priv_begin_step(degu_socket *sock, int64_t ns)
{
    sock->deadline = DEGU_PRIV_NEVER;
    if (sock->timeout_ms >= 0)
        sock->deadline = (ns - sock->behind) / 1000000 + sock->timeout_ms;
}

DEGU_PRIV void degu_priv_note_wait(degu_socket *sock, int64_t ns)
{
    if (sock->min_rate)
        sock->behind += ns;
}

DEGU_API void degu_socket_moved(degu_socket *sock, size_t len)
{
    const int64_t most = 1000000000; /* bytes, or the product is too large */
    int64_t gained;

    if (sock->min_rate == 0)
        return;
    sock->deadline = 0;
    if (sock->behind == 0)
        return;
    gained = DEGU_PRIV_CAST(int64_t, len);
    gained = DEGU_PRIV_MIN(gained, most) * 1000000000 / sock->min_rate;
    sock->behind -= DEGU_PRIV_MIN(gained, sock->behind);
}

/* Bytes that were sent and that the other end has not taken; 0: unknown. */
DEGU_PRIV int degu_priv_queued(const degu_socket *sock)
{
    int n = 0;

#if defined(__linux__)
    if (ioctl(sock->fd, TIOCOUTQ, &n))
        n = 0;
#else
    (void)sock;
#endif
    return n;
}

/* A socket counts as writable only when a good part of its room is free, which
   an honest reader may need more than a timeout for.  So who has taken
   something in that time begins a new step. */
DEGU_PRIV bool degu_priv_has_taken(degu_socket *sock, int *queued,
                                   int64_t *since)
{
    const int taken = *queued - degu_priv_queued(sock);
    const int64_t now = degu_priv_nanoseconds();

    if (taken <= 0)
        return false;
    degu_priv_note_wait(sock, now - *since);
    degu_socket_moved(sock, DEGU_PRIV_CAST(size_t, taken));
    degu_priv_begin_step(sock, now);
    *queued -= taken;
    *since = now;
    return true;
}

/* Waits for the rest of the step in hand.  DEGU_OK: something happened. */
DEGU_PRIV degu_err degu_priv_await(degu_socket *sock, short events)
{
    int64_t since = degu_priv_nanoseconds();
    int queued = events == POLLOUT ? degu_priv_queued(sock) : 0;
    struct pollfd item;
    int n;

    if (sock->deadline == 0)
        degu_priv_begin_step(sock, since);
    item.fd = sock->fd;
    item.events = events;
    do {
        const degu_time now =
            sock->deadline == DEGU_PRIV_NEVER ? 0 : degu_now();
        item.revents = 0;
        n = poll(&item, 1, degu_priv_remaining(now, sock->deadline));
        if (n < 0 && errno != EINTR)
            return degu_priv_broke(sock);
        if (n < 0 && sock->signals)
            return DEGU_E_INTERRUPTED;
        /* Asked first: what is there already is in time. */
        if (n <= 0 && now >= sock->deadline &&
            !degu_priv_has_taken(sock, &queued, &since))
            return DEGU_E_TIMEOUT;
    } while (n <= 0);
    degu_priv_note_wait(sock, degu_priv_nanoseconds() - since);
    return DEGU_OK;
}

/* Looks for input before waiting.  1: there is some; 0: in vain; -1: it was not
   tried. */
DEGU_PRIV int degu_priv_look(degu_socket *sock, unsigned flags)
{
    const uint32_t us = DEGU_PRIV_MIN(sock->spin_us, DEGU_SPIN_MAX_US);
    degu_priv_spell spell;
    struct pollfd item;
    int64_t since;
    int n;

    if (!degu_priv_begin_spell(&spell, &sock->spin, us, sock->deadline))
        return -1;
    since = spell.now;
    item.fd = sock->fd;
    item.events = POLLIN;
    do {
        item.revents = 0;
        n = poll(&item, 1, 0);
    } while (degu_priv_look_again(&spell, n));
    degu_priv_end_spell(&spell, &sock->spin);
    if (flags & DEGU_IO_BODY)
        degu_priv_note_wait(sock, spell.now - since);
    return n > 0 ? 1 : 0;
}

DEGU_API degu_err degu_socket_wait(degu_socket *sock, bool output,
                                   unsigned flags)
{
    if (flags & DEGU_IO_BEGIN)
        sock->deadline = 0;
    if (sock->nonblocking)
        return DEGU_E_AGAIN;
    if (!output && !(flags & DEGU_IO_BODY))
        sock->behind = 0;
    if (!output && sock->deadline == 0)
        degu_priv_begin_step(sock, degu_priv_nanoseconds());
    if (!output && degu_priv_look(sock, flags) > 0)
        return DEGU_OK;
    return degu_priv_await(sock, output ? POLLOUT : POLLIN);
}

/* Without a deadline: at once, or within what the kernel's limit is now. */
DEGU_PRIV ptrdiff_t degu_priv_recv_now(degu_socket *sock, void *buf,
                                       size_t len, int flags)
{
    const ssize_t n = recv(sock->fd, buf, len, flags);

    /* One brief wait a head, or who drips would be waited for at each byte. */
    sock->brief = false;
    if (n >= 0)
        return n;
    sock->sys_errno = errno;
    if (degu_priv_would_block(errno) || errno == EINTR)
        return DEGU_E_AGAIN;
    return degu_priv_broke(sock);
}

/* A recv() that got less than it had room for has found the socket empty.  If
   that was just now it need not be asked again: between any look and the send
   behind it lies as much time. */
DEGU_PRIV ptrdiff_t degu_priv_peek(degu_socket *sock, void *buf)
{
    if (degu_priv_nanoseconds() - sock->empty_at < DEGU_PRIV_JUST_NOW_NS)
        return DEGU_E_AGAIN;
    return degu_priv_recv_now(sock, buf, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* What a blocking recv() brought, which began at since. */
DEGU_PRIV ptrdiff_t degu_priv_note_recv(degu_socket *sock, size_t len,
                                        size_t cap, int64_t since,
                                        unsigned flags)
{
    sock->empty_at = 0;
    if (len && len < cap)
        sock->empty_at = degu_priv_nanoseconds();
    if (flags & DEGU_IO_BODY) {
        if (since && sock->empty_at)
            degu_priv_note_wait(sock, sock->empty_at - since);
        degu_socket_moved(sock, len);
    }
    return DEGU_PRIV_CAST(ptrdiff_t, len);
}

/* The first call of a step leaves the waiting to the kernel, so that a small
   exchange has one system call a message.  Later calls of the step wait for
   what is left of its time, so that a peer that drips does not extend it. */
DEGU_API ptrdiff_t degu_socket_recv(void *ctx, void *buf, size_t len,
                                    unsigned flags)
{
    degu_socket *sock = DEGU_PRIV_CAST(degu_socket *, ctx);
    const bool begins = flags & DEGU_IO_BEGIN || sock->deadline == 0;
    int64_t since = 0;
    bool wait;
    int found;

    if (flags & DEGU_IO_PEEK)
        return degu_priv_peek(sock, buf);
    if (!(flags & DEGU_IO_BODY))
        sock->behind = 0;
    if (sock->nonblocking)
        return degu_priv_recv_now(sock, buf, len,
                                  sock->brief ? 0 : MSG_DONTWAIT);
    if (begins)
        degu_priv_begin_step(sock, since = degu_priv_nanoseconds());
    /* The kernel's limit is a whole timeout, from now on. */
    wait = sock->deadline != DEGU_PRIV_NEVER && (!begins || sock->behind);
    if (begins && (found = degu_priv_look(sock, flags)) >= 0) {
        wait = !found && sock->deadline != DEGU_PRIV_NEVER;
        since = 0; /* what has passed is counted */
    }
    for (;;) {
        degu_err err = wait ? degu_priv_await(sock, POLLIN) : DEGU_OK;
        ssize_t n;
        if (err)
            return err;
        n = recv(sock->fd, buf, len, 0);
        if (n >= 0)
            return degu_priv_note_recv(sock, DEGU_PRIV_CAST(size_t, n), len,
                                       wait ? 0 : since, flags);
        sock->empty_at = 0;
        if (errno == EINTR && sock->signals)
            return DEGU_E_INTERRUPTED;
        if (errno != EINTR && !degu_priv_would_block(errno))
            return degu_priv_broke(sock);
        wait = true;
    }
}

DEGU_PRIV ssize_t degu_priv_send_pieces(int fd, const degu_str *pieces,
                                        size_t count, int flags)
{
    struct iovec parts[4];
    struct msghdr message;
    size_t i;

    if (count == 1)
        return send(fd, pieces->ptr, pieces->len, DEGU_PRIV_NOSIGNAL | flags);
    degu_priv_zero(&message, sizeof message);
    message.msg_iov = parts;
    for (i = 0; i < count && i < 4; i++) {
        /* Copied, because iov_base points to what is not const. */
        degu_priv_copy(&parts[i].iov_base, &pieces[i].ptr, sizeof(void *));
        parts[i].iov_len = pieces[i].len;
        message.msg_iovlen++; /* size_t or int, as the system likes */
    }
    return sendmsg(fd, &message, DEGU_PRIV_NOSIGNAL | flags);
}

/* May send() itself wait?  Over AF_UNIX, with much to send, that is cheaper by
   a twentieth than to be told of room, and the bytes are warm still when they
   are taken; over TCP nothing is gained.  Briefly only: the kernel begins its
   timeout anew with every buffer that the other end takes. */
DEGU_PRIV bool degu_priv_sends_in_kernel(degu_socket *sock,
                                         const degu_str *pieces, size_t count,
                                         unsigned flags, int64_t *since)
{
    size_t i, total = 0;

    if (!sock->local || sock->nonblocking || flags & DEGU_IO_NOWAIT)
        return false;
    for (i = 0; i < count; i++)
        total += pieces[i].len;
    if (total < DEGU_PRIV_SEND_MUCH)
        return false;
    *since = degu_priv_nanoseconds();
    if (sock->deadline == 0)
        degu_priv_begin_step(sock, *since);
    return sock->deadline - *since / 1000000 > DEGU_PRIV_SEND_MS;
}

DEGU_API ptrdiff_t degu_socket_send(void *ctx, const degu_str *pieces,
                                    size_t count, unsigned flags)
{
    degu_socket *sock = DEGU_PRIV_CAST(degu_socket *, ctx);
    degu_err err;

    if (flags & DEGU_IO_BEGIN)
        sock->deadline = 0; /* begins when there is something to wait for */
    for (;;) {
        int64_t since;
        const bool waits =
            degu_priv_sends_in_kernel(sock, pieces, count, flags, &since);
        const ssize_t n = degu_priv_send_pieces(sock->fd, pieces, count,
                                                waits ? 0 : MSG_DONTWAIT);
        const int number = errno;
        if (waits)
            degu_priv_note_wait(sock, degu_priv_nanoseconds() - since);
        errno = number;
        if (n > 0) {
            degu_socket_moved(sock, DEGU_PRIV_CAST(size_t, n));
            return n;
        }
        if (n < 0 && errno == EINTR) {
            if (sock->signals)
                return DEGU_E_INTERRUPTED;
            continue;
        }
        if (n < 0 && !degu_priv_would_block(errno))
            return degu_priv_broke(sock);
        if (flags & DEGU_IO_NOWAIT || sock->nonblocking)
            return DEGU_E_AGAIN;
        err = degu_priv_await(sock, POLLOUT);
        if (err)
            return err;
    }
}

/* ---- Files ---- */

#if defined(__linux__)
/* sendfile() knows no MSG_NOSIGNAL: SIGPIPE is held back, and taken away again
   if it came from here, be it that part was sent before. */
DEGU_PRIV ssize_t degu_priv_sendfile(int to, int from, size_t len)
{
    const struct timespec none = {0, 0};
    sigset_t broken, pending, before;
    ssize_t n;
    int number;

    (void)sigemptyset(&broken);
    (void)sigaddset(&broken, SIGPIPE);
    (void)sigpending(&pending);
    if (pthread_sigmask(SIG_BLOCK, &broken, &before))
        return -1;
    n = sendfile(to, from, NULL, len);
    number = errno;
    if ((n < 0 ? number == EPIPE : DEGU_PRIV_CAST(size_t, n) < len) &&
        !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&broken, NULL, &none) < 0 && errno == EINTR)
            continue;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = number;
    return n;
}

/* In the kernel, which waits as long as it likes unless the descriptor says
   that it must not. */
DEGU_PRIV ssize_t degu_priv_send_within(degu_socket *sock, int fd, size_t len)
{
    const int mode = fcntl(sock->fd, F_GETFL);
    ssize_t n;
    int number;

    if (mode < 0 || (!(mode & O_NONBLOCK) &&
                     fcntl(sock->fd, F_SETFL, mode | O_NONBLOCK) < 0))
        return -1;
    n = degu_priv_sendfile(sock->fd, fd, len);
    number = errno;
    if (!(mode & O_NONBLOCK))
        (void)fcntl(sock->fd, F_SETFL, mode);
    errno = number;
    return n;
}
#endif

/* Through a buffer; the file's position ends behind what was sent.  What cannot
   be put back, into a pipe, is sent to its end, or lost with the connection. */
DEGU_PRIV ptrdiff_t degu_priv_send_through(degu_socket *sock, int fd,
                                           size_t len, unsigned flags)
{
    const degu_io way = sock->over.send ? sock->over : degu_socket_io(sock);
    char space[16384]; /* a TLS record */
    degu_str piece;
    ptrdiff_t sent = 0;
    ssize_t n;

    do
        n = read(fd, space, DEGU_PRIV_MIN(len, sizeof space));
    while (n < 0 && errno == EINTR && !sock->signals);
    if (n < 0 && errno == EINTR)
        return DEGU_E_INTERRUPTED;
    if (n <= 0)
        return n ? DEGU_E_SOURCE : 0;
    piece = degu_bytes(space, DEGU_PRIV_CAST(size_t, n));
    while (piece.len) {
        sent = way.send(way.ctx, &piece, 1, flags);
        if (sent <= 0)
            break;
        piece.ptr += sent;
        piece.len -= DEGU_PRIV_CAST(size_t, sent);
    }
    if (piece.len &&
        lseek(fd, -DEGU_PRIV_CAST(off_t, piece.len), SEEK_CUR) < 0) {
        if (sent == DEGU_E_AGAIN || sent == DEGU_E_INTERRUPTED)
            return DEGU_E_SOURCE;
        return sent;
    }
    n -= DEGU_PRIV_CAST(ssize_t, piece.len);
    return n ? n : sent;
}

DEGU_API ptrdiff_t degu_socket_send_file(degu_socket *sock, int fd,
                                         uint64_t left, unsigned flags)
{
    const size_t len = DEGU_PRIV_CAST(size_t, left < 1048576 ? left : 1048576);

    if (flags & DEGU_IO_BEGIN)
        sock->deadline = 0;
#if defined(__linux__)
    while (!sock->over.send) {
        const ssize_t n = degu_priv_send_within(sock, fd, len);
        degu_err err;
        if (n >= 0) {
            degu_socket_moved(sock, DEGU_PRIV_CAST(size_t, n));
            return n;
        }
        if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)
            break; /* not this kind of file */
        if (errno == EINTR && sock->signals)
            return DEGU_E_INTERRUPTED;
        if (errno == EINTR)
            continue;
        if (!degu_priv_would_block(errno))
            return errno == EIO ? DEGU_E_SOURCE : degu_priv_broke(sock);
        if (flags & DEGU_IO_NOWAIT || sock->nonblocking)
            return DEGU_E_AGAIN;
        err = degu_priv_await(sock, POLLOUT);
        if (err)
            return err;
    }
#endif
    return degu_priv_send_through(sock, fd, len,
                                  flags & ~DEGU_PRIV_CAST(unsigned,
                                                          DEGU_IO_BEGIN));
}

DEGU_PRIV ptrdiff_t degu_priv_push_file(void *ctx, uint64_t left,
                                        unsigned flags)
{
    degu_file *file = DEGU_PRIV_CAST(degu_file *, ctx);

    return degu_socket_send_file(file->socket, file->fd, left, flags);
}

DEGU_API degu_body degu_body_file(degu_file *file, uint64_t length)
{
    return degu_body_push(degu_priv_push_file, file, length);
}

/* ---- Listen and connect ---- */

DEGU_PRIV int degu_priv_domain(const degu_address *address)
{
    if (address->family == DEGU_IPV4)
        return AF_INET;
    return address->family == DEGU_IPV6 ? AF_INET6 : AF_UNIX;
}

/* Keeps errno for the caller of the caller. */
DEGU_PRIV void degu_priv_close_quietly(int fd)
{
    const int number = errno;

    close(fd);
    errno = number;
}

DEGU_PRIV int degu_priv_new_socket(int domain)
{
    const int one = 1;
    int fd;

#ifdef SOCK_CLOEXEC
    fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
#else
    fd = socket(domain, SOCK_STREAM, 0);
    if (fd >= 0)
        (void)degu_priv_close_on_exec(fd);
#endif
    if (fd >= 0 && domain == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one)) {
        degu_priv_close_quietly(fd);
        return -1;
    }
    return fd;
}

/* A path with the NUL that the file system calls want. */
DEGU_PRIV const char *degu_priv_path(const degu_address *address, char *path)
{
    const size_t n = DEGU_PRIV_MIN(address->name_len, sizeof address->name);

    degu_priv_copy(path, address->name, n);
    path[n] = '\0';
    return path;
}

/* Exactly these permissions, whatever umask leaves.  Nobody can connect in
   between: the socket does not listen yet. */
DEGU_PRIV int degu_priv_set_mode(const degu_address *address, unsigned mode)
{
    char path[sizeof address->name + 1];

    return chmod(degu_priv_path(address, path),
                 DEGU_PRIV_CAST(mode_t, mode & 0777));
}

DEGU_PRIV degu_err degu_priv_listen_on(int fd, const degu_address *address,
                                       int backlog, unsigned mode)
{
    const bool path = address->family == DEGU_UNIX;
    const int one = 1;
    degu_priv_sockaddr sa;
    const socklen_t len = degu_priv_to_sockaddr(address, &sa);

    if (sa.any.sa_family != AF_UNIX &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one))
        return DEGU_E_SYSTEM;
    /* On Linux the path is born with no more than these permissions. */
    if (path && mode)
        (void)fchmod(fd, DEGU_PRIV_CAST(mode_t, mode & 0777));
    if (bind(fd, &sa.any, len)) {
        if (errno == EADDRINUSE)
            return DEGU_E_IN_USE;
        return errno == EADDRNOTAVAIL ? DEGU_E_ADDRESS : DEGU_E_SYSTEM;
    }
    if ((path && mode && degu_priv_set_mode(address, mode)) ||
        listen(fd, backlog)) {
        char name[sizeof address->name + 1];
        const int number = errno;
        if (path)
            (void)unlink(degu_priv_path(address, name));
        errno = number;
        return number == EADDRINUSE ? DEGU_E_IN_USE : DEGU_E_SYSTEM;
    }
    return DEGU_OK;
}

DEGU_API degu_err degu_listen(const degu_address *address, int backlog,
                              unsigned mode, int *fd)
{
    degu_priv_sockaddr sa;
    degu_err err;

    *fd = -1;
    if (degu_priv_to_sockaddr(address, &sa) == 0)
        return DEGU_E_ADDRESS;
    *fd = degu_priv_new_socket(degu_priv_domain(address));
    if (*fd < 0)
        return DEGU_E_SYSTEM;
    err = degu_priv_listen_on(*fd, address, backlog, mode);
    if (err) {
        degu_priv_close_quietly(*fd);
        *fd = -1;
    }
    return err;
}

DEGU_PRIV degu_err degu_priv_connect_error(degu_socket *sock, int number)
{
    sock->sys_errno = number;
    errno = number;
    if (number == ECONNREFUSED || number == ENOENT)
        return DEGU_E_REFUSED;
    if (number == ETIMEDOUT || degu_priv_would_block(number))
        return DEGU_E_TIMEOUT;
    if (number == ENETUNREACH || number == EHOSTUNREACH ||
        number == ENETDOWN || number == EHOSTDOWN || number == EADDRNOTAVAIL)
        return DEGU_E_UNREACHABLE;
    if (number == ECONNRESET)
        return DEGU_E_RESET;
    return DEGU_E_SYSTEM;
}

/* AF_UNIX: connect() waits, for room in the other end's backlog, and the
   kernel's timeout for sending bounds it. */
DEGU_PRIV int degu_priv_connect_local(int fd, const degu_priv_sockaddr *sa,
                                      socklen_t len, degu_time deadline)
{
    for (;;) {
        const int left = degu_priv_remaining(degu_now(), deadline);
        struct timeval limit;
        degu_priv_zero(&limit, sizeof limit);
        if (left >= 0) { /* 0 would mean no bound */
            limit.tv_sec = left / 1000;
            limit.tv_usec = left % 1000;
            limit.tv_usec = limit.tv_usec * 1000 + 1;
        }
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit))
            return errno;
        if (connect(fd, &sa->any, len) == 0 || errno == EISCONN)
            return degu_priv_limit(fd, SO_SNDTIMEO, DEGU_PRIV_SEND_MS) ? 0
                                                                       : errno;
        if (errno != EINTR)
            return errno;
    }
}

DEGU_PRIV int degu_priv_connect_tcp(degu_socket *sock,
                                    const degu_priv_sockaddr *sa,
                                    socklen_t len)
{
    int number = 0;
    socklen_t size = sizeof number;
    degu_err err;

    if (degu_priv_set_blocking(sock->fd, false))
        return errno;
    if (connect(sock->fd, &sa->any, len)) {
        if (errno != EINPROGRESS && errno != EINTR)
            return errno;
        err = degu_priv_await(sock, POLLOUT);
        if (err)
            return err == DEGU_E_TIMEOUT ? ETIMEDOUT : sock->sys_errno;
        if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &number, &size))
            return errno;
        if (number)
            return number;
    }
    return degu_priv_set_blocking(sock->fd, true) ? errno : 0;
}

/* A port of the range that the kernel gives to clients can be connected to
   itself, while nobody listens there. */
DEGU_PRIV bool degu_priv_met_itself(int fd)
{
    degu_address here, there;

    return degu_local_address(fd, &here) == DEGU_OK &&
           degu_peer_address(fd, &there) == DEGU_OK &&
           here.port == there.port &&
           degu_equal(degu_bytes(here.ip, sizeof here.ip),
                      degu_bytes(there.ip, sizeof there.ip));
}

DEGU_PRIV bool degu_priv_lacks_scope(const degu_address *address)
{
    return address->family == DEGU_IPV6 && address->scope_id == 0 &&
           address->ip[0] == 0xfe && (address->ip[1] & 0xc0) == 0x80;
}

DEGU_API degu_err degu_connect(const degu_address *address, int timeout_ms,
                               degu_socket *sock)
{
    const int domain = degu_priv_domain(address);
    degu_priv_sockaddr sa;
    const socklen_t len = degu_priv_to_sockaddr(address, &sa);
    int number;

    degu_priv_zero(sock, sizeof *sock);
    sock->fd = -1;
    /* An empty name is only good to be chosen one for. */
    if (len == 0 || (domain == AF_UNIX && address->name_len == 0))
        return DEGU_E_ADDRESS;
    if (degu_priv_lacks_scope(address))
        return DEGU_E_SCOPE;
    sock->fd = degu_priv_new_socket(domain);
    if (sock->fd < 0 || degu_priv_adopt(sock, sock->fd, timeout_ms, true))
        number = errno;
    else if (domain == AF_UNIX)
        number = degu_priv_connect_local(
            sock->fd, &sa, len, degu_priv_after(degu_now(), timeout_ms));
    else
        number = degu_priv_connect_tcp(sock, &sa, len);
    if (number == 0 && domain != AF_UNIX && degu_priv_met_itself(sock->fd))
        number = ECONNREFUSED;
    if (number == 0)
        return DEGU_OK;
    degu_socket_close(sock);
    return degu_priv_connect_error(sock, number);
}
#undef DEGU_PRIV_FLOWINFO_MAX
#undef DEGU_PRIV_PATH_MAX
#endif /* DEGU_NO_SOCKETS */

#ifndef DEGU_NO_SERVER
/* ======================================================================== */
/* 8  Serve                                                                 */
/* ======================================================================== */

/* One call of degu_serve() at a time is the owner.  It polls, reads heads
   without waiting, and runs a handler as soon as a head is complete, polling
   no more meanwhile: with one busy connection that is one epoll_wait, one
   recv and one send a request, and no other thread is woken.

   The other calls are spare.  One of them, the standby, looks every
   takeover_ms whether the owner has been inside one handler for that long,
   and then becomes the owner; the old one, when its handler is done, gives
   the connection back and is spare.  When nothing happens the standby sleeps
   until the next owner that begins to handle something wakes it.  The spare
   ones behind the standby sleep in read(), which wakes one of them a byte.

   Slots, lists and the poller belong to the owner alone.  Who is the owner,
   and what went through a handler meanwhile, stands under the lock. */

#include <pthread.h>
#ifndef DEGU_PRIV_POLL
#include <sys/epoll.h>
#endif

/* degu_slot.state */
enum {
    DEGU_PRIV_VACANT = 0,
    DEGU_PRIV_WAITING = 1, /* for the poller to tell of input */
    DEGU_PRIV_QUEUED = 2,  /* in the list of those with input */
    DEGU_PRIV_HANDLED = 3  /* in a handler or hook of whatever thread */
};

/* What the poller tells: a slot's index with its generation (from 1) above
   it, or, with generation 0, one of these. */
#define DEGU_PRIV_TAG_LISTENER 0u
#define DEGU_PRIV_TAG_WAKE 1u
#define DEGU_PRIV_TAG_LINGER 2u /* and the index added */

#ifdef DEGU_PRIV_POLL
#define DEGU_PRIV_BATCH DEGU_POLL_MAX
#define DEGU_PRIV_SLOTS_MAX (DEGU_POLL_MAX - DEGU_LINGER_MAX - 2)
#else
#define DEGU_PRIV_BATCH 64
#define DEGU_PRIV_SLOTS_MAX INT_MAX
#endif

#define DEGU_PRIV_TURN 16         /* pipelined requests in a row */
#define DEGU_PRIV_STREAK 32       /* answers that make a favourite, */
#define DEGU_PRIV_STREAK_MS 8     /* within this time */
#define DEGU_PRIV_BRIEF_MS 1      /* the favourite's silence is borne */
#define DEGU_PRIV_IN_VAIN 6       /* misses, and spinning does not pay here */
#define DEGU_PRIV_ACCEPTS 16      /* connections accepted in a row */
#define DEGU_PRIV_QUIET_MS 100    /* after which the standby sleeps */
#define DEGU_PRIV_PAUSE_MS 100    /* between tries without descriptors */
#define DEGU_PRIV_COARSE_MS 20    /* between looks at all deadlines */
#define DEGU_PRIV_LINGER_BYTES 1048576u

/* One call of degu_serve(). */
typedef struct degu_priv_call {
    void *worker;
    degu_time now;   /* as of the last wait or handler */
    degu_time asked; /* what had come by then has been seen to */
    degu_time quiet; /* standby: since when nothing was handled */
    uint32_t seen;   /* degu_server.activity then */
    bool signalled;  /* a signal came in while it waited for input */
    degu_request request;
    char out[DEGU_SEND_BUFFER];
} degu_priv_call;

/* A degu_server has room for the lock without knowing its type. */
typedef char degu_priv_lock_fits[sizeof(pthread_mutex_t) <= 64 ? 1 : -1];

DEGU_PRIV pthread_mutex_t *degu_priv_mutex(degu_server *server)
{
    void *bytes = server->lock.bytes;

    return DEGU_PRIV_CAST(pthread_mutex_t *, bytes);
}

DEGU_PRIV void degu_priv_lock(degu_server *server)
{
    pthread_mutex_lock(degu_priv_mutex(server));
}

DEGU_PRIV void degu_priv_unlock(degu_server *server)
{
    pthread_mutex_unlock(degu_priv_mutex(server));
}

DEGU_PRIV bool degu_priv_is_stopping(const degu_server *server)
{
#if defined(__GNUC__)
    return __atomic_load_n(&server->stopping, __ATOMIC_SEQ_CST) != 0;
#else
    return server->stopping != 0;
#endif
}

/* ---- Pipes ---- */

DEGU_PRIV bool degu_priv_open_pipe(int ends[2], bool blocking_reader)
{
    if (pipe(ends)) {
        ends[0] = ends[1] = -1;
        return false;
    }
    return !degu_priv_close_on_exec(ends[0]) &&
           !degu_priv_close_on_exec(ends[1]) &&
           !degu_priv_set_blocking(ends[0], blocking_reader) &&
           !degu_priv_set_blocking(ends[1], false);
}

DEGU_PRIV void degu_priv_close_pipe(int ends[2])
{
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    ends[0] = ends[1] = -1;
}

/* A full pipe wakes as well as one with one more byte in it. */
DEGU_PRIV void degu_priv_ring(const int ends[2])
{
    const char byte = 0;
    const ssize_t n = write(ends[1], &byte, 1);

    (void)n;
}

DEGU_PRIV void degu_priv_hush(const int ends[2])
{
    char bytes[64];

    while (read(ends[0], bytes, sizeof bytes) ==
           DEGU_PRIV_CAST(ssize_t, sizeof bytes))
        continue;
}

/* ---- The poller: tells of input, again and again until it is read ---- */

#ifdef DEGU_PRIV_POLL
DEGU_PRIV bool degu_priv_open_poller(degu_server *server)
{
    server->watched = 0;
    return true;
}

DEGU_PRIV void degu_priv_close_poller(degu_server *server)
{
    server->watched = 0;
}

DEGU_PRIV bool degu_priv_watch(degu_server *server, int fd, uint64_t tag)
{
    if (server->watched == DEGU_POLL_MAX)
        return false;
    server->watched_fd[server->watched] = fd;
    server->watched_tag[server->watched++] = tag;
    return true;
}

DEGU_PRIV void degu_priv_unwatch(degu_server *server, int fd)
{
    size_t i;

    for (i = 0; i < server->watched; i++) {
        if (server->watched_fd[i] != fd)
            continue;
        server->watched--;
        server->watched_fd[i] = server->watched_fd[server->watched];
        server->watched_tag[i] = server->watched_tag[server->watched];
        return;
    }
}

DEGU_PRIV int degu_priv_wait(degu_server *server, uint64_t *tags, int timeout)
{
    struct pollfd items[DEGU_POLL_MAX];
    int n, found = 0;
    size_t i;

    for (i = 0; i < server->watched; i++) {
        items[i].fd = server->watched_fd[i];
        items[i].events = POLLIN;
        items[i].revents = 0;
    }
    n = poll(items, DEGU_PRIV_CAST(nfds_t, server->watched), timeout);
    for (i = 0; n > 0 && i < server->watched; i++)
        if (items[i].revents)
            tags[found++] = server->watched_tag[i];
    return n < 0 ? n : found;
}
#else
DEGU_PRIV bool degu_priv_open_poller(degu_server *server)
{
    server->poller = epoll_create1(EPOLL_CLOEXEC);
    return server->poller >= 0;
}

DEGU_PRIV void degu_priv_close_poller(degu_server *server)
{
    if (server->poller >= 0)
        close(server->poller);
    server->poller = -1;
}

DEGU_PRIV bool degu_priv_watch(degu_server *server, int fd, uint64_t tag)
{
    struct epoll_event event;

    degu_priv_zero(&event, sizeof event);
    event.events = EPOLLIN;
    event.data.u64 = tag;
    return epoll_ctl(server->poller, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Needed before a close() too: a copy of fd elsewhere would keep it here. */
DEGU_PRIV void degu_priv_unwatch(degu_server *server, int fd)
{
    struct epoll_event event;

    degu_priv_zero(&event, sizeof event);
    (void)epoll_ctl(server->poller, EPOLL_CTL_DEL, fd, &event);
}

DEGU_PRIV int degu_priv_wait(degu_server *server, uint64_t *tags, int timeout)
{
    struct epoll_event events[DEGU_PRIV_BATCH];
    const int n =
        epoll_wait(server->poller, events, DEGU_PRIV_BATCH, timeout);
    int i;

    for (i = 0; i < n; i++)
        tags[i] = events[i].data.u64;
    return n;
}
#endif

/* ---- Closing gracefully ---- */

/* A close() with input unread cuts the connection, and the other end may lose
   the answer over it (RFC 9112 9.6).  So writing is ended, and what still
   comes is thrown away for a bounded time and amount. */
enum degu_priv_end {
    DEGU_PRIV_CUT = 0,   /* nothing was sent that could be lost */
    DEGU_PRIV_SHUT = 1,  /* the other end has been heard out */
    DEGU_PRIV_LINGER = 2 /* it may be sending still */
};

DEGU_PRIV void degu_priv_end_linger(degu_server *server, degu_priv_linger *one)
{
    degu_priv_unwatch(server, one->fd);
    close(one->fd);
    one->fd = -1;
    server->lingering--;
}

/* false: the other end has closed too, or may send no more. */
DEGU_PRIV bool degu_priv_discard(int fd, uint32_t *budget)
{
    char scrap[4096];
    int i;

    for (i = 0; i < 16; i++) {
        const ssize_t n = recv(fd, scrap, sizeof scrap, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return degu_priv_would_block(errno);
        if (n == 0 || DEGU_PRIV_CAST(size_t, n) > *budget)
            return false;
        *budget -= DEGU_PRIV_CAST(uint32_t, n);
    }
    return true;
}

/* A free place, or that of the one that has had the longest. */
DEGU_PRIV degu_priv_linger *degu_priv_linger_place(degu_server *server)
{
    degu_priv_linger *oldest = server->linger;
    size_t i;

    for (i = 0; i < DEGU_LINGER_MAX; i++) {
        degu_priv_linger *one = &server->linger[i];
        if (one->fd < 0)
            return one;
        if (one->deadline < oldest->deadline)
            oldest = one;
    }
    (void)degu_priv_discard(oldest->fd, &oldest->budget);
    degu_priv_end_linger(server, oldest);
    return oldest;
}

/* Takes over fd, which is not watched, to close it. */
DEGU_PRIV void degu_priv_part(degu_server *server, degu_priv_call *me, int fd,
                              int how)
{
    uint32_t budget = DEGU_PRIV_LINGER_BYTES;
    degu_priv_linger *one;
    size_t index;

    /* A process that a handler has forked may hold a copy of fd: it is not
       close() that tells the other end. */
    if (shutdown(fd, how == DEGU_PRIV_CUT ? SHUT_RDWR : SHUT_WR) ||
        how == DEGU_PRIV_CUT || !degu_priv_discard(fd, &budget) ||
        how == DEGU_PRIV_SHUT || server->config.linger_ms == 0) {
        close(fd);
        return;
    }
    one = degu_priv_linger_place(server);
    index = DEGU_PRIV_CAST(size_t, one - server->linger);
    if (!degu_priv_watch(server, fd, DEGU_PRIV_TAG_LINGER + index)) {
        close(fd);
        return;
    }
    one->fd = fd;
    one->budget = budget;
    one->deadline = me->now + server->config.linger_ms;
    server->lingering++;
    if (one->deadline < server->next_deadline)
        server->next_deadline = one->deadline;
}

DEGU_PRIV void degu_priv_linger_on(degu_server *server, size_t index)
{
    degu_priv_linger *one;

    if (index >= DEGU_LINGER_MAX)
        return;
    one = &server->linger[index];
    if (one->fd >= 0 && !degu_priv_discard(one->fd, &one->budget))
        degu_priv_end_linger(server, one);
}

/* ---- Slots ---- */

DEGU_PRIV uint64_t degu_priv_tag(const degu_server *server,
                                 const degu_slot *slot)
{
    const ptrdiff_t index = slot - server->config.slots;

    return DEGU_PRIV_CAST(uint64_t, slot->generation) << 32 |
           DEGU_PRIV_CAST(uint32_t, index);
}

/* The slot that is meant, if it still is the same connection and waits. */
DEGU_PRIV degu_slot *degu_priv_tagged(degu_server *server, uint64_t tag)
{
    const size_t index = DEGU_PRIV_CAST(size_t, tag & 0xffffffff);
    degu_slot *slot;

    if (index >= server->used)
        return NULL;
    slot = &server->config.slots[index];
    if (slot->state != DEGU_PRIV_WAITING || slot->generation != tag >> 32)
        return NULL;
    return slot;
}

DEGU_PRIV degu_slot *degu_priv_take_slot(degu_server *server)
{
    degu_slot *slot = server->vacant;

    if (slot)
        server->vacant = slot->next;
    else if (server->used < server->config.max_connections)
        slot = &server->config.slots[server->used++];
    return slot;
}

DEGU_PRIV void degu_priv_set_deadline(degu_server *server, degu_slot *slot,
                                      degu_time deadline)
{
    slot->deadline = deadline;
    if (deadline < server->next_deadline)
        server->next_deadline = deadline;
}

/* To the end of the line of those that need no poller to go on. */
DEGU_PRIV void degu_priv_queue(degu_server *server, degu_slot *slot)
{
    slot->state = DEGU_PRIV_QUEUED;
    slot->next = NULL;
    if (server->ready_first)
        server->ready_last->next = slot;
    else
        server->ready_first = slot;
    server->ready_last = slot;
}

DEGU_PRIV degu_slot *degu_priv_unqueue(degu_server *server)
{
    degu_slot *slot = server->ready_first;

    if (slot)
        server->ready_first = slot->next;
    return slot;
}

/* Later, if there is no memory to watch it. */
DEGU_PRIV void degu_priv_listen_again(degu_server *server,
                                      const degu_priv_call *me)
{
    if (server->paused_until == 0)
        return;
    server->paused_until = me->now + DEGU_PRIV_PAUSE_MS;
    if (degu_priv_watch(server, server->listener, DEGU_PRIV_TAG_LISTENER))
        server->paused_until = 0;
}

/* ---- The favourite ----

   A connection that alone has been busy for a while.  Its next request is
   waited for in recv() itself, and the poller is not told of it, which spares
   its price (a sixth of a round trip); the other connections are looked after
   once in a millisecond, and again as usual as soon as one of them stirs or the
   favourite falls silent. */

DEGU_PRIV void degu_priv_mute(degu_server *server, degu_slot *slot)
{
    if (!slot->muted)
        degu_priv_unwatch(server, slot->socket.fd);
    slot->muted = 1;
}

/* The poller tells of it again; false if it cannot. */
DEGU_PRIV bool degu_priv_unmute(degu_server *server, degu_slot *slot)
{
    if (slot->muted && !degu_priv_watch(server, slot->socket.fd,
                                        degu_priv_tag(server, slot)))
        return false;
    slot->muted = 0;
    return true;
}

/* Until it waits, which makes the poller tell of it, it will have its turn. */
DEGU_PRIV void degu_priv_forget(degu_server *server)
{
    degu_slot *slot = server->favourite;

    server->favourite = NULL;
    server->latest = NULL;
    if (slot)
        (void)degu_priv_limit(slot->socket.fd, SO_RCVTIMEO,
                              slot->socket.timeout_ms);
}

/* One more answer on this connection. */
DEGU_PRIV void degu_priv_note_answer(degu_server *server, degu_priv_call *me,
                                     degu_slot *slot)
{
    const bool spins =
        server->config.spin_us && server->spin.misses < DEGU_PRIV_IN_VAIN;

    if (server->favourite == slot || spins)
        return;
    if (server->latest != slot ||
        me->now - server->streak_since > DEGU_PRIV_STREAK_MS) {
        server->latest = slot;
        server->streak_since = me->now;
        server->streak = 0;
    }
    if (++server->streak >= DEGU_PRIV_STREAK &&
        degu_priv_limit(slot->socket.fd, SO_RCVTIMEO, DEGU_PRIV_BRIEF_MS)) {
        server->favourite = slot;
        degu_priv_mute(server, slot);
    }
}

/* The last of a connection that the program and its transport see. */
DEGU_PRIV void degu_priv_bid_farewell(const degu_server *server,
                                      degu_slot *slot, degu_err why)
{
    const degu_server_config *config = &server->config;
    const bool clean = !slot->shaking && !slot->conn.broken;

    if (slot->shaking && config->on_handshake_error)
        config->on_handshake_error(&slot->session, why);
    if (slot->greeted && config->on_close)
        config->on_close(&slot->session, why);
    slot->socket.nonblocking = true;
    if (config->transport.close)
        config->transport.close(slot->secure, clean);
}

/* Ends a connection that no thread handles. */
DEGU_PRIV void degu_priv_give_up(degu_server *server, degu_priv_call *me,
                                 degu_slot *slot, degu_err why, int how)
{
    if (server->favourite == slot || server->latest == slot)
        degu_priv_forget(server);
    slot->session.worker = me->worker;
    degu_priv_bid_farewell(server, slot, why);
    if (!slot->muted)
        degu_priv_unwatch(server, slot->socket.fd);
    degu_priv_part(server, me, slot->socket.fd, how);
    slot->socket.fd = -1;
    slot->state = DEGU_PRIV_VACANT;
    slot->next = server->vacant;
    server->vacant = slot;
    if (!degu_priv_is_stopping(server))
        degu_priv_listen_again(server, me);
}

/* Tells the program of an exchange; request NULL: there was no good head. */
DEGU_PRIV void degu_priv_tell(const degu_server *server, degu_slot *slot,
                              const degu_request *request, int64_t since,
                              degu_err why)
{
    degu_exchange exchange;

    if (!server->config.on_exchange)
        return;
    degu_priv_zero(&exchange, sizeof exchange);
    if (request) {
        exchange.method = request->method;
        exchange.target = request->target;
        exchange.duration_ns = degu_priv_nanoseconds() - since;
    }
    exchange.status = slot->conn.status;
    exchange.bytes_in = request ? degu_conn_bytes_in(&slot->conn)
                                : slot->conn.in_bytes;
    exchange.bytes_in -= slot->told_in;
    exchange.bytes_out = slot->conn.out_bytes - slot->told_out;
    exchange.why = why;
    slot->told_in += exchange.bytes_in;
    slot->told_out += exchange.bytes_out;
    server->config.on_exchange(&slot->session, &exchange);
}

/* The bare answer to a head, or what there is of it; never waits. */
DEGU_PRIV void degu_priv_refuse(degu_server *server, degu_priv_call *me,
                                degu_slot *slot, degu_err err)
{
    const bool answer = degu_err_status(err) != 0 && !slot->shaking;

    slot->session.worker = me->worker;
    slot->conn.out = me->out;
    slot->socket.nonblocking = true;
    if (answer)
        (void)degu_send_error(&slot->conn, err);
    if (slot->greeted && err != DEGU_E_CLOSED && err != DEGU_E_STOPPED)
        degu_priv_tell(server, slot, NULL, 0, err);
    degu_priv_give_up(server, me, slot, err == DEGU_E_CLOSED ? DEGU_OK : err,
                      answer ? DEGU_PRIV_LINGER : DEGU_PRIV_CUT);
}

/* May there be input that the poller does not tell of?  What stands behind
   an io that is not ours may hold some. */
DEGU_PRIV bool degu_priv_holds_input(const degu_server *server,
                                     const degu_slot *slot)
{
    if (degu_conn_has_input(&slot->conn))
        return true;
    if (server->config.transport.has_input)
        return server->config.transport.has_input(slot->secure);
    return slot->conn.io.recv != degu_socket_recv;
}

/* ---- Handing over ---- */

/* Makes this call the owner.  true: it took the poller from an owner who is
   busy, and none that could take it next is left.  Under the lock. */
DEGU_PRIV bool degu_priv_take_over(degu_server *server, degu_priv_call *me)
{
    degu_slot *slot = server->handling;

    server->owner = me;
    server->spare--;
    server->asleep = false;
    if (server->standby == me)
        server->standby = NULL;
    if (!server->standby && server->spare)
        degu_priv_ring(server->baton);
    if (!slot)
        return false;
    server->handling = NULL;
    server->busy++;
    degu_priv_forget(server);
    /* Its input is for the handler; told of again and again it would make
       the poller spin. */
    degu_priv_mute(server, slot);
    return server->spare == 0 && !degu_priv_is_stopping(server);
}

/* Leaves the poller to whoever is there. */
DEGU_PRIV void degu_priv_abdicate(degu_server *server)
{
    bool standby, spare;

    degu_priv_lock(server);
    server->owner = NULL;
    standby = server->standby != NULL;
    spare = server->spare != 0;
    degu_priv_unlock(server);
    if (standby)
        degu_priv_ring(server->tick);
    else if (spare)
        degu_priv_ring(server->baton);
}

/* The owner is about to enter a handler or hook.  false: too late, the server
   is stopping. */
DEGU_PRIV bool degu_priv_enter(degu_server *server, degu_priv_call *me,
                               degu_slot *slot)
{
    bool stopping, asleep;

    slot->state = DEGU_PRIV_HANDLED;
    slot->session.worker = me->worker;
    slot->conn.out = me->out;
    degu_priv_lock(server);
    stopping = degu_priv_is_stopping(server);
    asleep = server->asleep && !stopping;
    if (!stopping) {
        server->handling = slot;
        server->since = me->now;
        server->activity++;
        server->asleep = false;
    }
    degu_priv_unlock(server);
    if (asleep)
        degu_priv_ring(server->tick);
    return !stopping;
}

/* Back from it.  false: another call has become the owner meanwhile; the slot
   was given back to it, and must not be touched any more. */
DEGU_PRIV bool degu_priv_leave(degu_server *server, degu_priv_call *me,
                               degu_slot *slot)
{
    bool mine;

    me->now = degu_now();
    slot->socket.nonblocking = true;
    degu_priv_lock(server);
    mine = server->owner == me;
    if (mine) {
        server->handling = NULL;
    } else {
        slot->next = server->returned;
        server->returned = slot;
        server->busy--;
    }
    degu_priv_unlock(server);
    if (!mine)
        degu_priv_ring(server->wake);
    return mine;
}

/* ---- One connection ---- */

/* A request may begin from now on. */
DEGU_PRIV void degu_priv_rest(degu_server *server, degu_priv_call *me,
                              degu_slot *slot)
{
    const int idle_ms = server->config.idle_timeout_ms;

    slot->counted = 0;
    degu_priv_set_deadline(server, slot, degu_priv_after(me->now, idle_ms));
}

/* Until the poller tells of it, or its deadline passes. */
DEGU_PRIV void degu_priv_await_input(degu_server *server, degu_priv_call *me,
                                     degu_slot *slot)
{
    slot->state = DEGU_PRIV_WAITING;
    if (!degu_priv_unmute(server, slot))
        degu_priv_give_up(server, me, slot, DEGU_E_SYSTEM, DEGU_PRIV_CUT);
}

/* How a connection goes on that has come out of a handler or hook: to its
   end, or to wait for a request. */
DEGU_PRIV void degu_priv_settle(degu_server *server, degu_priv_call *me,
                                degu_slot *slot)
{
    const bool shaking = slot->shaking && slot->why == DEGU_E_AGAIN;

    if ((slot->why || !degu_conn_is_open(&slot->conn)) && !shaking) {
        degu_priv_give_up(server, me, slot, slot->why, slot->end);
        return;
    }
    if (degu_priv_is_stopping(server)) {
        degu_priv_give_up(server, me, slot, DEGU_E_STOPPED, DEGU_PRIV_SHUT);
        return;
    }
    if (shaking) {
        degu_priv_await_input(server, me, slot);
        return;
    }
    degu_priv_rest(server, me, slot);
    if (degu_priv_holds_input(server, slot) || server->favourite == slot)
        degu_priv_queue(server, slot);
    else
        degu_priv_await_input(server, me, slot);
}

/* What a handler that failed means for the other end.  Only an error of the
   request's own body is the other end's fault. */
DEGU_PRIV degu_err degu_priv_blame(const degu_conn *conn, degu_err err)
{
    if (conn->broken)
        return conn->broken;
    if (err == DEGU_OK)
        return DEGU_E_NO_RESPONSE;
    if (err == conn->failed || degu_err_status(err) == 413)
        return err;
    return DEGU_E_HANDLER;
}

/* Runs the handler and sees to it that there is an answer, or a cut. */
DEGU_PRIV void degu_priv_answer(degu_server *server, degu_priv_call *me,
                                degu_slot *slot)
{
    const uint32_t most = server->config.max_requests;
    const int64_t since =
        server->config.on_exchange ? degu_priv_nanoseconds() : 0;
    degu_conn *conn = &slot->conn;
    degu_err err;

    if (most && slot->session.requests + 1 >= most)
        degu_conn_close_after(conn);
    slot->socket.nonblocking = false;
    err = server->config.handler(&slot->session, &me->request);
    slot->socket.nonblocking = true;
    if (!degu_conn_has_sent(conn)) {
        err = degu_priv_blame(conn, err);
        (void)degu_send_error(conn, err);
    } else if (!err) {
        err = conn->broken;
    }
    slot->session.requests++;
    degu_priv_tell(server, slot, &me->request, since, err);
    slot->why = err;
    slot->end = DEGU_PRIV_LINGER;
}

DEGU_PRIV degu_err degu_priv_hear(degu_server *server, degu_priv_call *me,
                                  degu_slot *slot)
{
    const bool brief =
        server->favourite == slot && !degu_priv_holds_input(server, slot);
    degu_err err;

    slot->socket.brief = brief;
    err = degu_read_request(&slot->conn, &me->request);
    if (err == DEGU_MORE && brief)
        me->signalled = slot->socket.sys_errno == EINTR;
    slot->socket.brief = false;
    if (err == DEGU_MORE && server->favourite == slot)
        degu_priv_forget(server);
    return err;
}

/* Is it this connection's turn still, after an answer? */
DEGU_PRIV bool degu_priv_goes_on(const degu_server *server,
                                 const degu_slot *slot, bool same_ms)
{
    if (slot->why || !degu_conn_is_open(&slot->conn) ||
        degu_priv_is_stopping(server))
        return false;
    return server->favourite == slot ? same_ms
                                     : degu_priv_holds_input(server, slot);
}

/* Answers what has arrived on a connection.  false: this call is the owner no
   more. */
DEGU_PRIV bool degu_priv_turn(degu_server *server, degu_priv_call *me,
                              degu_slot *slot)
{
    const int head_ms = server->config.head_timeout_ms;
    const degu_time start = me->now;
    int i;

    slot->session.worker = me->worker;
    for (i = 0; i < DEGU_PRIV_TURN || server->favourite == slot; i++) {
        degu_err err = degu_priv_hear(server, me, slot);
        if (err == DEGU_MORE) {
            if (!slot->counted && degu_conn_has_input(&slot->conn)) {
                slot->counted = 1;
                degu_priv_set_deadline(server, slot,
                                       degu_priv_after(me->now, head_ms));
            }
            degu_priv_await_input(server, me, slot);
            return true;
        }
        if (!err && !degu_priv_enter(server, me, slot))
            err = DEGU_E_STOPPED;
        if (err) {
            degu_priv_refuse(server, me, slot, err);
            return true;
        }
        degu_priv_answer(server, me, slot);
        if (!degu_priv_leave(server, me, slot))
            return false;
        degu_priv_note_answer(server, me, slot);
        if (!degu_priv_goes_on(server, slot, me->now == start))
            break;
        degu_priv_rest(server, me, slot);
    }
    degu_priv_settle(server, me, slot);
    return true;
}

/* What comes before the first request: the transport's handshake, as far as
   it gets, and then the program's look at the connection. */
DEGU_PRIV void degu_priv_welcome(const degu_server *server, degu_slot *slot)
{
    if (slot->shaking) {
        slot->why = server->config.transport.handshake(slot->secure);
        /* So that the other end can read why, if it has not gone. */
        if (slot->why != DEGU_E_AGAIN)
            slot->end = DEGU_PRIV_LINGER;
        if (slot->why)
            return;
        slot->shaking = 0;
        slot->end = DEGU_PRIV_CUT;
    }
    slot->greeted = 1;
    slot->socket.nonblocking = false;
    if (server->config.on_connect)
        slot->why = server->config.on_connect(&slot->session);
}

/* false: as above. */
DEGU_PRIV bool degu_priv_greet(degu_server *server, degu_priv_call *me,
                               degu_slot *slot)
{
    if (slot->shaking || server->config.on_connect) {
        if (!degu_priv_enter(server, me, slot)) {
            degu_priv_give_up(server, me, slot, DEGU_E_STOPPED, DEGU_PRIV_CUT);
            return true;
        }
        degu_priv_welcome(server, slot);
        if (!degu_priv_leave(server, me, slot))
            return false;
    }
    slot->greeted = !slot->shaking;
    degu_priv_settle(server, me, slot);
    return true;
}

/* ---- New connections ---- */

/* The transport's way over a new connection's socket. */
DEGU_PRIV degu_err degu_priv_open_way(degu_server *server, degu_slot *slot)
{
    const degu_transport *transport = &server->config.transport;
    const int head_ms = server->config.head_timeout_ms;
    degu_io io = degu_socket_io(&slot->socket);
    degu_err err;

    slot->shaking = 0;
    slot->counted = 0;
    if (!transport->open)
        return DEGU_OK;
    err = transport->open(transport->ctx, &slot->session, &io);
    if (err)
        return err;
    degu_conn_set_io(&slot->conn, io);
    slot->secure = io.ctx;
    slot->shaking = 1;
    slot->counted = 1;
    degu_priv_set_deadline(server, slot, degu_priv_after(degu_now(), head_ms));
    return DEGU_OK;
}

DEGU_PRIV void degu_priv_introduce(const degu_server *server,
                                   degu_priv_call *me, degu_slot *slot, int fd,
                                   const degu_priv_sockaddr *sa, socklen_t len)
{
    degu_session *session = &slot->session;

    degu_priv_zero(session, sizeof *session);
    session->conn = &slot->conn;
    session->socket = &slot->socket;
    session->user = server->config.user;
    session->worker = me->worker;
    degu_priv_from_sockaddr(sa, len, &session->peer);
    if (sa->any.sa_family == AF_UNIX)
        session->has_credentials =
            !degu_peer_credentials(fd, &session->credentials);
}

/* Makes a connection in the slot, which has been introduced; fd is the slot's
   then. */
DEGU_PRIV bool degu_priv_fill(degu_server *server, degu_priv_call *me,
                              degu_slot *slot, int fd)
{
    const degu_server_config *config = &server->config;
    degu_err err;

    slot->state = DEGU_PRIV_HANDLED;
    degu_conn_init(&slot->conn, DEGU_SERVER, degu_socket_io(&slot->socket),
                   slot->buffer, sizeof slot->buffer, me->out,
                   sizeof me->out);
    slot->told_in = slot->told_out = 0;
    slot->conn.ending = &server->stopping;
    err = degu_priv_adopt(&slot->socket, fd, config->body_timeout_ms, true);
    slot->socket.min_rate = config->min_rate;
    slot->socket.spin_us = config->spin_us;
    if (!err)
        err = degu_priv_open_way(server, slot);
    if (err) {
        if (config->transport.open && config->on_handshake_error)
            config->on_handshake_error(&slot->session, err);
        slot->state = DEGU_PRIV_VACANT;
        slot->next = server->vacant;
        server->vacant = slot;
        close(fd);
        return false;
    }
    slot->socket.nonblocking = true;
    if (++server->generation == 0)
        server->generation = 1;
    slot->generation = server->generation;
    slot->why = DEGU_OK;
    slot->muted = 1;
    slot->greeted = 0;
    slot->end = DEGU_PRIV_CUT;
    return true;
}

/* All places are taken: says so, and does not wait to be heard.  Before a
   transport's handshake there is nothing that could be said. */
DEGU_PRIV void degu_priv_turn_away(degu_server *server, degu_priv_call *me,
                                   int fd)
{
    char in[64];
    degu_socket sock;
    degu_conn conn;

    if (server->config.transport.open || degu_priv_adopt(&sock, fd, 0, true)) {
        close(fd);
        return;
    }
    sock.nonblocking = true;
    degu_conn_init(&conn, DEGU_SERVER, degu_socket_io(&sock), in, sizeof in,
                   me->out, sizeof me->out);
    (void)degu_send_error(&conn, DEGU_E_BUSY);
    degu_priv_part(server, me, fd, DEGU_PRIV_LINGER);
}

DEGU_PRIV int degu_priv_accept_one(int listener, degu_priv_sockaddr *sa,
                                   socklen_t *len)
{
    int fd;

    degu_priv_zero(sa, sizeof *sa);
    *len = sizeof *sa;
    /* What came before this header may have hidden accept4() in glibc. */
#if defined(__linux__) && (!defined(__GLIBC__) || defined(__USE_GNU))
    fd = accept4(listener, &sa->any, len, SOCK_CLOEXEC);
#else
    fd = accept(listener, &sa->any, len);
    /* Elsewhere a connection inherits O_NONBLOCK from its listener. */
    if (fd >= 0 &&
        (degu_priv_close_on_exec(fd) || degu_priv_set_blocking(fd, true))) {
        degu_priv_close_quietly(fd);
        fd = -1;
    }
#endif
    return fd;
}

/* Is it the listener that failed, or only one connection? */
DEGU_PRIV degu_err degu_priv_accept_failed(degu_server *server,
                                           degu_priv_call *me, int number)
{
    if (number == EBADF || number == ENOTSOCK || number == EINVAL ||
        number == EFAULT)
        return DEGU_E_SYSTEM;
    if (number == EMFILE || number == ENFILE || number == ENOBUFS ||
        number == ENOMEM) {
        /* It would be told of again at once: look away for a while. */
        degu_priv_unwatch(server, server->listener);
        server->paused_until = me->now + DEGU_PRIV_PAUSE_MS;
        return DEGU_END;
    }
    return degu_priv_would_block(number) ? DEGU_END : DEGU_OK;
}

DEGU_PRIV void degu_priv_tell_refused(const degu_server *server,
                                      const degu_priv_call *me,
                                      const degu_priv_sockaddr *sa,
                                      socklen_t len)
{
    degu_address peer;

    if (!server->config.on_refuse)
        return;
    degu_priv_from_sockaddr(sa, len, &peer);
    server->config.on_refuse(&peer, server->config.user, me->worker);
}

/* DEGU_OK, DEGU_MORE when this call is the owner no more, or an error. */
DEGU_PRIV degu_err degu_priv_accept(degu_server *server, degu_priv_call *me)
{
    int i;

    for (i = 0; i < DEGU_PRIV_ACCEPTS; i++) {
        degu_priv_sockaddr sa;
        socklen_t len;
        degu_slot *slot;
        const int fd = degu_priv_accept_one(server->listener, &sa, &len);
        if (fd < 0) {
            degu_err err = degu_priv_accept_failed(server, me, errno);
            if (err)
                return err == DEGU_END ? DEGU_OK : err;
            continue;
        }
        slot = degu_priv_take_slot(server);
        if (!slot) {
            degu_priv_turn_away(server, me, fd);
            degu_priv_tell_refused(server, me, &sa, len);
            continue;
        }
        degu_priv_introduce(server, me, slot, fd, &sa, len);
        if (!degu_priv_fill(server, me, slot, fd))
            continue;
        if (!degu_priv_greet(server, me, slot))
            return DEGU_MORE;
    }
    return DEGU_OK;
}

/* ---- The owner ---- */

/* Takes back what former owners have done with. */
DEGU_PRIV void degu_priv_collect(degu_server *server, degu_priv_call *me)
{
    degu_slot *slot;

    degu_priv_lock(server);
    slot = server->returned;
    server->returned = NULL;
    degu_priv_unlock(server);
    while (slot) {
        degu_slot *next = slot->next;
        degu_priv_settle(server, me, slot);
        slot = next;
    }
}

/* A deadline has passed, or may have; finds the next one.  What counts is when
   the poller was asked last: a handler may have taken its time since, and what
   came in meanwhile is in time.  The next one is not taken too exactly, so that
   a crowd of deadlines does not cost a look each. */
DEGU_PRIV void degu_priv_expire(degu_server *server, degu_priv_call *me)
{
    degu_time next = DEGU_PRIV_NEVER;
    size_t i;

    server->next_deadline = DEGU_PRIV_NEVER;
    for (i = 0; i < server->used; i++) {
        degu_slot *slot = &server->config.slots[i];
        if (slot->state != DEGU_PRIV_WAITING)
            continue;
        if (slot->deadline > me->asked)
            next = DEGU_PRIV_MIN(next, slot->deadline);
        else if (slot->counted)
            degu_priv_refuse(server, me, slot, DEGU_E_TIMEOUT);
        else
            degu_priv_give_up(server, me, slot, DEGU_OK, DEGU_PRIV_CUT);
    }
    for (i = 0; i < DEGU_LINGER_MAX; i++) {
        degu_priv_linger *one = &server->linger[i];
        if (one->fd >= 0 && one->deadline <= me->asked)
            degu_priv_end_linger(server, one);
        else if (one->fd >= 0)
            next = DEGU_PRIV_MIN(next, one->deadline);
    }
    if (next < me->now + DEGU_PRIV_COARSE_MS)
        next = me->now + DEGU_PRIV_COARSE_MS;
    server->next_deadline = DEGU_PRIV_MIN(next, server->next_deadline);
}

/* One event.  DEGU_OK, DEGU_MORE when this call is the owner no more, or an
   error. */
DEGU_PRIV degu_err degu_priv_event(degu_server *server, degu_priv_call *me,
                                   uint64_t tag)
{
    degu_slot *slot;

    if (tag == DEGU_PRIV_TAG_LISTENER) {
        degu_priv_forget(server);
        return server->paused_until || degu_priv_is_stopping(server)
                   ? DEGU_OK
                   : degu_priv_accept(server, me);
    }
    if (tag == DEGU_PRIV_TAG_WAKE) {
        degu_priv_hush(server->wake);
        degu_priv_collect(server, me);
        return DEGU_OK;
    }
    if (tag >> 32 == 0) {
        degu_priv_linger_on(server, DEGU_PRIV_CAST(size_t, tag) -
                                        DEGU_PRIV_TAG_LINGER);
        return DEGU_OK;
    }
    slot = degu_priv_tagged(server, tag);
    if (slot && slot != server->latest)
        degu_priv_forget(server);
    if (!slot)
        return DEGU_OK;
    if (slot->shaking)
        return degu_priv_greet(server, me, slot) ? DEGU_OK : DEGU_MORE;
    return degu_priv_turn(server, me, slot) ? DEGU_OK : DEGU_MORE;
}

/* As degu_priv_wait(), with spinning before.  *missed: that was in vain, and
   nothing was waited for yet. */
DEGU_PRIV int degu_priv_wait_awake(degu_server *server, uint64_t *tags,
                                   degu_time then, int timeout, bool *missed)
{
    degu_priv_spell spell;
    int n;

    *missed = false;
    if (timeout == 0 ||
        !degu_priv_begin_spell(&spell, &server->spin, server->config.spin_us,
                               then))
        return degu_priv_wait(server, tags, timeout);
    do
        n = degu_priv_wait(server, tags, 0);
    while (degu_priv_look_again(&spell, n));
    degu_priv_end_spell(&spell, &server->spin);
    *missed = n == 0;
    return n;
}

/* Waits until then at most, and handles what happened.  As above. */
DEGU_PRIV degu_err degu_priv_poll_once(degu_server *server, degu_priv_call *me,
                                       degu_time then)
{
    const degu_time before = me->now;
    const int timeout =
        me->signalled ? 0 : degu_priv_remaining(before, then);
    uint64_t tags[DEGU_PRIV_BATCH];
    degu_err err = DEGU_OK;
    bool knocks = false, missed;
    int i, n;

    n = degu_priv_wait_awake(server, tags, then, timeout, &missed);
    if (n < 0 && errno != EINTR)
        return DEGU_E_SYSTEM;
    if ((n < 0 || me->signalled || missed) && server->config.on_signal &&
        server->config.on_signal(server->config.user, me->worker))
        return DEGU_E_INTERRUPTED;
    me->signalled = false;
    me->now = degu_now();
    if (n == 0)
        me->asked = me->now;
    else if (n < DEGU_PRIV_BATCH) /* a full batch may leave somebody out */
        me->asked = before;
    /* The listener last: a place that has just been left can be taken. */
    for (i = 0; i < n && !err; i++) {
        if (tags[i] == DEGU_PRIV_TAG_LISTENER)
            knocks = true;
        else
            err = degu_priv_event(server, me, tags[i]);
    }
    return knocks && !err ? degu_priv_event(server, me, DEGU_PRIV_TAG_LISTENER)
                          : err;
}

/* A turn for each of those that are in the line now. */
DEGU_PRIV bool degu_priv_turns(degu_server *server, degu_priv_call *me)
{
    degu_slot *last = server->ready_last;
    degu_slot *slot;

    do {
        slot = degu_priv_unqueue(server);
        if (slot && !degu_priv_turn(server, me, slot))
            return false;
    } while (slot && slot != last);
    return true;
}

/* Polls until this call is the owner no more (DEGU_MORE), the server stops
   (DEGU_OK), or something breaks. */
DEGU_PRIV degu_err degu_priv_own(degu_server *server, degu_priv_call *me)
{
    me->now = degu_now();
    degu_priv_collect(server, me);
    while (!degu_priv_is_stopping(server)) {
        degu_err err;
        degu_time then = server->next_deadline;
        if (server->paused_until)
            then = DEGU_PRIV_MIN(then, server->paused_until);
        if (server->ready_first)
            then = me->now;
        err = degu_priv_poll_once(server, me, then);
        if (err)
            return err;
        if (server->ready_first && !degu_priv_turns(server, me))
            return DEGU_MORE;
        if (me->now >= server->paused_until)
            degu_priv_listen_again(server, me);
        if (me->asked >= server->next_deadline)
            degu_priv_expire(server, me);
    }
    return DEGU_OK;
}

/* ---- Stopping ---- */

/* Those that no thread handles are closed; the other ones, when their time is
   over, are cut so that their handlers fail. */
DEGU_PRIV void degu_priv_dismiss(degu_server *server, degu_priv_call *me,
                                 bool handled)
{
    size_t i;

    if (!handled)
        server->ready_first = NULL;
    for (i = 0; i < server->used; i++) {
        degu_slot *slot = &server->config.slots[i];
        if (handled && slot->state == DEGU_PRIV_HANDLED)
            (void)shutdown(slot->socket.fd, SHUT_RDWR);
        if (handled || slot->state == DEGU_PRIV_HANDLED ||
            slot->state == DEGU_PRIV_VACANT)
            continue;
        degu_priv_give_up(server, me, slot, DEGU_E_STOPPED, DEGU_PRIV_SHUT);
    }
}

DEGU_PRIV bool degu_priv_is_busy(degu_server *server)
{
    bool busy;

    degu_priv_lock(server);
    busy = server->busy || server->returned;
    degu_priv_unlock(server);
    return busy;
}

/* The owner of a server that stops: ends everything.  Handlers that outlast
   stop_ms become owners after this one, and end what they have. */
DEGU_PRIV degu_err degu_priv_wind_up(degu_server *server, degu_priv_call *me)
{
    size_t i;

    degu_priv_unwatch(server, server->listener);
    if (server->stop_at == 0)
        server->stop_at = degu_priv_after(me->now, server->config.stop_ms);
    degu_priv_dismiss(server, me, false);
    while ((degu_priv_is_busy(server) || server->lingering) &&
           me->now < server->stop_at) {
        const degu_time then =
            DEGU_PRIV_MIN(server->next_deadline, server->stop_at);
        const degu_err err = degu_priv_poll_once(server, me, then);
        if (err)
            return err;
        if (me->asked >= server->next_deadline)
            degu_priv_expire(server, me);
    }
    degu_priv_collect(server, me);
    degu_priv_dismiss(server, me, true);
    for (i = 0; i < DEGU_LINGER_MAX; i++)
        if (server->linger[i].fd >= 0)
            degu_priv_end_linger(server, &server->linger[i]);
    return DEGU_OK;
}

/* ---- The spare ones ---- */

/* How long the standby may sleep; 0: it has to take over.  Under the lock. */
DEGU_PRIV int degu_priv_watch_owner(degu_server *server, degu_priv_call *me)
{
    const int takeover_ms = server->config.takeover_ms;

    me->now = degu_now();
    if (server->handling) {
        const degu_time then = server->since + takeover_ms;
        return degu_priv_is_stopping(server) ?
                   0 : degu_priv_remaining(me->now, then);
    }
    if (server->activity != me->seen) {
        me->seen = server->activity;
        me->quiet = me->now;
    }
    if (me->now - me->quiet < DEGU_PRIV_QUIET_MS)
        return takeover_ms ? takeover_ms : 1;
    server->asleep = true;
    return -1;
}

/* Sleeps; true if a signal ended it. */
DEGU_PRIV bool degu_priv_sleep(degu_server *server, bool standby, int timeout)
{
    struct pollfd item;
    char byte;

    if (!standby)
        return read(server->baton[0], &byte, 1) < 0 && errno == EINTR;
    item.fd = server->tick[0];
    item.events = POLLIN;
    item.revents = 0;
    if (poll(&item, 1, timeout) < 0)
        return errno == EINTR;
    if (item.revents)
        degu_priv_hush(server->tick);
    return false;
}

/* One that is spare no more, without having become the owner. */
DEGU_PRIV void degu_priv_retire(degu_server *server, degu_priv_call *me)
{
    server->spare--;
    if (server->standby == me) {
        server->standby = NULL;
        server->asleep = false;
    }
    if (server->spare)
        degu_priv_ring(server->baton);
}

/* Until there is something to do.  DEGU_MORE: this call is the owner now;
   else what degu_serve() shall return. */
DEGU_PRIV degu_err degu_priv_stand_by(degu_server *server, degu_priv_call *me)
{
    const degu_server_config *config = &server->config;
    degu_err err = DEGU_END;
    bool short_of = false;

    degu_priv_lock(server);
    server->spare++;
    while (err == DEGU_END) {
        const bool vacant = !server->owner;
        bool standby;
        int timeout = -1;
        if (!vacant && !server->standby) {
            server->standby = me;
            me->quiet = degu_now();
            me->seen = server->activity;
        }
        standby = server->standby == me;
        if (standby)
            timeout = degu_priv_watch_owner(server, me);
        if (vacant || timeout == 0) {
            short_of = degu_priv_take_over(server, me);
            err = DEGU_MORE;
        } else if (degu_priv_is_stopping(server)) {
            err = DEGU_OK;
        } else {
            bool signalled;
            degu_priv_unlock(server);
            signalled = degu_priv_sleep(server, standby, timeout) &&
                        config->on_signal &&
                        config->on_signal(config->user, me->worker);
            degu_priv_lock(server);
            if (signalled)
                err = DEGU_E_INTERRUPTED;
        }
    }
    if (err != DEGU_MORE)
        degu_priv_retire(server, me);
    degu_priv_unlock(server);
    if (short_of && config->on_shortage)
        config->on_shortage(config->user, me->worker);
    return err;
}

DEGU_API degu_err degu_serve(degu_server *server, void *worker)
{
    degu_priv_call me;
    degu_err err;

    me.worker = worker;
    me.asked = 0;
    me.signalled = false;
    do {
        err = degu_priv_stand_by(server, &me);
        if (err != DEGU_MORE)
            return err;
        err = degu_priv_own(server, &me);
        if (err == DEGU_OK)
            err = degu_priv_wind_up(server, &me);
    } while (err == DEGU_MORE);
    degu_priv_abdicate(server);
    return err;
}

DEGU_API void degu_server_stop(degu_server *server)
{
    const int number = errno;

    if (!server->is_open)
        return;
#if defined(__GNUC__)
    __atomic_store_n(&server->stopping, 1, __ATOMIC_SEQ_CST);
#else
    server->stopping = 1;
#endif
    degu_priv_ring(server->wake);
    degu_priv_ring(server->tick);
    degu_priv_ring(server->baton);
    errno = number;
}

/* ---- Opening and closing ---- */

DEGU_API degu_server_config degu_server_defaults(degu_handler handler,
                                                 degu_slot *slots,
                                                 size_t max_connections)
{
    degu_server_config config;

    degu_priv_zero(&config, sizeof config);
    config.handler = handler;
    config.slots = slots;
    config.max_connections = max_connections;
    config.idle_timeout_ms = 15000;
    config.head_timeout_ms = 15000;
    config.body_timeout_ms = 15000;
    config.min_rate = DEGU_MIN_RATE;
    config.linger_ms = 2000;
    config.stop_ms = 5000;
    config.takeover_ms = 1;
    config.backlog = 128;
    return config;
}

DEGU_PRIV bool degu_priv_config_is_good(const degu_server_config *config)
{
    return config->handler && config->slots && config->max_connections >= 1 &&
           config->max_connections <= DEGU_PRIV_SLOTS_MAX &&
           config->idle_timeout_ms >= -1 && config->head_timeout_ms >= -1 &&
           config->body_timeout_ms >= -1 && config->linger_ms >= 0 &&
           config->stop_ms >= -1 && config->takeover_ms >= 0 &&
           config->spin_us <= DEGU_SPIN_MAX_US && config->backlog >= 1 &&
           config->mode <= 0777 &&
           !config->transport.open == !config->transport.handshake &&
           !config->transport.open == !config->transport.close;
}

/* A server that has nothing to give back. */
DEGU_PRIV void degu_priv_blank(degu_server *server)
{
    size_t i;

    degu_priv_zero(server, sizeof *server);
    server->listener = server->poller = -1;
    server->wake[0] = server->wake[1] = -1;
    server->tick[0] = server->tick[1] = -1;
    server->baton[0] = server->baton[1] = -1;
    for (i = 0; i < DEGU_LINGER_MAX; i++)
        server->linger[i].fd = -1;
    server->next_deadline = DEGU_PRIV_NEVER;
}

DEGU_PRIV void degu_priv_close_tools(degu_server *server)
{
    degu_priv_close_poller(server);
    degu_priv_close_pipe(server->wake);
    degu_priv_close_pipe(server->tick);
    degu_priv_close_pipe(server->baton);
}

DEGU_PRIV bool degu_priv_open_tools(degu_server *server)
{
    return degu_priv_open_pipe(server->wake, false) &&
           degu_priv_open_pipe(server->tick, false) &&
           degu_priv_open_pipe(server->baton, true) &&
           degu_priv_open_poller(server) &&
           degu_priv_watch(server, server->wake[0], DEGU_PRIV_TAG_WAKE) &&
           degu_priv_watch(server, server->listener, DEGU_PRIV_TAG_LISTENER);
}

DEGU_API degu_err degu_server_init(degu_server *server, int listener,
                                   const degu_server_config *config)
{
    int number;

    degu_priv_blank(server);
    if (!degu_priv_config_is_good(config))
        return DEGU_E_ARGUMENT;
    server->config = *config;
    server->listener = listener;
    server->listener_flags = fcntl(listener, F_GETFL);
    if (server->listener_flags < 0 || degu_priv_set_blocking(listener, false))
        return DEGU_E_SYSTEM;
    if (!degu_priv_open_tools(server)) {
        number = errno;
    } else {
        number = pthread_mutex_init(degu_priv_mutex(server), NULL);
        server->is_open = number == 0;
    }
    if (number == 0)
        return DEGU_OK;
    degu_priv_close_tools(server);
    (void)fcntl(listener, F_SETFL, server->listener_flags);
    degu_priv_blank(server);
    errno = number;
    return DEGU_E_SYSTEM;
}

/* What the path means now: the number of its file, and of its device. */
DEGU_PRIV bool degu_priv_identify(const degu_address *address, uint64_t *dev,
                                  uint64_t *ino)
{
    char path[sizeof address->name + 1];
    struct stat status;

    if (address->family != DEGU_UNIX ||
        lstat(degu_priv_path(address, path), &status))
        return false;
    *dev = DEGU_PRIV_CAST(uint64_t, status.st_dev);
    *ino = DEGU_PRIV_CAST(uint64_t, status.st_ino);
    return true;
}

/* Removes the path, if nobody has put another file there. */
DEGU_PRIV void degu_priv_remove_path(const degu_address *address, uint64_t dev,
                                     uint64_t ino)
{
    char path[sizeof address->name + 1];
    uint64_t dev_now, ino_now;

    if (degu_priv_identify(address, &dev_now, &ino_now) && dev_now == dev &&
        ino_now == ino)
        (void)unlink(degu_priv_path(address, path));
}

DEGU_API degu_err degu_server_open(degu_server *server, const char *address,
                                   const degu_server_config *config)
{
    degu_address where;
    uint64_t dev = 0, ino = 0;
    degu_err err;
    int fd;

    degu_priv_blank(server);
    if (!degu_priv_config_is_good(config))
        return DEGU_E_ARGUMENT;
    err = degu_parse_address(address, &where);
    if (!err)
        err = degu_listen(&where, config->backlog, config->mode, &fd);
    if (err)
        return err;
    (void)degu_priv_identify(&where, &dev, &ino);
    err = degu_server_init(server, fd, config);
    if (err) {
        const int number = errno;
        close(fd);
        degu_priv_remove_path(&where, dev, ino);
        degu_priv_blank(server);
        errno = number;
        return err;
    }
    server->is_mine = true;
    server->address = where;
    server->path_dev = dev;
    server->path_ino = ino;
    return DEGU_OK;
}

DEGU_API degu_err degu_server_address(const degu_server *server,
                                      degu_address *address)
{
    return degu_local_address(server->listener, address);
}

DEGU_API void degu_server_close(degu_server *server)
{
    size_t i;

    if (!server->is_open)
        return;
    for (i = 0; i < server->used; i++) {
        degu_slot *slot = &server->config.slots[i];
        if (slot->state == DEGU_PRIV_VACANT)
            continue;
        slot->session.worker = NULL;
        degu_priv_bid_farewell(server, slot, DEGU_E_STOPPED);
        close(slot->socket.fd);
        slot->state = DEGU_PRIV_VACANT;
    }
    for (i = 0; i < DEGU_LINGER_MAX; i++)
        if (server->linger[i].fd >= 0)
            close(server->linger[i].fd);
    degu_priv_close_tools(server);
    pthread_mutex_destroy(degu_priv_mutex(server));
    if (server->is_mine) {
        close(server->listener);
        degu_priv_remove_path(&server->address, server->path_dev,
                              server->path_ino);
    } else {
        (void)fcntl(server->listener, F_SETFL, server->listener_flags);
    }
    degu_priv_blank(server);
}

/* ---- Client ---- */

DEGU_API degu_err degu_client_open(degu_client *client, const char *address,
                                   int timeout_ms)
{
    degu_address where;
    degu_err err = degu_parse_address(address, &where);

    client->socket.fd = -1;
    client->close_secure = NULL;
    if (!err)
        err = degu_connect(&where, timeout_ms, &client->socket);
    if (err)
        return err;
    degu_format_host(&where, 80, client->host);
    degu_conn_init(&client->conn, DEGU_CLIENT,
                   degu_socket_io(&client->socket), client->in,
                   sizeof client->in, client->out, sizeof client->out);
    return DEGU_OK;
}

DEGU_PRIV bool degu_priv_has_host(const degu_header *headers, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (degu_is(headers[i].name, "host"))
            return true;
    return false;
}

DEGU_API degu_err degu_client_request(degu_client *client, degu_method method,
                                      const char *target,
                                      const degu_header *headers, size_t count,
                                      degu_body body, degu_response *response)
{
    degu_header all[DEGU_HEADER_MAX];
    degu_err err;

    if (!degu_priv_has_host(headers, count)) {
        if (count >= DEGU_HEADER_MAX)
            return DEGU_E_HEADER_COUNT;
        all[0].name = degu_string("host");
        all[0].value = degu_string(client->host);
        degu_priv_copy(all + 1, headers, count * sizeof *headers);
        headers = all;
        count++;
    }
    err = degu_send_request(&client->conn, method, degu_string(target),
                            headers, count, body);
    if (err == DEGU_OK)
        return degu_read_response(&client->conn, response);
    /* The other end may have answered early and closed (RFC 9112 9.5), or have
       refused us (RFC 8446 4.4.2.4: behind a handshake that seemed done). */
    if (err == DEGU_E_RESET) {
        const degu_err read = degu_read_response(&client->conn, response);
        if (read == DEGU_OK || read == DEGU_E_CERTIFICATE_REFUSED)
            return read;
    }
    return err;
}

DEGU_API degu_err degu_client_get(degu_client *client, const char *target,
                                  degu_response *response)
{
    return degu_client_request(client, DEGU_GET, target, NULL, 0,
                               degu_no_body(), response);
}

DEGU_API void degu_client_close(degu_client *client)
{
    if (client->close_secure)
        client->close_secure(client->secure, !client->conn.broken);
    client->close_secure = NULL;
    degu_socket_close(&client->socket);
}

#undef DEGU_PRIV_ACCEPTS
#undef DEGU_PRIV_BATCH
#undef DEGU_PRIV_COARSE_MS
#undef DEGU_PRIV_LINGER_BYTES
#undef DEGU_PRIV_PAUSE_MS
#undef DEGU_PRIV_QUIET_MS
#undef DEGU_PRIV_SLOTS_MAX
#undef DEGU_PRIV_TAG_LINGER
#undef DEGU_PRIV_TAG_LISTENER
#undef DEGU_PRIV_TAG_WAKE
#undef DEGU_PRIV_TURN
#endif /* DEGU_NO_SERVER */

#endif /* DEGU_IMPLEMENTATION */
/*
   Copyright (c) 2026 the Degu authors

   This file may be used under the terms of either licence.

   MIT: Permission is hereby granted, free of charge, to any person obtaining
   a copy of this software and associated documentation files (the
   "Software"), to deal in the Software without restriction, including without
   limitation the rights to use, copy, modify, merge, publish, distribute,
   sublicense, and/or sell copies of the Software, and to permit persons to
   whom the Software is furnished to do so, subject to the following
   conditions: The above copyright notice and this permission notice shall be
   included in all copies or substantial portions of the Software.

   0BSD: Permission to use, copy, modify, and/or distribute this software for
   any purpose with or without fee is hereby granted.

   THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHORS DISCLAIM ALL WARRANTIES
   WITH REGARD TO THIS SOFTWARE, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
   TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
   NONINFRINGEMENT.  IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
   LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
   CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
   SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */

/* SPDX-License-Identifier: MIT OR 0BSD */
/* What the proofs in this directory have in common; prove.py runs them.

   Every proof is a function without arguments that CBMC explores for all
   inputs at once:

       BOUND("any text")
       PROOF(degu_parse_length)
       {
           degu_str text = any_text(ANY);
           ...call, then assert...
       }

   On top of what a proof asserts, every access, overflow, shift, conversion
   and loop bound inside the code is checked.  reached() is the other way
   round: it has to be possible, so that a proof cannot hold for want of
   inputs. */

#ifndef DEGU_PROVE_H
#define DEGU_PROVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* CBMC has no body for this builtin of the compiler.  What the bytes are does
   not matter to memory safety, so where loops are summed up (*.loops) so is
   this one. */
static int compare(const void *a, const void *b, size_t len)
{
    const unsigned char *p = a, *q = b;
    size_t i = 0;
    while (i < len && p[i] == q[i])
        i++;
    return i == len ? 0 : p[i] < q[i] ? -1 : 1;
}
#define __builtin_memcmp compare
/* Nor for these; but it knows them by other names.  Some proofs have models of
   their own. */
#ifndef __builtin_memcpy
#define __builtin_memcpy memcpy
#endif
#ifndef __builtin_memmove
#define __builtin_memmove memmove
#endif
#define __builtin_memset memset

/* A byte of the output: the one that copies in format.c are made for. */
static char *looked_at;
static bool touched; /* it is, by one of these copies */

#define DEGU_STATIC
#define DEGU_NO_SOCKETS
#define DEGU_IMPLEMENTATION
#define DEGU_ASSERT(x) __CPROVER_assert((x), "DEGU_ASSERT(" #x ")")
#include "../../degu.h"

/* Read by prove.py: what the inputs are bounded by, and how often loops that
   *.loops do not sum up may go round (32 if it is not said). */
#define BOUND(text)
#define UNWIND(count)
/* Loops are unwound, all of them: for what a result is. */
#define UNWOUND
/* Left out by prove.py --quick. */
#define LONG
/* What stands for these functions is sum_NAME(): it may do all that the proof
   of NAME shows that NAME may do. */
#define SUMMED(...)
/* Contracts of functions: this one is shown to keep to its own; those are known
   by theirs alone (one of another name is written function/contract). */
#define ENFORCED(name)
#define CONTRACTED(...)
#define PROOF(name) void prove_##name(void)

#define proved(condition) __CPROVER_assert((condition), #condition)
#define reached(condition)                                                    \
    __CPROVER_assert(!(condition), "reached: " #condition)
#define given(condition) __CPROVER_assume(condition)

/* The most that CBMC's pointers can tell apart: objects this long stand for
   those of any length. */
#ifndef ANY
#define ANY ((size_t)1 << 48)
#endif

/* Arbitrary values: CBMC knows these by the start of their names. */
size_t nondet_size(void);
uint64_t nondet_u64(void);
unsigned nondet_unsigned(void);
int nondet_int(void);
bool nondet_bool(void);
char nondet_char(void);
ptrdiff_t nondet_ptrdiff(void);

static size_t up_to(size_t most)
{
    size_t n = nondet_size();
    given(n <= most);
    return n;
}

/* len bytes, not one more, of any content. */
static char *any_bytes(size_t len)
{
    char *bytes = malloc(len);
    given(bytes != NULL);
    return bytes;
}

/* The same in an array with an end of its own, which is easier for CBMC; for
   proofs in which the length is a number like others. */
#define SHORT 64

static char *short_bytes(size_t len)
{
    static char bytes[SHORT];
    return bytes + (SHORT - len);
}

static degu_str any_text(size_t most)
{
    size_t len = up_to(most);
    return degu_bytes(any_bytes(len), len);
}

static degu_str short_text(void)
{
    size_t len = up_to(SHORT);
    return degu_bytes(short_bytes(len), len);
}

/* A view that may also be "not there". */
static degu_str any_view(size_t most)
{
    return nondet_bool() ? degu_bytes(NULL, 0) : any_text(most);
}

static degu_err any_error(void)
{
    int err = nondet_int();
    given(err == DEGU_OK || (err <= DEGU_E_EMPTY_LINE && err >= DEGU_E_TLS));
    return (degu_err)err;
}

/* Any byte of the input, to see how it changes: what it was before the call. */
static char nothing;
static const char *watched = &nothing;
static char was;

static void watch(degu_str text)
{
    size_t k = up_to(text.len);
    given(k < text.len);
    watched = text.ptr + k;
    was = *watched;
}

static bool is_only_folded(void)
{
    return *watched == was ||
           (was >= 'A' && was <= 'Z' && *watched == was + 32);
}

static bool is_inside(degu_str view, degu_str whole)
{
    return view.ptr && __CPROVER_same_object(view.ptr, whole.ptr) &&
           view.ptr >= whole.ptr &&
           view.len <= whole.len - (size_t)(view.ptr - whole.ptr) &&
           (size_t)(view.ptr - whole.ptr) <= whole.len;
}

static bool is_absent(degu_str view)
{
    return view.ptr == NULL && view.len == 0;
}

/* Questions about a text, whose answers may be either. */
static bool sum_is(degu_str text)
{
    proved(__CPROVER_r_ok(text.ptr, text.len));
    return nondet_bool();
}

/* These may be asked of a value that is absent. */
bool sum_degu_priv_is_host(degu_str text)
{
    return is_absent(text) ? nondet_bool() : sum_is(text);
}

/* Letters and dashes. */
static bool is_plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
}

/* Without a loop: it is called in one. */
bool sum_degu_priv_fold_word(char *p)
{
    proved(__CPROVER_rw_ok(p, 8));
    if (!(is_plain(p[0]) && is_plain(p[1]) && is_plain(p[2]) &&
          is_plain(p[3]) && is_plain(p[4]) && is_plain(p[5]) &&
          is_plain(p[6]) && is_plain(p[7])))
        return false;
    p[0] = degu_priv_lower(p[0]);
    p[1] = degu_priv_lower(p[1]);
    p[2] = degu_priv_lower(p[2]);
    p[3] = degu_priv_lower(p[3]);
    p[4] = degu_priv_lower(p[4]);
    p[5] = degu_priv_lower(p[5]);
    p[6] = degu_priv_lower(p[6]);
    p[7] = degu_priv_lower(p[7]);
    return true;
}

/* ---- Cursors of layer 4 ---- */

static degu_priv_cursor any_cursor(degu_str text)
{
    degu_priv_cursor c = degu_priv_over(text);
    c.at += up_to(text.len);
    return c;
}

static bool is_in_front(const char *a, const char *b)
{
    return __CPROVER_same_object(a, b) && a <= b;
}

/* It has not moved back, nor beyond its end. */
static bool has_moved_on(const degu_priv_cursor *c,
                         const degu_priv_cursor *from)
{
    return c->end == from->end && is_in_front(from->at, c->at) &&
           is_in_front(c->at, c->end);
}

static size_t distance(const char *from, const char *to)
{
    return (size_t)(to - from);
}

/* All that a function may do that moves it. */
static void move_on(degu_priv_cursor *c)
{
    proved(is_in_front(c->at, c->end));
    proved(__CPROVER_r_ok(c->at, degu_priv_left(c)));
    c->at += up_to(degu_priv_left(c));
}

degu_err sum_degu_priv_take_escaped(degu_priv_cursor *c, unsigned bit)
{
    (void)bit;
    move_on(c);
    return any_error();
}

#endif

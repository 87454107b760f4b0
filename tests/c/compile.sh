#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
#
# The compile matrix: degu.h and degu_tls.h under the flags of people who vendor
# them.  Every value of each axis with gcc and with clang, not the product of
# all; a line for each combination that fails, and the count at the end.
#
#     tests/c/compile.sh [JOBS]

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

WARN="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef \
-Wcast-qual -Wcast-align -Wpointer-arith -Wwrite-strings -Wswitch-enum -Wvla \
-Wformat=2 -Wdouble-promotion -Wnull-dereference -Werror"
WARN_C="$WARN -Wstrict-prototypes -Wmissing-prototypes"

# ---- One combination: KIND COMPILER FLAGS... -------------------------------

say() { echo "FAILED: $job: $*"; exit 1; }

# Every symbol that is defined and could clash starts with degu_ (__x86... is
# the compiler's own).
only_ours() {
    bad=$(nm "$1" | awk 'NF == 3 && $2 ~ /[A-TV-Z]/ && $3 !~ /^(degu_|__x86)/ \
        { print $3 }')
    [ -z "$bad" ] || say "symbols: $bad"
}

# Nothing of a C library but these four, and no data that could change.
freestanding() {
    bad=$(nm -u "$1" | awk '{ print $2 }' |
        grep -vxE 'mem(cpy|move|set|cmp)' || true)
    [ -z "$bad" ] || say "undefined symbols: $bad"
    size "$1" | awk 'NR == 2 && $2 + $3 > 0 { exit 1 }' ||
        say "has data or bss: $(size "$1" | tail -1)"
}

# All macros that the header leaves behind; _GNU_SOURCE is for the system.
macros() {
    bad=$("$compiler" "$@" -dD -E "$WORK/$kind.c" | awk -v ours="$ROOT/degu" '
        /^# [0-9]+ "/ { inside = index($0, "\"" ours) > 0 }
        inside && /^#define / && $2 !~ /^DEGU_/ && $2 !~ /^_GNU_SOURCE/ \
            { print $2 }')
    [ -z "$bad" ] || say "macros: $bad"
}

one() {
    job=$1
    # The words of a job are flags without blanks.
    # shellcheck disable=SC2086
    set -- $job
    kind=$1 compiler=$2
    shift 2
    dir=$(mktemp -d "$WORK/job.XXXXXX")
    object=$dir/object.o
    include="-I$ROOT"
    case $kind in
    macros_*) macros "$include" "$@"; return ;;
    link_*)
        # Two files, one implementation, linked and called.
        libraries=
        case $kind in *_tls) libraries='-lssl -lcrypto' ;; esac
        # shellcheck disable=SC2086
        "$compiler" "$include" "$@" -o "$dir/a" "$WORK/$kind"_[ab].c \
            -pthread $libraries > "$dir/log" 2>&1 || say "$(cat "$dir/log")"
        "$dir/a" > "$dir/log" 2>&1 || say "runs wrong: $(cat "$dir/log")"
        return ;;
    free) set -- -ffreestanding -fno-pic -DDEGU_NO_SOCKETS "$@" ;;
    esac
    file=$WORK/$kind.c
    case $compiler in *++) set -- -x c++ "$@" ;; esac
    "$compiler" "$include" "$@" -c "$file" -o "$object" > "$dir/log" 2>&1 ||
        say "$(head -20 "$dir/log")"
    case " $* " in *" -flto "*) return ;; esac
    case $compiler in *++) ;; *) only_ours "$object" ;; esac
    [ "$kind" != free ] || freestanding "$object"
}

if [ "$1" = --one ]; then
    one "$2"
    exit 0
fi

# ---- What is compiled ------------------------------------------------------

WORK=$(mktemp -d)
ROOT=$root
export WORK ROOT
trap 'rm -rf "$WORK"' EXIT

put() { cat > "$WORK/$1.c"; }

put all << 'END'
#define DEGU_IMPLEMENTATION
#include "degu.h"
END
put free < "$WORK/all.c"
put macros_all < "$WORK/all.c"
put declared << 'END'
#include "degu.h"
degu_err degu_test_use(degu_str *path);
degu_err degu_test_use(degu_str *path)
{
    size_t at;
    return degu_parse_target(degu_string("/a"), path, path, &at);
}
END
put macros_declared < "$WORK/declared.c"
# Twice, also with the implementation, which comes once.
put twice << 'END'
#define DEGU_IMPLEMENTATION
#include "degu.h"
#include "degu.h"
END
# First for what it declares, by some other header, then for the rest.
put later << 'END'
#if !defined(_GNU_SOURCE) && !defined(DEGU_NO_SOCKETS)
#define _GNU_SOURCE
#endif
#include "degu.h"
#include "degu.h"
#define DEGU_IMPLEMENTATION
#include "degu.h"
END
put link_two_a << 'END'
#include "degu.h"
int other(void);
int main(void)
{
    char head[] = "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n";
    static degu_request request;
    size_t len = 0;
    if (degu_scan_head(head, sizeof head - 1, &len) != DEGU_OK ||
        degu_parse_request(head, len, &request) != DEGU_OK)
        return 1;
    if (!degu_is(request.path, "/a") || !degu_is(request.host, "x"))
        return 2;
    return other();
}
END
put link_two_b << 'END'
#define DEGU_IMPLEMENTATION
#include "degu.h"
int other(void);
int other(void)
{
    char text[32];
    degu_buffer dst = {text, sizeof text, 0};
    if (degu_format_length(&dst, 1234) != DEGU_OK)
        return 3;
    return degu_is(degu_bytes(text, dst.len), "1234") ? 0 : 4;
}
END
# The same with an implementation of its own in each file.
{ echo '#define DEGU_STATIC'; echo '#define DEGU_IMPLEMENTATION'
  cat "$WORK/link_two_a.c"; } | put link_static_a
{ echo '#define DEGU_STATIC'; cat "$WORK/link_two_b.c"; } | put link_static_b

# TLS: all in one, the implementation of degu.h elsewhere, and only declared,
# which must do without OpenSSL.
sed 's/degu\.h/degu_tls.h/' "$WORK/all.c" | put tls_all
put macros_tls < "$WORK/tls_all.c"
{ echo '#define DEGU_TLS_IMPLEMENTATION'; echo '#include "degu_tls.h"'
} | put tls_apart
sed 's/degu\.h/degu_tls.h/' "$WORK/twice.c" | put tls_twice
sed 's/degu\.h/degu_tls.h/' "$WORK/later.c" | put tls_later
put tls_declared << 'END'
#include "degu_tls.h"
const char *degu_test_use(degu_tls *tls);
const char *degu_test_use(degu_tls *tls)
{
    degu_tls_close(tls);
    return degu_tls_why(tls);
}
END
mkdir -p "$WORK/none/openssl"
for name in bio err evp pem ssl x509 x509v3 crypto; do
    echo '#error "OpenSSL is for the implementation"' \
        > "$WORK/none/openssl/$name.h"
done
put link_tls_a << 'END'
#include "degu_tls.h"
int main(void)
{
    static degu_tls tls;
    degu_tls_config config = {0};
    if (degu_tls_open_server(&tls, &config) != DEGU_E_ARGUMENT)
        return 1;
    return degu_is(degu_string(degu_tls_why(&tls)), "cert: there is none")
               ? 0 : 2;
}
END
{ echo '#define DEGU_IMPLEMENTATION'; echo '#include "degu.h"'
  echo '#define DEGU_TLS_IMPLEMENTATION'; echo '#include "degu_tls.h"'
} | put link_tls_b
{ echo '#define DEGU_STATIC'; echo '#define DEGU_IMPLEMENTATION'
  cat "$WORK/link_tls_a.c"; } | put link_static_tls_a
{ echo '#define DEGU_STATIC'; cat "$WORK/link_tls_b.c"; } |
    put link_static_tls_b

# ---- The matrix ------------------------------------------------------------

jobs=$WORK/jobs
add() { echo "$*" >> "$jobs"; }
have() { command -v "$1" > /dev/null; }

for cc in gcc clang; do
    have $cc || { echo "FAILED: no $cc"; exit 1; }
    for std in c99 c11 c17 c2x; do
        add all $cc -std=$std -O2 $WARN_C
    done
    for opt in -O0 -O3 -Os; do
        add all $cc -std=c99 $opt $WARN_C
    done
    for flag in -m32 -fshort-enums -funsigned-char -fsigned-char -flto -mavx2 \
        -DDEGU_STATIC -DDEGU_NO_SERVER -DDEGU_NO_SOCKETS \
        -DDEGU_NO_SIMD -DDEGU_USE_POLL -DNDEBUG -fno-strict-aliasing; do
        add all $cc -std=c11 -O2 $flag $WARN_C
    done
    add all $cc -std=c11 -O2 -DDEGU_PREAMBLE_MAX=1024 -DDEGU_HEADER_MAX=16 \
        -DDEGU_NAME_MAX=32 -DDEGU_CHUNK_LINE_MAX=64 -DDEGU_TRAILER_MAX=128 \
        -DDEGU_COPY_MAX=256 -DDEGU_LINGER_MAX=1 $WARN_C
    add all $cc -std=c11 -O2 -D_FORTIFY_SOURCE=3 -fcf-protection \
        -fstack-protector-strong -fstack-clash-protection $WARN_C
    add all $cc -std=c11 -O2 -DDEGU_STATIC -DDEGU_NO_SOCKETS $WARN_C
    add all $cc -std=c11 -m32 -Os -DDEGU_NO_SOCKETS -fshort-enums $WARN_C
    for kind in twice later declared; do
        add $kind $cc -std=c99 -O2 $WARN_C
    done
    add declared $cc -std=c99 -O0 -DDEGU_NO_SOCKETS $WARN_C
    for opt in -O2 -Os -O0; do
        add free $cc -std=c99 $opt $WARN_C
    done
    add free $cc -std=c99 -Os -m32 $WARN_C
    add free $cc -std=c99 -Os -DDEGU_STATIC $WARN_C
    for flag in -O2 -flto -DDEGU_NO_SOCKETS -m32; do
        add link_two $cc -std=c99 $flag $WARN_C
        add link_static $cc -std=c99 $flag $WARN_C
    done
    add macros_declared $cc -std=c99
    add macros_all $cc -std=c99
    add macros_all $cc -std=c99 -DDEGU_NO_SOCKETS
done
MODERN="-DOPENSSL_NO_DEPRECATED -DOPENSSL_API_COMPAT=30000"
for cc in gcc clang; do
    for std in c99 c2x; do
        add tls_all $cc -std=$std -O2 $MODERN $WARN_C
    done
    for flag in -O3 -DDEGU_STATIC -fshort-enums; do
        add tls_all $cc -std=c11 -O2 $flag $WARN_C
    done
    for kind in tls_apart tls_twice tls_later; do
        add $kind $cc -std=c99 -O1 $MODERN $WARN_C
    done
    add tls_declared $cc -std=c99 -O2 "-I$WORK/none" $WARN_C
    add link_tls $cc -std=c99 -O2 $WARN_C -Wno-missing-field-initializers
    add link_static_tls $cc -std=c99 -O2 $WARN_C \
        -Wno-missing-field-initializers
    add macros_tls $cc -std=c99
done
for cc in g++ clang++; do
    for std in c++11 c++20; do
        add tls_all $cc -std=$std -O2 $MODERN $WARN
    done
    for kind in tls_apart tls_declared; do
        add $kind $cc -std=c++17 -O2 $WARN
    done
done
for cc in g++ clang++; do
    have $cc || { echo "FAILED: no $cc"; exit 1; }
    for std in c++11 c++17 c++20; do
        add all $cc -std=$std -O2 $WARN
    done
    for kind in twice later declared; do
        add $kind $cc -std=c++11 -O2 $WARN
    done
    for flag in -O0 -O3 -m32 -DDEGU_STATIC -DDEGU_NO_SOCKETS -DDEGU_USE_POLL \
        -fshort-enums; do
        add all $cc -std=c++17 $flag $WARN
    done
done
if have musl-gcc; then
    add all musl-gcc -std=c99 -O2 $WARN_C
    add all musl-gcc -std=c99 -Os -DDEGU_USE_POLL $WARN_C
fi

total=$(wc -l < "$jobs")
xargs -d '\n' -P "${1:-2}" -n 1 sh "$0" --one < "$jobs" > "$WORK/failures"
cat "$WORK/failures"
failed=$(grep -c '^FAILED: ' "$WORK/failures")
echo "$((total - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]

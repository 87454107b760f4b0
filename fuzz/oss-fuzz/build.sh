#!/bin/bash -eu
# SPDX-License-Identifier: MIT OR 0BSD
# Builds the harnesses in an OSS-Fuzz container, which sets the variables.
cd "$SRC/degu"
for source in fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    entry=${name#fuzz_}
    libraries=
    # In the archives: where it runs there are no others.
    [ "$entry" != tls ] || libraries='-l:libssl.a -l:libcrypto.a -ldl -pthread'
    $CC $CFLAGS -c "$source" -o "$WORK/$name.o"
    $CXX $CXXFLAGS "$WORK/$name.o" $LIB_FUZZING_ENGINE $libraries \
        -o "$OUT/$name"
    python3 -m zipfile -c "$OUT/${name}_seed_corpus.zip" "fuzz/corpus/$entry/"
    cp "fuzz/dictionaries/$entry.dict" "$OUT/$name.dict" 2>/dev/null ||
        cp fuzz/dictionaries/http.dict "$OUT/$name.dict"
    printf '[libfuzzer]\nmax_len = 4096\n' > "$OUT/$name.options"
done

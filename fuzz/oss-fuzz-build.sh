#!/bin/bash -eu
# SPDX-License-Identifier: MIT OR 0BSD
# Builds the harnesses in an OSS-Fuzz container, which sets the variables.
cd "$(dirname "$0")/.."
for source in fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    entry=${name#fuzz_}
    $CC $CFLAGS -c "$source" -o "$WORK/$name.o"
    $CXX $CXXFLAGS "$WORK/$name.o" $LIB_FUZZING_ENGINE -o "$OUT/$name"
    zip -jqr "$OUT/${name}_seed_corpus.zip" "fuzz/corpus/$entry"
    cp "fuzz/dictionaries/$entry.dict" "$OUT/$name.dict" 2>/dev/null ||
        cp fuzz/dictionaries/http.dict "$OUT/$name.dict"
done

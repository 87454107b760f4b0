/* SPDX-License-Identifier: MIT OR 0BSD

   All harnesses in one program, in which degu.h is compiled only once: for
   replay.c with FUZZ_EVERY.  Each is chosen by the name of a directory. */

#ifndef FUZZ_EVERY_H
#define FUZZ_EVERY_H

#define FUZZ_WITH_SOCKETS
#include "harness.h"

#define LLVMFuzzerTestOneInput fuzz_address
#include "fuzz_address.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_chunk_line
#include "fuzz_chunk_line.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_client
#include "fuzz_client.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_format
#include "fuzz_format.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_request
#include "fuzz_request.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_response
#include "fuzz_response.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_server
#include "fuzz_server.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_target
#include "fuzz_target.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_trailers
#include "fuzz_trailers.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_value
#include "fuzz_value.c"
#undef LLVMFuzzerTestOneInput

typedef int (*fuzz_harness)(const uint8_t *data, size_t size);

static const struct {
    const char *name;
    fuzz_harness run;
} fuzz_every[] = {
    {"address", fuzz_address},   {"chunk_line", fuzz_chunk_line},
    {"client", fuzz_client},     {"format", fuzz_format},
    {"request", fuzz_request},   {"response", fuzz_response},
    {"server", fuzz_server},     {"target", fuzz_target},
    {"trailers", fuzz_trailers}, {"value", fuzz_value},
};

#endif

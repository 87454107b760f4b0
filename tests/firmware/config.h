/* SPDX-License-Identifier: MIT OR 0BSD

   The configuration of a small device: what its buffers hold, and no more.
   Given to every file with -include, so that all of them agree. */

#ifndef FIRMWARE_CONFIG_H
#define FIRMWARE_CONFIG_H

#define DEGU_NO_SOCKETS
#define DEGU_PREAMBLE_MAX 1024
#define DEGU_HEADER_MAX 16
#define DEGU_CHUNK_LINE_MAX 128
#define DEGU_TRAILER_MAX 256
#define DEGU_CHUNK_MAX 1024
#define DEGU_COPY_MAX 256

#endif

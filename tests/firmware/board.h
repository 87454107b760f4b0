/* SPDX-License-Identifier: MIT OR 0BSD

   All that device.c wants of a board: lines that move bytes, and a clock. */

#ifndef FIRMWARE_BOARD_H
#define FIRMWARE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#define BOARD_LINES 2 /* UARTs */

extern const char board_name[];
/* Of board_clock(), which goes round at 2^32. */
extern const uint32_t board_ticks_per_ms;

void board_init(void);
uint32_t board_clock(void);
/* The next byte that has come, or -1: none has. */
int board_get(unsigned line);
/* false: the line cannot take a byte now. */
bool board_put(unsigned line, char byte);

#endif

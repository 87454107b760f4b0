/* SPDX-License-Identifier: MIT OR 0BSD

   ARM MPS2 with the AN385 image (Cortex-M3): two of its CMSDK UARTs, and the
   counter of its system controller. */

#include "board.h"

typedef struct uart {
    uint32_t data;
    uint32_t state; /* 1: cannot take a byte, 2: a byte has come */
    uint32_t control;
    uint32_t interrupt;
    uint32_t divider; /* of the clock, to the bit rate */
} uart;

#define UART(line) ((volatile uart *)(0x40004000u + 0x1000u * (line)))
#define COUNTER (*(volatile uint32_t *)0x40028018u)
#define PRESCALE (*(volatile uint32_t *)0x4002801cu)
#define CLOCK 25000000u

const char board_name[] = "mps2-an385";
const uint32_t board_ticks_per_ms = 1000;

void board_init(void)
{
    unsigned line;
    PRESCALE = CLOCK / 1000000 - 1;
    for (line = 0; line < BOARD_LINES; ++line) {
        UART(line)->divider = CLOCK / 115200;
        UART(line)->control = 3; /* send and receive */
    }
}

uint32_t board_clock(void)
{
    return COUNTER;
}

int board_get(unsigned line)
{
    return (UART(line)->state & 2) != 0 ? (int)(UART(line)->data & 0xff) : -1;
}

bool board_put(unsigned line, char byte)
{
    if ((UART(line)->state & 1) != 0)
        return false;
    UART(line)->data = (unsigned char)byte;
    return true;
}

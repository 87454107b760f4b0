/* SPDX-License-Identifier: MIT OR 0BSD

   RISC-V "virt": its 16550 UART, a second one that sits on the PCI bus as the
   first device, and the timer of the core. */

#include "board.h"

#define PORTS 0x03000000u /* where PCI's I/O ports are seen */
#define PORT 0x1000u      /* the one that we give to the second UART */
#define DEVICE_1 (0x30000000u + 0x8000u) /* its PCI configuration */
#define PCI_COMMAND (*(volatile uint16_t *)(DEVICE_1 + 4))
#define PCI_ADDRESS (*(volatile uint32_t *)(DEVICE_1 + 16))
#define TIMER (*(volatile uint32_t *)0x0200bff8u) /* its lower half */

/* Registers of a 16550. */
enum { DATA = 0, FIFO = 2, STATE = 5 };

const char board_name[] = "virt";
const uint32_t board_ticks_per_ms = 10000;

static volatile uint8_t *uart(unsigned line)
{
    return (volatile uint8_t *)(line == 0 ? 0x10000000u : PORTS + PORT);
}

void board_init(void)
{
    unsigned line;
    PCI_ADDRESS = PORT;
    PCI_COMMAND = 1; /* answer to I/O */
    for (line = 0; line < BOARD_LINES; ++line)
        uart(line)[FIFO] = 1;
}

uint32_t board_clock(void)
{
    return TIMER;
}

int board_get(unsigned line)
{
    return (uart(line)[STATE] & 1) != 0 ? uart(line)[DATA] : -1;
}

bool board_put(unsigned line, char byte)
{
    if ((uart(line)[STATE] & 0x20) == 0)
        return false;
    uart(line)[DATA] = (unsigned char)byte;
    return true;
}

/* signals.h - signals as a program has them that expects interruptions.
   SPDX-License-Identifier: MIT OR 0BSD */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <signal.h>
#include <string.h>

static void ignore_signal(int number)
{
    (void)number;
}

/* SIGUSR1 interrupts system calls.  SIGPIPE is as it is by default. */
static void expect_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
}

#endif

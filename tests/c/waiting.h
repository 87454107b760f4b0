/* SPDX-License-Identifier: MIT OR 0BSD

   What tests with threads share: numbers that several threads change, and
   waiting for what these do.  Include it behind degu.h and the system. */

#ifndef WAITING_H
#define WAITING_H

#include <dirent.h>

/* ms; nothing should take so long */
#ifdef UNDER_VALGRIND
#define PATIENCE 120000
#else
#define PATIENCE 10000
#endif

static inline int load(const int *number)
{
    return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static inline void store(int *number, int n)
{
    __atomic_store_n(number, n, __ATOMIC_SEQ_CST);
}

/* Returns the sum. */
static inline int add(int *number, int n)
{
    return __atomic_add_fetch(number, n, __ATOMIC_SEQ_CST);
}

static inline bool reaches(const int *number, int goal)
{
    const degu_time end = degu_now() + PATIENCE;

    while (load(number) < goal) {
        if (degu_now() > end)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

/* -1: /proc does not tell. */
static inline int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Closing takes a server a moment. */
static inline bool fds_return_to(int n)
{
    const degu_time end = degu_now() + PATIENCE;

    while (count_fds() != n) {
        if (degu_now() > end)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

#endif

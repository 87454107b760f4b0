/* SPDX-License-Identifier: MIT OR 0BSD

   Memory that ends at an unreadable page: a read beyond an input crashes.
   On Windows it is just memory. */

#ifndef PAGE_H
#define PAGE_H

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/mman.h>
#include <unistd.h>
#endif

typedef struct page_area {
    char *start;
    size_t len;
} page_area;

#ifdef _WIN32
static page_area page_map(size_t len)
{
    page_area area;
    area.len = len;
    area.start = (char *)malloc(len);
    if (area.start == NULL)
        abort();
    return area;
}
#else
/* An area of len bytes at least, with PROT_NONE behind it. */
static page_area page_map(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    page_area area;
    void *at;
    area.len = (len + page - 1) / page * page;
    at = mmap(NULL, area.len + page, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect((char *)at + area.len, page, PROT_NONE))
        abort();
    area.start = (char *)at;
    return area;
}
#endif

/* Room for the last len bytes of the area. */
static inline char *page_last(page_area area, size_t len)
{
    return area.start + area.len - len;
}

/* A copy of the bytes at the very end of the area. */
static inline char *page_put(page_area area, const char *bytes, size_t len)
{
    char *at = page_last(area, len);
    if (len > 0)
        memcpy(at, bytes, len);
    return at;
}

#endif

/* SPDX-License-Identifier: MIT OR 0BSD

   The implementation, alone in its object: so one sees what it asks of a C
   library, and what of it a linker keeps. */

#define DEGU_IMPLEMENTATION
#include "degu.h"

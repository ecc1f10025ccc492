/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RESIDENT_H
#define BASE_RESIDENT_H

#include <stdint.h>

/* After a start, or a look through large files: memory that will not be needed again for long goes back to the system. Free
 * heap, and pages of code and constants that are as they are in their files (the dynamic linker went through all libraries;
 * what is used on comes back from the page cache, a microsecond each). Takes a millisecond or two; what cannot be done is
 * left. */
void resident_trim(void);
/* Of this process, now; 0: it cannot be told. */
uint64_t resident_bytes(void);

#endif

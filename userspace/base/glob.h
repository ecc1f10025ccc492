/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/sv.h"

/* Whether the whole text matches the shell pattern: '*' any bytes ('/' too), '?' one byte, [a-z] and [!a-z] sets,
 * '\' takes the next byte as it is; a '[' that is never closed means itself. Takes at most pattern x text steps:
 * unlike fnmatch(3) it may be given text an adversary wrote, and text that is not valid in the locale. */
bool glob_match(struct sv pattern, struct sv text);
/* Whether the string has any of * ? [ \ in it. */
bool glob_is_pattern(struct sv s);

#endif

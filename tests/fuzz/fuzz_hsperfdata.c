/* SPDX-License-Identifier: Apache-2.0 */
/* The file of counters of a JVM, which the traced process may have written itself. */
#include <stdlib.h>

#include "target/runtime/hsperfdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void number(void *arg, struct sv name, int64_t value)
{
	unsigned *told = arg;
	(void)value;
	/* A name is text within the file, and not empty. */
	if (!name.len || memchr(name.data, '\0', name.len))
		abort();
	++*told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned told = 0;
	int rc = hsperfdata_each(data, size, number, &told);
	if (rc >= 0 && (unsigned)rc != told)
		abort();
	if (told > HSPERFDATA_MAX_ENTRIES)
		abort();
	return 0;
}

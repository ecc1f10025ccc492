/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a Python package, and the name of a file beside them: what is found is a part of the text, within
 * bounds. The input is metadata; its first line is a name, too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "target/python_package.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(struct sv text, const struct sbuf *part)
{
	if (part->len > 1024 || (part->len && !memmem(text.data, text.len, part->data, part->len)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv text = {(const char *)data, size};
	struct sbuf repository = {0}, commit = {0};
	if (!python_package_link(text, &repository, &commit) && (repository.len || commit.len))
		abort();
	check_part(text, &repository);
	check_part(text, &commit);
	const char *end = size ? memchr(text.data, '\n', size) : NULL;
	char *name = strndup(text.data ? text.data : "", end ? (size_t)(end - text.data) : 0);
	if (name && python_package_is(name, text) && !strrchr(name, '.'))
		abort();
	free(name);
	sbuf_release(&repository);
	sbuf_release(&commit);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a container runtime answers, what lies in a pod's file of labels, what a runtime's file says of its version: each
 * of them may be anything. */
#include <stdint.h>
#include <stdlib.h>

#include "binary/elf.h"
#include "target/containers.h"
#include "target/language.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct sv text)
{
	char id[CONTAINER_ID_MAX + 1];
	struct containers *t = containers_new(NULL, NULL);
	struct sv_vec globs = {(struct sv[]){SV("*a*")}, 1, 1};
	struct tag_vec labels = {(struct tag[]){{SV("app"), SV("*")}}, 1, 1};
	struct sbuf name = {0};
	containers_match_name(t, SV("c"), &globs);
	if (!containers_next(t, 0, id))
		abort();
	int rc = containers_answer(t, id, text);
	bool matches = containers_match_name(t, SV("c"), &globs) | containers_match_labels(t, SV("c"), &labels);
	containers_name(t, SV("c"), &name);
	if ((rc && (matches || name.len)) || name.len > CONTAINER_NAME_MAX)
		abort();
	sbuf_release(&name);
	containers_free(t);
}

static void labels(struct sv text)
{
	struct sbuf value = {0};
	int rc = podinfo_label(text, SV("app"), &value);
	if (rc > 1 || (rc == 0 && value.len) || value.len > text.len)
		abort();
	sbuf_release(&value);
}

static void file(struct sv text)
{
	struct elf *elf;
	if (elf_open_memory(&elf, text.data, text.len, NULL))
		return;
	for (enum runtime r = 0; r < RUNTIME_CNT; r++) {
		struct language l = {.runtime = r};
		language_of_file(elf, SV("/usr/lib/libpython3.10.so.1.0"), &l);
		for (const char *c = l.version; *c; c++)
			if (*c < ' ' || *c > '~')
				abort();
	}
	elf_close(elf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size ? size : 1);
	struct sv text = {bytes, size};
	if (size)
		memcpy(bytes, data, size);
	answer(text);
	labels(text);
	file(text);
	free(bytes);
	return 0;
}

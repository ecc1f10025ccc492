/* SPDX-License-Identifier: Apache-2.0 */
#include "base/variables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct {
	char *name, *value;
} set[VARIABLES_MAX];
static unsigned set_cnt;

const char *variable_get(const char *name)
{
	const char *value = getenv(name);
	if (value && *value)
		return value;
	for (unsigned i = 0; i < set_cnt; i++)
		if (strcmp(set[i].name, name) == 0)
			return *set[i].value ? set[i].value : NULL;
	return NULL;
}

int variable_set_default(const char *name, const char *value)
{
	unsigned i = 0;
	while (i < set_cnt && strcmp(set[i].name, name) != 0)
		i++;
	if (i == VARIABLES_MAX)
		return -ENOSPC;
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	if (i == set_cnt) {
		set[i].name = strdup(name);
		if (!set[i].name) {
			free(copy);
			return -ENOMEM;
		}
		set_cnt++;
	}
	free(set[i].value);
	set[i].value = copy;
	return 0;
}

void variables_forget(void)
{
	while (set_cnt) {
		set_cnt--;
		free(set[set_cnt].name);
		free(set[set_cnt].value);
		set[set_cnt].name = set[set_cnt].value = NULL;
	}
}

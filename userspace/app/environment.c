/* SPDX-License-Identifier: Apache-2.0 */
#include "app/environment.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

static struct sv environment_get(void *arg, const char *name)
{
	(void)arg;
	const char *value = getenv(name);
	return value ? sv_of(value) : SV_NULL;
}

int http_environment(struct http_settings **ret_http, struct propagation_settings *ret_propagation)
{
	struct sbuf words = {0};
	propagation_settings_read(ret_propagation, environment_get, NULL, &words);
	*ret_http = http_settings_new(environment_get, NULL, NULL, &words);
	struct sv rest = sbuf_sv(&words);
	while (rest.len) {
		const char *end = memchr(rest.data, '\n', rest.len);
		size_t len = end ? (size_t)(end - rest.data) : rest.len;
		if (len)
			log_warn("%.*s", (int)len, rest.data);
		rest = (struct sv){rest.data + len + (end != NULL), rest.len - len - (end != NULL)};
	}
	sbuf_release(&words);
	return *ret_http ? 0 : -ENOMEM;
}

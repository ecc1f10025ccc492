/* SPDX-License-Identifier: Apache-2.0 */
#include "app/sampling.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/variables.h"

static struct sv variable(const char *name)
{
	return sv_of(variable_get(name));
}

static int read_file(const char *path, struct sbuf *out, struct sbuf *err)
{
	__cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 0;
	/* One byte more than may be: the reader says that it is too much. */
	while (fd >= 0 && out->len <= RULES_MAX_JSON) {
		char *at = sbuf_reserve(out, 4096);
		if (!at)
			return -ENOMEM;
		n = read(fd, at, 4096);
		if (n <= 0)
			break;
		out->len += (size_t)n;
	}
	if (n >= 0)
		return 0;
	sbuf_addf(err, "DD_SPAN_SAMPLING_RULES_FILE: cannot read %s: %s", path, strerror(errno));
	return -EINVAL;
}

/* True, false, or neither. */
static int boolean(const char *name, bool *ret, struct sbuf *err)
{
	struct sv text = variable(name);
	if (!text.len)
		return 0;
	*ret = !strcasecmp(text.data, "true") || !strcmp(text.data, "1");
	if (*ret || !strcasecmp(text.data, "false") || !strcmp(text.data, "0"))
		return 0;
	sbuf_addf(err, "%s: '%s' is neither true nor false (nor 1 nor 0)", name, text.data);
	return -EINVAL;
}

/* The options that it decides. */
static int sampling_environment(struct pipeline_options *ret, struct sbuf *file, struct sbuf *err)
{
	struct sampling_settings tried;
	const char *path = variable_get("DD_SPAN_SAMPLING_RULES_FILE");
	ret->vars = (struct sampling_vars){.sample_rate = variable("DD_TRACE_SAMPLE_RATE"),
					   .rules = variable("DD_TRACE_SAMPLING_RULES"),
					   .rate_limit = variable("DD_TRACE_RATE_LIMIT"),
					   .span_rules = variable("DD_SPAN_SAMPLING_RULES")};
	ret->stats_tags = variable("DD_TRACE_STATS_ADDITIONAL_TAGS");
	ret->stats = false;
	int rc = boolean("DD_TRACE_COMPUTE_STATS", &ret->stats, err);
	if (rc == 0)
		rc = boolean("DD_TRACE_STATS_COMPUTATION_ENABLED", &ret->stats, err);
	if (rc == 0 && path && !ret->vars.span_rules.len) {
		rc = read_file(path, file, err);
		ret->vars.span_rules = sbuf_sv(file);
	}
	if (rc < 0)
		return rc;
	rc = sampling_settings_parse(&tried, &ret->vars, err);
	if (rc >= 0)
		sampling_settings_release(&tried);
	return rc > 0 ? -EINVAL : rc;
}

/* --- what the exporter thread is told ------------------------------------------------------------------------------
 */

static void hear_info(void *arg, struct agent_info *info)
{
	if (!agent_link_info(arg, info))
		log_debug("out of memory: what the Agent says about itself is not known to sampling");
}

static void hear_rates(void *arg, const char *json, size_t len)
{
	struct agent_link *link = arg;
	struct sbuf err = {0};
	if (rates_box_answer(&link->rates, (struct sv){json, len}, &err) == -EINVAL)
		log_debug("%s", sbuf_str(&err));
	struct early *early = __atomic_load_n(&link->early, __ATOMIC_ACQUIRE);
	if (early)
		early_answer(early, (struct sv){json, len});
	sbuf_release(&err);
}

static bool next_stats(void *arg, uint64_t now_ns, bool leaving, struct datadog_stats *ret)
{
	(void)now_ns;
	(void)leaving; /* what is in the box is due */
	struct stats_payload *p = agent_link_next_stats(arg);
	if (!p)
		return false;
	struct agent_link *link = arg;
	*ret = (struct datadog_stats){
		.who = p->who, .body = p->body, .obfuscated = __atomic_load_n(&link->obfuscated, __ATOMIC_RELAXED)};
	p->who = NULL;
	p->body = (struct sbuf){0};
	stats_payload_free(p);
	return true;
}

void sampling_listen(struct datadog_listener *listener, struct agent_link *link)
{
	*listener = (struct datadog_listener){
		.arg = link, .info = hear_info, .rates = hear_rates, .next_stats = next_stats};
	datadog_listen(listener);
}

static void sampling_mistakes(void *arg, const struct process_info *process, struct sv lines)
{
	(void)arg;
	if (!process)
		return; /* sampling_environment() has said it */
	while (lines.len) {
		const char *end = memchr(lines.data, '\n', lines.len);
		size_t len = end ? (size_t)(end - lines.data) : lines.len;
		log_warn("in the environment of process %u (" SV_FMT "): %.*s", process->pid, SV_ARG(process->name),
			 (int)len, lines.data);
		len += end != NULL;
		lines = (struct sv){lines.data + len, lines.len - len};
	}
}

int sampling_pipeline(struct pipeline **ret, struct pipeline_options *options, struct sbuf *file, struct sbuf *err)
{
	int rc = sampling_environment(options, file, err);
	if (rc < 0)
		return rc;
	options->mistakes = sampling_mistakes;
	*ret = pipeline_new(options);
	return *ret ? 0 : -ENOMEM;
}

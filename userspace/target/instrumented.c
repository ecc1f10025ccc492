/* SPDX-License-Identifier: Apache-2.0 */
/* Does a process carry a tracer of its own? The ways are those their manuals give for switching them on. */
#include "target/maps.h"
#include "target/policy.h"
#include "target/text.h"

struct sign {
	const char *where; /* a variable; NULL: the arguments */
	const char *text;  /* what its value holds */
	const char *tracer;
};

static const struct sign signs[] = {
	{NULL, "dd-java-agent", "dd-java-agent"},
	{NULL, "opentelemetry-javaagent", "OpenTelemetry's Java agent"},
	{NULL, "dd-trace/init", "dd-trace"},
	{NULL, "dd-trace/initialize", "dd-trace"},
	{NULL, "@opentelemetry/auto-instrumentations", "OpenTelemetry for Node.js"},
	{"JAVA_TOOL_OPTIONS", "dd-java-agent", "dd-java-agent"},
	{"JAVA_TOOL_OPTIONS", "opentelemetry-javaagent", "OpenTelemetry's Java agent"},
	{"JDK_JAVA_OPTIONS", "dd-java-agent", "dd-java-agent"},
	{"JDK_JAVA_OPTIONS", "opentelemetry-javaagent", "OpenTelemetry's Java agent"},
	{"NODE_OPTIONS", "dd-trace", "dd-trace"},
	{"NODE_OPTIONS", "@opentelemetry/auto-instrumentations", "OpenTelemetry for Node.js"},
	{"PYTHONPATH", "ddtrace/bootstrap", "ddtrace"},
	{"PYTHONPATH", "opentelemetry/instrumentation/auto_instrumentation", "OpenTelemetry for Python"},
	{"RUBYOPT", "ddtrace/auto_instrument", "datadog for Ruby"},
	{"RUBYOPT", "datadog/auto_instrument", "datadog for Ruby"},
	{"CORECLR_PROFILER_PATH", "Datadog.Trace", "Datadog's .NET tracer"},
	{"CORECLR_PROFILER_PATH", "OpenTelemetry.AutoInstrumentation", "OpenTelemetry for .NET"},
	/* Said to an SDK and to nothing else; what only names the service (OTEL_SERVICE_NAME) is no sign. */
	{"OTEL_TRACES_EXPORTER", "", "an OpenTelemetry SDK"},
	{"OTEL_EXPORTER_OTLP_ENDPOINT", "", "an OpenTelemetry SDK"},
	{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "an OpenTelemetry SDK"},
};

/* Parts of paths of mapped files. */
static const struct {
	const char *text, *tracer;
} libraries[] = {
	{"/ddtrace/internal/", "ddtrace"},
	{"/ddtrace.so", "ddtrace for PHP"},
	{"/opentelemetry.so", "OpenTelemetry for PHP"},
	{"/Datadog.Trace.ClrProfiler.Native.so", "Datadog's .NET tracer"},
	{"/Datadog.Tracer.Native.so", "Datadog's .NET tracer"},
	{"/OpenTelemetry.AutoInstrumentation.Native.so", "OpenTelemetry for .NET"},
	{"/node_modules/@datadog/native-metrics/", "dd-trace"},
};

static bool holds(struct sv text, const char *part)
{
	size_t len = strlen(part);
	return !len || (text.len && memmem(text.data, text.len, part, len));
}

static bool says(struct sv vars, const char *name, const char *wanted)
{
	struct sv value;
	return environ_get(vars, name, &value) && value.len == strlen(wanted) &&
	       strncasecmp(value.data, wanted, value.len) == 0;
}

static bool is_off(struct sv vars, const struct sign *s)
{
	if (strstr(s->tracer, "OpenTelemetry"))
		return says(vars, "OTEL_SDK_DISABLED", "true") || says(vars, "OTEL_TRACES_EXPORTER", "none");
	return says(vars, "DD_TRACE_ENABLED", "false") || says(vars, "DD_TRACE_ENABLED", "0");
}

static bool by_mapped_files(struct proc *p, struct sbuf *ret)
{
	struct sbuf text = {0};
	struct proc_map m;
	bool found = false;
	maps_read(p, &text);
	for (struct maps_iter it = MAPS_ITER(&text); !found && maps_next(&it, &m);) {
		for (size_t i = 0; !found && i < sizeof(libraries) / sizeof(libraries[0]); i++) {
			found = holds(m.path, libraries[i].text);
			if (found)
				sbuf_addf(ret, "%s (it is loaded)", libraries[i].tracer);
		}
	}
	sbuf_release(&text);
	return found;
}

bool instrumented_find(struct proc *p, struct sbuf *ret)
{
	struct sv args = SV_NULL, vars = SV_NULL, value;
	proc_cmdline(p, &args);
	proc_environ(p, &vars);
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		const struct sign *s = &signs[i];
		value = args;
		if (s->where && (!environ_get(vars, s->where, &value) || !value.len))
			continue;
		if (!holds(value, s->text) || is_off(vars, s))
			continue;
		sbuf_addf(ret, "%s (%s)", s->tracer, s->where ? s->where : "its arguments");
		return true;
	}
	if (says(vars, "DD_TRACE_ENABLED", "false") || says(vars, "DD_TRACE_ENABLED", "0"))
		return false;
	return by_mapped_files(p, ret);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What only a daemon obeys: `policy:`, `control:`, `health:`. */
#include "probe/list_read.h"

#define COUNT(array)	  (sizeof(array) / sizeof((array)[0]))
#define SUN_PATH_MAX	  107 /* sizeof(sockaddr_un.sun_path) less its NUL */

#define IN_SERVICE(field) offsetof(struct probe_service, field)

static LIST_READER(read_listening)
{
	bool listening = true;
	list_read_bool(r, key, value, &listening);
	*(bool *)field = !listening;
}

static const struct list_key policy_keys[] = {
	LIST_KEY("listening", read_listening, IN_SERVICE(not_listening), "true or false",
		 "without targets: whatever listens on a TCP port; default: true"),
};
const struct list_map list_policy_map = {"policy:", policy_keys, COUNT(policy_keys)};

static LIST_READER(read_socket)
{
	struct sv path;
	if (!list_read_text(r, key, value, &path))
		return;
	if (path.data[0] != '/' || path.len > SUN_PATH_MAX)
		list_expected(r, key, value);
	else
		*(struct sv *)field = path;
}

static const struct list_key control_keys[] = {
	LIST_KEY("socket", read_socket, IN_SERVICE(control_socket), "an absolute path of at most 107 bytes",
		 "where `spanhound ctl` and `spanhound context` ask; default, of serve: /run/spanhound/control.sock"),
};
const struct list_map list_control_map = {"control:", control_keys, COUNT(control_keys)};

/* ADDRESS:PORT, the address being one of this host alone: what is told there is nobody else's. */
static bool is_loopback(struct sv text)
{
	static const char *const hosts[] = {"127.0.0.1:", "[::1]:", "localhost:"};
	for (size_t i = 0; i < COUNT(hosts); i++) {
		size_t len = strlen(hosts[i]);
		uint64_t port;
		if (sv_starts(text, sv_of(hosts[i])) &&
		    units_unsigned((struct sv){text.data + len, text.len - len}, &port))
			return port <= 65535;
	}
	return false;
}

static LIST_READER(read_listen)
{
	struct sv text, unix_path = SV("unix:///");
	if (!list_read_text(r, key, value, &text))
		return;
	bool path =
		sv_starts(text, unix_path) && text.len > unix_path.len && text.len - unix_path.len + 1 <= SUN_PATH_MAX;
	if (!path && !is_loopback(text))
		list_expected(r, key, value);
	else
		*(struct sv *)field = text;
}

static const struct list_key health_keys[] = {
	LIST_KEY("listen", read_listen, IN_SERVICE(health_listen), "unix:///PATH or 127.0.0.1:PORT",
		 "HTTP: /healthz, /readyz, /metrics, /status; default: nobody listens"),
};
const struct list_map list_health_map = {"health:", health_keys, COUNT(health_keys)};

LIST_READER(list_read_policy)
{
	(void)key;
	list_read_map(r, &list_policy_map, value, field, NULL);
}

LIST_READER(list_read_control)
{
	(void)key;
	list_read_map(r, &list_control_map, value, field, NULL);
}

LIST_READER(list_read_health)
{
	(void)key;
	((struct probe_service *)field)->health_pos = value->pos;
	list_read_map(r, &list_health_map, value, field, NULL);
}

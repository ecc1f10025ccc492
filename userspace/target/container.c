/* SPDX-License-Identifier: Apache-2.0 */
#include "target/container.h"

#include "target/text.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Whether the last bytes of `s` have this shape: x a hex digit, ~ one of "-_", anything else itself. */
static bool ends_in_shape(struct sv s, struct sv shape)
{
	if (s.len < shape.len)
		return false;
	const char *at = s.data + s.len - shape.len;
	for (size_t i = 0; i < shape.len; i++) {
		char c = at[i], want = shape.data[i];
		if (want == 'x' ? !is_digit(c) && (c < 'a' || c > 'f') : want == '~' ? c != '-' && c != '_' : c != want)
			return false;
	}
	return true;
}

#define X8     "xxxxxxxx"
#define X32    X8 X8 X8 X8
#define UUID   SV(X8 "~xxxx~xxxx~xxxx~" X8 "xxxx")
#define GARDEN SV(X8 "-xxxx-xxxx-xxxx-xxxx")

/* A component without its unit type. */
static struct sv bare(struct sv name)
{
	if (text_ends(name, SV(".scope")) || text_ends(name, SV(".slice")))
		name.len -= 6;
	return name;
}

/* How many bytes at the end of a component are an id, 0: none. `last`: of its path. */
static size_t id_len(struct sv name, bool last)
{
	struct sv base = text_ends(name, SV(".scope")) ? bare(name) : name;
	if (ends_in_shape(base, SV(X32 X32)))
		return 64;
	if (!last)
		return 0;
	if (ends_in_shape(name, GARDEN))
		return GARDEN.len;
	if (ends_in_shape(base, UUID))
		return UUID.len;
	size_t digits = 0;
	while (digits < base.len && is_digit(base.data[base.len - 1 - digits]))
		digits++;
	struct sv task = {base.data, base.len - digits};
	return digits && ends_in_shape(task, SV(X32 "-")) ? 33 + digits : 0;
}

static bool find_pod(struct sv name, struct container *c)
{
	struct sv base = bare(name);
	size_t len = ends_in_shape(base, UUID) ? UUID.len : ends_in_shape(base, SV(X32)) ? 32 : 0;
	struct sv before = {base.data, base.len - len};
	if (!len || !text_ends(before, SV("pod")))
		return false;
	c->pod = (struct sv){base.data + before.len, len};
	return true;
}

/* By what stands before the id, or by the directory above it. */
static const char *runtime_of(struct sv prefix, struct sv above)
{
	static const char *const names[][2] = {
		{"docker-", "docker"},
		{"cri-containerd-", "containerd"},
		{"cri-containerd:", "containerd"},
		{"crio-", "cri-o"},
		{"crio:", "cri-o"},
		{"libpod-", "podman"},
		{"docker:", "docker"},
		{"libpod-payload-", "podman"},
		{"nerdctl-", "containerd"},
	};
	static const char *const directories[][2] = {
		{"docker", "docker"},
		{"libpod_parent", "podman"},
		{"ecs", "ecs"},
		{"garden", "garden"},
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sv_eq(prefix, sv_of(names[i][0])))
			return names[i][1];
	for (size_t i = 0; !prefix.len && i < sizeof(directories) / sizeof(directories[0]); i++)
		if (sv_eq(above, sv_of(directories[i][0])))
			return directories[i][1];
	return "";
}

static bool is_unit(struct sv name)
{
	return text_ends(name, SV(".service")) || text_ends(name, SV(".scope"));
}

struct path_facts {
	struct container c;
	struct sv above, first;
};

static void component(struct path_facts *f, struct sv name, bool last)
{
	size_t len = id_len(name, last);
	struct sv base = text_ends(name, SV(".scope")) && len != GARDEN.len ? bare(name) : name;
	struct sv prefix = {base.data, base.len - len};
	if (find_pod(name, &f->c) || !len) {
		if (is_unit(name))
			f->c.unit = name;
		return;
	}
	if (text_ends(prefix, SV("conmon-"))) {
		f->c.id = SV_NULL;
		return;
	}
	f->c.unit = SV_NULL; /* what is above a container is its runtime's */
	f->c.id = (struct sv){base.data + prefix.len, len};
	f->c.runtime = runtime_of(prefix, f->above);
	if (!f->c.runtime[0] && sv_eq(f->first, SV("ecs")))
		f->c.runtime = "ecs";
}

/* "kubepods-podUID.slice:cri-containerd:ID" of containerd without its systemd driver is two in one. */
static void component_with_colon(struct path_facts *f, struct sv name, bool last)
{
	struct sv rest = name, slice = text_until(&rest, ':');
	if (rest.len && text_ends(slice, SV(".slice"))) {
		component(f, slice, false);
		name = rest;
	}
	component(f, name, last);
}

static void parse_path(struct sv path, struct container *ret)
{
	struct path_facts f = {.c = {.runtime = ""}};
	while (path.len) {
		struct sv name = text_until(&path, '/');
		if (!name.len)
			continue;
		if (!f.first.len)
			f.first = name;
		component_with_colon(&f, name, !path.len);
		f.above = name;
	}
	*ret = f.c;
}

bool container_parse(struct sv cgroup, struct container *ret)
{
	struct sv unit = SV_NULL;
	bool unit_settled = false;
	*ret = (struct container){.runtime = ""};
	while (cgroup.len) {
		struct sv line = text_trim(text_line(&cgroup));
		struct container c;
		uint64_t hierarchy;
		if (!text_u64(&line, 10, &hierarchy) || !line.len || line.data[0] != ':')
			continue;
		text_until(&line, ':');
		const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
		if (!colon)
			continue;
		struct sv controllers = text_until(&line, ':');
		parse_path(line, &c);
		if (!ret->id.len && c.id.len) {
			ret->id = c.id;
			ret->runtime = c.runtime;
		}
		if (!ret->pod.len)
			ret->pod = c.pod;
		/* systemd keeps its units in its own hierarchy, be it cgroup v2 or the named one of v1. */
		bool systemd = !hierarchy || sv_eq(controllers, SV("name=systemd"));
		if (c.unit.len && (!unit.len || (systemd && !unit_settled))) {
			unit = c.unit;
			unit_settled = systemd;
		}
	}
	ret->unit = unit;
	return ret->id.len > 0;
}

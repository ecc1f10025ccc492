/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/limiter.h"

#include "base/clock.h"

void limiter_init(struct limiter *l, double per_second, uint64_t now_ns)
{
	*l = (struct limiter){.per_second = per_second, .tokens = per_second, .filled_ns = now_ns, .before = -1};
}

static double limiter_share(const struct limiter *l)
{
	return l->asked ? (double)l->allowed / (double)l->asked : 1;
}

static void limiter_fill(struct limiter *l, uint64_t now_ns)
{
	double elapsed = now_ns > l->filled_ns ? (double)(now_ns - l->filled_ns) / NSEC_PER_SEC : 0;
	l->filled_ns = now_ns > l->filled_ns ? now_ns : l->filled_ns;
	l->tokens += elapsed * l->per_second;
	if (l->tokens > l->per_second)
		l->tokens = l->per_second;
}

static bool limiter_take(struct limiter *l, uint64_t now_ns)
{
	if (l->per_second < 0)
		return true;
	limiter_fill(l, now_ns);
	if (l->tokens < 1)
		return false;
	l->tokens -= 1;
	return true;
}

static void limiter_count(struct limiter *l, uint64_t now_ns, bool allowed)
{
	if (!l->window_ns) {
		l->window_ns = now_ns;
	} else if (now_ns > l->window_ns && now_ns - l->window_ns >= NSEC_PER_SEC) {
		l->before = limiter_share(l);
		l->allowed = l->asked = 0;
		l->window_ns = now_ns;
	}
	l->allowed += allowed;
	l->asked++;
}

bool limiter_allow(struct limiter *l, uint64_t now_ns)
{
	bool allowed = limiter_take(l, now_ns);
	limiter_count(l, now_ns, allowed);
	return allowed;
}

void limiter_note(struct limiter *l, uint64_t now_ns, bool allowed)
{
	if (allowed)
		(void)limiter_take(l, now_ns);
	limiter_count(l, now_ns, allowed);
}

double limiter_effective_rate(const struct limiter *l)
{
	double now = limiter_share(l);
	return l->before < 0 ? now : (now + l->before) / 2;
}

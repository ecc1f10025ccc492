/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL as applications write it through the obfuscator. Prints bytes of SQL and the nanoseconds of CPU time they took.
 *
 *   obfuscate SECONDS
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trace/obfuscate/obfuscate.h"

static const char *const queries[] = {
	"SELECT id, name, email, created_at, updated_at FROM users WHERE tenant_id = 4711 AND email = "
	"'someone@shop.example' "
	"AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50",
	"INSERT INTO order_items (order_id, product_id, quantity, price, currency) VALUES (1, 17, 3, 19.99, 'EUR'), "
	"(1, 18, 1, 5.00, 'EUR'), (1, 99, 12, 0.79, 'EUR'), (1, 4, 1, 129.00, 'EUR')",
	"UPDATE sessions SET last_seen = '2024-05-06 07:08:09', data = '{\"cart\": [1, 2, 3], \"flags\": {\"beta\": "
	"true}}' "
	"WHERE session_key = 'k3j4h5k3j4h5k3jh45k3j4h5k3j4h5'",
	"SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id LEFT JOIN addresses a ON "
	"a.id = "
	"c.address_id WHERE o.status IN ('paid', 'shipped', 'returned') AND o.total > 100.50 GROUP BY o.id HAVING "
	"COUNT(*) > 1",
};

int main(int argc, char **argv)
{
	uint64_t limit = (uint64_t)(atof(argc > 1 ? argv[1] : "1") * 1e9), bytes = 0, ns = 0;
	struct sbuf out = {0};
	uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	while (ns < limit) {
		for (int i = 0; i < 4096; i++) {
			struct sv q = sv_of(queries[i % 4]);
			sbuf_reset(&out);
			if (obfuscate_sql(&out, q) < 0)
				return 1;
			bytes += q.len;
		}
		ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	}
	printf("%llu %llu\n", (unsigned long long)bytes, (unsigned long long)ns);
	sbuf_release(&out);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pkg/obfuscate/credit_cards.go. */
#include "trace/obfuscate/obfuscate.h"

#define MIN_DIGITS OBFUSCATE_CARD_MIN
#define MAX_DIGITS 16

/* What the issuers' numbers begin with, from the shortest to the longest. */
static const struct {
	uint32_t from, to;
} issuers[] = {
	{1, 1},	      {4, 4},		{34, 39},	  {51, 55},	    {62, 62},	      {65, 65},
	{300, 305},   {309, 309},	{636, 636},	  {644, 649},	    {3528, 3589},     {5019, 5019},
	{6011, 6011}, {222100, 272099}, {500000, 509999}, {560000, 589999}, {600000, 699999},
};

static bool issuer_known(const char *digits, unsigned cnt)
{
	uint32_t prefix = 0;
	for (unsigned n = 0; n < 6 && n < cnt; n++) {
		prefix = prefix * 10 + (uint32_t)(digits[n] - '0');
		uint32_t least = 1;
		for (unsigned i = 0; i < n; i++)
			least *= 10;
		/* A leading zero would make a longer prefix look like a shorter one. */
		for (size_t i = 0; prefix >= least && i < sizeof(issuers) / sizeof(issuers[0]); i++)
			if (prefix >= issuers[i].from && prefix <= issuers[i].to)
				return true;
	}
	return false;
}

static bool luhn_valid(const char *digits, unsigned cnt)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < cnt; i++) {
		unsigned v = (unsigned)(digits[cnt - 1 - i] - '0');
		if (i % 2)
			v = v * 2 > 9 ? v * 2 - 9 : v * 2;
		sum += v;
	}
	return sum % 10 == 0;
}

bool obfuscate_is_card(struct sv value, bool luhn)
{
	char digits[MAX_DIGITS];
	unsigned cnt = 0;
	if (value.len < MIN_DIGITS)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];
		if (c == ' ' || c == '-')
			continue;
		if (c < '0' || c > '9' || cnt == MAX_DIGITS)
			return false;
		digits[cnt++] = c;
	}
	return cnt >= MIN_DIGITS && issuer_known(digits, cnt) && (!luhn || luhn_valid(digits, cnt));
}

bool obfuscate_card_key(struct sv key)
{
	static const struct sv safe[] = {
		SV("env"),
		SV("error"),
		SV("service"),
		SV("version"),
		SV("out.host"),
		SV("out.port"),
		SV("error.msg"),
		SV("error.type"),
		SV("error.stack"),
		SV("grpc.code"),
		SV("grpc.method"),
		SV("grpc.request"),
		SV("graphql.field"),
		SV("graphql.query"),
		SV("graphql.type"),
		SV("graphql.operation.name"),
		SV("http.method"),
		SV("http.status_code"),
		SV("runtime-id"),
		SV("sampling.priority"),
		SV("service.name"),
		SV("span.name"),
		SV("span.type"),
		SV("sql.query"),
		SV("account_id"),
		SV("aws_account"),
		SV("databricks_job_id"),
		SV("databricks_job_run_id"),
		SV("databricks_task_run_id"),
		SV("config.spark_app_startTime"),
		SV("config.spark_databricks_job_parentRunId"),
	};
	if (key.len && key.data[0] == '_')
		return false;
	for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
		if (sv_eq(key, safe[i]))
			return false;
	return true;
}

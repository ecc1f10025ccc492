/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/redact.h"

#include <ctype.h>
#include <stdlib.h>

#define NAME_MAX_LEN 64 /* longer names are in no list */

/* dd-trace-py ddtrace/debugging/_redaction.py and its like in the other tracers; normalised, sorted. */
/* clang-format off */
static const char *const identifiers[] = {
	"2fa", "accesstoken", "aiohttpsession", "apikey", "apisecret", "apisignature", "appkey", "applicationkey", "auth",
	"authorization", "authtoken", "ccnumber", "certificatepin", "cipher", "clientid", "clientsecret",
	"connectionstring", "connectsid", "cookie", "credentials", "creditcard", "csrf", "csrftoken", "cvv", "databaseurl",
	"dburl", "encryptionkey", "encryptionkeyid", "geolocation", "gpgkey", "ipaddress", "jti", "jwt", "licensekey",
	"masterkey", "mysqlpwd", "nonce", "oauth", "oauthtoken", "otp", "passhash", "passwd", "password", "passwordb",
	"pemfile", "pgpkey", "phpsessid", "pin", "pincode", "pkcs8", "privatekey", "publickey", "pwd", "recaptchakey",
	"refreshtoken", "routingnumber", "salt", "secret", "secretkey", "secrettoken", "securityanswer", "securitycode",
	"securityquestion", "serviceaccountcredentials", "session", "sessionid", "sessionkey", "setcookie", "signature",
	"signaturekey", "sshkey", "ssn", "symfony", "token", "transactionid", "twiliotoken", "usersession", "voterid",
	"xapikey", "xauthtoken", "xcsrftoken", "xforwardedfor", "xrealip", "xsrf", "xsrftoken",
};
/* clang-format on */

/* False: too long to be in a list. */
static bool normalise(struct sv name, char out[NAME_MAX_LEN + 1])
{
	size_t n = 0;
	for (size_t i = 0; i < name.len; i++) {
		if (strchr("_-$@. \t", name.data[i]))
			continue;
		if (n == NAME_MAX_LEN)
			return false;
		out[n++] = (char)tolower((unsigned char)name.data[i]);
	}
	out[n] = '\0';
	return n > 0;
}

static bool listed(const char *variable, const char *name)
{
	const char *at = getenv(variable);
	while (at && *at) {
		size_t len = strcspn(at, ",");
		char one[NAME_MAX_LEN + 1];
		if (normalise((struct sv){at, len}, one) && strcmp(one, name) == 0)
			return true;
		at += len + (at[len] == ',');
	}
	return false;
}

static int compare_name(const void *a, const void *b)
{
	return strcmp(a, *(const char *const *)b);
}

bool redact_name(struct sv name)
{
	char plain[NAME_MAX_LEN + 1];
	if (!normalise(name, plain) || listed("DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS", plain))
		return false;
	return bsearch(plain, identifiers, sizeof(identifiers) / sizeof(identifiers[0]), sizeof(identifiers[0]),
		       compare_name) ||
	       listed("DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS", plain);
}

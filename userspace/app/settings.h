/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SETTINGS_H
#define APP_SETTINGS_H

#include "app/options.h"
#include "trace/settings.h"

/* Settings (trace/settings.def) of this run: from the command line, our environment, the file of the probe list and the
 * environment of a traced process. */

/* At the end of options_parse(): checks our environment, and makes its word and that of the flags go before the file's,
 * and the file's before the default. 0, -ENOMEM, or -EINVAL with a line in err for each mistake. */
int settings_apply(struct options *o, struct sbuf *err);

/* One process as the settings see it; a zeroed one with target -1 is nobody. */
struct settings_process {
	struct sv environ; /* for environ_get() */
	int target;	   /* which of the file's, or -1 */
};
void settings_resolve(const struct options *o, const struct settings_process *p, const struct setting *s,
		      struct setting_value *ret);
/* "flag --service", "DD_SERVICE of our environment", "shop.yaml:3", ... */
void settings_origin(const struct options *o, const struct setting *s, const struct setting_value *v, struct sbuf *out);

/* What is to be said about the variables of an environment: known to ddtrace and not obeyed here, unknown and like one
 * that is, wrong values of what a process may set (`of_process`; ours are checked by settings_apply()). Calls back for
 * each: `mistake` is a sentence, or NULL where nobody made one. */
void settings_look(struct sv environ, bool of_process, void (*say)(void *arg, struct sv variable, const char *mistake),
		   void *arg);

/* For `info`. */
void settings_print(const struct options *o, const struct settings_process *p, struct sbuf *out);
void settings_json(const struct options *o, const struct settings_process *p, struct sbuf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VARIABLES_H
#define BASE_VARIABLES_H

/* Environment variables as everybody below app/ reads them: our own environment, and what somebody else said in place
 * of a variable that is not set there. Who sets does it before there is a second thread. */

#define VARIABLES_MAX 128

/* NULL: it is neither in the environment nor set here, or it is empty. */
const char *variable_get(const char *name);
/* Used where the environment says nothing. Both texts are copied. 0, -ENOMEM, or -ENOSPC beyond VARIABLES_MAX. */
int variable_set_default(const char *name, const char *value);
void variables_forget(void); /* all that was set here */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "version.h"

int main(void)
{
	puts("spanhound " SPANHOUND_VERSION " (" SPANHOUND_COMMIT ")");
	return 0;
}

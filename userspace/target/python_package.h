/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PYTHON_PACKAGE_H
#define TARGET_PYTHON_PACKAGE_H

#include "target/procfs.h"

/* What a Python package's metadata say about its source: "Project-URL: source_code_link, https://host/repo#commit" (ddtrace
 * 4.16, internal/gitmetadata.py), in the METADATA of its .dist-info or the PKG-INFO of its .egg-info.
 *
 * Looked for where the process's interpreter looks, as far as that shows from outside: beside the script (or in the working
 * directory), in PYTHONPATH, and in the site-packages of its virtual environment or installation. Not seen: what the program
 * adds to sys.path, .pth files, packages within zip files, and the user's own site-packages. */

#define PYTHON_PACKAGE_MAX_DIRS	   32
#define PYTHON_PACKAGE_MAX_ENTRIES 16384      /* of a directory */
#define PYTHON_PACKAGE_MAX_SZ	   (64 << 10) /* of its metadata; the description that follows them does not matter */

struct python_package_options {
	struct sv package;     /* DD_MAIN_PACKAGE */
	struct sv python_path; /* PYTHONPATH */
	struct sv environment; /* VIRTUAL_ENV: where the arguments do not say which Python it is */
	struct sv version;     /* of the interpreter, "3.11.2" */
};

/* Appends what it says; either may be missing, and neither is longer than 1024 bytes. False: there is no such package, or it
 * says nothing. */
bool python_package_source(struct proc *p, const struct python_package_options *options, struct sbuf *repository,
			   struct sbuf *commit);

/* The same from the text of the metadata. */
bool python_package_link(struct sv metadata, struct sbuf *repository, struct sbuf *commit);
/* Does an entry of a directory belong to that package ("My.Package" and "my_package-1.2.dist-info")? */
bool python_package_is(const char *entry, struct sv package);

#endif

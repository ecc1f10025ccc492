# SPDX-License-Identifier: Apache-2.0
# The commands of `spanhound --help` as a list of pages.
/^  [a-z]+  / && $1 != "spanhound" {
	name = $1
	sub(/^ *[a-z]+ */, "")
	gsub(/\\/, "\\e")
	gsub(/-/, "\\-")
	printf ".TP\n.BR spanhound\\-%s (1)\n%s.\n", name, $0
}

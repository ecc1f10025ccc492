# SPDX-License-Identifier: Apache-2.0
# `spanhound check --keys` as a list; keys of maps stand further in.
function roff(text)
{
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	sub(/^[.']/, "\\\\\\&&", text)
	return text
}
/^ *[a-z_]+: / {
	match($0, /^ */)
	depth = RLENGTH / 2
	for (; at < depth; at++)
		print ".RS"
	for (; at > depth; at--)
		print ".RE"
	sub(/^ */, "")
	name = $1
	sub(/:$/, "", name)
	sub(/^[a-z_]+: */, "")
	print ".TP\n.B " roff(name) "\n" roff($0) "."
}
END {
	for (; at > 0; at--)
		print ".RE"
}

# SPDX-License-Identifier: Apache-2.0
# `spanhound COMMAND --help` as the body of a page. Options: "  -n, --name GLOB   text", their text going on behind column 30.
function roff(text)
{
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	sub(/^[.']/, "\\\\\\&&", text)
	return text
}
/^usage: / {
	sub(/^usage: /, "")
	print ".SH SYNOPSIS\n" roff($0)
	getline
	print ".SH DESCRIPTION"
	next
}
/^  +(-[A-Za-z], )?--[a-z]/ && length($0) > 0 {
	examples = 0
	match($0, /^ +(-[A-Za-z], )?--[^ ]+( [^ ]+)?/)
	# A word behind the name is its argument, not the text, when one space lies between.
	head = substr($0, 1, RLENGTH)
	text = substr($0, RLENGTH + 1)
	sub(/^ +/, "", head)
	sub(/^ +/, "", text)
	print ".TP\n\\fB" roff(head) "\\fR"
	if (text != "")
		print roff(text)
	next
}
/^Examples:/ {
	print ".SH EXAMPLES\n.nf"
	gap = 0
	examples = 1
	next
}
/^[A-Z].*:$/ {
	sub(/:$/, "")
	print ".SS \"" roff($0) "\""
	next
}
examples {
	sub(/^  /, "")
	print roff($0)
	next
}
/^$/ {
	gap = 1
	next
}
{
	# Text of its own, not what an option's goes on with.
	if (gap && !/^ / && printed)
		print ".PP"
	gap = 0
	printed = 1
	sub(/^ +/, "")
	print roff($0)
}
END {
	if (examples)
		print ".fi"
}

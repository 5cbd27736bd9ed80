# SPDX-License-Identifier: GPL-2.0
#
# Print a file of a kernel tree with the lines of the overlay in it.
#
# awk -f integrate.awk file=NAME table=old OLD table=new NEW table= TREE/NAME
#
# OLD and NEW are in the format of harness/anchors.  First the lines of both are
# taken out, wherever they are at their anchor; then those of NEW are put in.
# With an empty NEW the file is thus as it was before integration.

table && /^#/ { next }
table && $1 == "edit" { if ($2 == file) blocks++; mine = $2 == file; next }
table && mine && /^(after|before) / {
	where[blocks] = $1
	anchor[blocks] = substr($0, length($1) + 2)
	insert[blocks] = table == "new"
	size[blocks] = 0
	next
}
table && mine && /^\+/ { text[blocks, ++size[blocks]] = substr($0, 3); next }
table { next }
{ line[++lines] = $0 }

END {
	for (b = 1; b <= blocks; b++)
		if (size[b] > longest)
			longest = size[b]
	# The longest first, lest a block be mistaken for the head of a longer one.
	for (n = longest; n > 0; n--)
		for (b = 1; b <= blocks; b++)
			if (size[b] == n)
				take_out(b)
	for (b = 1; b <= blocks; b++)
		for (i = 1; i <= lines; i++)
			if (line[i] == text[b, 1])
				fail("this line of ours is not at its anchor: " line[i])
	for (b = 1; b <= blocks; b++)
		if (insert[b])
			put_in(b)
	if (failed)
		exit 1
	for (i = 1; i <= lines; i++)
		print line[i]
}

function fail(text) {
	print file ": " text > "/dev/stderr"
	failed = 1
}

# The number of the line that is b's anchor, 0 if there is none or many.
function find_anchor(b,    i, found) {
	for (i = 1; i <= lines; i++)
		if (line[i] == anchor[b]) {
			if (found)
				return 0
			found = i
		}
	return found
}

function take_out(b,    at, i) {
	at = find_anchor(b)
	if (!at)
		return
	at = where[b] == "after" ? at + 1 : at - size[b]
	for (i = 1; i <= size[b]; i++)
		if (line[at + i - 1] != text[b, i])
			return
	lines -= size[b]
	for (i = at; i <= lines; i++)
		line[i] = line[i + size[b]]
}

function put_in(b,    at, i) {
	at = find_anchor(b)
	if (!at) {
		fail("the anchor is not there, or not once: " anchor[b])
		return
	}
	at = where[b] == "after" ? at + 1 : at
	for (i = lines; i >= at; i--)
		line[i + size[b]] = line[i]
	for (i = 1; i <= size[b]; i++)
		line[at + i - 1] = text[b, i]
	lines += size[b]
}

# SPDX-License-Identifier: GPL-2.0
#
# Print a file of a kernel tree with the lines of the overlay in it.
#
# awk -f integrate.awk file=NAME table=old OLD table=new NEW table= TREE/NAME
#
# OLD and NEW are in the format of harness/ship/anchors.  First the edits of OLD are
# undone, wherever they are found; then those of NEW are made.  With an empty NEW
# the file is thus as it was before integration.
#
# An edit, or block, is lines from[] that become lines to[].

table && /^#/ { next }
table && $1 == "edit" { if ($2 == file) blocks++; mine = $2 == file; next }
table && mine && /^(after|before|replace) / {
	where[blocks] = $1
	is_new[blocks] = table == "new"
	from[blocks, ++from_size[blocks]] = substr($0, length($1) + 2)
	next
}
table && mine && /^\+/ { text[blocks, ++text_size[blocks]] = substr($0, 3); next }
table { next }
{ line[++lines] = $0 }

END {
	for (b = 1; b <= blocks; b++) {
		if (where[b] == "after")
			add(b, from, from_size[b])
		add(b, text, text_size[b])
		if (where[b] == "before")
			add(b, from, from_size[b])
		if (to_size[b] > longest)
			longest = to_size[b]
	}
	# The longest first, lest a block be mistaken for the head of a longer one.
	for (n = longest; n > 0; n--)
		for (b = 1; b <= blocks; b++)
			if (!is_new[b] && to_size[b] == n)
				exchange(b, to, to_size[b], from, from_size[b])
	for (b = 1; b <= blocks; b++) {
		ours = text[b, 1] != "" ? text[b, 1] : text[b, 2] # not an empty line
		if (where[b] == "replace" && !is_new[b] && !find(b, from, from_size[b]))
			fail("what we put there was changed after it was put there: " to[b, 1])
		for (i = 1; where[b] != "replace" && i <= lines; i++)
			if (line[i] == ours)
				fail("this line of ours is not at its anchor: " line[i])
	}
	for (b = 1; b <= blocks; b++)
		if (is_new[b])
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

# Append n lines to those that b leads to.
function add(b, list, n,    i) {
	for (i = 1; i <= n; i++)
		to[b, ++to_size[b]] = list[b, i]
}

# The number of the line where b's n lines in list begin, 0 if they are not there,
# or not once; and how often they are, in times.
function find(b, list, n,    at, i, found) {
	times = 0
	for (at = 1; at <= lines - n + 1; at++) {
		for (i = 0; i < n && line[at + i] == list[b, i + 1]; i++)
			;
		if (i == n) {
			found = at
			times++
		}
	}
	return times == 1 ? found : 0
}

# Put the m lines of b in new where the n lines in old are, if they are there once.
function exchange(b, old, n, new, m,    at, i) {
	at = find(b, old, n)
	if (!at)
		return 0
	for (i = at + n; i <= lines; i++)
		rest[i] = line[i]
	for (i = 1; i <= m; i++)
		line[at + i - 1] = new[b, i]
	for (i = at + n; i <= lines; i++)
		line[i + m - n] = rest[i]
	lines += m - n
	return 1
}

function put_in(b) {
	if (where[b] == "replace" && find(b, to, to_size[b]))
		fail("this is there, but was not put there by harness/ship/integrate: " to[b, 1])
	else if (!exchange(b, from, from_size[b], to, to_size[b]))
		fail("the anchor is " (times ? "there " times " times" : "not there") ": " from[b, 1] \
			(from_size[b] > 1 ? " (and what is to follow it)" : ""))
	else if (!find(b, to, to_size[b]))
		fail("this would be there twice, and could not be taken out: " to[b, 1])
}

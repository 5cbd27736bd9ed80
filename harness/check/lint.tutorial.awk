# SPDX-License-Identifier: GPL-2.0
#
# Usage: awk -v dir=DIR -f lint.tutorial.awk Documentation/rust/hmm_mirror.rst
#
# Write the driver as it is after each step of the tutorial: DIR/step1.rs and so
# on.  A step shows what is new; an item (a function, say) that was there before
# takes the place of the earlier one.

/^Step [0-9]+:/ { write_step(); step = $2 + 0 }
/^\.\. code-block:: rust/ { code = 1; next }
/^[^\t]/ { code = 0 }
END { write_step() }

!code { next }
{ sub(/^\t/, ""); gsub(/\t/, "    ") }
/^\/\/( SPDX|!)/ { top = top $0 "\n"; next }
/^$/ && text == "" { if (top !~ /\n\n$/ && top ~ /SPDX[^\n]*\n$/) top = top "\n"; next }
{ text = text $0 "\n" }
name == "" && !/^(#\[|\/\/)/ { name = $0; sub(/[ ;{]*$/, "", name) }
/^([})]|.*;$)/ && !/^ / {
	if (!(name in items))
		order[++nr] = name
	items[name] = text
	text = name = ""
}

function write_step(	i, file) {
	if (!step)
		return
	file = dir "/step" step ".rs"
	printf "%s", top >file
	for (i = 1; i <= nr; i++)
		printf "\n%s", items[order[i]] >file
	close(file)
}

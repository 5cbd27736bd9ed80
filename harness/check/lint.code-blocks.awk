# SPDX-License-Identifier: GPL-2.0
#
# Usage: awk -v dir=DIR -f lint.code-blocks.awk FILE.rst...
#
# Write the code blocks in C to the files in DIR that their captions name, those of
# one caption one after the other.

/^\.\. code-block:: c$/ { code = 1; file = ""; next }
code && /^   :caption: / { file = dir "/" $2; next }
/^[^\t]/ { code = 0 }
!code { next }
/^$/ { empty[file] = file in written; next }
!file {
	print FILENAME ":" FNR ": this code block has no caption, so it is not compiled" > "/dev/stderr"
	exit 1
}
{
	if (empty[file])
		print "" >file
	empty[file] = 0
	written[file] = 1
	print substr($0, 2) >file
}

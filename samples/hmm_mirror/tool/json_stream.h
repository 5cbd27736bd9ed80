/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pictures as a stream of JSON, for other programs and for hmm-mirror plot: a
 * line is an object. STREAM_FORMAT says what is in it.
 */
#ifndef HMM_MIRROR_JSON_STREAM_H
#define HMM_MIRROR_JSON_STREAM_H

#include <stdio.h>

#include "picture.h"

#define STREAM_FORMAT \
"The stream is one JSON object per line. Each has a \"type\", the \"time\" in\n" \
"seconds since the beginning, the \"pid\", and \"space\", which counts the address\n" \
"spaces, from 1: execve() gives a process a new one. Readers should skip what they\n" \
"do not know. A \"picture\" is what an address space was at that time:\n" \
"\n" \
"  \"name\"        what the process calls itself\n" \
"  \"page_size\"   in bytes\n" \
"  \"stats\"       the device's counters, struct hmm_mirror_stats\n" \
"  \"fault_us\"    how long a device page fault took, of one page, in microseconds:\n" \
"                \"median\", \"p99\" and \"max\" of the last \"nr\"; left out if none was\n" \
"                timed\n" \
"  \"read_us\"     the same for reads of 8 bytes by the device\n" \
"  \"maps\"        [START, END, NAME] for each mapping that may be read\n" \
"  \"cpu\"         [START, END, LETTER] for what the CPU's page table has\n" \
"  \"device\"      the same for the device's\n" \
"\n" \
"START and END are bytes in hexadecimal, such as \"0x7f00a000\", END exclusive. The\n" \
"LETTERs are those of the pictures: r, W, H, and for the device f for what has been\n" \
"faulted in since the last picture of it, x for what has been invalidated. Of two\n" \
"that overlap, the later in the order rWHfx holds. What is in \"maps\" only has no\n" \
"entry. An \"end\" is the end of an address space, and has no more members.\n"

/* Both return 0 or a negative errno value. */
int stream_picture(FILE *out, const struct sample *sample);
int stream_end(FILE *out, const struct sample *sample);

enum stream_type {
	STREAM_PICTURE,
	STREAM_END,
	STREAM_OTHER,		/* of a type that is not known */
};

/*
 * Reads a line into @sample, which is empty: all but the counters and times.
 * Returns NULL, or what is wrong with it and, in @column, where.
 */
const char *stream_read(const char *line, enum stream_type *type,
			struct sample *sample, size_t *column);

#endif /* HMM_MIRROR_JSON_STREAM_H */

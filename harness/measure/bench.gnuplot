# SPDX-License-Identifier: GPL-2.0
# The curves of harness/measure/bench, one picture each: gnuplot -c bench.gnuplot DIR
# ENGINE

dir = ARG1
engine = ARG2
unit = engine eq "icount" ? "instructions" : "ns"

set datafile separator ","
set terminal svg size 640,400 font "sans-serif,13" background "white"
set logscale xy
set format x "%.0s%c"
set format y "%.0s%c"
set key left top
set grid
set ylabel unit

array curve[5] = ["mirrors", "mapped", "pages", "in_flight", "active"]
array label[5] = ["mirrors, or notifiers, of the address space", \
	"pages mapped by the device, of which one is invalidated", \
	"pages of a fault", "faults in flight, of which one is hit", \
	"invalidations at the same time"]
array peer[5] = ["bare mmu notifiers", "one interval notifier each", \
	"transient interval notifier", "one interval notifier each", \
	"interval notifier on all of it"]

do for [i = 1:5] {
	set output sprintf("%s/%s-%s.svg", dir, engine, curve[i])
	set xlabel label[i]
	rows = sprintf("< grep '^%s,%s,' %s/growth.csv", engine, curve[i], dir)
	plot rows using 3:6 with linespoints pt 4 lc rgb "#b04000" title peer[i], \
		rows using 3:5 with linespoints pt 7 lc rgb "#0060a0" title "HMM mirroring"
}

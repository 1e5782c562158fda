package main

import (
	"slices"
	"strings"
)

// workloads is all that is measured, in the order in which it is done: what is to
// meet a mount that knows nothing yet comes first.
var workloads = []*workload{
	{name: "stat 10,000 files, first time", threads: 1, calls: byNames, setup: openWalk, op: statName},
	{name: "stat 10,000 files, again", threads: 1, calls: byNames, setup: openWalk, op: statName},
	{name: "list 10,000 names with attributes (ls -l), first time", threads: 1, calls: once, units: byNames, setup: openList, op: listLong},
	{name: "list 10,000 names with attributes (ls -l), again", threads: 1, calls: once, units: byNames, setup: openList, op: listLong},
	{name: "list 10,000 names", threads: 1, calls: fiveTimes, units: byNames, setup: openNames, op: listShort},
	{name: "read 2,000 files of 4 KiB (open, read, close)", threads: 1, calls: byMade, setup: openWalk, op: readSmall},

	{name: "stat a file, cached", threads: 1, calls: byCalls, op: statCached},
	{name: "stat a file, uncached", threads: 1, calls: byCalls, op: statForced},
	{name: "stat a file, uncached, 4 threads", threads: 4, calls: byCalls, op: statForced},
	{name: "open and close a file", threads: 1, calls: byCalls, op: openClose},
	{name: "open and close a file, 4 threads", threads: 4, calls: byCalls, op: openClose},
	{name: "create a file, write 4 KiB, close", threads: 1, calls: byMade, setup: openNew, op: createSmall, check: seeCreated},
	{name: "unlink it", threads: 1, calls: byMade, setup: openNew, op: unlinkSmall, paired: true, check: seeUnlinked},
	{name: "create a file, write 4 KiB, close, 4 threads", threads: 4, calls: byMade, setup: openNew, op: createSmall, check: seeCreated},
	{name: "unlink it, 4 threads", threads: 4, calls: byMade, setup: openNew, op: unlinkSmall, paired: true, check: seeUnlinked},
	{name: "mkdir and rmdir", threads: 1, calls: byMade, setup: openNew, op: makeDir, check: seeUnlinked},
	{name: "rename there and back", threads: 1, calls: byMade, op: renameBoth},

	{name: "read 4 KiB at random, cached", threads: 1, calls: byPages, setup: openCached, op: readPage},
	{name: "read 4 KiB at random, uncached", threads: 1, calls: byPages, setup: openUncached, op: readPage},
	{name: "read 4 KiB at random, uncached, 4 threads", threads: 4, calls: byPages, setup: openUncached, op: readPage},
	{name: "write 4 KiB at random, close", threads: 1, calls: byPages, setup: openWrite, op: writePage, finish: closeAll, check: seePages},
	{name: "write 4 KiB at random, close, 4 threads", threads: 4, calls: byPages, setup: openWrite, op: writePage, finish: closeAll, check: seePages},
	{name: "write 4 KiB, fsync", threads: 1, calls: bySyncs, setup: openWrite, op: writeSync, check: seeSynced},
	{name: "read 256 MiB by 1 MiB, cached", threads: 1, calls: byMegs, bulk: true, setup: openCached, op: readMeg},
	{name: "read 256 MiB by 1 MiB, uncached", threads: 1, calls: byMegs, bulk: true, setup: openDropped, op: readMeg},
	{name: "read 256 MiB by 1 MiB, uncached, 4 threads", threads: 4, calls: byMegs, bulk: true, setup: openDropped, op: readMeg},
	{name: "write 256 MiB by 1 MiB, close", threads: 1, calls: byMegs, bulk: true, setup: openWrite, op: writeMeg, finish: closeAll, check: seeMegs},
}

func once(*sizes) int      { return 1 }
func fiveTimes(*sizes) int { return 5 }
func byNames(s *sizes) int { return s.names }
func byCalls(s *sizes) int { return s.calls }
func byMade(s *sizes) int  { return s.made }
func bySyncs(s *sizes) int { return s.syncs }
func byPages(s *sizes) int { return s.pages }
func byMegs(s *sizes) int  { return s.megs }

// choose returns the workloads with any of parts in their names, and those that
// belong with them; all for none.
func choose(parts []string) []*workload {
	var chosen []*workload
	for i := 0; i < len(workloads); {
		next := i + 1
		for next < len(workloads) && workloads[next].paired {
			next++
		}
		if group := workloads[i:next]; len(parts) == 0 || slices.ContainsFunc(group, func(w *workload) bool { return w.named(parts) }) {
			chosen = append(chosen, group...)
		}
		i = next
	}
	return chosen
}

func (w *workload) named(parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(w.name, part) })
}

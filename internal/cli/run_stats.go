package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/isthmus-fs/isthmus/vmm"
)

// runStats is what --stats tells. The names of the fields are documented in docs/hermit.md.
type runStats struct {
	WallNS  int64      `json:"wall_ns"`
	Outcome string     `json:"outcome"`
	Code    *int32     `json:"code,omitempty"` // of a guest that has exited
	CPUs    []cpuStats `json:"cpus"`
	Exits   []kindStat `json:"exits"` // those that have happened, the most frequent first
}

type cpuStats struct {
	GuestNS int64 `json:"guest_ns"`
	HostNS  int64 `json:"host_ns"`
}

type kindStat struct {
	Kind   string   `json:"kind"`
	Count  uint64   `json:"count"`
	NS     int64    `json:"ns"`
	Failed uint64   `json:"failed,omitempty"` // hypercalls that ended with an error
	PerCPU []uint64 `json:"per_cpu"`
}

// newRunStats sums up what a machine has done in wall. failed, if not nil, says how many
// exits of a kind were errors.
func newRunStats(s vmm.Stats, o vmm.Outcome, wall time.Duration, failed func(kind string) uint64) runStats {
	r := runStats{WallNS: int64(wall), Outcome: o.Reason.String(), CPUs: make([]cpuStats, len(s.CPUs)), Exits: []kindStat{}}
	if o.Reason == vmm.Exited {
		r.Code = &o.Code
	}
	for i := range s.CPUs {
		r.CPUs[i] = cpuStats{int64(s.CPUs[i].Guest), int64(s.CPUs[i].Host)}
	}
	for k, name := range s.Kinds {
		one := kindStat{Kind: name, PerCPU: make([]uint64, len(s.CPUs))}
		for i := range s.CPUs {
			e := s.CPUs[i].Exits[k]
			one.PerCPU[i] = e.Count
			one.Count += e.Count
			one.NS += int64(e.Time)
		}
		if one.Count == 0 {
			continue
		}
		if failed != nil {
			one.Failed = failed(name)
		}
		r.Exits = append(r.Exits, one)
	}
	slices.SortStableFunc(r.Exits, func(a, b kindStat) int {
		switch {
		case a.Count != b.Count && a.Count > b.Count:
			return -1
		case a.Count != b.Count:
			return 1
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	return r
}

// writeJSON writes one line.
func (r *runStats) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// writeText writes a table for people.
func (r *runStats) writeText(w io.Writer) error {
	fmt.Fprintf(w, "VM exits (%s in all)\n", time.Duration(r.WallNS).Round(time.Microsecond))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "exit\ttotal\tfailed\ttime\tmean\t")
	for i := range r.CPUs {
		fmt.Fprintf(t, "CPU %d\t", i)
	}
	fmt.Fprintln(t)
	for _, e := range r.Exits {
		fmt.Fprintf(t, "%s\t%d\t%d\t%v\t%v\t", e.Kind, e.Count, e.Failed,
			time.Duration(e.NS).Round(time.Microsecond), (time.Duration(e.NS) / time.Duration(e.Count)).Round(10*time.Nanosecond))
		for _, n := range e.PerCPU {
			fmt.Fprintf(t, "%d\t", n)
		}
		fmt.Fprintln(t)
	}
	for _, row := range []struct {
		name string
		time func(c cpuStats) int64
	}{
		{"in the guest", func(c cpuStats) int64 { return c.GuestNS }},
		{"serving exits", func(c cpuStats) int64 { return c.HostNS }},
	} {
		var sum time.Duration
		var cells strings.Builder
		for _, c := range r.CPUs {
			d := time.Duration(row.time(c))
			sum += d
			fmt.Fprintf(&cells, "%v\t", d.Round(time.Microsecond))
		}
		fmt.Fprintf(t, "%s\t\t\t%v\t\t%s\n", row.name, sum.Round(time.Microsecond), &cells)
	}
	return t.Flush()
}

package cli

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-fs/isthmus/internal/control"
)

func mountsTable(mounts []control.Mount, long bool) string {
	headings := []string{"PATH", "TYPE", "MODE", ">NODES", ">OPEN", ">FDS", ">REFS", ">DATA", "SOURCE"}
	if long {
		headings[len(headings)-1] = "OPTIONS"
	}
	t := newTable(headings...)
	for i := range mounts {
		m := &mounts[i]
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		last := m.Source
		if long {
			last = m.Spec
		}
		t.row(printable(string(m.Path)), printable(m.Type), mode, whole(m.Nodes), whole(m.Handles), whole(m.Descriptors), whole(m.References),
			size(float64(m.Bytes)), orDash(printable(string(last))))
	}
	return t.String()
}

func filesTable(files *control.Files, now time.Time) string {
	t := newTable(">OPEN", ">UID", ">PID", ">DATA", "HOW", "PATH")
	for i := range files.Files {
		f := &files.Files[i]
		uid := "-" // not said
		if f.UID != math.MaxUint32 {
			uid = whole(uint64(f.UID))
		}
		t.row(age(now.Sub(f.Since)), uid, whole(uint64(f.PID)), size(float64(f.Bytes)), f.Flags.String(), orDash(printable(string(f.Path))))
	}
	text := t.String()
	if files.More > 0 {
		text += fmt.Sprintf("and %d more: see --limit\n", files.More)
	}
	return text
}

func statsText(s *control.Stats) string {
	var count, errors uint64
	for i := range s.Ops {
		count += s.Ops[i].Count
		errors += s.Ops[i].Errors
	}
	var b strings.Builder
	fmt.Fprintf(&b, "up %s: %d requests, %d of them failed; %s read, %s written\n", age(s.Uptime), count, errors, size(float64(s.BytesRead)), size(float64(s.BytesWritten)))
	b.WriteString(momentText(s))
	if len(s.Queues) > 0 {
		t := newTable("QUEUE", ">WAITING", ">SERVED")
		for _, q := range s.Queues {
			t.row(printable(q.Name), whole(q.Depth), whole(q.Served))
		}
		b.WriteString("\n" + t.String())
	}
	if len(s.Ops) > 0 {
		t := newTable("OPERATION", ">COUNT", ">FAILED", ">MEAN", ">50%", ">90%", ">99%", ">99.9%", ">LONGEST")
		for _, op := range busiest(s.Ops) {
			t.row(printable(op.Name), whole(op.Count), whole(op.Errors), mean(op), latency(op.P50), latency(op.P90), latency(op.P99), latency(op.P999), latency(op.Max))
		}
		b.WriteString("\n" + t.String())
	}
	return b.String()
}

// momentText says what there is at the moment.
func momentText(s *control.Stats) string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %d requests in flight, %d of them waiting; %d nodes, %d open files, %d descriptors\n",
		s.InFlight, s.Pending, s.Counts.Nodes, s.OpenFiles, s.Counts.Descriptors)
	fmt.Fprintf(&b, "memory %s heap", size(float64(s.Memory.Heap)))
	if s.Memory.Resident != 0 {
		fmt.Fprintf(&b, ", %s resident", size(float64(s.Memory.Resident)))
	}
	fmt.Fprintf(&b, "; private data %s\n", size(float64(s.Counts.Bytes)))
	if s.AuditDropped != 0 {
		fmt.Fprintf(&b, "the access log lacks %d accesses\n", s.AuditDropped)
	}
	return b.String()
}

// busiest sorts operations by how often they were asked for.
func busiest(ops []control.Op) []*control.Op {
	var list []*control.Op
	for i := range ops {
		list = append(list, &ops[i])
	}
	slices.SortFunc(list, func(a, b *control.Op) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func mean(op *control.Op) string {
	if op.Count == 0 {
		return "-"
	}
	return latency(op.Sum / op.Count)
}

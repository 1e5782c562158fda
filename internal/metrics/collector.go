package metrics

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-fs/isthmus/internal/control"
)

// collector asks the daemon at each scrape.
type collector struct {
	ctx    context.Context
	source Source
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("isthmus_"+name, help, labels, nil)
}

// Metrics of each FUSE operation.
var (
	requests = desc("fuse_requests_total", "FUSE requests that were answered.", "op")
	errored  = desc("fuse_errors_total", "FUSE requests that were answered with an error.", "op")
	duration = desc("fuse_request_duration_seconds", "Time from taking a FUSE request to its answer.", "op")
)

// simple are the metrics that are one number.
var simple = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*control.Stats) float64
}{
	{desc("read_bytes_total", "Bytes of files that guests read."), prometheus.CounterValue,
		func(s *control.Stats) float64 { return float64(s.BytesRead) }},
	{desc("written_bytes_total", "Bytes of files that guests wrote."), prometheus.CounterValue,
		func(s *control.Stats) float64 { return float64(s.BytesWritten) }},
	{desc("requests_in_flight", "Requests that are being served."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return float64(s.InFlight) }},
	{desc("requests_pending", "Requests that wait, for a lock or as they would hold up a queue."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return float64(s.Pending) }},
	{desc("open_files", "Files and directories that guests have open."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return float64(s.OpenFiles) }},
	{desc("audit_dropped_total", "Accesses that the access log lacks."), prometheus.CounterValue,
		func(s *control.Stats) float64 { return float64(s.AuditDropped) }},
	{desc("uptime_seconds", "Time since the daemon started."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return s.Uptime.Seconds() }},
	{desc("memory_heap_bytes", "Go objects in the memory of the process that serves."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return float64(s.Memory.Heap) }},
	{desc("memory_resident_bytes", "Memory of the process that serves; 0 where it cannot know."), prometheus.GaugeValue,
		func(s *control.Stats) float64 { return float64(s.Memory.Resident) }},
}

// perQueue are the metrics of each queue.
var perQueue = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*control.Queue) uint64
}{
	{desc("queue_depth", "Requests that nobody has taken from the queue yet.", "queue"), prometheus.GaugeValue,
		func(q *control.Queue) uint64 { return q.Depth }},
	{desc("queue_served_total", "Requests that were taken from the queue.", "queue"), prometheus.CounterValue,
		func(q *control.Queue) uint64 { return q.Served }},
}

// perMount are the metrics of each mount, which is called by its path in the guest.
var perMount = []struct {
	desc *prometheus.Desc
	of   func(*control.Mount) uint64
}{
	{desc("nodes", "Files and directories that the guest knows.", "mount"), func(m *control.Mount) uint64 { return m.Nodes }},
	{desc("handles", "Open files and directories.", "mount"), func(m *control.Mount) uint64 { return m.Handles }},
	{desc("descriptors", "File descriptors of the host that the mount takes.", "mount"), func(m *control.Mount) uint64 { return m.Descriptors }},
	{desc("private_bytes", "Bytes of private data that the mount holds.", "mount"), func(m *control.Mount) uint64 { return m.Bytes }},
}

var buildInfo = desc("build_info", "1, with the version of the program.", "version")

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requests, errored, duration, buildInfo} {
		to <- d
	}
	for _, m := range simple {
		to <- m.desc
	}
	for _, m := range perQueue {
		to <- m.desc
	}
	for _, m := range perMount {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector. Without an answer of the daemon, the scrape fails.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if err := c.collect(ctx, to); err != nil {
		to <- prometheus.NewInvalidMetric(buildInfo, fmt.Errorf("the daemon does not answer: %w", err))
	}
}

func (c *collector) collect(ctx context.Context, to chan<- prometheus.Metric) error {
	v, err := c.source.Version(ctx)
	if err != nil {
		return err
	}
	s, err := c.source.Stats(ctx)
	if err != nil {
		return err
	}
	mounts, err := c.source.Mounts(ctx)
	if err != nil {
		return err
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		m, err := prometheus.NewConstMetric(d, kind, value, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		to <- m
	}
	send(buildInfo, prometheus.GaugeValue, 1, printable(v.Program))
	for _, m := range simple {
		send(m.desc, m.kind, m.of(s))
	}
	for i := range s.Queues {
		for _, m := range perQueue {
			send(m.desc, m.kind, float64(m.of(&s.Queues[i])), printable(s.Queues[i].Name))
		}
	}
	for i := range mounts {
		for _, m := range perMount {
			send(m.desc, prometheus.GaugeValue, float64(m.of(&mounts[i])), printable(string(mounts[i].Path)))
		}
	}
	coarse := coarsen(s.Bounds)
	for i := range s.Ops {
		op := &s.Ops[i]
		name := printable(op.Name)
		send(requests, prometheus.CounterValue, float64(op.Count), name)
		send(errored, prometheus.CounterValue, float64(op.Errors), name)
		count, buckets := cumulate(op.Buckets, s.Bounds, coarse)
		h, err := prometheus.NewConstHistogram(duration, count, float64(op.Sum)/1e9, buckets, name)
		if err != nil {
			h = prometheus.NewInvalidMetric(duration, err)
		}
		to <- h
	}
	return nil
}

package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/isthmus-fs/isthmus/internal/control"
)

// fake is a daemon.
type fake struct {
	mu     sync.Mutex
	err    error
	stats  control.Stats
	mounts []control.Mount
	asked  chan struct{} // Stats says that it waits
	block  chan struct{} // and waits for this
}

func (f *fake) Version(context.Context) (control.Version, error) {
	return control.Version{Program: "1.2"}, nil
}

func (f *fake) Stats(ctx context.Context) (*control.Stats, error) {
	if f.block != nil {
		f.asked <- struct{}{}
		select {
		case <-f.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	return &s, f.err
}

func (f *fake) Mounts(context.Context) ([]control.Mount, error) { return f.mounts, nil }

func example() *fake {
	return &fake{
		stats: control.Stats{
			Uptime: 90 * time.Second,
			Bounds: []uint64{500, 1000, 1500, 2000, 4000, 30_000_000_000},
			Ops: []control.Op{
				{Name: "LOOKUP", Count: 21, Errors: 2, Latency: control.Latency{Sum: 1_500_000_000, Buckets: []uint64{1, 2, 3, 4, 5, 6}}},
				{Name: "READ", Count: 7, Latency: control.Latency{Sum: 100_000_000_000, Buckets: []uint64{0, 0, 0, 0, 0, 0, 7}}},
			},
			BytesRead: 1 << 40, BytesWritten: 5, InFlight: 3, Pending: 1, OpenFiles: 4, AuditDropped: 6,
			Queues: []control.Queue{{Name: "request 0", Depth: 2, Served: 28}},
			Memory: control.Memory{Heap: 1 << 20, Resident: 1 << 24},
		},
		mounts: []control.Mount{
			{Path: "/", Counts: control.Counts{Nodes: 9, Handles: 8, Descriptors: 7}},
			{Path: "/a\"\n\xff", Counts: control.Counts{Nodes: 1, Bytes: 4096}},
		},
	}
}

// serve serves metrics until the end of the test.
func serve(t *testing.T, source Source) (url string) {
	t.Helper()
	l, err := Listen("0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, source, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Error("it still listens")
		}
	})
	return "http://" + l.Addr().String()
}

const scraped = `
# HELP isthmus_audit_dropped_total Accesses that the access log lacks.
# TYPE isthmus_audit_dropped_total counter
isthmus_audit_dropped_total 6
# HELP isthmus_build_info 1, with the version of the program.
# TYPE isthmus_build_info gauge
isthmus_build_info{version="1.2"} 1
# HELP isthmus_descriptors File descriptors of the host that the mount takes.
# TYPE isthmus_descriptors gauge
isthmus_descriptors{mount="/"} 7
isthmus_descriptors{mount="/a\"\n\\xff"} 0
# HELP isthmus_fuse_errors_total FUSE requests that were answered with an error.
# TYPE isthmus_fuse_errors_total counter
isthmus_fuse_errors_total{op="LOOKUP"} 2
isthmus_fuse_errors_total{op="READ"} 0
# HELP isthmus_fuse_request_duration_seconds Time from taking a FUSE request to its answer.
# TYPE isthmus_fuse_request_duration_seconds histogram
isthmus_fuse_request_duration_seconds_bucket{op="LOOKUP",le="1e-06"} 3
isthmus_fuse_request_duration_seconds_bucket{op="LOOKUP",le="2e-06"} 10
isthmus_fuse_request_duration_seconds_bucket{op="LOOKUP",le="4e-06"} 15
isthmus_fuse_request_duration_seconds_bucket{op="LOOKUP",le="+Inf"} 21
isthmus_fuse_request_duration_seconds_sum{op="LOOKUP"} 1.5
isthmus_fuse_request_duration_seconds_count{op="LOOKUP"} 21
isthmus_fuse_request_duration_seconds_bucket{op="READ",le="1e-06"} 0
isthmus_fuse_request_duration_seconds_bucket{op="READ",le="2e-06"} 0
isthmus_fuse_request_duration_seconds_bucket{op="READ",le="4e-06"} 0
isthmus_fuse_request_duration_seconds_bucket{op="READ",le="+Inf"} 7
isthmus_fuse_request_duration_seconds_sum{op="READ"} 100
isthmus_fuse_request_duration_seconds_count{op="READ"} 7
# HELP isthmus_fuse_requests_total FUSE requests that were answered.
# TYPE isthmus_fuse_requests_total counter
isthmus_fuse_requests_total{op="LOOKUP"} 21
isthmus_fuse_requests_total{op="READ"} 7
# HELP isthmus_handles Open files and directories.
# TYPE isthmus_handles gauge
isthmus_handles{mount="/"} 8
isthmus_handles{mount="/a\"\n\\xff"} 0
# HELP isthmus_memory_heap_bytes Go objects in the memory of the process that serves.
# TYPE isthmus_memory_heap_bytes gauge
isthmus_memory_heap_bytes 1.048576e+06
# HELP isthmus_memory_resident_bytes Memory of the process that serves; 0 where it cannot know.
# TYPE isthmus_memory_resident_bytes gauge
isthmus_memory_resident_bytes 1.6777216e+07
# HELP isthmus_nodes Files and directories that the guest knows.
# TYPE isthmus_nodes gauge
isthmus_nodes{mount="/"} 9
isthmus_nodes{mount="/a\"\n\\xff"} 1
# HELP isthmus_open_files Files and directories that guests have open.
# TYPE isthmus_open_files gauge
isthmus_open_files 4
# HELP isthmus_private_bytes Bytes of private data that the mount holds.
# TYPE isthmus_private_bytes gauge
isthmus_private_bytes{mount="/"} 0
isthmus_private_bytes{mount="/a\"\n\\xff"} 4096
# HELP isthmus_queue_depth Requests that nobody has taken from the queue yet.
# TYPE isthmus_queue_depth gauge
isthmus_queue_depth{queue="request 0"} 2
# HELP isthmus_queue_served_total Requests that were taken from the queue.
# TYPE isthmus_queue_served_total counter
isthmus_queue_served_total{queue="request 0"} 28
# HELP isthmus_read_bytes_total Bytes of files that guests read.
# TYPE isthmus_read_bytes_total counter
isthmus_read_bytes_total 1.099511627776e+12
# HELP isthmus_requests_in_flight Requests that are being served.
# TYPE isthmus_requests_in_flight gauge
isthmus_requests_in_flight 3
# HELP isthmus_requests_pending Requests that wait, for a lock or as they would hold up a queue.
# TYPE isthmus_requests_pending gauge
isthmus_requests_pending 1
# HELP isthmus_uptime_seconds Time since the daemon started.
# TYPE isthmus_uptime_seconds gauge
isthmus_uptime_seconds 90
# HELP isthmus_written_bytes_total Bytes of files that guests wrote.
# TYPE isthmus_written_bytes_total counter
isthmus_written_bytes_total 5
`

func TestScrape(t *testing.T) {
	source := example()
	url := serve(t, source)
	if err := testutil.ScrapeAndCompare(url+"/metrics", strings.NewReader(scraped)); err != nil {
		t.Error(err)
	}
	// The next scrape asks anew.
	source.mu.Lock()
	source.stats.BytesWritten = 99
	source.mu.Unlock()
	text := get(t, url+"/metrics", http.StatusOK)
	if !strings.Contains(text, "\nisthmus_written_bytes_total 99\n") {
		t.Errorf("it does not say what is new:\n%s", text)
	}
	if strings.Contains(text, "go_goroutines") || strings.Contains(text, "process_") {
		t.Error("it has metrics of another registry")
	}
}

func get(t *testing.T, url string, status int) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != status {
		t.Errorf("%s: %s, %v, want %d", url, r.Status, err, status)
	}
	return string(b)
}

// Both are what Serve asks.
var (
	_ Source = (*control.Client)(nil)
	_ Source = (control.Target)(nil)
)

func TestNames(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(&collector{t.Context(), example()}); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestFailure(t *testing.T) {
	source := example()
	source.err = errors.New("it is gone")
	text := get(t, serve(t, source)+"/metrics", http.StatusInternalServerError)
	if !strings.Contains(text, "the daemon does not answer: it is gone") {
		t.Errorf("it says %q", text)
	}
}

// TestHostileDaemon is scraped from a daemon that a guest has taken over.
func TestHostileDaemon(t *testing.T) {
	op := control.Op{Name: "READ", Count: 1, Latency: control.Latency{Buckets: []uint64{1, ^uint64(0), 5}}}
	for name, stats := range map[string]control.Stats{
		"an operation twice":   {Ops: []control.Op{op, op}},
		"more buckets":         {Bounds: []uint64{1000}, Ops: []control.Op{op}},
		"a queue twice":        {Queues: []control.Queue{{Name: "0"}, {Name: "0"}}},
		"bounds do not ascend": {Bounds: []uint64{5000, 1000, 9000}, Ops: []control.Op{op}},
	} {
		t.Run(name, func(t *testing.T) {
			source := &fake{stats: stats}
			url := serve(t, source)
			r, err := http.Get(url + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			source.mu.Lock()
			source.stats = control.Stats{}
			source.mu.Unlock()
			get(t, url+"/metrics", http.StatusOK)
		})
	}
}

func TestOnlyGetMetrics(t *testing.T) {
	url := serve(t, example())
	for _, path := range []string{"/", "/metrics/", "/metrics/x", "/debug/pprof/", "/favicon.ico"} {
		get(t, url+path, http.StatusNotFound)
	}
	r, err := http.Post(url+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", r.Status)
	}
}

func TestTooManyScrapes(t *testing.T) {
	source := example()
	source.asked, source.block = make(chan struct{}), make(chan struct{})
	url := serve(t, source)
	var all sync.WaitGroup
	for range maxScrapes {
		all.Go(func() { get(t, url+"/metrics", http.StatusOK) })
		<-source.asked
	}
	get(t, url+"/metrics", http.StatusServiceUnavailable)
	close(source.block)
	all.Wait()
}

// TestConnections opens more connections than are served at once, and says nothing on them.
func TestConnections(t *testing.T) {
	l, err := Listen("0")
	if err != nil {
		t.Fatal(err)
	}
	lim := &limited{Listener: l, slots: make(chan struct{}, 2), closed: make(chan struct{})}
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := lim.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	one := <-accepted
	two := <-accepted
	if len(lim.slots) != 2 {
		t.Errorf("%d places are taken", len(lim.slots))
	}
	one.Close()
	one.Close() // gives its place back once
	three := <-accepted
	lim.Close()
	if _, ok := <-accepted; ok {
		t.Error("a connection too many was accepted")
	}
	two.Close()
	three.Close()
}

func TestEndDuringScrape(t *testing.T) {
	source := example()
	source.asked, source.block = make(chan struct{}), make(chan struct{})
	l, err := Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, source, slog.New(slog.DiscardHandler)) }()
	scraped := make(chan struct{})
	go func() {
		defer close(scraped)
		if r, err := http.Get("http://" + l.Addr().String() + "/metrics"); err == nil {
			r.Body.Close()
		}
	}()
	<-source.asked
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-scraped
}

func TestParse(t *testing.T) {
	for addr, want := range map[string]string{
		"9100":                    "127.0.0.1:9100",
		":9100":                   "127.0.0.1:9100",
		"localhost:9100":          "127.0.0.1:9100 [::1]:9100",
		"127.0.0.1:0":             "127.0.0.1:0",
		"127.9.8.7:1":             "127.9.8.7:1",
		"[::1]:65535":             "[::1]:65535",
		"[::ffff:127.0.0.1]:9100": "127.0.0.1:9100",
	} {
		list, err := parse(addr)
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q is %q, %v, want %s", addr, got, err, want)
		}
	}
	const alone = "is not an address of this host alone, and metrics have no password"
	for addr, want := range map[string]string{
		"0.0.0.0:9100":       alone,
		"[::]:9100":          alone,
		"192.168.1.1:9100":   alone,
		"example.com:9100":   alone,
		"localhost.:9100":    alone,
		"[fe80::1%lo]:9100":  alone,
		"[::1%lo]:9100":      alone,
		"":                   "has no port",
		"localhost":          "has no port",
		"localhost:":         "has no port",
		"localhost:http":     "has no port",
		":65536":             "has no port",
		"-1":                 "has no port",
		"::1:9100":           "is no address",
		"a:b:c":              "is no address",
		"http://localhost:1": "is no address",
	} {
		if _, err := parse(addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
	}
}

func TestListenTwice(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Listen: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"9100", "localhost:9100", "[::1]:0", "0.0.0.0:1", "[::ffff:8.8.8.8]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parse(s)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%q: %v, %v", s, list, err)
		}
		for _, a := range list {
			if !a.Addr().IsLoopback() {
				t.Errorf("%q is %v", s, a)
			}
		}
	})
}

func TestBuckets(t *testing.T) {
	bounds := []uint64{10, 900, 1100, 1300, 2300, 5000, 9000, 50_000_000_000}
	chosen := coarsen(bounds)
	if d := cmp.Diff([]int{2, 4, 5}, chosen); d != "" {
		t.Error(d)
	}
	for _, tc := range []struct {
		counts []uint64
		total  uint64
		want   map[float64]uint64
	}{
		{nil, 0, map[float64]uint64{1.1e-6: 0, 2.3e-6: 0, 5e-6: 0}},
		{[]uint64{1, 1, 1, 1, 1, 1, 1, 1, 1}, 9, map[float64]uint64{1.1e-6: 3, 2.3e-6: 5, 5e-6: 6}},
		{[]uint64{4, 0, 0, 2}, 6, map[float64]uint64{1.1e-6: 4, 2.3e-6: 6, 5e-6: 6}},
	} {
		total, got := cumulate(tc.counts, bounds, chosen)
		if total != tc.total || !maps.Equal(got, tc.want) {
			t.Errorf("%v: %d, %v, want %d, %v", tc.counts, total, got, tc.total, tc.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"": "", "/ä\n": "/ä\n", "a\xffb\x05\x80ä": "a\\xffb\x05\\x80ä", "\ufffd\xc3": "\ufffd\\xc3"} {
		if got := printable(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

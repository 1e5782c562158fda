package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{9, 1}, spread{5, 1, 9}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 100}, spread{3, 1, 100}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%v: %+v, want %+v", test.values, got, test.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0.123: "0.12", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345.6: "12346"} {
		if got := number(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	bare, ours, peer := contender{Name: "bare"}, contender{Name: "ours"}, contender{Name: "peer", peer: true}
	call, bulk := &workload{name: "call"}, &workload{name: "bulk", bulk: true}
	r := &report{
		Machine:    machine{Kernel: "6.1", Processor: "abacus", Count: 2, FileSystem: "ext4"},
		Rounds:     2,
		contenders: []contender{bare, ours, peer},
		workloads:  []*workload{call, bulk},
	}
	for _, s := range []struct {
		w         *workload
		c         contender
		took, cpu time.Duration
	}{
		{call, bare, time.Microsecond, 0},
		{call, bare, 3 * time.Microsecond, 0},
		{call, ours, 5 * time.Microsecond, 2 * time.Microsecond},
		{call, ours, 3 * time.Microsecond, 2 * time.Microsecond},
		{call, peer, 8 * time.Microsecond, 7 * time.Microsecond},
		{bulk, bare, time.Millisecond, 0},
		{bulk, ours, 4 * time.Millisecond, time.Millisecond},
		{bulk, peer, 2 * time.Millisecond, time.Millisecond},
	} {
		r.add(s.w, s.c, sample{Units: 10, Took: 10 * s.took, CPU: 10 * s.cpu})
	}
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `Linux 6.1, 2 × abacus, on ext4. 2 rounds: median (least–most).

| µs per call or name | bare | ours | peer |
|---|---:|---:|---:|
| call | 2.00 (1.00–3.00) | 4.00 (3.00–5.00) | 8.00 (8.00–8.00) |
| bulk | 1000 MiB/s (1000–1000) | 250 MiB/s (250–250) | 500 MiB/s (500–500) |

| time, as multiple of that of bare | ours | peer |
|---|---:|---:|
| call | 2.00 | 4.00 |
| bulk | 4.00 | 2.00 |

| time, as multiple of that of peer | ours |
|---|---:|
| call | 0.50 |
| bulk | 2.00 |

| processor time of the server, µs per call, name or MiB | ours | peer |
|---|---:|---:|
| call | 2.00 | 7.00 |
| bulk | 1000 | 1000 |

`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		parts []string
		want  []string
	}{
		{[]string{"fsync", "mkdir"}, []string{"mkdir and rmdir", "write 4 KiB, fsync"}},
		{[]string{"unlink it, 4"}, []string{"create a file, write 4 KiB, close, 4 threads", "unlink it, 4 threads"}},
		{[]string{"nothing"}, nil},
	} {
		var got []string
		for _, w := range choose(test.parts) {
			got = append(got, w.name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.parts, diff)
		}
	}
	if len(choose(nil)) != len(workloads) {
		t.Error("not all")
	}
}

func TestShell(t *testing.T) {
	c := contender{Command: "serve {dir} on {mnt}, {dir}"}
	if got, want := c.shell("/it's", "/m n"), `exec serve '/it'\''s' on '/m n', '/it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

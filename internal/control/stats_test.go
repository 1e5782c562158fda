package control

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	bounds := []uint64{10, 20, 40}
	for _, tc := range []struct {
		buckets  []uint64
		max      uint64
		num, den uint64
		want     uint64
	}{
		{nil, 0, 1, 2, 0},
		{[]uint64{0, 0}, 99, 1, 2, 0},
		{[]uint64{1}, 0, 1, 2, 10},
		{[]uint64{1}, 7, 1, 2, 7},
		{[]uint64{1, 1}, 0, 1, 2, 10},
		{[]uint64{1, 2}, 0, 1, 2, 20},
		{[]uint64{99, 1}, 0, 99, 100, 10},
		{[]uint64{98, 2}, 0, 99, 100, 20},
		{[]uint64{0, 0, 0, 5}, 123, 1, 2, 123},
		{[]uint64{0, 0, 0, 5}, 0, 1, 2, math.MaxUint64},
		{[]uint64{math.MaxUint64, math.MaxUint64}, 0, 999, 1000, 10},
		{[]uint64{1, math.MaxUint64}, 0, 1, 2, 20},
	} {
		l := Latency{Buckets: tc.buckets, Max: tc.max}
		if got := l.quantile(bounds, tc.num, tc.den); got != tc.want {
			t.Errorf("%v, max %d: %d/%d is %d, want %d", tc.buckets, tc.max, tc.num, tc.den, got, tc.want)
		}
	}
}

// TestQuantileOfSamples compares with the sorted samples themselves.
func TestQuantileOfSamples(t *testing.T) {
	var bounds []uint64
	for i := uint64(1); i <= 100; i++ {
		bounds = append(bounds, i)
	}
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Uint64Range(1, 100), 1, 300).Draw(t, "samples")
		var l Latency
		l.Buckets = make([]uint64, 101)
		for _, s := range samples {
			l.Buckets[s-1]++
		}
		slices.Sort(samples)
		l.Max = samples[len(samples)-1]
		l.fill(bounds)
		for _, q := range []struct {
			got uint64
			per int
		}{{l.P50, 500}, {l.P90, 900}, {l.P99, 990}, {l.P999, 999}} {
			rank := (len(samples)*q.per + 999) / 1000
			if want := samples[rank-1]; q.got != want {
				t.Errorf("quantile 0.%d is %d, want %d", q.per, q.got, want)
			}
		}
	})
}

func TestSince(t *testing.T) {
	old := &Stats{
		Uptime: time.Second, Bounds: []uint64{10, 20}, BytesRead: 5, BytesWritten: 9, AuditDropped: 1, InFlight: 4,
		Ops: []Op{
			{Name: "READ", Count: 10, Errors: 1, Latency: Latency{Sum: 100, Max: 30, Buckets: []uint64{10}}},
			{Name: "WRITE", Count: 3, Latency: Latency{Sum: 9, Buckets: []uint64{3}}},
		},
		Queues: []Queue{{"0", 5, 100}},
	}
	now := &Stats{
		Uptime: 3 * time.Second, Bounds: []uint64{10, 20}, BytesRead: 25, BytesWritten: 9, AuditDropped: 1, InFlight: 2,
		Ops: []Op{
			{Name: "OPEN", Count: 1, Latency: Latency{Sum: 3, Max: 3, P50: 3, P90: 3, P99: 3, P999: 3, Buckets: []uint64{1}}},
			{Name: "READ", Count: 14, Errors: 2, Latency: Latency{Sum: 170, Max: 30, P50: 10, Buckets: []uint64{10, 4}}},
			{Name: "WRITE", Count: 3, Latency: Latency{Sum: 9, Buckets: []uint64{3}}},
		},
		Queues: []Queue{{"0", 1, 103}, {"1", 0, 2}},
	}
	want := &Stats{
		Uptime: 2 * time.Second, Bounds: []uint64{10, 20}, BytesRead: 20, InFlight: 2,
		Ops: []Op{
			now.Ops[0],
			{Name: "READ", Count: 4, Errors: 1, Latency: Latency{Sum: 70, Max: 20, P50: 20, P90: 20, P99: 20, P999: 20, Buckets: []uint64{0, 4}}},
		},
		Queues: []Queue{{"0", 1, 3}, {"1", 0, 2}},
	}
	before, err := json.Marshal(now)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, now.Since(old)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if after, _ := json.Marshal(now); string(after) != string(before) {
		t.Error("Since has changed its argument")
	}
	// The daemon has been started anew.
	if d := old.Since(now); d.Uptime != old.Uptime || d.BytesRead != old.BytesRead || len(d.Ops) != 2 {
		t.Errorf("%+v", d)
	}
	// Nothing of what a daemon says may end the client.
	mad := &Stats{Ops: []Op{{Name: "READ", Count: 99, Latency: Latency{Buckets: []uint64{9, 9, 9, 9, 9}}}}}
	if d := now.Since(mad); len(d.Ops) != 2 || d.Ops[0].Name != "OPEN" || d.Ops[1].Name != "WRITE" {
		t.Errorf("%+v", d.Ops)
	}
}

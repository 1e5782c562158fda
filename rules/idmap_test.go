package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mapOf(t testing.TB, specs ...string) *IDMap {
	t.Helper()
	m := &IDMap{}
	for _, s := range specs {
		must(t, m.Add(s))
	}
	return m
}

func TestIDMap(t *testing.T) {
	const no = -1
	for _, tt := range []struct {
		specs   string
		toHost  map[uint32]int64
		toGuest map[uint32]int64
	}{
		{"", map[uint32]int64{0: 0, 7: 7, noID: noID}, map[uint32]int64{0: 0, noID: noID}},
		{"guest:0:1000:10", map[uint32]int64{0: 1000, 9: 1009, 10: 10, 1000: 1000}, map[uint32]int64{1000: 1000, 0: 0}},
		{"host:1000:0:10", map[uint32]int64{0: 0, 1000: 1000}, map[uint32]int64{999: 999, 1000: 0, 1009: 9, 1010: 1010}},
		{"map:0:1000:10", map[uint32]int64{0: 1000, 9: 1009, 10: 10}, map[uint32]int64{1000: 0, 1009: 9, 1010: 1010, 5: 5}},
		{"squash-guest:5:77:10", map[uint32]int64{4: 4, 5: 77, 14: 77, 15: 15}, map[uint32]int64{77: 77, 5: 5}},
		{"squash-host:5:77:10", map[uint32]int64{5: 5, 77: 77}, map[uint32]int64{4: 4, 5: 77, 14: 77, 15: 15}},
		{"forbid-guest:5:10", map[uint32]int64{4: 4, 5: no, 14: no, 15: 15}, map[uint32]int64{5: 5, 14: 14}},
		{"forbid-guest:0:4294967295", map[uint32]int64{0: no, 1 << 31: no, noID - 1: no, noID: noID}, map[uint32]int64{0: 0}},
		{"map:0:1:4294967294", map[uint32]int64{0: 1, noID - 2: noID - 1, noID - 1: noID - 1, noID: noID}, map[uint32]int64{0: 0, 1: 0, noID - 1: noID - 2, noID: noID}},
		{"guest:10:100:5 guest:0:200:5 forbid-guest:5:5 squash-guest:15:7:4294967280",
			map[uint32]int64{0: 200, 4: 204, 5: no, 9: no, 10: 100, 14: 104, 15: 7, noID - 1: 7, noID: noID}, nil},
		// What a rule leads to may be the source of another.
		{"guest:0:1:1 guest:1:2:1 host:1:0:1 host:2:1:1", map[uint32]int64{0: 1, 1: 2, 2: 2}, map[uint32]int64{0: 0, 1: 0, 2: 1}},
		{"guest:0:5:0 guest:0:6:0 forbid-guest:4294967295:0", map[uint32]int64{0: 0}, nil},
		{"GUEST:0:1:1 Squash-Guest,1,5,1 mAp☃2☃7☃1 guest/+3/+8/01", map[uint32]int64{0: 1, 1: 5, 2: 7, 3: 8}, map[uint32]int64{7: 2}},
	} {
		m := mapOf(t, strings.Fields(tt.specs)...)
		for id, to := range tt.toHost {
			got, ok := m.ToHost(id)
			if ok != (to != no) || ok && int64(got) != to {
				t.Errorf("%q: guest id %d becomes %d, %v; want %d", tt.specs, id, got, ok, to)
			}
		}
		for id, to := range tt.toGuest {
			if got := m.ToGuest(id); int64(got) != to {
				t.Errorf("%q: host id %d becomes %d, want %d", tt.specs, id, got, to)
			}
		}
	}
}

func TestIDMapErrors(t *testing.T) {
	const before = "map:100:200:10"
	for _, tt := range []struct {
		spec, text string
		isRange    bool
	}{
		{"", `unknown kind ""`, false},
		{":1:2:3", `unknown kind ""`, false},
		{"bogus:1:2:3", `unknown kind "bogus": want guest, host, map, squash-guest, squash-host or forbid-guest`, false},
		{"squash_guest:0:1:1", `unknown kind "squash_guest"`, false},
		{"guestà0à1à1", `unknown kind "guestà0à1à1"`, false},
		{"guest", "0 numbers after the kind: want 3, guest:guest-base:host-base:count", false},
		{"guest:0:1", "2 numbers after the kind: want 3", false},
		{"guest:0:1:2:3", "4 numbers after the kind: want 3", false},
		{"forbid-guest:5:1:2", "3 numbers after the kind: want 2, forbid-guest:guest-base:count", false},
		{"guest:1:2:", `"" is not a number`, false},
		{"guest,0:1:1", "1 numbers after the kind: want 3", false},
		{"guest:0x10:1:1", `"0x10" is not a number`, false},
		{"guest:-1:1:1", `"-1" is not a number`, false},
		{"guest:++1:1:1", `"++1" is not a number`, false},
		{"guest: 1:1:1", `" 1" is not a number`, false},
		{"guest:4294967296:1:1", "4294967296 is too large for an id: the largest is 4294967294", false},
		{"guest:4294967295:1:1", "1 ids from 4294967295 on go beyond the largest, 4294967294", true},
		{"guest:4294967290:0:6", "6 ids from 4294967290 on go beyond the largest", true},
		{"guest:0:4294967290:10", "10 ids from 4294967290 on go beyond the largest", true},
		{"guest:1:0:4294967295", "4294967295 ids from 1 on go beyond", true},
		{"squash-guest:0:4294967295:1", "1 ids from 4294967295 on go beyond", true},
		{"forbid-guest:109:1", "the guest ids 109 to 109 have a rule already", true},
		{"guest:0:0:101", "the guest ids 100 to 100 have a rule already", true},
		{"squash-host:0:5:1000", "the host ids 200 to 209 have a rule already", true},
		{"map:0:205:50", "the host ids 205 to 209 have a rule already", true},
		{"map:105:0:50", "the guest ids 105 to 109 have a rule already", true},
	} {
		m := mapOf(t, before)
		err := m.Add(tt.spec)
		if err == nil || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.spec)) {
			t.Errorf("%q: %v; want %q", tt.spec, err, tt.text)
		}
		if errors.Is(err, ErrIDRange) != tt.isRange {
			t.Errorf("%q: %v: ErrIDRange is %v", tt.spec, err, !tt.isRange)
		}
		if len(m.toHost) != 1 || len(m.toGuest) != 1 {
			t.Errorf("%q changed the map though it failed", tt.spec)
		}
	}
}

func TestIDMapEmpty(t *testing.T) {
	var none *IDMap
	if id, ok := none.ToHost(5); id != 5 || !ok || none.ToGuest(5) != 5 || !none.Empty() {
		t.Error("a nil map changes ids")
	}
	if !mapOf(t).Empty() || !mapOf(t, "map:0:0:0").Empty() || mapOf(t, "forbid-guest:0:1").Empty() || mapOf(t, "host:0:1:1").Empty() {
		t.Error("Empty is wrong")
	}
}

// naive is an IDMap as one would first write it: rules in the order in which
// they came, the first that has the id decides.
type naive []naiveRule

type naiveRule struct {
	kind            string
	from, to, count uint64
}

func (n naive) translate(id uint32, kinds ...string) int64 {
	for _, r := range n {
		for _, k := range kinds {
			if r.kind != k {
				continue
			}
			from, to := r.from, r.to
			if k == "map" && kinds[0] == "host" {
				from, to = to, from
			}
			if uint64(id) < from || uint64(id) >= from+r.count {
				continue
			}
			switch {
			case strings.HasPrefix(k, "squash"):
				return int64(to)
			case strings.HasPrefix(k, "forbid"):
				return -1
			}
			return int64(uint64(id) - from + to)
		}
	}
	return int64(id)
}

func TestIDMapIsTheNaiveOne(t *testing.T) {
	// Bases close to each other, to both ends and far apart; so are counts.
	base := rapid.OneOf(rapid.Uint32Range(0, 40), rapid.Uint32Range(noID-40, noID), rapid.Uint32())
	rapid.Check(t, func(t *rapid.T) {
		var m IDMap
		var n naive
		probes := []uint32{0, 1, noID - 1, noID}
		for range rapid.IntRange(0, 12).Draw(t, "rules") {
			kind := rapid.SampledFrom([]string{"guest", "host", "map", "squash-guest", "squash-host", "forbid-guest"}).Draw(t, "kind")
			from, to, count := base.Draw(t, "from"), base.Draw(t, "to"), base.Draw(t, "count")
			spec := fmt.Sprintf("%s:%d:%d:%d", kind, from, to, count)
			if kind == "forbid-guest" {
				spec = fmt.Sprintf("%s:%d:%d", kind, from, count)
			}
			if m.Add(spec) == nil {
				n = append(n, naiveRule{kind, uint64(from), uint64(to), uint64(count)})
			}
			for _, b := range []uint32{from, to, from + count, to + count} {
				probes = append(probes, b-1, b, b+1)
			}
		}
		probes = append(probes, rapid.SliceOfN(rapid.Uint32(), 20, 20).Draw(t, "ids")...)
		for _, id := range probes {
			want := n.translate(id, "guest", "squash-guest", "forbid-guest", "map")
			got, ok := m.ToHost(id)
			if ok != (want >= 0) || ok && int64(got) != want {
				t.Fatalf("%v: guest id %d becomes %d, %v; want %d", n, id, got, ok, want)
			}
			want = n.translate(id, "host", "squash-host", "map")
			if got := m.ToGuest(id); int64(got) != want {
				t.Fatalf("%v: host id %d becomes %d, want %d", n, id, got, want)
			}
		}
	})
}

func FuzzIDMap(f *testing.F) {
	for _, s := range []string{
		"guest:0:1000:10", "map:0:1:4294967294\nforbid-guest:4294967294:1", "squash-guest,0,65534,1000\nsquash-host,0,0,1000",
		"host:1:2:3\nhost:4:5:6", "guest:0:1:1\nguest:0:1:1", "map☃0☃1☃1", "forbid-guest:0:0", "guest:\xff:1:2", "\xff", ":",
	} {
		f.Add(s, uint32(0))
		f.Add(s, uint32(noID))
	}
	f.Fuzz(func(t *testing.T, specs string, id uint32) {
		var m IDMap
		for s := range strings.SplitSeq(specs, "\n") {
			before := len(m.toHost) + len(m.toGuest)
			if err := m.Add(s); err != nil && len(m.toHost)+len(m.toGuest) != before {
				t.Fatalf("%q: %v, but the map changed", s, err)
			}
		}
		for _, d := range []direction{m.toHost, m.toGuest} {
			for i, r := range d {
				if r.first > r.last || r.last == noID || i > 0 && d[i-1].last >= r.first {
					t.Fatalf("%q: rules out of order: %v", specs, d)
				}
				if r.effect == shift && uint64(r.to)+uint64(r.last-r.first) >= noID {
					t.Fatalf("%q: %v leads beyond all ids", specs, r)
				}
			}
		}
		if host, ok := m.ToHost(noID); host != noID || !ok || m.ToGuest(noID) != noID {
			t.Fatalf("%q translates what is no id", specs)
		}
		if host, ok := m.ToHost(id); id != noID && ok && host == noID {
			t.Fatalf("%q makes no id of %d", specs, id)
		}
		if id != noID && m.ToGuest(id) == noID {
			t.Fatalf("%q makes no id of the host's %d", specs, id)
		}
	})
}

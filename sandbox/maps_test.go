package sandbox

import (
	"math"
	"strings"
	"testing"
)

func TestParseIDMap(t *testing.T) {
	for _, tc := range []struct {
		spec string
		want IDMap
		fail string
	}{
		{spec: ":0:100000:65536:", want: IDMap{0, 100000, 65536}},
		{spec: "/1000/1/1/", want: IDMap{1000, 1, 1}},
		{spec: " 1 2 3 ", want: IDMap{1, 2, 3}},
		{spec: "→1→2→3→", want: IDMap{1, 2, 3}},
		{spec: ":0:0:4294967295:", want: IDMap{0, 0, math.MaxUint32}},
		{spec: ":4294967294:0:1:", want: IDMap{math.MaxUint32 - 1, 0, 1}},
		{spec: "", fail: "empty"},
		{spec: ":", fail: "does not end"},
		{spec: "::", fail: "1 numbers"},
		{spec: "0:1:2:", fail: "does not begin"},
		{spec: "x0x1x2x", fail: "does not begin"},
		{spec: "ä0ä1ä2ä", fail: "does not begin"},
		{spec: "\xff0\xff1\xff2\xff", fail: "does not begin"},
		{spec: ":0:1:2", fail: "does not end"},
		{spec: ":0:1:2/", fail: "does not end"},
		{spec: ":0:1:", fail: "2 numbers"},
		{spec: ":0:1:2:3:", fail: "4 numbers"},
		{spec: ":0::2:", fail: `"" is not`},
		{spec: ":-1:0:1:", fail: `"-1" is not`},
		{spec: ":+1:0:1:", fail: `"+1" is not`},
		{spec: ":0x1:0:1:", fail: `"0x1" is not`},
		{spec: ":0:4294967296:1:", fail: "not a number of 32 bits"},
		{spec: ":0:0:0:", fail: "count is 0"},
		{spec: ":1:0:4294967295:", fail: "past the highest id"},
		{spec: ":0:4294967295:1:", fail: "past the highest id"},
	} {
		got, err := ParseIDMap(tc.spec)
		if tc.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fail) {
				t.Errorf("%q: %v, %v, want an error with %q", tc.spec, got, err, tc.fail)
			}
		} else if err != nil || got != tc.want {
			t.Errorf("%q: %v, %v, want %v", tc.spec, got, err, tc.want)
		}
	}
}

func FuzzParseIDMap(f *testing.F) {
	for _, s := range []string{":0:100000:65536:", "::", ":1:2:3", "→1→2→3→", ":0:0:4294967295:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		m, err := ParseIDMap(spec)
		if err != nil {
			return
		}
		if err := checkMap("uid", []IDMap{m}); err != nil {
			t.Errorf("%q is %v, which cannot be: %v", spec, m, err)
		}
		again, err := ParseIDMap(":" + strings.ReplaceAll(m.String(), " ", ":") + ":")
		if err != nil || again != m {
			t.Errorf("%q is %v, which is read as %v, %v", spec, m, again, err)
		}
	})
}

func TestCheckMap(t *testing.T) {
	var many []IDMap
	for i := range uint32(maxExtents + 1) {
		many = append(many, IDMap{i, i, 1})
	}
	for _, tc := range []struct {
		m    []IDMap
		fail string
	}{
		{nil, ""},
		{[]IDMap{{0, 1000, 1}, {1, 100000, 65536}}, ""},
		{[]IDMap{{1, 100000, 65536}, {0, 1000, 1}}, ""},
		{[]IDMap{{math.MaxUint32 - 1, 0, 1}, {0, 1, 1}}, ""},
		{[]IDMap{{0, 1000, 2}, {1, 100000, 1}}, "overlap inside"},
		{[]IDMap{{5, 1000, 1}, {0, 100000, 6}}, "overlap inside"},
		{[]IDMap{{0, 1000, 10}, {10, 1009, 1}}, "overlap outside"},
		{[]IDMap{{0, 1000, 1}, {1, 1000, 1}}, "overlap outside"},
		{[]IDMap{{0, 1000, 0}}, "count is 0"},
		{[]IDMap{{math.MaxUint32, 0, 1}}, "past the highest"},
		{many[:maxExtents], ""},
		{many, "341 extents"},
	} {
		err := checkMap("uid", tc.m)
		if tc.fail == "" && err != nil || tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)) {
			t.Errorf("%v: %v, want %q", tc.m, err, tc.fail)
		}
	}
}

func TestMapsID(t *testing.T) {
	m := []IDMap{{1, 100, 2}, {10, 200, 1}}
	for id, want := range map[uint32]bool{0: false, 1: true, 2: true, 3: false, 9: false, 10: true, 11: false, math.MaxUint32: false} {
		if mapsID(m, id) != want {
			t.Errorf("id %d is in the map: %v", id, !want)
		}
	}
}

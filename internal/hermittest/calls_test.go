package hermittest

import (
	"fmt"
	"strings"
	"testing"
)

// testCalls: every call of every version, good and bad.
func testCalls(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		for _, cpus := range []int{1, 4} {
			t.Run(fmt.Sprintf("%dCPU", cpus), func(t *testing.T) {
				for v := 1; v <= 3; v++ {
					if v == 1 && k.Interface != 1 {
						continue // its structures are below 4 GiB
					}
					testVersion(t, k, cpus, v)
				}
			})
		}
	})
}

// serials are what the programs write to the console, byte by byte and in buffers.
var serials = map[int]string{
	1: "[uart: ab\xff\x01wd\x00]\n[buffer: over a page]\n",
	2: "[bytes: ab\xff\x01\x00]\n[buffer: over a page]\n",
	3: "",
}

func testVersion(t *testing.T, k *Kernel, cpus, version int) {
	t.Helper()
	s := newShare(t)
	g := &guest{
		kernel: k.Name,
		flags:  append(s.flags(), fmt.Sprint("-c", cpus), "-eONE=1", "-eTWO=the second", "-eEMPTY=", "-m32MiB"),
		args:   []string{fmt.Sprint("calls-v", version), fmt.Sprint("umask=", umask), "two words"},
	}
	switch version {
	case 2:
		g.stdin, g.args = []byte("input\n"), append(g.args, "input=1")
	case 3:
		g.args = append(g.args, s.attributes(t)...)
	}
	if r := g.passes(t); r.out != serials[version] {
		t.Errorf("version %d: console %q, want %q", version, r.out, serials[version])
	}

	// What is left.
	const there = "abs big dangling dir empty file hardlink link loop out outer"
	want := there
	if version == 3 {
		want = strings.Replace(want, " dangling", " d dangling", 1)
	}
	if got := names(t, s.path("data")); got != want {
		t.Errorf("version %d: files %s, want %s", version, got, want)
	}
	holds(t, s.path("data/file"), "0123456789")
	holds(t, s.path("ro/file"), "read only")
	holds(t, s.path("single/one"), "single")
	if got := names(t, s.path("single")); got != "one sibling" {
		t.Errorf("version %d: files %s; one that was not made is to be away", version, got)
	}
}

package hermit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// readFDT decodes a device tree into lines: "/node/child" for a node, "/node:name=value"
// for a property, with the value in hexadecimal, and "reserve addr size".
func readFDT(b []byte) (lines []string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the tree is broken: %v", r)
		}
	}()
	h := make([]uint32, 10)
	for i := range h {
		h[i] = be.Uint32(b[4*i:])
	}
	switch {
	case h[0] != 0xd00dfeed, int(h[1]) != len(b), h[5] != 17, h[6] != 16, h[7] != 0:
		return nil, fmt.Errorf("a bad header: %#x", h)
	case h[4]%8 != 0, h[2]%4 != 0, h[2]+h[9] > h[1], h[3]+h[8] > h[1]:
		return nil, fmt.Errorf("bad blocks: %#x", h)
	}
	for r := b[h[4]:]; ; r = r[16:] {
		addr, size := be.Uint64(r), be.Uint64(r[8:])
		if addr == 0 && size == 0 {
			break
		}
		lines = append(lines, fmt.Sprintf("reserve %x %x", addr, size))
	}
	names := b[h[3] : h[3]+h[8]]
	s := b[h[2] : h[2]+h[9]]
	word := func() uint32 {
		v := be.Uint32(s)
		s = s[4:]
		return v
	}
	skip := func(n int) []byte {
		v := s[:n]
		s = s[(n+3)&^3:]
		return v
	}
	var path []string
	for {
		switch token := word(); token {
		case 1:
			name := string(s[:bytes.IndexByte(s, 0)])
			skip(len(name) + 1)
			path = append(path, name)
			lines = append(lines, "/"+strings.Join(path[1:], "/"))
		case 2:
			path = path[:len(path)-1]
		case 3:
			n, at := word(), word()
			name := string(names[at : int(at)+bytes.IndexByte(names[at:], 0)])
			lines = append(lines, fmt.Sprintf("/%s:%s=%x", strings.Join(path[1:], "/"), name, skip(int(n))))
		case 9:
			if len(s) != 0 || len(path) != 0 {
				return nil, fmt.Errorf("the tree ends at depth %d with %d bytes left", len(path), len(s))
			}
			return lines, nil
		default:
			return nil, fmt.Errorf("token %d", token)
		}
	}
}

func TestTree(t *testing.T) {
	c := Config{
		CPUs: 2, TSCKHz: 2596000, Mounts: []string{"/a", "/b/c"},
		KernelArgs: []string{"-freq", "3000"}, AppArgs: []string{"x y"}, Env: []string{"K=V"},
		Initrd: []byte{1},
	}
	l := Layout{Base: 0x1_2340_0000, End: 0x1_2740_0000, Initrd: 0x1_2350_0000, InitrdEnd: 0x1_2350_1001}
	b, err := c.tree(&l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readFDT(b)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) string { return fmt.Sprintf("%x00", s) }
	want := []string{
		"reserve 123500000 2000",
		"/", "/:#address-cells=00000002", "/:#size-cells=00000002", "/:compatible=" + text("hermit,uhyve"),
		"/memory@123400000", "/memory@123400000:device_type=" + text("memory"), "/memory@123400000:reg=00000001234000000000000004000000",
		"/uhyve,mounts", "/uhyve,mounts:mounts=" + text("/a") + text("/b/c"),
		"/cpus", "/cpus:#address-cells=00000001", "/cpus:#size-cells=00000000",
		"/cpus/cpu@0", "/cpus/cpu@0:device_type=" + text("cpu"), "/cpus/cpu@0:reg=00000000",
		"/cpus/cpu@1", "/cpus/cpu@1:device_type=" + text("cpu"), "/cpus/cpu@1:reg=00000001",
		"/hermit,tsc", "/hermit,tsc:khz=00279ca0",
		"/chosen", "/chosen:bootargs=" + text("-freq 3000 env=K=V -- 'x y'"),
		"/chosen:linux,initrd-start=0000000123500000", "/chosen:linux,initrd-end=0000000123501001",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := bytes.Count(b, []byte("device_type\x00")); n != 1 {
		t.Errorf("the name device_type is stored %d times", n)
	}

	c = Config{CPUs: 1}
	b, err = c.tree(&Layout{End: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	got, err = readFDT(b)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(got, "\n"); strings.Contains(all, "mounts") || strings.Contains(all, "initrd") || strings.Contains(all, "tsc") || strings.Contains(all, "reserve") {
		t.Errorf("the tree of a guest without anything is\n%s", all)
	}
	c.Mounts = []string{"/a\x00b"}
	_, err = c.tree(&Layout{})
	checkError(t, "mount", err, "zero byte")
}

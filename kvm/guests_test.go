package kvm_test

import (
	"bytes"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guestCode are the guests of testdata/guests, assembled for address 0x1000, so
// that they can be where there is no assembler. TestGuestCode keeps them in step.
var guestCode = map[string]string{
	"count":     "e710ffc0ebfa",
	"cpuid":     "b80001004031c90fa2f4",
	"doorbell":  "b001e620e620b002e620bb000000108903e610f4",
	"handlers":  "fbf4ebfdeb0a8db400008db400006690b030e610cf8db400008db400008d7400b040e610cf8db400008db400008d7400b050e610cf",
	"load":      "8a03c60377f4",
	"mmio":      "bb00000010c6031166c743082222c743103333333348b85555555544444444488943188a03668b4b088b7310488b7b18f4",
	"msr":       "b9785634120f3289c689d7b811111111ba222222220f30b9770200000f32f4",
	"ports16":   "b055e610baf803b83412ef66b8efbeadde66efece610edef66ed66eff4",
	"spin":      "ebfe",
	"started":   "b0aae611ebfe",
	"starter":   "bb0000e0fec783f0000000ff010000c7831003000000000001c7830003000000450000c7830003000008460000e610ebfe",
	"steps":     "90909090f4",
	"strings":   "ba10000000be31100000b905000000f36ebf00200000b90300000066f36d8b042500200000ef668b04250420000066eff468656c6c6f",
	"undefined": "0f0b",
	"window":    "fae610fb90ebfe8db400008db4000090b030e610f4",
}

// code returns the machine code of a guest.
func code(t testing.TB, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(guestCode[name])
	if err != nil || len(b) == 0 {
		t.Fatalf("no guest %q: %v", name, err)
	}
	return b
}

func TestGuestCode(t *testing.T) {
	sources, err := filepath.Glob("testdata/guests/*.S")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	dir := t.TempDir()
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".S")
		names = append(names, name)
		object, binary := filepath.Join(dir, name+".o"), filepath.Join(dir, name+".bin")
		for _, args := range [][]string{
			{"gcc", "-c", "-x", "assembler", "-o", object, source},
			{"ld", "-Ttext=0x1000", "-e", "0", "--oformat", "binary", "-o", binary, object},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		want, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(code(t, name), want) {
			t.Errorf("%s is assembled to %x", source, want)
		}
	}
	if got := slices.Sorted(maps.Keys(guestCode)); !slices.Equal(got, names) {
		t.Errorf("guests %q, sources %q", got, names)
	}
}

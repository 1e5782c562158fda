package runspec

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

func FuzzReadTOML(f *testing.F) {
	for _, s := range []string{
		"", wholeFile, "memory = {memory_size = 33554432}", "[cpu]\naffinity = '0-1 3'", "cpu = {affinity = [\n0, #x\n1]}", "[[cpu]]", "[cpu.x]",
		"'' = 1", "''.'' = 1", "[uhyve]\nfile_mapping = [[], {}, 1, 'a:b']", "isthmus.share = ['/a', 'a=b']", "\xef\xbb\xbfuhyve.net = 'tap'", "uhyve={}",
		"uhyve = {x = {y = {}}}\r\n", "é = 1", "uhyve.uhyve.uhyve = {}", "guest = [{env_vars = ['A=b']}]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		b := &build{Machine: defaults(), at: map[string]spec.Pos{}}
		for _, err := range b.readTOML(doc, "x.toml") {
			e, ok := errors.AsType[*spec.Error](err)
			if !ok || e.Text == "" || e.Pos.Line < 1 || e.Pos.Line > bytes.Count(doc, []byte{'\n'})+1 || e.Pos.Column < 1 || e.Pos.Column > len(doc)+1 {
				t.Errorf("%#v is no error in a file of %d bytes", err, len(doc))
			}
		}
		if b.Memory < MinMemory || b.Memory%MemoryStep != 0 || b.CPUs < 1 || b.CPUs > MaxCPUs || len(b.Affinity) > MaxCPUs {
			t.Errorf("a machine was read that cannot be: %+v", b.Machine)
		}
		for name, pos := range b.at {
			if pos.Line < 1 || pos.Column < 1 {
				t.Errorf("%s was said at %v", name, pos)
			}
		}
	})
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"0", "0-1,2", "0-1 2", "3 , 1-1  0", "1-", "0-99999999999", "0,,1", "none"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cpus, err := parseCPUs(s)
		if err != nil || s == off {
			return
		}
		if len(cpus) == 0 || len(cpus) > MaxCPUs {
			t.Fatalf("%q is %d CPUs", s, len(cpus))
		}
		again, err := parseCPUs(formatCPUs(cpus))
		if err != nil || !cmp.Equal(cpus, again) {
			t.Errorf("%q is %v, and read again %v, %v", s, cpus, again, err)
		}
	})
}

func FuzzParseNet(f *testing.F) {
	for _, s := range []string{"tap", "tap:", "tap:x", "tap:a/b", "tap:..", "none"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := parseNet(s)
		if err != nil || name == nil {
			return
		}
		if n := len(*name); n == 0 || n > maxTAP || strings.ContainsAny(*name, "/%: \x00") {
			t.Errorf("%q is a device %q", s, *name)
		}
	})
}

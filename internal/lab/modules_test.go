package lab

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sampleDep = `kernel/fs/fuse/fuse.ko.xz:
kernel/fs/fuse/virtiofs.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz kernel/fs/fuse/fuse.ko.xz

kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko.xz
loop/a.ko: loop/b.ko
loop/b.ko: loop/a.ko
broken.ko: gone.ko
`

func sampleModules(t *testing.T) *modules {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"modules.dep": sampleDep, "modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\nkernel/a-b.ko\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := loadModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestResolve(t *testing.T) {
	m := sampleModules(t)
	tests := []struct {
		names []string
		want  []string
		err   string
	}{
		{names: []string{"fuse"}, want: []string{"kernel/fs/fuse/fuse.ko.xz"}},
		{names: []string{"virtio_pci", "virtiofs", "fuse", "virtio_rng"}, want: []string{
			"kernel/drivers/virtio/virtio_ring.ko.xz", "kernel/drivers/virtio/virtio.ko.xz", "kernel/fs/fuse/fuse.ko.xz",
			"kernel/fs/fuse/virtiofs.ko.xz", "kernel/drivers/char/hw_random/virtio-rng.ko",
		}},
		{names: []string{"virtio-rng"}, want: []string{"kernel/drivers/virtio/virtio_ring.ko.xz", "kernel/drivers/virtio/virtio.ko.xz", "kernel/drivers/char/hw_random/virtio-rng.ko"}},
		{names: []string{"nfs"}, err: "has no module nfs"},
		{names: []string{"broken"}, err: "has no module gone"},
		{names: []string{"a"}, err: "module a needs itself"},
	}
	for _, test := range tests {
		got, err := m.resolve(test.names...)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("resolve(%v): error %v, want %q", test.names, err, test.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("resolve(%v) = %v, %v; want %v", test.names, got, err, test.want)
		}
	}
	if !m.builtIn("virtio_pci", "a_b") || m.builtIn("virtio_pci", "fuse") {
		t.Error("builtIn takes a module for built in that is not, or the other way round")
	}
}

func TestModulesBad(t *testing.T) {
	if _, err := loadModules(t.TempDir()); err == nil {
		t.Error("a directory without modules.dep is no error")
	}
	m := &modules{path: map[string]string{}, deps: map[string][]string{}}
	if err := m.readDep(strings.NewReader("a.ko:\nno colon\n")); err == nil || err.Error() != "line 2 has no colon" {
		t.Errorf("a line without colon: %v", err)
	}
}

func FuzzModulesDep(f *testing.F) {
	f.Add(sampleDep)
	f.Add(":\n.ko:")
	f.Fuzz(func(t *testing.T, text string) {
		m := &modules{path: map[string]string{}, deps: map[string][]string{}, builtin: map[string]bool{}}
		if m.readDep(strings.NewReader(text)) != nil {
			return
		}
		for name := range m.path {
			files, err := m.resolve(name)
			if err == nil && files[len(files)-1] != m.path[name] {
				t.Errorf("module %q is not the last of %v", name, files)
			}
		}
	})
}

func TestReadModule(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("module "), 1000)
	plain := filepath.Join(dir, "m.ko")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(content)
	w.Close()
	for name, data := range map[string][]byte{plain: content, plain + ".gz": z.Bytes()} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("xz", "-k", plain).Run(); err != nil {
		t.Fatalf("xz, of the package xz-utils: %v", err)
	}
	for _, suffix := range []string{"", ".gz", ".xz"} {
		got, err := readModule(plain + suffix)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("readModule(m.ko%s) = %d bytes, %v", suffix, len(got), err)
		}
	}
	if err := os.WriteFile(plain+".xz", []byte("no xz"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readModule(plain + ".xz"); err == nil {
		t.Error("a damaged module is no error")
	}
}

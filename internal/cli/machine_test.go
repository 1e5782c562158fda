package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/runspec"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vmm"
)

func TestMappedFileIsMade(t *testing.T) {
	mapping := func(path string) spec.Mount { return spec.Mount{Source: path, Target: "/x"} }
	make := func(t *testing.T, m spec.Mount) (*machineTree, error) {
		t.Helper()
		tree := &machineTree{}
		return tree, tree.makeFile(&m)
	}
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "new")

	for _, use := range []struct {
		name string
		then func() error
		left bool
	}{
		{"unused", func() error { return nil }, false},
		{"read", func() error { _, err := os.ReadFile(path); return err }, false},
		{"written", func() error { return os.WriteFile(path, []byte("x"), 0o600) }, true},
		{"touched", func() error { return os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)) }, true},
		{"its mode changed", func() error { return os.Chmod(path, 0o640) }, true},
		{"removed", func() error { return os.Remove(path) }, false},
		{"replaced", func() error {
			if err := os.WriteFile(path+"2", []byte("other"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+"2", path)
		}, true},
	} {
		t.Run(use.name, func(t *testing.T) {
			tree, err := make(t, mapping(path))
			if err != nil {
				t.Fatal(err)
			}
			if !there(path) {
				t.Fatal("it is not there")
			}
			if err := use.then(); err != nil {
				t.Fatal(err)
			}
			if err := tree.close(); err != nil {
				t.Error(err)
			}
			if there(path) != use.left {
				t.Errorf("at the end it is there: %v, want %v", there(path), use.left)
			}
			os.Remove(path)
		})
	}

	if _, err := make(t, mapping(filepath.Join(dir, "no", "file"))); err == nil || !strings.Contains(err.Error(), "neither it nor the directory") {
		t.Errorf("a file in a directory that is not there: %v", err)
	}
	ro := mapping(path)
	ro.ReadOnly = true
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	for _, m := range []spec.Mount{ro, mapping(dir), mapping(dangling), {Type: spec.Archive, Source: path}, {Type: spec.Scratch}} {
		if tree, err := make(t, m); err != nil || len(tree.made) != 0 || there(path) {
			t.Errorf("%+v: made something, or failed: %v", m, err)
		}
	}
}

func TestGuestInputEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in, err := newGuestInput(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if _, err := w.WriteString("typed"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	for _, want := range []string{"typ", "ed"} {
		if n, err := in.Read(buf); string(buf[:n]) != want || err != nil {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	done := make(chan error)
	go func() {
		_, err := in.Read(make([]byte, 1))
		done <- err
	}()
	in.end()
	if err := <-done; err != io.EOF {
		t.Errorf("a read that was waiting ends with %v", err)
	}
	w.WriteString("too late")
	if _, err := in.Read(buf); err != io.EOF {
		t.Errorf("a read after the end: %v", err)
	}
}

func TestRunStats(t *testing.T) {
	s := vmm.Stats{Kinds: []string{"PortIn", "FileRead", "Never", "ExitV1"}, CPUs: []vmm.CPUStats{
		{Guest: 3 * time.Second, Host: time.Millisecond, Exits: []vmm.ExitStats{{Count: 2, Time: 2000}, {Count: 10, Time: 5000}, {}, {Count: 1, Time: 7}}},
		{Guest: time.Second, Exits: []vmm.ExitStats{{Count: 1, Time: 1000}, {Count: 3, Time: 5000}, {}, {}}},
	}}
	failed := func(kind string) uint64 {
		if kind == "FileRead" {
			return 4
		}
		return 0
	}
	r := newRunStats(s, vmm.Outcome{Reason: vmm.Exited, Code: -1}, 1234567*time.Nanosecond, failed)
	var text bytes.Buffer
	if err := r.writeJSON(&text); err != nil {
		t.Fatal(err)
	}
	const want = `{"wall_ns":1234567,"outcome":"exited","code":-1,"cpus":[{"guest_ns":3000000000,"host_ns":1000000},{"guest_ns":1000000000,"host_ns":0}],` +
		`"exits":[{"kind":"FileRead","count":13,"ns":10000,"failed":4,"per_cpu":[10,3]},{"kind":"PortIn","count":3,"ns":3000,"per_cpu":[2,1]},{"kind":"ExitV1","count":1,"ns":7,"per_cpu":[1,0]}]}` + "\n"
	if text.String() != want {
		t.Errorf("JSON\n%swant\n%s", &text, want)
	}
	text.Reset()
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"VM exits (1.235ms in all)", "FileRead     13       4  10µs  770ns     10      3\n", "in the guest                   4s            3s     1s\n", "serving exits                  1ms           1ms     0s\n"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in\n%s", line, &text)
		}
	}
	none := newRunStats(vmm.Stats{}, vmm.Outcome{Reason: vmm.TripleFault}, 0, nil)
	text.Reset()
	if err := none.writeJSON(&text); err != nil || !json.Valid(text.Bytes()) || strings.Contains(text.String(), "code") || !strings.Contains(text.String(), `"exits":[]`) {
		t.Errorf("%s %v", &text, err)
	}
}

func TestMachineTreeHasPrivateSpaceUnlessToldOtherwise(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		target  string
		private bool
		mounts  int
	}{
		{"/data", true, 2},
		{"/", false, 1},
	} {
		var tree machineTree
		root := (&hermitRun{}).root()
		if err := tree.resolve([]spec.Mount{{Source: dir, Target: tt.target}}, root, &spec.Mount{IO: spec.IO{Sync: true}}, slog.Default()); err != nil {
			t.Fatal(err)
		}
		if tree.private != tt.private || len(tree.mounts) != tt.mounts {
			t.Errorf("%s: private %v, %d mounts", tt.target, tree.private, len(tree.mounts))
		}
		if m := tree.mounts[0]; m.Type != spec.Dir || m.Host.IO != passthrough.IOSync {
			t.Errorf("%s: type %v, io %v", tt.target, m.Type, m.Host.IO)
		}
	}
}

func TestOutputOfAGuestThatDoesNotStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	newRun := func() *hermitRun {
		return &hermitRun{Machine: &runspec.Machine{Output: runspec.Output{Kind: runspec.ToFile, Path: path}}}
	}
	r := newRun()
	if err := r.openOutput(); err != nil {
		t.Fatal(err)
	}
	r.dropOutput()
	if _, err := os.Stat(path); err == nil {
		t.Error("it is left behind")
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = newRun()
	if err := r.openOutput(); err == nil || !strings.Contains(err.Error(), "the file exists") {
		t.Errorf("a file that exists: %v", err)
	}
	r.dropOutput()
	if text, err := os.ReadFile(path); err != nil || string(text) != "somebody's" {
		t.Errorf("it holds %q, %v", text, err)
	}
}

func TestKernelsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		text:                       "neither an ELF file nor a Hermit image",
		dir:                        "it is not a file",
		"/dev/null":                "it is not a file",
		filepath.Join(dir, "none"): "no such file or directory",
	} {
		r := &hermitRun{Machine: &runspec.Machine{Kernel: path}, log: slog.Default()}
		if err := r.readKernel(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestHostEnvironment(t *testing.T) {
	t.Setenv("TEXT", "ü")
	t.Setenv("BYTES", "\xff")
	r := &hermitRun{Machine: &runspec.Machine{HostEnv: true}, log: slog.New(slog.DiscardHandler)}
	r.settleEnv([]string{"IMAGE=1"})
	env := strings.Join(r.Env, "\n") + "\n"
	if !strings.Contains(env, "TEXT=ü\n") || strings.Contains(env, "BYTES=") || strings.Contains(env, "IMAGE=") {
		t.Errorf("%q", r.Env)
	}
}

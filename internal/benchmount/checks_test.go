package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bareTurn is a turn in the bare directory.
func bareTurn(t *testing.T) *turn {
	t.Helper()
	a, err := newArena(t.TempDir(), full.twentieth())
	if err != nil {
		t.Fatal(err)
	}
	root, err := openRoot(a.data)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := openRoot(a.data)
	if err != nil {
		t.Fatal(err)
	}
	tn := &turn{arena: a, root: root, bare: bare}
	t.Cleanup(func() {
		if err := tn.close(); err != nil {
			t.Error(err)
		}
		if err := a.remove(); err != nil {
			t.Error(err)
		}
	})
	return tn
}

// TestWorkNotDone has mounts that do other than they were asked to.
func TestWorkNotDone(t *testing.T) {
	nothing := func(*turn, op) error { return nil }
	for _, test := range []struct {
		name  string
		work  string // the workload
		lie   func(*workload)
		spoil func(*testing.T, *turn)
		want  string
	}{
		{name: "pages not written", work: "write 4 KiB at random, close", lie: func(w *workload) { w.op = nothing }, want: "is of 0"},
		{name: "MiBs not written", work: "write 256 MiB by 1 MiB, close", lie: func(w *workload) { w.op = nothing }, want: "is of 0"},
		{name: "files not made", work: "create a file, write 4 KiB, close", lie: func(w *workload) { w.op = nothing }, want: "there are 0"},
		{name: "files made without data", work: "create a file, write 4 KiB, close",
			lie: func(w *workload) {
				w.op = func(t *turn, o op) error {
					name := t.names[o.i]
					return os.WriteFile(filepath.Join(t.path(newDir+"0"), string(name[:len(name)-1])), nil, 0o644)
				}
			}, want: "and found"},
		{name: "names left out", work: "list 10,000 names", spoil: func(t *testing.T, tn *turn) {
			remove(t, tn.path(namesDir+"/file-00007"))
		}, want: "499 names instead of 500"},
		{name: "a file gone", work: "stat 10,000 files, again", spoil: func(t *testing.T, tn *turn) {
			remove(t, tn.path(walkDir+"/file-00007"))
		}, want: "no such file"},
		{name: "another size", work: "stat a file, uncached", spoil: func(t *testing.T, tn *turn) {
			truncate(t, tn.path(oneFile), page-1)
		}, want: "4095 bytes instead of 4096"},
		{name: "too little data", work: "read 2,000 files of 4 KiB (open, read, close)", spoil: func(t *testing.T, tn *turn) {
			truncate(t, tn.path(walkDir+"/file-00003"), 1)
		}, want: "read 1 bytes"},
		{name: "other data", work: "read 256 MiB by 1 MiB, uncached", spoil: func(t *testing.T, tn *turn) {
			truncate(t, tn.path(bigFile), 0)
			truncate(t, tn.path(bigFile), int64(tn.size.megs)*meg)
		}, want: "or others"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tn := bareTurn(t)
			w := *named(t, test.work)
			if test.lie != nil {
				test.lie(&w)
			}
			if test.spoil != nil {
				test.spoil(t, tn)
			}
			_, err := tn.do(&w)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}

func named(t *testing.T, name string) *workload {
	t.Helper()
	for _, w := range workloads {
		if w.name == name {
			return w
		}
	}
	t.Fatalf("no workload %q", name)
	return nil
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// TestServersThatFail has servers that do not do what they should.
func TestServersThatFail(t *testing.T) {
	for _, test := range []struct{ name, command, want string }{
		{"ends at once", "sh -c 'echo too tired; exit 3' {dir} {mnt}", "exit status 3: too tired"},
		{"ends too early", "", "the server ended too early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			c := contender{Name: "failing", Command: test.command}
			if c.Command == "" {
				c.Command = self(t)
			}
			data, mnt := filepath.Join(dir, "data"), filepath.Join(dir, "mnt")
			for _, d := range []string{data, mnt} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			s, err := c.start(context.Background(), data, mnt)
			if err == nil {
				s.cmd.Process.Kill()
				<-s.gone
				err = s.stop()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}

func TestServerCPU(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"data", "mnt"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := contender{Command: self(t)}
	s, err := c.start(context.Background(), filepath.Join(dir, "data"), filepath.Join(dir, "mnt"))
	if err != nil {
		t.Fatal(err)
	}
	before := s.cpu()
	var st unix.Statfs_t
	for range 100 {
		if err := unix.Statfs(s.seen, &st); err != nil { // never cached
			t.Error(err)
		}
	}
	if after := s.cpu(); before <= 0 || after <= before {
		t.Errorf("processor time went from %v to %v in 100 requests", before, after)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "--peer"},
		{[]string{"--rounds", "0"}, 2, "want 1 or more"},
		{[]string{"more"}, 2, `unknown argument "more"`},
		{[]string{"--only", "juggle"}, 1, `no workload has "juggle" in its name`},
		{[]string{"--program", "/nowhere/isthmus"}, 1, "make build"},
		{[]string{"--program", "", "--peer", "x=serve {dir}"}, 1, "want NAME=COMMAND"},
		{[]string{"--program", "", "--peer", "serve {dir} {mnt}"}, 1, "want NAME=COMMAND"},
		{[]string{"--program", "", "--dir", "/nowhere"}, 1, "no such file"},
	} {
		var says strings.Builder
		if code := command(t.Context(), test.args, io.Discard, &says); code != test.code || !strings.Contains(says.String(), test.want) {
			t.Errorf("%q: status %d, and %q; want %d, and %q", test.args, code, &says, test.code, test.want)
		}
	}
}

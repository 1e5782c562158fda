package e2e

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/internal/lab"
)

// churnText is what churn finds in a mount.
const churnText = "a file of a mount that comes and goes\n"

// TestMountsComeAndGo adds and removes mounts 1,000 times while a guest keeps 200 files open
// and works with them, and with what is in the mounts. Nothing goes wrong there but
// ESTALE in what was removed, and what the daemon holds afterwards is what it held before.
func TestMountsComeAndGo(t *testing.T) {
	t.Parallel()
	const changes, atOnce, places, pace = 1000, 5, 10, 10 * time.Millisecond
	dir, sources := t.TempDir(), t.TempDir()
	for _, d := range []string{filepath.Join(dir, "stay"), filepath.Join(dir, "comes"), filepath.Join(sources, "dir")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(sources, "dir", "f"), []byte(churnText), 0o644), writeTar(filepath.Join(sources, "tar"))); err != nil {
		t.Fatal(err)
	}
	ctl := filepath.Join(t.TempDir(), "ctl")
	d := serve(t, dir, "--control", ctl, "--queues", "2")
	c, err := control.Dial(t.Context(), ctl)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	cfg := guest(lab.UML, d, "/churn", mountedAt)
	cfg.Files = []lab.File{{Path: "/churn", Source: churn, Mode: 0o755}}
	in, typing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cfg.Stdin = in
	said := make(chan string, 10)
	var errOut logBuffer
	cfg.Stdout, cfg.Stderr = writerFunc(func(p []byte) { said <- string(p) }), &errOut
	ended := make(chan error, 1)
	go func() {
		res, err := lab.Run(t.Context(), cfg)
		if err == nil && res.ExitCode != 0 {
			err = fmt.Errorf("churn ended with status %d: %s", res.ExitCode, &errOut)
		}
		ended <- err
	}()
	hear := func(what string) string {
		t.Helper()
		select {
		case line := <-said:
			if !strings.HasPrefix(line, what) {
				t.Fatalf("the guest said %q, not %q", line, what)
			}
			return line
		case err := <-ended:
			t.Fatalf("the guest ended: %v", err)
		case <-time.After(patience):
			t.Fatalf("the guest has not said %q", what)
		}
		return ""
	}
	hear("ready")
	before, files := settled(t, c), d.openFiles()
	if before.Handles < 200 {
		t.Fatalf("the guest has %d files open", before.Handles)
	}

	specs := []struct {
		text  string
		flags int // of the source
		path  string
	}{
		{"type=dir,source=" + sources + "/dir", unix.O_PATH, sources + "/dir"},
		{"type=archive,source=" + sources + "/tar", unix.O_RDONLY, sources + "/tar"},
		{"type=overlay,source=" + sources + "/dir", unix.O_PATH, sources + "/dir"},
		{"type=dir,readonly,cache=always,source=" + sources + "/dir", unix.O_PATH, sources + "/dir"},
		{"type=scratch", 0, ""},
	}
	for i := range changes + atOnce {
		time.Sleep(pace) // for the guest to see something of it
		if i >= atOnce {
			if err := c.Remove(t.Context(), place(i-atOnce, places)); err != nil {
				t.Fatalf("removal %d: %v", i-atOnce, err)
			}
		}
		if i >= changes {
			continue
		}
		s := specs[i%len(specs)]
		if err := addMount(t.Context(), c, s.text+",target="+place(i, places), s.path, s.flags); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	typing.WriteString("stop\n")
	did := hear("used")
	var used, visited, stale, absent int
	if _, err := fmt.Sscanf(did, "used %d visited %d stale %d absent %d", &used, &visited, &stale, &absent); err != nil || used < 100 || visited == 0 || stale == 0 || absent == 0 {
		t.Errorf("the guest did too little of something: %s", did)
	}
	t.Logf("%d mounts came and went; the guest: %s", changes, strings.TrimSpace(did))
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		after := settled(t, c)
		n := d.openFiles()
		if after.Nodes <= before.Nodes && after.Handles <= before.Handles && after.Descriptors <= before.Descriptors && after.Bytes <= before.Bytes && n <= files {
			break
		}
		if time.Now().After(end) {
			t.Errorf("before %+v and %d descriptors, afterwards %+v and %d", before, files, after, n)
			break
		}
	}
	typing.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d.stop(syscall.SIGTERM)
}

func place(i, places int) string { return fmt.Sprintf("/comes/%d", i%places) }

// addMount opens the source of a mount and has the daemon add it.
func addMount(ctx context.Context, c *control.Client, spec, path string, flags int) error {
	if path == "" {
		return c.Add(ctx, spec, nil)
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.Add(ctx, spec, []*os.File{f})
}

// settled is what the daemon holds for all mounts together.
func settled(t *testing.T, c *control.Client) control.Counts {
	t.Helper()
	s, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Counts
}

// writeTar makes an archive with churn's file.
func writeTar(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(churnText))}); err != nil {
		return err
	}
	if _, err := w.Write([]byte(churnText)); err != nil {
		return err
	}
	return w.Close()
}

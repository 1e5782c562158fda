package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAuditFile: what cannot be an access log is refused at once. A pipe without a reader
// above all keeps nobody waiting.
func TestAuditFile(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := unix.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("log", in("link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, want string }{
		{in("log"), ""},
		{in("log"), ""},
		{"/dev/full", ""},
		{in("pipe"), "it is a pipe or a socket"},
		{in("link"), "it is a symbolic link"},
		{dir, "is a directory"},
		{in("none/log"), "no such file or directory"},
	} {
		type result struct {
			o   observed
			err error
		}
		done := make(chan result, 1)
		go func() {
			o, err := (&observeFlags{audit: tc.path}).open()
			done <- result{o, err}
		}()
		var r result
		select {
		case r = <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it waits", tc.path)
		}
		r.o.close()
		if tc.want == "" && r.err != nil || tc.want != "" && (r.err == nil || !strings.Contains(r.err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.path, r.err, tc.want)
		}
	}
	if info, err := os.Stat(in("log")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

// TestControlIsNotTheSocket: one path cannot be both.
func TestControlIsNotTheSocket(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	code := execute(context.Background(), []string{"isthmus", "serve", "--share", dir, "--socket", dir + "/s", "--control", dir + "/./s"}, &stderr, &stderr)
	if code != exitUsage || !strings.Contains(stderr.String(), "VMs connect there") {
		t.Errorf("exit status %d, %s", code, &stderr)
	}
}

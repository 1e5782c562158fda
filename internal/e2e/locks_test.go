package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// TestLocksHoldBetweenGuestsAndHost takes a lock in one place and has it stand in
// the way in the others: two guests, each with a daemon of its own on the same
// directory, and the host.
func TestLocksHoldBetweenGuestsAndHost(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	// The first guest holds an flock lock while it waits for its input.
	in, typing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	holder := guest(lab.UML, serve(t, dir, "--flock", "--posix-locks"),
		sh("exec 3>"+mountedAt+"/f; flock -x 3; echo locked; read go")...)
	holder.Stdin = in
	locked := make(chan struct{})
	holder.Stdout = writerFunc(func(p []byte) {
		if strings.Contains(string(p), "locked") {
			close(locked)
		}
	})
	ended := make(chan error, 1)
	go func() {
		_, err := lab.Run(t.Context(), holder)
		ended <- err
	}()
	select {
	case <-locked:
	case err := <-ended:
		t.Fatalf("the first guest ended: %v", err)
	}

	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Errorf("the host's flock: %v, want EWOULDBLOCK", err)
	}
	second := serve(t, dir, "--flock", "--posix-locks")
	out := run(t, guest(lab.UML, second, sh("exec 3>"+mountedAt+"/f; flock -xn 3 && echo got it || echo busy")...))
	if out != "busy\n" {
		t.Errorf("the second guest says %q, want busy", out)
	}

	typing.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the host's flock after the guest's end: %v", err)
	}
	out = run(t, guest(lab.UML, second, sh("exec 3>"+mountedAt+"/f; flock -xn 3 && echo got it || echo busy")...))
	if out != "busy\n" {
		t.Errorf("the second guest says %q while the host holds the lock, want busy", out)
	}
}

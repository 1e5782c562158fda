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
	t.Parallel()
	for kind, onHost := range map[string]func(fd int) error{
		"flock": func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) },
		"posix": func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f, err := os.Create(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			second := serve(t, dir, "--flock", "--posix-locks")
			tryInSecond := func() string { return run(t, lockGuest(second, kind)) }

			// The first guest holds the lock while it waits for its input.
			in, typing, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			holder := lockGuest(serve(t, dir, "--flock", "--posix-locks"), kind)
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

			if err := onHost(int(f.Fd())); err != syscall.EAGAIN {
				t.Errorf("the host's lock: %v, want EAGAIN", err)
			}
			if out := tryInSecond(); out != "busy\n" {
				t.Errorf("the second guest says %q, want busy", out)
			}
			typing.Close()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if out := tryInSecond(); out != "locked\n" {
				t.Errorf("the second guest says %q after the first has gone, want locked", out)
			}
			if err := onHost(int(f.Fd())); err != nil {
				t.Errorf("the host's lock after both guests have gone: %v", err)
			}
			if out := tryInSecond(); out != "busy\n" {
				t.Errorf("the second guest says %q while the host holds the lock, want busy", out)
			}
		})
	}
}

func lockGuest(d *daemon, kind string) lab.Config {
	cfg := guest(lab.UML, d, "/holdlock", kind, mountedAt+"/f")
	cfg.Files = []lab.File{{Path: "/holdlock", Source: holdLock, Mode: 0o755}}
	return cfg
}

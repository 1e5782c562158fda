package guesttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// event is an inotify event; those of one rename have the same cookie.
type event struct {
	mask   uint32
	cookie uint32
	name   string
}

// events returns all events that are there to be read. The kernel queues an
// event before the call that caused it returns.
func events(t *testing.T, n int) []event {
	t.Helper()
	var all []event
	buf := make([]byte, 64<<10)
	for {
		size, err := unix.Read(n, buf)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		check(t, err, "read events")
		for b := buf[:size]; len(b) > 0; {
			length := binary.NativeEndian.Uint32(b[12:])
			name, _, _ := bytes.Cut(b[16:16+length], []byte{0})
			all = append(all, event{binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:]), string(name)})
			b = b[16+length:]
		}
	}
}

func TestInotifyTellsWhatThisMachineDoes(t *testing.T) {
	dir := scratch(t)
	mkdir(t, dir+"/watched")
	mkdir(t, dir+"/elsewhere")
	n, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	check(t, err, "inotify_init1")
	defer unix.Close(n)
	const mask = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE | unix.IN_ATTRIB
	_, err = unix.InotifyAddWatch(n, dir+"/watched", mask)
	check(t, err, "inotify_add_watch")

	w := dir + "/watched"
	var f *os.File
	const isDir = unix.IN_ISDIR
	for _, c := range []struct {
		what   string
		do     func() error
		wanted []event
	}{
		{"create", func() error { f = open(t, w+"/f", unix.O_RDWR|unix.O_CREAT, 0o644); return nil }, []event{{unix.IN_CREATE, 0, "f"}}},
		{"write", func() error { _, err := f.Write([]byte("x")); return err }, []event{{unix.IN_MODIFY, 0, "f"}}},
		{"read", func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err }, nil},
		{"ftruncate", func() error { return unix.Ftruncate(fd(f), 0) }, []event{{unix.IN_MODIFY, 0, "f"}}},
		{"chmod", func() error { return unix.Chmod(w+"/f", 0o600) }, []event{{unix.IN_ATTRIB, 0, "f"}}},
		{"close", func() error { return f.Close() }, []event{{unix.IN_CLOSE_WRITE, 0, "f"}}},
		{"rename within", func() error { return unix.Rename(w+"/f", w+"/g") }, []event{{unix.IN_MOVED_FROM, 1, "f"}, {unix.IN_MOVED_TO, 1, "g"}}},
		{"rename out", func() error { return unix.Rename(w+"/g", dir+"/elsewhere/g") }, []event{{unix.IN_MOVED_FROM, 1, "g"}}},
		{"rename in", func() error { return unix.Rename(dir+"/elsewhere/g", w+"/h") }, []event{{unix.IN_MOVED_TO, 1, "h"}}},
		{"link", func() error { return unix.Link(w+"/h", w+"/l") }, []event{{unix.IN_CREATE, 0, "l"}}},
		{"symlink", func() error { return unix.Symlink("h", w+"/s") }, []event{{unix.IN_CREATE, 0, "s"}}},
		{"mknod", func() error { return unix.Mkfifo(w+"/p", 0o600) }, []event{{unix.IN_CREATE, 0, "p"}}},
		{"mkdir", func() error { return unix.Mkdir(w+"/d", 0o755) }, []event{{unix.IN_CREATE | isDir, 0, "d"}}},
		{"create below", func() error { return tryOpen(w+"/d/f", unix.O_RDWR|unix.O_CREAT, 0o644) }, nil},
		{"unlink below", func() error { return unix.Unlink(w + "/d/f") }, nil},
		{"rmdir", func() error { return unix.Rmdir(w + "/d") }, []event{{unix.IN_DELETE | isDir, 0, "d"}}},
		{"unlink", func() error { return unix.Unlink(w + "/h") }, []event{{unix.IN_DELETE, 0, "h"}}},
		{"failed create", func() error {
			if err := unix.Mkdir(w+"/l", 0o755); !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("mkdir: %w", err)
			}
			return nil
		}, nil},
	} {
		check(t, c.do(), "%s", c.what)
		got := events(t, n)
		if len(got) == 2 && got[0].cookie != got[1].cookie {
			t.Errorf("%s: cookies %d and %d", c.what, got[0].cookie, got[1].cookie)
		}
		for i := range got { // which number it is does not matter
			got[i].cookie = min(got[i].cookie, 1)
		}
		if !slices.Equal(got, c.wanted) {
			t.Errorf("%s: got %v, want %v", c.what, got, c.wanted)
		}
	}
}

//go:build !cgo

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestApart: from a directory on a mount of its own nothing leads out, while all below it
// is there, mounts among it.
func TestApart(t *testing.T) {
	dir := t.TempDir()
	share := filepath.Join(dir, "share")
	sub := filepath.Join(share, "sub")
	if err := errors.Join(os.MkdirAll(sub, 0o755), os.Mkdir(filepath.Join(share, "dir"), 0o755), os.WriteFile(filepath.Join(dir, "secret"), nil, 0o644), os.WriteFile(filepath.Join(share, "file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", sub, "tmpfs", 0)
	if err := errors.Join(os.WriteFile(filepath.Join(sub, "mounted"), nil, 0o644), os.Symlink("file", filepath.Join(share, "link"))); err != nil {
		t.Fatal(err)
	}
	open := func(path string) *os.File {
		t.Helper()
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { f.Close() })
		return f
	}
	apart := func(path string, readOnly bool) *os.File {
		t.Helper()
		f, err := Apart(open(path), readOnly)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	plain, own, readOnly := open(share), apart(share, false), apart(share, true)
	within, err := ApartWithin(open(share), open(filepath.Join(share, "dir")), false)
	if err != nil {
		t.Fatal(err)
	}
	defer within.Close()
	if f, err := ApartWithin(open(sub), open(share), false); err == nil {
		f.Close()
		t.Error("a directory is within one below")
	}
	for _, tc := range []struct {
		at    *os.File
		path  string
		flags int
		want  error
	}{
		{plain, "../secret", unix.O_RDONLY, nil},
		{own, "../secret", unix.O_RDONLY, unix.ENOENT},
		{own, "../share/file", unix.O_RDONLY, unix.ENOENT},
		{own, "sub/../../secret", unix.O_RDONLY, unix.ENOENT},
		{own, "sub/mounted", unix.O_RDONLY, nil},
		{own, "link", unix.O_RDONLY, unix.ELOOP},
		{own, "file", unix.O_RDWR, nil},
		{within, "../sub/mounted", unix.O_RDWR, nil},
		{within, "../file", unix.O_RDWR, nil},
		{within, "../../secret", unix.O_RDONLY, unix.ENOENT},
		{readOnly, "file", unix.O_RDONLY, nil},
		{readOnly, "file", unix.O_RDWR, unix.EROFS},
		{readOnly, "sub/mounted", unix.O_RDWR, unix.EROFS},
	} {
		fd, err := unix.Openat(int(tc.at.Fd()), tc.path, tc.flags|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("open %s with flags %#x: %v, want %v", tc.path, tc.flags, err, tc.want)
		}
	}
	var st, of unix.Stat_t
	file := filepath.Join(share, "file")
	if err := errors.Join(unix.Fstat(int(apart(file, false).Fd()), &st), unix.Stat(file, &of)); err != nil {
		t.Fatal(err)
	}
	if st.Ino != of.Ino || st.Dev != of.Dev {
		t.Error("a file became another")
	}
}

package tree

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// reference runs functions on a thread in a mount namespace of its own, where a
// directory is the root of the tree.
type reference struct {
	calls chan func()
	dir   string
	made  int
}

func newReference(t *testing.T) *reference {
	ref := &reference{calls: make(chan func()), dir: tempDir(t, "/dev/shm")}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		ready <- err
		for call := range ref.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a mount namespace: %v", err)
	}
	t.Cleanup(func() { close(ref.calls) })
	return ref
}

// do runs a function on the thread and returns its error.
func (ref *reference) do(f func() error) syscall.Errno {
	var err error
	done := make(chan struct{})
	ref.calls <- func() {
		err = f()
		close(done)
	}
	<-done
	if err == nil {
		return 0
	}
	for {
		if errno, ok := err.(syscall.Errno); ok {
			return errno
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			panic(err)
		}
		err = u.Unwrap()
	}
}

// island is the type of file system that stands for synthetic directories. All
// others are mounted as "share".
const island = "island"

func (p *propertyRun) makeIsland(at string) error {
	return unix.Mount(island, at, "tmpfs", 0, "mode=755")
}

// islands makes all of them read-only or writable.
func (p *propertyRun) islands(flag uintptr) error {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[4], p.top) && slices.Contains(f, island) {
			if err := unix.Mount("", f[4], "", unix.MS_REMOUNT|flag, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// refMount mounts on the host what a mount of the tree is: a tmpfs of its own, which
// may be of one file, below synthetic directories where there are none.
func (p *propertyRun) refMount(m *refMount, files []string) error {
	at := p.top
	parts := strings.Split(strings.Trim(m.path, "/"), "/")
	if m.path == "/" {
		parts = nil
	}
	for i, part := range parts {
		up := at
		at = filepath.Join(at, part)
		last := i == len(parts)-1
		if st, err := os.Lstat(at); err == nil && last && st.IsDir() == m.file {
			// A mount of another type covers what is there.
			if err := os.RemoveAll(at); err != nil {
				return err
			}
		}
		if _, err := os.Lstat(at); err == nil {
			continue
		}
		if last && m.file {
			if err := os.WriteFile(at, nil, 0o644); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if last || p.onIsland(up) {
			continue
		}
		if err := p.makeIsland(at); err != nil {
			return err
		}
	}
	if m.file {
		if err := os.MkdirAll(p.top+"-files", 0o755); err != nil {
			return err
		}
		src := filepath.Join(p.top+"-files", strings.ReplaceAll(m.path, "/", "_"))
		if err := os.WriteFile(src, []byte("one"), 0o644); err != nil {
			return err
		}
		return unix.Mount(src, at, "", unix.MS_BIND, "")
	}
	if err := unix.Mount("share", at, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, f := range files {
		full := filepath.Join(at, f)
		var err error
		if strings.HasSuffix(f, "/") {
			err = os.MkdirAll(full, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(full), 0o755); err == nil {
			err = os.WriteFile(full, []byte("content of "+f), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// onIsland tells whether a directory is a synthetic one.
func (p *propertyRun) onIsland(dir string) bool {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false
	}
	best, is := "", false
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if m := f[4]; len(m) >= len(best) && (dir == m || strings.HasPrefix(dir, m+"/")) {
			best, is = m, slices.Contains(f, island)
		}
	}
	return is
}

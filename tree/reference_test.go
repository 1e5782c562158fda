package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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

// fresh returns a path that nothing is at, outside of the tree.
func (ref *reference) fresh(what string) string {
	ref.made++
	return filepath.Join(ref.dir, fmt.Sprintf("%s-%d", what, ref.made))
}

// island is the source of the file systems that stand for synthetic directories.
const island = "island"

// hostMount is a line of mountinfo.
type hostMount struct {
	id     int
	at     string
	island bool
}

// hostMounts lists the mounts in the tree, parents first.
func (p *propertyRun) hostMounts() ([]hostMount, error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []hostMount
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if !strings.HasPrefix(f[4], p.ref.dir+"/") {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, err
		}
		list = append(list, hostMount{id, f[4], slices.Contains(f, island)})
	}
	return list, nil
}

// mountAt returns the mount that is at a path.
func (p *propertyRun) mountAt(at string) (hostMount, error) {
	list, err := p.hostMounts()
	if err != nil {
		return hostMount{}, err
	}
	for _, m := range slices.Backward(list) {
		if m.at == at {
			return m, nil
		}
	}
	return hostMount{}, syscall.EINVAL
}

// where returns where a mount is by now: directories above it may have other names.
func (p *propertyRun) where(m *refMount) (string, error) {
	list, err := p.hostMounts()
	if err != nil {
		return "", err
	}
	for _, h := range list {
		if h.id == m.id {
			return h.at, nil
		}
	}
	return "", fmt.Errorf("%s is lost: %w", m.path, syscall.ESTALE)
}

// writable runs a change of mounts while all of them can be written to, as mount
// points may have to be made.
func (p *propertyRun) writable(change func() error) error {
	err := p.setReadOnly(0)
	if err == nil {
		err = change()
	}
	if err == nil {
		err = p.setReadOnly(unix.MS_RDONLY)
	}
	return err
}

func (p *propertyRun) setReadOnly(flag uintptr) error {
	list, err := p.hostMounts()
	if err != nil {
		return err
	}
	for _, h := range list {
		if h.island || p.readOnly[h.id] {
			if err := unix.Mount("", h.at, "", unix.MS_REMOUNT|unix.MS_BIND|flag, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeIsland mounts what stands for a synthetic directory.
func makeIsland(at string) error {
	return unix.Mount(island, at, "tmpfs", 0, "mode=555")
}

// onIsland tells whether a directory is a synthetic one.
func (p *propertyRun) onIsland(dir string) (bool, error) {
	list, err := p.hostMounts()
	best := hostMount{}
	for _, h := range list {
		if len(h.at) >= len(best.at) && (dir == h.at || strings.HasPrefix(dir, h.at+"/")) {
			best = h
		}
	}
	return best.island, err
}

// place finds or makes what a mount is to be mounted on, below synthetic
// directories where there are none.
func (p *propertyRun) place(m *refMount) (at string, err error) {
	at, rest := p.top, m.path
	if up := p.above(m.path); up != nil {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, up.path), "/")
		if at, err = p.where(up); err != nil {
			return "", err
		}
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	for i, part := range parts {
		up, last := at, i == len(parts)-1
		at = filepath.Join(at, part)
		if m.path == "/" {
			return p.top, nil
		}
		st, err := os.Lstat(at)
		if err == nil && last && st.IsDir() == m.file {
			// A mount of the host does not cover what is of another type. So
			// it must not be seen again.
			m.stays = true
			if err := os.RemoveAll(at); err != nil {
				return "", err
			}
		} else if err == nil {
			continue
		}
		switch onIsland, err := p.onIsland(up); {
		case err != nil:
			return "", err
		case last && m.file:
			m.made = true
			return at, os.WriteFile(at, nil, 0o644)
		case last:
			m.made = true
			return at, os.Mkdir(at, 0o755)
		case onIsland:
			err = os.Mkdir(at, 0o555)
			if err != nil {
				return "", err
			}
		default:
			if err := os.Mkdir(at, 0o755); err != nil {
				return "", err
			}
			if err := makeIsland(at); err != nil {
				return "", err
			}
		}
	}
	return at, nil
}

// settle mounts on the host what a mount of the tree is.
func (p *propertyRun) settle(m *refMount) error {
	at, err := p.place(m)
	if err != nil {
		return err
	}
	if err := m.kind.mount(p, m, at); err != nil {
		return fmt.Errorf("mount %s %s: %w", m.kind.name, at, err)
	}
	h, err := p.mountAt(at)
	m.id = h.id
	if m.kind.readOnly {
		p.readOnly[m.id] = true
	}
	return err
}

// shift has a mount moved out of the way, and back to its path.
func (p *propertyRun) shift(m *refMount) (back func() error, err error) {
	at, err := p.where(m)
	if err != nil {
		return nil, err
	}
	aside := p.ref.fresh("aside")
	p.closes = append(p.closes, func() { os.RemoveAll(aside) })
	if m.file {
		err = os.WriteFile(aside, nil, 0o644)
	} else {
		err = os.Mkdir(aside, 0o755)
	}
	if err == nil {
		err = unix.Mount(at, aside, "", unix.MS_MOVE, "")
	}
	if err == nil {
		err = p.clear(m, at)
	}
	return func() error {
		m.made = false
		at, err := p.place(m)
		if err != nil {
			return err
		}
		return unix.Mount(aside, at, "", unix.MS_MOVE, "")
	}, err
}

// clear removes what was made to mount on, and the synthetic directories that are
// empty by that.
func (p *propertyRun) clear(m *refMount, at string) error {
	if !m.made {
		return nil
	}
	if err := os.Remove(at); err != nil {
		return err
	}
	for up := filepath.Dir(at); up != p.top; up = filepath.Dir(up) {
		onIsland, err := p.onIsland(up)
		if err != nil || !onIsland {
			return err
		}
		if left, err := os.ReadDir(up); err != nil || len(left) != 0 {
			return err
		}
		if h, err := p.mountAt(up); err == nil && h.island {
			if err := unix.Unmount(up, 0); err != nil {
				return err
			}
		}
		if err := os.Remove(up); err != nil {
			return err
		}
	}
	return nil
}

// fill makes files, as tempDir does.
func fill(dir string, files []string) error {
	for _, f := range files {
		full := filepath.Join(dir, f)
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

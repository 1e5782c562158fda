package tree

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// PathError is why a path cannot be mounted or unmounted. errors.Is finds Err, an
// error number that says what kind of reason it is.
type PathError struct {
	Op   string // "mount" or "unmount"
	Path string
	Err  syscall.Errno
	Why  string
}

func (e *PathError) Error() string { return fmt.Sprintf("%s %s: %s", e.Op, e.Path, e.Why) }

func (e *PathError) Unwrap() error { return e.Err }

// checkPath says what is wrong with a path, or "".
func checkPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "the path does not begin with /"
	case path.Clean(p) != p:
		return "the path is not clean; it would be " + path.Clean(p)
	case p == "/":
		return ""
	}
	for name := range strings.SplitSeq(p[1:], "/") {
		if _, errno := vfs.MakeName(name); errno != 0 {
			return fmt.Sprintf("%q is no name of a file: %v", name, errno)
		}
	}
	return ""
}

// Mount puts a file system at a clean absolute guest path. It may be called at any
// time, but for "/", which has to be mounted before the first session. Until it
// is unmounted, child is used by the tree alone.
//
// Errors are a [*PathError] with EINVAL (the path, or child is a tree), EBUSY
// (the path or child is mounted already, or a guest has moved another mount to the
// path), ENOTDIR (a file is in the way), ENOSPC
// ([MaxMounts]), EPROTO (child cannot do with the features of the session), or
// what child itself answers.
func (fs *FS) Mount(p string, child vfs.FileSystem) error {
	return fs.MountWith(p, child, MountOptions{})
}

// MountWith is Mount with options.
func (fs *FS) MountWith(p string, child vfs.FileSystem, options MountOptions) error {
	fail := func(errno syscall.Errno, format string, args ...any) error {
		return &PathError{Op: "mount", Path: p, Err: errno, Why: fmt.Sprintf(format, args...)}
	}
	if why := checkPath(p); why != "" {
		return fail(syscall.EINVAL, "%s", why)
	}
	if _, ok := child.(*FS); ok {
		return fail(syscall.EINVAL, "a tree cannot be mounted in a tree")
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mounts[p] != nil {
		return fail(syscall.EBUSY, "something is mounted there already")
	}
	if p == "/" && fs.begun {
		return fail(syscall.EBUSY, "guests use the tree; / has to be mounted before")
	}
	if m := fs.user(child); m != nil {
		return fail(syscall.EBUSY, "the file system is mounted already, at %s", m.path)
	}
	index := 0
	if p != "/" {
		var ok bool
		if index, ok = fs.takeIndex(); !ok {
			return fail(syscall.ENOSPC, "there are %d mounts, some of which may be removed but in use by the guest", MaxMounts)
		}
	}
	m := fs.newMount(p, child, index)
	m.options = options
	err := fs.enlist(m)
	if err == nil {
		err = fs.place(m)
	}
	if err != nil && index != 0 {
		fs.giveIndex(index)
	}
	return err
}

// user returns the mount that a file system is used by, or nil.
func (fs *FS) user(child vfs.FileSystem) *mount {
	for _, m := range fs.mounts {
		if same(m.child, child) {
			return m
		}
	}
	for m := range fs.gone {
		if !m.dead.Load() && same(m.child, child) {
			return m
		}
	}
	return nil
}

// same tells whether two file systems are one.
func same(a, b vfs.FileSystem) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}

// enlist has a new file system join the session, if there is one, and learns what
// its root is.
func (fs *FS) enlist(m *mount) error {
	if fs.inSession {
		if err := fs.join(m); err != nil {
			return err
		}
	}
	var root vfs.AttrOut
	if errno := m.child.Getattr(&vfs.Request{}, vfs.Root, vfs.NoHandle, &root); errno != 0 {
		fs.part(m)
		return &PathError{Op: "mount", Path: m.path, Err: errno, Why: fmt.Sprintf("the file system has no root: %v", errno)}
	}
	m.ino, m.typ = root.Attr.Ino, root.Attr.Mode&unix.S_IFMT
	m.setDevice(fs.submounts.Load() && m.isDir())
	return nil
}

// part ends what enlist began.
func (fs *FS) part(m *mount) {
	if fs.inSession {
		m.child.Destroy()
	}
}

// place makes a mount a part of the tree. What is mounted inside is attached anew.
func (fs *FS) place(m *mount) error {
	if inside := fs.inside(m.path); len(inside) != 0 && !m.isDir() {
		fs.part(m)
		return &PathError{Op: "mount", Path: m.path, Err: syscall.ENOTDIR,
			Why: "it is not a directory, and there is a mount inside at " + inside[0].path}
	}
	fs.forgets.Lock()
	defer fs.forgets.Unlock()
	fs.mounts[m.path] = m
	inside := fs.inside(m.path)
	if m.path != "/" { // which gives all synthetic directories other ids
		inside = slices.DeleteFunc(inside, func(in *mount) bool { return fs.above(in.path) != m.path })
	}
	was := make([]*attachment, len(inside))
	b := fs.newBuilder(false)
	b.reveal(func(h *hidden) bool { return lies(h.path, m.path) && (m.path == "/" || fs.above(h.path) == m.path) })
	for i := len(inside) - 1; i >= 0; i-- {
		was[i] = inside[i].at
		b.detach(was[i])
	}
	var err error
	if m.path == "/" {
		fs.setRoot(m)
	} else {
		fs.setSlot(m.index(), m)
		err = b.attach(m, walkStrict)
	}
	for _, in := range inside {
		if err == nil {
			err = b.attach(in, walkStrict)
		}
	}
	if err == nil {
		delete(fs.hidden, m.path)
		b.hideAgain()
		b.commit()
		return nil
	}
	b.abort()
	for i, in := range inside {
		in.at = was[i]
	}
	delete(fs.mounts, m.path)
	if m.path == "/" {
		fs.setRoot(nil)
	} else {
		fs.setSlot(m.index(), nil)
	}
	fs.part(m)
	return err
}

// Unmount takes the mount at a path away. It returns when no call on it is under
// way any more and all nodes and handles of its file system are dropped, so that
// the owner may close that. Nodes and handles that the guest has are ESTALE from then
// on.
//
// If a guest has removed the name (see [MountOptions]), Unmount ends what is left of
// the mount in the same way, and what it covered is seen again.
//
// Errors are a [*PathError] with EINVAL (nothing is mounted there) or EBUSY (there
// are mounts inside, or it is "/", which stays).
func (fs *FS) Unmount(p string) error {
	fs.mu.Lock()
	m := fs.mounts[p]
	lingering := fs.lingering(p)
	var why string
	errno := syscall.EBUSY
	if m == nil && fs.hidden[p] == nil && len(lingering) == 0 {
		errno, why = syscall.EINVAL, "nothing is mounted there"
	} else if p == "/" {
		why = "the mount at / stays as long as the tree"
	} else if inside := fs.inside(p); m != nil && len(inside) != 0 {
		why = "there is a mount inside, at " + inside[0].path
	}
	if why != "" {
		fs.mu.Unlock()
		return &PathError{Op: "unmount", Path: p, Err: errno, Why: why}
	}
	fs.forgets.Lock()
	b := fs.newBuilder(false)
	if m != nil {
		b.reveal(func(h *hidden) bool { return h.above == p })
		maps.DeleteFunc(fs.hidden, func(_ string, h *hidden) bool { return h.above == p })
		b.detach(m.at)
		delete(fs.mounts, p)
		fs.gone[m] = struct{}{}
		lingering = []*mount{m}
	} else {
		b.reveal(func(h *hidden) bool { return h.path == p })
		delete(fs.hidden, p)
	}
	b.hideAgain()
	b.commit()
	fs.forgets.Unlock()
	for _, m := range lingering {
		m.ending = true
	}
	fs.mu.Unlock()
	for _, m := range lingering {
		fs.finish(m)
	}
	return nil
}

// lingering are the mounts whose name at a path was removed and that are not over.
func (fs *FS) lingering(p string) (list []*mount) {
	for m := range fs.gone {
		if m.path == p && m.lingers() {
			list = append(list, m)
		}
	}
	return list
}

// reap frees the index of a dead mount to which the guest has no references.
func (fs *FS) reap(m *mount) {
	fs.mu.Lock()
	fs.reapLocked(m)
	fs.mu.Unlock()
}

func (fs *FS) reapLocked(m *mount) {
	if _, ok := fs.gone[m]; !ok || !m.dead.Load() || m.refs.Load() != 0 {
		return
	}
	delete(fs.gone, m)
	fs.setSlot(m.index(), nil)
	fs.giveIndex(m.index())
}

// takeIndex finds a free index: one that was never used or, when there is none
// left, the one that has been free for the longest time.
func (fs *FS) takeIndex() (int, bool) {
	if fs.next < fs.limit {
		fs.next++
		return fs.next - 1, true
	}
	if len(fs.free) == 0 {
		return 0, false
	}
	i := fs.free[0]
	fs.free = fs.free[1:]
	return i, true
}

func (fs *FS) giveIndex(i int) { fs.free = append(fs.free, i) }

func (fs *FS) setSlot(i int, m *mount) {
	slots := *fs.slots.Load()
	if i >= len(slots) {
		grown := make([]slot, 2*len(slots))
		for j := range slots {
			grown[j].Store(slots[j].Load())
		}
		fs.slots.Store(&grown)
		slots = grown
	}
	slots[i].Store(m)
}

// setRoot puts a mount at index 0, and the synthetic directories out of its way, or
// takes it away again for nil. Nothing is attached.
func (fs *FS) setRoot(m *mount) {
	if m == nil {
		fs.synthMount = fs.newMount("", fs.synth, 0)
		fs.root = fs.synthMount
		fs.setSlot(synthIndex, nil)
		return
	}
	fs.synthMount = fs.newMount("", fs.synth, synthIndex)
	fs.root = m
	fs.setSlot(synthIndex, fs.synthMount)
}

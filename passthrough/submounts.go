package passthrough

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// mount is a host mount through which handles are opened. open_by_handle_at
// wants a descriptor of any object on it, opened for reading.
//
// The first object that is seen on a mount is the root of the mount, as every
// way to the others leads through it and nodes keep their mount in the table.
// So that object itself serves, and no path has to be looked up in
// /proc/self/mountinfo, which a sandbox may have taken away.
type mount struct {
	id   uint64
	fd   int
	refs int // nodes; guarded by mountTable.mu
}

// mountTable finds mounts by mount id. A mount is dropped, and so can be
// unmounted by the host, when no node is on it any more. While it is here its id
// is not reused.
type mountTable struct {
	mu      sync.Mutex
	m       map[uint64]*mount
	without map[place]struct{} // where there are no handles
}

// place is a file system as it is seen through a mount.
type place struct{ dev, mnt uint64 }

func (t *mountTable) init() {
	t.m = make(map[uint64]*mount)
	t.without = make(map[place]struct{})
}

// get takes a reference to a mount; nil if it is not known.
func (t *mountTable) get(id uint64) *mount {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.m[id]
	if m != nil {
		m.refs++
	}
	return m
}

// add enters a mount, or, if another call was faster, takes a reference to
// that one and closes fd.
func (t *mountTable) add(id uint64, fd int) *mount {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.m[id]
	if m != nil {
		oslib.Close(fd)
	} else {
		m = &mount{id: id, fd: fd}
		t.m[id] = m
	}
	m.refs++
	return m
}

func (t *mountTable) put(m *mount) {
	t.mu.Lock()
	m.refs--
	gone := m.refs == 0
	if gone {
		delete(t.m, m.id)
	}
	t.mu.Unlock()
	if gone {
		oslib.Close(m.fd)
	}
}

func (t *mountTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

func (t *mountTable) refused(k *nodeKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.without[place{k.dev, k.mnt}]
	return ok
}

// refuse notes where there are no handles, and reports whether that is news.
func (t *mountTable) refuse(k *nodeKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.without[place{k.dev, k.mnt}]
	t.without[place{k.dev, k.mnt}] = struct{}{}
	return !ok
}

// tryMount enters the mount that the object behind fd is on, after a trial:
// the object must be found again by its handle.
func (fs *FS) tryMount(fd int, k *nodeKey, typ uint32, h *oslib.FileHandle) (*mount, syscall.Errno) {
	mfd, errno := fs.reopenAs(typ, fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if errno != 0 {
		return nil, errno
	}
	again, errno := oslib.OpenByHandle(mfd, h, unix.O_PATH|unix.O_NOFOLLOW)
	if errno == 0 {
		var stx unix.Statx_t
		errno = statFD(again, &stx)
		oslib.Close(again)
		if errno == 0 && (stx.Ino != k.ino || stxDev(&stx) != k.dev) {
			errno = syscall.ESTALE
		}
	}
	if errno != 0 {
		oslib.Close(mfd)
		return nil, errno
	}
	return fs.mounts.add(k.mnt, mfd), 0
}

// crossing tells whether n, found in parent, is the root of another mount or
// of another file system (a btrfs subvolume has a device of its own on the same
// mount).
func crossing(parent, n *node) bool {
	return n.isDir() && (n.key.dev != parent.key.dev || n.key.mnt != parent.key.mnt)
}

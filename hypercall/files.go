package hypercall

import (
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// file is an open file or directory. It has a reference to its node and one handle.
type file struct {
	node   vfs.NodeID
	handle vfs.Handle
	flags  uint32 // of open
	dir    bool
	quiet  bool // the file system wants no Flush

	refs atomic.Int32 // of the table, and of calls under way

	mu  sync.Mutex // held during reads, writes and seeks, as the next one begins where this ends
	pos uint64     // of a file at most math.MaxInt64
}

// tryRetain takes a reference unless the last has gone already.
func (f *file) tryRetain() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// put gives a reference back. The file is closed with the last.
func (g *Guest) put(c *call, f *file) {
	if f.refs.Add(-1) != 0 {
		return
	}
	// What a release says comes too late for anybody: close has asked Flush.
	if f.dir {
		g.fs.Releasedir(&c.req, f.node, f.handle)
	} else {
		c.rel = vfs.ReleaseIn{OpenFlags: f.flags}
		g.fs.Release(&c.req, f.node, f.handle, &c.rel)
	}
	g.forget(f.node)
}

// fileTable finds files by descriptor, without a lock. The descriptors of the
// console are not in it.
type fileTable struct {
	slots []atomic.Pointer[file]

	mu   sync.Mutex // guards the rest
	used []bool     // by a file, or for one that is being opened
	low  int        // all descriptors below are used
}

func (t *fileTable) open(n int) {
	t.slots = make([]atomic.Pointer[file], n)
	t.used = make([]bool, n)
	t.low = firstFile
}

// reserve takes the lowest free descriptor.
func (t *fileTable) reserve() (int32, syscall.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; t.low < len(t.used); t.low++ {
		if !t.used[t.low] {
			t.used[t.low] = true
			return int32(t.low), 0
		}
	}
	return 0, syscall.EMFILE
}

// free gives a descriptor back that stands for no file.
func (t *fileTable) free(fd int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used[fd] = false
	t.low = min(t.low, int(fd))
}

// install makes a reserved descriptor stand for f, which has one reference: the
// table's from now on.
func (t *fileTable) install(fd int32, f *file) { t.slots[fd].Store(f) }

// get finds a file and takes a reference to it. Descriptors of the console are EBADF.
func (t *fileTable) get(fd int32) (*file, syscall.Errno) {
	if fd < 0 || int(fd) >= len(t.slots) {
		return nil, syscall.EBADF
	}
	f := t.slots[fd].Load()
	if f == nil || !f.tryRetain() {
		return nil, syscall.EBADF
	}
	return f, 0
}

// remove takes a file out, with the table's reference. Of several that do it at once,
// one gets the file.
func (t *fileTable) remove(fd int32) (*file, syscall.Errno) {
	if fd < 0 || int(fd) >= len(t.slots) {
		return nil, syscall.EBADF
	}
	f := t.slots[fd].Swap(nil)
	if f == nil {
		return nil, syscall.EBADF
	}
	t.free(fd)
	return f, 0
}

func (t *fileTable) closeAll(g *Guest, c *call) {
	for fd := range t.slots {
		if f, errno := t.remove(int32(fd)); errno == 0 {
			g.flush(c, f)
			g.put(c, f)
		}
	}
}

// callClose serves V1FileClose and FileClose.
func (g *Guest) callClose(c *call) syscall.Errno {
	var p CloseParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	errno := g.close(c, p.FD.Get())
	p.Ret.Set(-int32(errno))
	return g.answer(c, closeRet, p.Ret[:], errno)
}

// close closes a descriptor. It is free afterwards, whatever the answer.
func (g *Guest) close(c *call, fd int32) syscall.Errno {
	if fd >= 0 && fd < firstFile {
		return 0
	}
	f, errno := g.files.remove(fd)
	if errno != 0 {
		return errno
	}
	errno = g.flush(c, f)
	g.put(c, f)
	return errno
}

// flush asks whether all that was written has arrived. A file of a mount that is gone has
// said so already; kernels panic when a close fails.
func (g *Guest) flush(c *call, f *file) syscall.Errno {
	if f.dir || f.quiet {
		return 0
	}
	errno := g.fs.Flush(&c.req, f.node, f.handle, 0)
	if errno == syscall.ENOSYS || errno == syscall.ESTALE {
		return 0
	}
	return errno
}

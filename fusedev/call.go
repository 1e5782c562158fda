package fusedev

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// smallData is room for the data of every request and reply that are not READ
// and WRITE: an extended attribute of the longest kind with names around it.
const smallData = 128 << 10

// sparePool is how many buffers beyond one for each worker are kept when the
// requests that used them are over.
const sparePool = 8

// call is one request on its way: its buffer and the server's state for it. It
// belongs to a worker, or to the server from a Serve that said "not done" until
// Complete.
type call struct {
	*fuse.Call
	worker *worker // that read the request: the reply goes to its descriptor

	// mem is memory of the kernel's, not Go's. in and out are parts of it:
	// room for a request, so placed that the data of a WRITE begin at a page,
	// and for a reply, so placed that those of a READ do.
	mem     []byte
	in, out []byte
	iov     [2]unix.Iovec // what Call.In and Call.Out are made of

	// Copied out of the request's header.
	opcode fuse.Opcode
	unique uint64
	node   vfs.NodeID

	// Guarded by worker.mu, for a call that the server has.
	lent      bool // in worker.lent, at slot
	completed bool // before it could be put there
	slot      int
}

// pool holds calls that are not in use.
type pool struct {
	dataSize int // most bytes of file data in a request, whole pages

	mu   sync.Mutex
	free []*call
	keep int
}

func newPool(maxWrite uint32, workers int) *pool {
	page := os.Getpagesize()
	size := (max(int(maxWrite), smallData) + page - 1) / page * page
	return &pool{dataSize: size, keep: workers + sparePool}
}

// get returns a call that nobody uses.
func (p *pool) get() (*call, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.newCall()
}

func (p *pool) newCall() (*call, error) {
	page := os.Getpagesize()
	half := page + p.dataSize + page // a header's page, data, and what a WRITE has beyond them
	mem, err := unix.Mmap(-1, 0, 2*half, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("buffer of %d bytes for a request: %w", 2*half, err)
	}
	c := &call{
		Call: fuse.NewCall(),
		mem:  mem,
		in:   mem[page-writeArgsEnd : half],
		out:  mem[half+page-outHeaderSize : half+page+p.dataSize],
	}
	c.iov = [2]unix.Iovec{oslib.Iov(c.in), oslib.Iov(c.out)}
	c.In, c.Out = c.iov[:1:1], c.iov[1:]
	c.Done = c
	return c, nil
}

// put takes back a call that nobody uses any more.
func (p *pool) put(c *call) {
	c.worker, c.lent, c.completed = nil, false, false
	p.mu.Lock()
	full := len(p.free) >= p.keep
	if !full {
		p.free = append(p.free, c)
	}
	p.mu.Unlock()
	if full {
		c.unmap()
	}
}

// close frees the calls that are not in use, which must be all.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.free {
		c.unmap()
	}
	p.free = nil
}

func (c *call) unmap() {
	unix.Munmap(c.mem)
	c.mem, c.in, c.out = nil, nil, nil
}

// take looks at the header of a request of n bytes that is in c.in. It reports
// false for one that has none.
func (c *call) take(n int) bool {
	if n < inHeaderSize {
		return false
	}
	c.iov[0].Len = uint64(n)
	c.opcode = fuse.Opcode(get32(c.in, inOpcode))
	c.unique = get64(c.in, inUnique)
	c.node = vfs.NodeID(get64(c.in, inNode))
	return true
}

// request returns the bytes of the request.
func (c *call) request() []byte { return c.in[:c.iov[0].Len] }

// Complete takes a call back from the server: it writes the reply.
func (c *call) Complete(_ *fuse.Call, used uint32) {
	w := c.worker
	w.reply(c, used)
	w.mu.Lock()
	if !c.lent {
		c.completed = true // the worker is yet to see that the server has it
		w.mu.Unlock()
		return
	}
	last := w.lent[len(w.lent)-1]
	w.lent[c.slot] = last
	last.slot = c.slot
	w.lent[len(w.lent)-1] = nil
	w.lent = w.lent[:len(w.lent)-1]
	w.mu.Unlock()
	w.mount.calls.put(c)
}

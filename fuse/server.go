package fuse

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Bounds of the options.
const (
	pageSize            = 4096
	DefaultMaxWrite     = 1 << 20  // bytes
	LargestMaxWrite     = 16 << 20 // bytes
	DefaultMaxPending   = 128
	DefaultMaxLockWaits = 1024
)

// headroom is what a request may have beyond MaxWrite bytes of data: header,
// arguments, names and extensions.
const headroom = 4096

// Options are the settings of a [Server]. The zero value has the defaults.
type Options struct {
	// Logger gets what concerns the server itself; what a guest does wrong
	// is at most told at debug level. The default is [slog.Default].
	Logger *slog.Logger
	// MaxWrite is the most file data that one READ or WRITE moves, in bytes.
	// It is rounded up to whole pages of 4096 bytes and cut to
	// LargestMaxWrite; zero means DefaultMaxWrite. Linux uses more than
	// 1 MiB only where the guest's fs.fuse.max_pages_limit allows it.
	MaxWrite uint32
	// MaxBackground is how many asynchronous requests the guest may have
	// under way; at three quarters of it the guest considers the file
	// system congested. Zero means 65535.
	MaxBackground uint16
	// MaxPending bounds the requests that wait on goroutines of their own,
	// each of which may hold a thread. Beyond it a request that would
	// block is served where Serve was called, which holds up that caller.
	// Zero means DefaultMaxPending.
	MaxPending int
	// MaxLockWaits bounds the requests that wait for a file lock. Beyond it
	// they are answered with ENOLCK. Zero means DefaultMaxLockWaits.
	MaxLockWaits int
	// Stats, if not nil, counts the requests.
	Stats *Stats
}

// Server answers the FUSE requests of one guest from one file system. Its
// methods may be called from any number of goroutines.
type Server struct {
	fs         vfs.FileSystem
	log        *slog.Logger
	maxWrite   uint32
	maxMessage uint64
	background uint16
	stats      *Stats // nil: nothing is counted

	session atomic.Pointer[session] // nil before INIT and after DESTROY
	pending pending

	lifeMu sync.Mutex // held while a session begins or ends
	begun  bool       // fs.Init succeeded and nothing undid it; guarded by lifeMu
}

// NewServer returns a server for fs. The file system's sessions are the
// server's from now on: only one server may serve it.
func NewServer(fs vfs.FileSystem, opt Options) *Server {
	s := &Server{fs: fs, log: opt.Logger, maxWrite: opt.MaxWrite, background: opt.MaxBackground, stats: opt.Stats}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.maxWrite == 0 {
		s.maxWrite = DefaultMaxWrite
	}
	s.maxWrite = (min(s.maxWrite, LargestMaxWrite) + pageSize - 1) &^ (pageSize - 1)
	s.maxMessage = max(uint64(s.maxWrite), bufferSize) + headroom
	if s.background == 0 {
		s.background = 65535
	}
	s.pending.init(opt.MaxPending, opt.MaxLockWaits)
	return s
}

// MaxWrite returns the most file data that one READ or WRITE moves, in bytes.
func (s *Server) MaxWrite() uint32 { return s.maxWrite }

// Serve answers the request in c.In. With done set, the reply is in c.Out and
// used is its length, header included; zero means that there is no reply,
// because the request takes none or c.Out has no room for one.
//
// With done unset the request would have had to wait: it was handed to another
// goroutine, which calls c.Done.Complete exactly once, perhaps before Serve
// returns. Until then c and the memory of c.In and c.Out belong to the server.
//
// The caller runs Serve under [oslib.CatchFault] if the memory of c.In or c.Out
// may vanish. After a fault, c must not be used again.
func (s *Server) Serve(c *Call) (used uint32, done bool) {
	if s.stats == nil {
		return s.serve(c)
	}
	return s.serveCounted(c)
}

// serveCounted serves the request of c and counts it, even one that ends in a
// fault.
func (s *Server) serveCounted(c *Call) (used uint32, done bool) {
	s.stats.begin(c)
	faulted := true
	defer func() {
		if faulted {
			c.errno = syscall.EFAULT
			s.stats.finish(c, 0)
		}
	}()
	used, done = s.serve(c)
	faulted = false
	if done {
		s.stats.finish(c, used)
	}
	return used, done
}

func (s *Server) serve(c *Call) (used uint32, done bool) {
	c.begin()
	if errno := s.receive(c); errno != 0 {
		used = s.fail(c, errno)
		c.end()
		return used, true
	}
	n, errno := c.op.handle(s, c)
	if errno == vfs.WouldBlock {
		switch s.pending.enter(s, c) {
		case entered:
			if s.stats != nil {
				s.stats.handOver(c)
			}
			go s.servePending(c)
			return 0, false
		case tooMany:
			n, errno = s.retry(c)
		case tooManyLocks:
			errno = syscall.ENOLCK
		case sessionOver:
			errno = syscall.EIO
		}
	}
	used = s.answer(c, n, errno)
	c.end()
	return used, true
}

// retry runs the request of c again, this time waiting for what it takes.
func (s *Server) retry(c *Call) (n int, errno syscall.Errno) {
	c.rewind()
	c.req.Nowait = false
	return c.op.handle(s, c)
}

// Cancel asks for a pending call to end soon: a wait for a lock ends with
// EINTR, anything else takes its time. Complete is called as for any pending
// call. A call that is not pending is left alone.
func (s *Server) Cancel(c *Call) { s.pending.cancel(c) }

// Reset ends the session, as when the guest's machine or device is reset: all
// pending calls are cancelled and waited for, until their Complete has
// returned; then the file system drops its nodes and handles. The next INIT
// starts afresh. No Serve may run at the same time.
func (s *Server) Reset() {
	s.session.Store(nil)
	s.pending.drain(ordinary, locking, lifecycle)
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.destroy()
}

// Session is what the guest and the server agreed on.
type Session struct {
	Started  bool // INIT was seen and neither DESTROY nor Reset since
	Minor    uint32
	Features vfs.Features
}

// Session returns the state of the session, all zero if there is none.
func (s *Server) Session() Session {
	if sess := s.session.Load(); sess != nil {
		return Session{Started: true, Minor: sess.minor, Features: sess.features}
	}
	return Session{}
}

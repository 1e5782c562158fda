package hypercall

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Config is what [New] needs. FS and Memory are required; the zero value of each other
// field is a sensible choice.
type Config struct {
	// FS is what the guest sees. Its sessions are the Guest's from New to Close: no
	// other door may serve it meanwhile.
	FS vfs.FileSystem
	// Memory is the guest's. Its regions begin and end at pages of 4 KiB. It stays the
	// caller's, who keeps it until no call is under way any more.
	Memory *guestmem.View

	// Args and Env are what V1Cmdsize and V1Cmdval tell: the path of the kernel and
	// arguments, and strings of the form "K=V". A guest is told of the first
	// [MaxStrings] of each.
	Args, Env []string

	// Output takes what the guest writes to the console and to descriptor 1, ErrOutput
	// what it writes to descriptor 2. No two writes are made at once. nil is nowhere
	// for Output, and Output for ErrOutput.
	Output, ErrOutput io.Writer
	// Input is descriptor 0. A read of it may wait as long as it likes; it holds up
	// only the processor that asked and others that do. nil is an empty file.
	Input io.Reader

	// UID and GID own what the guest makes.
	UID, GID uint32
	// Umask is taken from the modes of new files and directories.
	Umask uint32
	// MaxFiles bounds the descriptors, with the three of the console; 0 is
	// DefaultMaxFiles.
	MaxFiles int
	// MakeParents, if not nil, has open with O_CREAT and mkdir make the directories
	// that are missing on the way to the new name, where it says so of the directory
	// that lacks one. That is for private space: a guest expects to create files at
	// paths that nobody has made.
	MakeParents func(dir vfs.NodeID) bool

	// Logger is told of what the guest cannot be; nil is slog.Default().
	Logger *slog.Logger
}

// Bounds of [Config.MaxFiles].
const (
	DefaultMaxFiles = 1024
	LargestMaxFiles = 1 << 20
)

// CPU is what a call takes from the processor that makes it, beside the argument.
type CPU struct {
	// CR3 is the register. Only calls whose Number is Virtual look at it.
	CR3 uint64
}

// Result is what became of a call.
type Result struct {
	// Known says that the number is that of a call. If not, nothing was done: it may be
	// a port of another device.
	Known bool
	// Exit says that the guest wants to end, with Code.
	Exit bool
	Code int32
	// Errno is what the call failed with, 0 for success, whether or not the guest can
	// be told. It is for statistics.
	Errno syscall.Errno
}

// Guest serves the calls of one guest.
type Guest struct {
	fs       vfs.FileSystem
	mem      memory
	log      *slog.Logger
	agreed   vfs.Features
	args     []string
	env      []string
	uid, gid uint32
	umask    uint32
	parents  func(vfs.NodeID) bool

	files   fileTable
	console console

	calls sync.Pool   // of *call
	stats []callStats // one for each of operations
}

// callStats are kept of one kind of call.
type callStats struct {
	failed atomic.Uint64
	told   atomic.Bool // the log has been
}

// handler serves one call.
type handler func(*Guest, *call) syscall.Errno

// call is the state of one call and its scratch memory.
type call struct {
	arg uint64
	cr3 uint64

	mute bool // the guest cannot be told of an error
	exit bool
	code int32

	req    vfs.Request
	iov    []unix.Iovec // host memory of the buffer, or of its next part
	part   uint64       // how much of the buffer iov is
	data   [dataSize]byte
	path   route
	sink   direntSink
	attr   vfs.AttrOut
	opened vfs.Opened
	rel    vfs.ReleaseIn
}

// dataSize bounds what goes through memory of ours at a time: console data and listings
// of directories.
const dataSize = 32 << 10

// features are those that this door knows to use.
const features = vfs.FeatAtomicTrunc | vfs.FeatDontMask | vfs.FeatKillPriv

// New begins a session of the file system. The Guest is the caller's to close.
func New(cfg Config) (*Guest, error) {
	switch {
	case cfg.FS == nil || cfg.Memory == nil:
		return nil, errors.New("hypercall: a guest needs a file system and memory")
	case cfg.MaxFiles == 0:
		cfg.MaxFiles = DefaultMaxFiles
	case cfg.MaxFiles < firstFile || cfg.MaxFiles > LargestMaxFiles:
		return nil, fmt.Errorf("hypercall: a limit of %d open files is not between %d and %d", cfg.MaxFiles, firstFile, LargestMaxFiles)
	}
	g := &Guest{
		fs:      cfg.FS,
		mem:     memory{cfg.Memory},
		log:     cfg.Logger,
		args:    cfg.Args,
		env:     cfg.Env,
		uid:     cfg.UID,
		gid:     cfg.GID,
		umask:   cfg.Umask & 0o777,
		parents: cfg.MakeParents,
		stats:   make([]callStats, len(operations)),
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	for _, of := range []struct {
		what string
		list *[]string
	}{{"arguments", &g.args}, {"environment strings", &g.env}} {
		if n := len(*of.list); n > MaxStrings {
			g.log.Warn("a guest of version 1 is told of a part only", "of", of.what, "given", n, "told", MaxStrings)
			*of.list = (*of.list)[:MaxStrings]
		}
	}
	g.console.open(&cfg)
	g.files.open(cfg.MaxFiles)
	g.calls.New = func() any { return g.newCall() }
	agreed, errno := g.fs.Init(features)
	if errno != 0 {
		return nil, fmt.Errorf("hypercall: begin a session of the file system: %w", errno)
	}
	g.agreed = agreed
	return g, nil
}

func (g *Guest) newCall() *call {
	c := &call{
		req: vfs.Request{UID: g.uid, GID: g.gid, Umask: g.umask},
		iov: make([]unix.Iovec, 0, 64),
	}
	return c
}

// Close closes all files and ends the session. No call may be under way, but those that
// wait for Input, and none may come.
func (g *Guest) Close() {
	c := g.newCall()
	g.files.closeAll(g, c)
	g.fs.Destroy()
}

// Call serves one call: number is the port, and arg what [Number.Version] says. It
// returns when the answer is in guest memory. It may be called from any number of
// goroutines at once, and waits where the file system or the console do.
func (g *Guest) Call(number Number, arg uint64, cpu CPU) Result {
	i, ok := number.place()
	if !ok {
		return Result{}
	}
	op := &operations[i]
	if op.since == 1 {
		arg = uint64(uint32(arg))
	}
	c := g.calls.Get().(*call)
	c.arg, c.cr3 = arg, cpu.CR3
	c.mute, c.exit, c.code = false, false, 0
	errno := op.serve(g, c)
	r := Result{Known: true, Exit: c.exit, Code: c.code, Errno: errno}
	if errno != 0 {
		g.failed(i, c, errno)
	}
	if cap(c.iov) > 2*maxPieces {
		c.iov = nil
	}
	g.calls.Put(c)
	return r
}

// failed counts an error, and logs the first of a call that the guest is not told of.
func (g *Guest) failed(i int, c *call, errno syscall.Errno) {
	s := &g.stats[i]
	s.failed.Add(1)
	if c.mute && !s.told.Swap(true) {
		g.log.Warn("a hypercall failed that has no answer; more will be counted only",
			"call", operations[i].number.String(), "argument", fmt.Sprintf("%#x", c.arg), "err", errno)
	}
}

// Failures is how many calls with this number have failed.
func (g *Guest) Failures(n Number) uint64 {
	i, ok := n.place()
	if !ok {
		return 0
	}
	return g.stats[i].failed.Load()
}

// params copies the structure that a call is about. If it is not guest memory, there is
// nowhere to answer.
func (g *Guest) params(c *call, b []byte) syscall.Errno {
	if !g.mem.read(c.arg, b) {
		c.mute = true
		return syscall.EFAULT
	}
	return 0
}

// answer puts b into the structure that a call is about. errno is what the answer says.
func (g *Guest) answer(c *call, at uint64, b []byte, errno syscall.Errno) syscall.Errno {
	if !g.mem.write(c.arg+at, b) {
		c.mute = true
		return syscall.EFAULT
	}
	return errno
}

// callNothing is for calls that do nothing.
func (g *Guest) callNothing(c *call) syscall.Errno {
	c.mute = true
	return syscall.ENOSYS
}

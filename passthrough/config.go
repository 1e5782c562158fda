package passthrough

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// CachePolicy says what a guest may remember of the share. Each policy sets
// how long names and attributes stay valid, and the flags of opened files.
type CachePolicy uint8

const (
	// CacheAuto: one second, and cached data are dropped when a file's time
	// or size change. For directories that the host changes too.
	CacheAuto CachePolicy = iota
	// CacheNever: nothing; files are read and written past the guest's cache.
	CacheNever
	// CacheMetadata: a day for names, attributes and listings; data as with
	// CacheNever.
	CacheMetadata
	// CacheAlways: a day, and data stay cached over opens. For directories
	// that the guest has for itself.
	CacheAlways
)

// policies holds what a [CachePolicy] means.
var policies = [...]struct {
	timeout, negative time.Duration
	file, dir         vfs.OpenFlags
}{
	CacheAuto:     {timeout: time.Second},
	CacheNever:    {file: vfs.OpenDirectIO},
	CacheMetadata: {day, day, vfs.OpenDirectIO, vfs.OpenCacheDir | vfs.OpenKeepCache},
	CacheAlways:   {day, day, vfs.OpenKeepCache, vfs.OpenCacheDir | vfs.OpenKeepCache},
}

const day = 24 * time.Hour

// HandleUse says whether nodes are held by file handles, which cost memory
// only, or by descriptors, of which a process has a limited number.
type HandleUse uint8

const (
	// HandlesPrefer: handles where the file system has them and the daemon
	// may use them (CAP_DAC_READ_SEARCH).
	HandlesPrefer HandleUse = iota
	// HandlesNever: descriptors only.
	HandlesNever
	// HandlesMandatory: New fails where the root has no handles, and objects
	// on other mounts without them are EOPNOTSUPP.
	HandlesMandatory
)

// Locks says which locks are kept on the host, where they hold between guests
// and against the host's processes, rather than in each guest for itself.
type Locks struct {
	POSIX bool // fcntl(2)
	Flock bool // flock(2)
}

// Config is what [New] needs. Path or Root says what is shared; the zero value of
// each other field is a sensible choice.
type Config struct {
	// Path is the directory or the regular file to share. A symbolic link is
	// followed.
	Path string
	// Root, if not nil, is an open directory or regular file to share instead, by a
	// descriptor that may be an O_PATH one, and of a place that no path of this
	// process leads to. It stays the caller's, who may close it after New.
	Root *os.File
	// Name is what messages call the share; "" is the name of Root, or Path.
	Name string

	Cache CachePolicy
	// EntryTimeout, AttrTimeout and NegativeTimeout override how long names,
	// attributes and the absence of names stay valid in the guest; nil is what
	// Cache says. Under CacheMetadata and CacheAlways NegativeTimeout follows
	// EntryTimeout.
	EntryTimeout, AttrTimeout, NegativeTimeout *time.Duration
	// Writeback lets the guest collect writes in its cache.
	Writeback bool
	// DirectIO passes a guest's O_DIRECT on to the host. Without it the flag is
	// removed, as alignment rules of the host's disk would show in the guest.
	DirectIO bool
	// IO says how the host's files are read and written. With IODirect, DirectIO
	// makes no difference: a guest may read and write as it likes.
	IO IOMode
	// DirectIOMmap lets a guest map files shared that are open past its cache
	// (CacheNever, CacheMetadata).
	DirectIOMmap bool

	FileHandles HandleUse
	// MaxCachedFDs bounds the descriptors that nodes with a handle keep
	// between calls; 0 is computed from RLIMIT_NOFILE.
	MaxCachedFDs int
	// MaxFDs bounds the descriptors that a guest can make the daemon keep:
	// of open files and of nodes without a handle. Beyond it, the guest gets
	// ENFILE. 0 is computed from RLIMIT_NOFILE.
	MaxFDs int

	// AnnounceSubmounts lets the guest see where another host file system
	// begins, so that device and inode number together stay unique.
	AnnounceSubmounts bool
	// NoReaddirplus has listings made without the attributes of their entries.
	NoReaddirplus bool
	Xattr         bool
	// PosixACL and SecurityLabel have the guest and the host share the work of
	// ACLs and of labelling new files. Both imply Xattr, also where they are
	// left to the guest.
	PosixACL, SecurityLabel Negotiate
	// KillPriv has the host clear setuid and setgid when a file is written,
	// where the guest knows to leave it that.
	KillPriv bool
	// PreserveNoatime passes O_NOATIME on.
	PreserveNoatime bool
	Locks           Locks

	// ProcSelfFD is for a process that does not see /proc any more: an O_PATH
	// descriptor of its /proc/self/fd from before. It stays the caller's, who
	// closes it after [FS.Close]. The working directory must then be that
	// directory too, from before New on: kernels before 6.13 take the objects
	// of extended attributes by path only, and this is one that needs no /proc.
	// nil has New open /proc/self/fd.
	ProcSelfFD *os.File

	// Logger is for what goes wrong on our side; nil is slog.Default().
	Logger *slog.Logger
}

// FS is a host directory or file as a [vfs.FileSystem]. Its methods may be
// called from any number of goroutines at once.
type FS struct {
	cfg Config
	log *slog.Logger

	procSelfFD int // O_PATH of /proc/self/fd
	root       *node
	rootMount  *mount // nil where the root has no handle
	daemon     identity

	entryTTL, attrTTL, negativeTTL time.Duration
	// localDev is the root's device if closing a file on it never reports a
	// failed write, which is so for local file systems; otherwise 0.
	localDev uint64

	features atomic.Uint64 // agreed in Init; vfs.Features

	nodes   nodeTable
	handles handleTable
	mounts  mountTable
	cache   fdCache
	fds     fdQuota
	dirBufs dirBufs
	locks   lockTable
}

var _ vfs.FileSystem = (*FS)(nil)

// New opens the directory or file to share. It sets the umask of the process to
// zero, as the modes of new files come from guests with their own umask already
// applied. It needs /proc, unless it is given ProcSelfFD, and later only for
// extended attributes on kernels before 6.13.
func New(cfg Config) (*FS, error) {
	fs := &FS{cfg: cfg, log: cfg.Logger, procSelfFD: -1, daemon: ownIdentity()}
	if fs.log == nil {
		fs.log = slog.Default()
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Path
		if cfg.Root != nil {
			cfg.Name = cfg.Root.Name()
		}
		fs.cfg.Name = cfg.Name
	}
	if int(cfg.Cache) >= len(policies) {
		return nil, fmt.Errorf("share %s: unknown cache policy %d", cfg.Name, cfg.Cache)
	}
	if max(cfg.PosixACL, cfg.SecurityLabel) > NegotiateAlways {
		return nil, fmt.Errorf("share %s: unknown way to agree on ACLs (%d) or labels (%d)", cfg.Name, cfg.PosixACL, cfg.SecurityLabel)
	}
	if cfg.IO&^ioModes != 0 {
		return nil, fmt.Errorf("share %s: unknown IO mode %#x", cfg.Name, cfg.IO)
	}
	fs.cfg.Xattr = cfg.Xattr || max(cfg.PosixACL, cfg.SecurityLabel) != NegotiateNever
	fs.setTimeouts()
	fs.nodes.init()
	fs.handles.init()
	fs.mounts.init()
	err := fs.openRoot()
	fs.cfg.Root = nil // it may be closed from now on
	if err == nil {
		err = fs.setLimits()
	}
	if err != nil {
		fs.Close()
		return nil, fmt.Errorf("share %s: %w", cfg.Name, err)
	}
	unix.Umask(0)
	return fs, nil
}

func (fs *FS) setTimeouts() {
	p := &policies[fs.cfg.Cache]
	fs.entryTTL, fs.attrTTL, fs.negativeTTL = p.timeout, p.timeout, p.negative
	if t := fs.cfg.EntryTimeout; t != nil {
		fs.entryTTL = *t
		if p.negative != 0 {
			fs.negativeTTL = *t
		}
	}
	if t := fs.cfg.AttrTimeout; t != nil {
		fs.attrTTL = *t
	}
	if t := fs.cfg.NegativeTimeout; t != nil {
		fs.negativeTTL = *t
	}
}

const (
	// fdReserve is what the rest of the process may need: a descriptor for
	// each of 509 memory slots, and those of sockets, rings and logs.
	fdReserve = 700
	minFDs    = 64
	// enoughCachedFDs is where more no longer pays.
	enoughCachedFDs = 1 << 17
)

// setLimits divides what RLIMIT_NOFILE leaves between the guest's quota and the
// cache, which only nodes with handles make use of.
func (fs *FS) setLimits() error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	avail := int(min(lim.Cur, 1<<30)) - fdReserve
	if fs.cfg.MaxFDs == 0 && avail < minFDs {
		return fmt.Errorf("the limit of %d open files is too low: raise it (ulimit -n) to at least %d", lim.Cur, fdReserve+minFDs)
	}
	fs.cache.max = fs.cfg.MaxCachedFDs
	if fs.cache.max == 0 {
		fs.cache.max = max(1, min(avail/2, enoughCachedFDs))
	}
	fs.fds.max = int64(fs.cfg.MaxFDs)
	if fs.fds.max == 0 {
		fs.fds.max = int64(avail)
		if fs.rootMount != nil {
			fs.fds.max = int64(max(avail-fs.cache.max, minFDs))
		}
	}
	return nil
}

func (fs *FS) openRoot() error {
	if err := fs.openProcSelfFD(); err != nil {
		return err
	}
	fd, err := fs.rootFD()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	fs.fds.used.Add(1) // there is no quota yet
	n := &node{fs: fs, ring: -1}
	n.state.word.Store(uint64(fd + 1))
	fs.root = n

	var stx unix.Statx_t
	if errno := statFD(fd, &stx); errno != 0 {
		return fmt.Errorf("statx: %w", errno)
	}
	n.key, n.typ = keyOf(fd, oslib.Empty, unix.AT_EMPTY_PATH, &stx), uint32(stx.Mode)&unix.S_IFMT
	if openErrno(n.typ) != 0 {
		return errors.New("it is neither a directory nor a regular file")
	}
	probe, errno := fs.reopen(n, fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if errno != 0 {
		return fmt.Errorf("open for reading: %w (does the user that runs this have the right to read it?)", errno)
	}
	fs.localDev = localDev(probe, n.key.dev)
	oslib.Close(probe)
	fs.nodes.insert(n)

	if fs.cfg.FileHandles == HandlesNever {
		return nil
	}
	// The root's mount stays in use for as long as the root does.
	if _, fs.rootMount, errno = fs.handleOf(fd, &n.key, n.typ); errno != 0 {
		return fmt.Errorf("file handles: %w (they need a file system that has them, and CAP_DAC_READ_SEARCH)", errno)
	}
	return nil
}

// rootFD opens what is shared with O_PATH.
func (fs *FS) rootFD() (int, error) {
	f := fs.cfg.Root
	if f == nil {
		return unix.Open(fs.cfg.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	fd, errno := fs.pathFD(int(f.Fd()))
	if errno != 0 {
		return -1, errno
	}
	return fd, nil
}

func (fs *FS) openProcSelfFD() (err error) {
	if f := fs.cfg.ProcSelfFD; f != nil {
		fs.procSelfFD = int(f.Fd())
		return nil
	}
	fs.procSelfFD, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/self/fd: %w (is /proc mounted?)", err)
	}
	return nil
}

// remote are the file systems that may report at close(2) that an earlier
// write failed (statfs(2), f_type).
var remote = map[int64]bool{
	unix.NFS_SUPER_MAGIC:  true,
	unix.SMB_SUPER_MAGIC:  true,
	unix.CIFS_SUPER_MAGIC: true,
	unix.SMB2_SUPER_MAGIC: true,
	unix.CEPH_SUPER_MAGIC: true,
	unix.AFS_SUPER_MAGIC:  true,
	unix.CODA_SUPER_MAGIC: true,
	unix.V9FS_MAGIC:       true,
	unix.FUSE_SUPER_MAGIC: true,
}

func localDev(fd int, dev uint64) uint64 {
	var st unix.Statfs_t
	if oslib.Fstatfs(fd, &st) != 0 || remote[int64(st.Type)] {
		return 0
	}
	return dev
}

// Close ends the session and closes what New opened. No call may be under way,
// nor come later.
func (fs *FS) Close() error {
	fs.Destroy()
	if fs.rootMount != nil {
		fs.mounts.put(fs.rootMount)
	}
	if fs.root != nil {
		fs.root.kill()
	}
	if fs.procSelfFD >= 0 && fs.cfg.ProcSelfFD == nil {
		oslib.Close(fs.procSelfFD)
	}
	return nil
}

var _ vfs.Counter = (*FS)(nil)

// Counts implements [vfs.Counter]. The descriptors are those for nodes, handles and
// mounts, with the root's.
func (fs *FS) Counts() vfs.Counts {
	return vfs.Counts{
		Nodes:       uint64(fs.nodes.count.Load()),
		Handles:     uint64(fs.handles.count.Load()),
		Descriptors: uint64(fs.fds.used.Load()) + uint64(fs.cache.len()+fs.mounts.len()),
	}
}

// Stats says what a guest holds at the moment, as [FS.Counts] does.
type Stats struct {
	Nodes   int // with the root
	Handles int // open files and directories
	FDs     int // descriptors for nodes, handles and mounts, with the root's
}

// Stats may be called at any time.
func (fs *FS) Stats() Stats {
	c := fs.Counts()
	return Stats{Nodes: int(c.Nodes), Handles: int(c.Handles), FDs: int(c.Descriptors)}
}

package tree

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// synthMode is the mode of synthetic directories.
const synthMode = unix.S_IFDIR | 0o555

// synth are the synthetic directories as a file system: empty directories, as all
// names in them are attachments. Ids are never used twice. An open directory
// has its node id as handle, as there is nothing to keep for it.
type synth struct {
	mu   sync.RWMutex
	dirs map[vfs.NodeID]*synthDir
	last vfs.NodeID
	// submounts says that the guest knows what they are.
	submounts atomic.Bool
}

var _ vfs.FileSystem = (*synth)(nil)

type synthDir struct {
	at   *attachment // nil for the root; guarded by FS.mu
	made vfs.Timespec
	// top is the first directory above, or this one, that does not lie in a
	// synthetic directory: where its island begins, which guests take for a
	// mount of its own.
	top  vfs.NodeID
	refs atomic.Uint64
}

func newSynth() *synth {
	return &synth{
		dirs: map[vfs.NodeID]*synthDir{vfs.Root: {made: now(), top: vfs.Root}},
		last: vfs.Root,
	}
}

func now() vfs.Timespec {
	t := time.Now()
	return vfs.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// add makes a directory in another, or on an island of its own for nil.
func (s *synth) add(above *synthDir) (vfs.NodeID, *synthDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	d := &synthDir{made: now(), top: s.last}
	if above != nil {
		d.top = above.top
	}
	s.dirs[s.last] = d
	return s.last, d
}

func (s *synth) remove(id vfs.NodeID) {
	s.mu.Lock()
	delete(s.dirs, id)
	s.mu.Unlock()
}

// clear removes all directories but the root.
func (s *synth) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.dirs {
		if id != vfs.Root {
			delete(s.dirs, id)
		}
	}
}

func (s *synth) get(id vfs.NodeID) *synthDir {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dirs[id]
}

// known returns a directory that the guest has.
func (s *synth) known(id vfs.NodeID) (*synthDir, syscall.Errno) {
	if d := s.get(id); d != nil && (id == vfs.Root || d.refs.Load() != 0) {
		return d, 0
	}
	return nil, syscall.ESTALE
}

// len is the number of directories without the root.
func (s *synth) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.dirs) - 1
}

func (s *synth) attr(d *synthDir, id vfs.NodeID, a *vfs.Attr) {
	*a = vfs.Attr{
		Ino:     uint64(id),
		Mode:    synthMode,
		Nlink:   2,
		Blksize: 4096,
		Atime:   d.made,
		Mtime:   d.made,
		Ctime:   d.made,
	}
	if d.top == id && id != vfs.Root && s.submounts.Load() {
		a.Flags = vfs.AttrSubmount
	}
}

// enter takes a reference to a directory and fills in its entry.
func (s *synth) enter(id vfs.NodeID, out *vfs.Entry) syscall.Errno {
	d := s.get(id)
	if d == nil {
		return syscall.ESTALE
	}
	d.refs.Add(1)
	*out = vfs.Entry{Node: id, EntryTTL: nameTTL, AttrTTL: nameTTL}
	s.attr(d, id, &out.Attr)
	return 0
}

// Init agrees to all and keeps the directories: those of the last session go
// when the tree makes new ones.
func (s *synth) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	s.Destroy()
	s.submounts.Store(offered.Has(vfs.FeatSubmounts))
	return offered, 0
}

func (s *synth) Destroy() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.dirs {
		d.refs.Store(0)
	}
}

func (s *synth) Forget(id vfs.NodeID, n uint64) {
	if d := s.get(id); d != nil {
		subtract(&d.refs, n)
	}
}

// refuse is errno if the guest has the directory.
func (s *synth) refuse(id vfs.NodeID, errno syscall.Errno) syscall.Errno {
	if _, stale := s.known(id); stale != 0 {
		return stale
	}
	return errno
}

package watch

import (
	"iter"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/vfs"
)

// OpenFile is a file or directory that the guest has open.
type OpenFile struct {
	Path   string // as [FS.Path] has it; "" if the guest gave the node back
	Node   vfs.NodeID
	Handle vfs.Handle
	Dir    bool
	// Flags are O_* flags as the guest gave them.
	Flags uint32
	// PID, UID and GID are those of the guest's process that opened it.
	PID, UID, GID uint32
	Since         time.Time
	// Read and Written are bytes that passed through it, if [Options.CountBytes].
	Read, Written uint64
}

// file is an [OpenFile] as it is kept.
type file struct {
	node          vfs.NodeID
	handle        vfs.Handle
	dir           bool
	flags         uint32
	pid, uid, gid uint32
	since         time.Time
	read, written atomic.Uint64
}

// fileKey names an open file. Handles are of one file system, and those in a tree
// have an index in the upper part of their nodes' ids.
type fileKey struct {
	index  uint64
	handle vfs.Handle
}

func keyOf(node vfs.NodeID, h vfs.Handle) fileKey {
	return fileKey{uint64(node) / uint64(vfs.MaxNodeID+1), h}
}

// fileTable holds what is open.
type fileTable struct{ shards [shards]fileShard }

type fileShard struct {
	mu    sync.Mutex
	files map[fileKey]*file // nil while there are none
	_     [48]byte          // a cache line each
}

func (t *fileTable) shard(k fileKey) *fileShard {
	return &t.shards[shardOf(uint64(k.handle)+k.index)]
}

// find returns nil for a handle that is not open.
func (t *fileTable) find(node vfs.NodeID, h vfs.Handle) *file {
	k := keyOf(node, h)
	s := t.shard(k)
	s.mu.Lock()
	f := s.files[k]
	s.mu.Unlock()
	return f
}

// opened notes that a call returned a handle.
func (s *session) opened(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags uint32, dir bool) {
	f := &file{
		node: node, handle: h, dir: dir, flags: flags,
		pid: r.PID, uid: r.UID, gid: r.GID, since: time.Now(),
	}
	k := keyOf(node, h)
	sh := s.files.shard(k)
	sh.mu.Lock()
	if sh.files == nil {
		sh.files = make(map[fileKey]*file)
	}
	sh.files[k] = f
	sh.mu.Unlock()
}

// closing finds what is about to be released. A handle that is not open is an error
// before anyone else is asked: else a guest that guesses handles could release one
// before the call that opens it ends, and leave it here for good.
func (s *session) closing(node vfs.NodeID, h vfs.Handle) (*file, syscall.Errno) {
	if f := s.files.find(node, h); f != nil {
		return f, 0
	}
	if s.nodes.find(node) == nil {
		return nil, syscall.ESTALE
	}
	return nil, syscall.EBADF
}

// closed notes how the release of f ended. What is released as something else than it
// is stays open. What is released rightly and yet not known went with its mount.
func (s *session) closed(f *file, node vfs.NodeID, dir bool, errno syscall.Errno) {
	if errno != 0 && (errno == vfs.WouldBlock || f.node != node || f.dir != dir) {
		return
	}
	k := keyOf(f.node, f.handle)
	sh := s.files.shard(k)
	sh.mu.Lock()
	if sh.files[k] == f { // and not one that was opened since
		delete(sh.files, k)
		if len(sh.files) == 0 {
			sh.files = nil // a map does not shrink
		}
	}
	sh.mu.Unlock()
}

// OpenFiles returns what is open, in no order. What is opened or closed meanwhile may
// be among it or not. The loop may take its time: no lock is held.
func (fs *FS) OpenFiles() iter.Seq[OpenFile] {
	return func(yield func(OpenFile) bool) {
		s := fs.session.Load()
		var some []*file
		var b pathBuffer
		for i := range s.files.shards {
			some = s.files.shards[i].list(some[:0])
			for _, f := range some {
				if !yield(s.describe(f, &b)) {
					return
				}
			}
		}
	}
}

// NumOpen returns how many files and directories are open.
func (fs *FS) NumOpen() int {
	s := fs.session.Load()
	total := 0
	for i := range s.files.shards {
		sh := &s.files.shards[i]
		sh.mu.Lock()
		total += len(sh.files)
		sh.mu.Unlock()
	}
	return total
}

func (sh *fileShard) list(to []*file) []*file {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, f := range sh.files {
		to = append(to, f)
	}
	return to
}

func (s *session) describe(f *file, b *pathBuffer) OpenFile {
	o := OpenFile{
		Node: f.node, Handle: f.handle, Dir: f.dir, Flags: f.flags,
		PID: f.pid, UID: f.uid, GID: f.gid, Since: f.since,
		Read: f.read.Load(), Written: f.written.Load(),
	}
	if n := s.nodes.find(f.node); n != nil {
		o.Path = string(b.build(&s.nodes.root, n, nil))
	}
	return o
}

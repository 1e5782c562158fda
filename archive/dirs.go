package archive

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

var (
	dot    = []byte(".")
	dotDot = []byte("..")
)

// dots is how many positions "." and ".." take: a directory's entry number n is
// at position n+dots, from one mount of the archive to the next.
const dots = 2

// Opendir implements [vfs.FileSystem].
func (fs *FS) Opendir(_ *vfs.Request, id vfs.NodeID, _ uint32, out *vfs.Opened) syscall.Errno {
	n, i, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	if !n.isDir() {
		return syscall.ENOTDIR
	}
	h, errno := fs.handles.add(i, kindDir)
	*out = vfs.Opened{Handle: h, Flags: vfs.OpenKeepCache | vfs.OpenCacheDir}
	return errno
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle) syscall.Errno {
	return fs.release(id, h, kindDir)
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ bool) syscall.Errno {
	_, _, errno := fs.handle(id, h, kindDir)
	return errno
}

// Readdir implements [vfs.FileSystem]. Entries come in the order of the archive.
// A position behind the end is the end.
func (fs *FS) Readdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	n, i, errno := fs.handle(id, h, kindDir)
	if errno != 0 {
		return errno
	}
	for ; off < dots; off++ {
		name, ino := dot, nodeID(i)
		if off == 1 {
			name, ino = dotDot, nodeID(n.other)
		}
		if !sink.Fits(len(name)) {
			return 0
		}
		sink.Add(name, uint64(ino), off+1, unix.S_IFDIR, nil)
	}
	if off-dots >= uint64(n.count) {
		return 0
	}
	var entry *vfs.Entry
	if sink.Plus() {
		entry = fs.takeEntry()
	}
	for _, d := range fs.x.dents[n.at+off-dots : n.at+uint64(n.count)] {
		name := fs.x.name(d.name)
		if !sink.Fits(len(name)) {
			break
		}
		if entry != nil {
			fs.enter(d.node, entry)
		}
		off++
		sink.Add(name, uint64(nodeID(d.node)), off, fs.x.nodes[d.node].typ(), entry)
	}
	if entry != nil {
		fs.putEntry(entry)
	}
	return 0
}

func (fs *FS) takeEntry() *vfs.Entry {
	select {
	case e := <-fs.entries:
		return e
	default:
		return new(vfs.Entry)
	}
}

func (fs *FS) putEntry(e *vfs.Entry) {
	select {
	case fs.entries <- e:
	default:
	}
}

package overlay

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// removal takes a directory out of the tree, between begin and end. Meanwhile
// nothing can be made in it. The caller holds the tree and has n pinned.
type removal struct {
	fs   *FS
	n    *node
	from which // the layer that its name is in

	rec    *record // nil for a directory of the upper layer alone
	locked bool    // rec.names
	index  bool    // there is an upper part in the index
}

// begin makes sure that the directory looks empty. If it fails, there is no
// end. For one with a name in the upper layer, of what is in the upper part the
// upper's own Rmdir or Rename decides.
func (v *removal) begin(attr *vfs.Attr) syscall.Errno {
	fs, n, t := v.fs, v.n, &v.fs.nodes
	lower := n.lowerID()
	if lower == 0 && n.rec.Load() == nil {
		return 0
	}
	for {
		if v.rec = n.rec.Load(); v.rec != nil {
			v.rec.names.Lock()
			v.locked = true
		}
		if errno := isEmpty(fs.lower, lower, v.rec); errno != 0 {
			v.unlock()
			return errno
		}
		t.mu.Lock()
		if upper := n.upperID() != 0; !upper || v.locked {
			v.rec = t.recordFor(n, attr)
			v.rec.removed.Store(true)
			v.index = upper && v.from == inLower
			t.records.remove(v.rec)
			t.mu.Unlock()
			break
		}
		// It was copied up in this moment, so things may be made in it.
		t.mu.Unlock()
	}
	if v.index {
		if errno := isEmpty(fs.upper, n.upperID(), nil); errno != 0 {
			return v.end(errno)
		}
	}
	return 0
}

func (v *removal) unlock() {
	if v.locked {
		v.rec.names.Unlock()
		v.locked = false
	}
}

// end completes the removal or, with an error, undoes it. It returns the error.
func (v *removal) end(errno syscall.Errno) syscall.Errno {
	if v.rec == nil {
		return errno
	}
	fs, t := v.fs, &v.fs.nodes
	if errno != 0 {
		t.mu.Lock()
		v.rec.removed.Store(false)
		if v.n.upperID() != 0 {
			t.records.insert(v.rec)
		}
		t.mu.Unlock()
	} else if v.index {
		if errno := fs.upper.Rmdir(self, vfs.Root, indexName(v.rec.index)); errno != 0 {
			fs.log.Error("cannot remove the upper part of a directory that was removed", "name", v.rec.index, "err", errno)
		}
	}
	v.unlock()
	return errno
}

// isEmpty lists a directory until it finds a name that is not hidden: then it is
// ENOTEMPTY.
func isEmpty(child vfs.FileSystem, dir vfs.NodeID, rec *record) syscall.Errno {
	if dir == 0 {
		return 0
	}
	var o vfs.Opened
	if errno := child.Opendir(self, dir, 0, &o); errno != 0 {
		return errno
	}
	p := probe{rec: rec}
	errno := child.Readdir(self, dir, o.Handle, 0, &p)
	child.Releasedir(self, dir, o.Handle)
	if errno == 0 && p.found {
		errno = syscall.ENOTEMPTY
	}
	return errno
}

// probe is a vfs.DirSink that looks for one name.
type probe struct {
	rec   *record // its hidden names do not count
	found bool
}

func (p *probe) Plus() bool    { return false }
func (p *probe) Fits(int) bool { return !p.found }

func (p *probe) Add(name []byte, _, _ uint64, _ uint32, _ *vfs.Entry) {
	p.found = !isDots(name) && (p.rec == nil || !p.rec.isHidden(name))
}

func isDots(name []byte) bool { return string(name) == "." || string(name) == ".." }

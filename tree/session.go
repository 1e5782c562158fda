package tree

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Init implements [vfs.FileSystem]. The error is that of the first file system
// that refuses.
func (fs *FS) Init(offered vfs.Features) (agreed vfs.Features, errno syscall.Errno) {
	if fs.changing {
		// Without an open, a guest keeps listings for as long as it likes.
		offered &^= vfs.FeatNoOpendir
		if !offered.Has(vfs.FeatSubmountsEnd) {
			// It could not do without a submount again.
			offered &^= vfs.FeatSubmounts
		}
	}
	offered &^= vfs.FeatSubmountsEnd
	fs.between(func() {
		fs.begun = true
		if agreed, errno = fs.negotiate(offered); errno != 0 {
			fs.destroyAll()
			return
		}
		fs.inSession, fs.agreed = true, agreed
		own := agreed.Has(vfs.FeatSubmounts)
		fs.submounts.Store(own)
		fs.synthMount.setDevice(own)
		for _, m := range fs.mounts {
			m.setDevice(own && m.isDir())
		}
	})
	return agreed, errno
}

// Destroy implements [vfs.FileSystem].
func (fs *FS) Destroy() { fs.between(fs.destroyAll) }

// between ends a session and may begin another. What guests have removed ends with
// it.
func (fs *FS) between(change func()) {
	fs.mu.Lock()
	over := fs.pause()
	change()
	fs.resume()
	fs.mu.Unlock()
	for _, m := range over {
		m.over()
	}
}

func (fs *FS) destroyAll() {
	for _, m := range fs.mounts {
		m.child.Destroy()
		m.adapts.Store(0)
	}
	fs.synth.Destroy()
	fs.inSession, fs.agreed = false, 0
	fs.submounts.Store(false)
}

// pause ends the calls that are under way on all mounts but that at index 0,
// where no mount can be found until resume. It returns those that are over.
func (fs *FS) pause() (over []*mount) {
	if fs.table.Load() != nil {
		fs.table.Store(pausedTable)
	}
	for _, m := range fs.mounts {
		if m.base != 0 {
			m.end()
		}
	}
	for m := range fs.gone {
		if m.lingers() {
			m.ending = true
			m.end()
			m.child.Destroy()
			m.dead.Store(true)
			over = append(over, m)
		}
	}
	fs.forgets.Lock()
	return over
}

// resume attaches all mounts anew, now that all file systems have dropped their
// nodes, and lets calls in.
func (fs *FS) resume() {
	for m := range fs.gone {
		m.refs.Store(0)
		fs.reapLocked(m)
	}
	for _, m := range fs.mounts {
		if m.base != 0 {
			m.begin()
		}
	}
	fs.synthMount.refs.Store(0)
	fs.synth.clear()
	b := fs.newBuilder(true)
	for _, m := range fs.inside("/") {
		b.mustAttach(m)
	}
	b.hideAgain()
	b.commit()
	fs.forgets.Unlock()
}

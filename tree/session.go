package tree

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Init implements [vfs.FileSystem]. The error is that of the first file system
// that refuses.
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.begun = true
	fs.pause()
	defer fs.resume()
	agreed, errno := fs.negotiate(offered)
	if errno != 0 {
		fs.destroyAll()
		return 0, errno
	}
	fs.inSession, fs.agreed = true, agreed
	fs.submounts.Store(agreed.Has(vfs.FeatSubmounts))
	return agreed, 0
}

// Destroy implements [vfs.FileSystem].
func (fs *FS) Destroy() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.pause()
	defer fs.resume()
	fs.destroyAll()
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
// where no mount can be found until resume.
func (fs *FS) pause() {
	if fs.table.Load() != nil {
		fs.table.Store(pausedTable)
	}
	for _, m := range fs.mounts {
		if m.base != 0 {
			m.end()
		}
	}
	fs.forgets.Lock()
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
	b.commit()
	fs.forgets.Unlock()
}

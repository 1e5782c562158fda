package rules

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Restrictions are what mount options of the same names forbid.
type Restrictions struct {
	NoDev  bool // no device files
	NoExec bool // no programs
	NoSUID bool // no programs that have more rights than who runs them
}

// Restrict makes a file system that the guest can put to fewer uses. Devices are
// opened, and programs run, by the guest's own kernel. It goes by the attributes that
// it is told, so these are what is restricted; a guest that is not Linux as it comes
// from kernel.org may do with data that it may read whatever it likes.
//
// NoDev: block and character devices are shown with their type, but with the number
// 0:0, which no driver can have: to open one is ENXIO. To make one is EPERM. A
// character device 0:0 is none but a mark (overlayfs calls it a whiteout), and can be
// made and seen as ever. Pipes and sockets are no devices.
//
// NoExec: regular files are shown without their execute permissions, which makes it
// EACCES to execute one, and access(2) for execution. The set-ID bits go with them, as
// Linux goes by the execute permissions when it clears one. Access control lists may
// give the permission too, and are not agreed on. As on any mount with this option, an
// interpreter from elsewhere runs a script; unlike there, it can also map a file as
// code.
//
// NoSUID: regular files are shown without set-user-ID and set-group-ID, and without
// file capabilities (security.capability), which are EPERM to set and remove. Of
// directories, set-group-ID says what group new files have, and stays.
//
// Bits of the mode that a guest is not shown are not its own. It makes files without
// them; a chmod(2) that asks for them succeeds and does not set them, one that does
// not ask for them does not take away those that the host has set. (Looking and setting
// are two calls. A chmod on the host in between is lost.) Only set-ID bits go, and
// before a file's data change, as on any file system: a guest that does not see them
// cannot know that they must. This includes changes by the guest's root, who keeps them
// elsewhere.
func Restrict(fs vfs.FileSystem, r Restrictions) vfs.FileSystem {
	if r.NoSUID {
		fs = MapXattrs(fs, noCapabilities)
	}
	m := modes{noDev: r.NoDev}
	if r.NoExec {
		m.hidden |= executeBits
	}
	if r.NoExec || r.NoSUID {
		m.hidden |= setIDBits
	}
	if m == (modes{}) {
		return fs
	}
	return &restricted{layer{fs}, m}
}

const (
	executeBits = unix.S_IXUSR | unix.S_IXGRP | unix.S_IXOTH
	setIDBits   = unix.S_ISUID | unix.S_ISGID

	// openToExecute is what Linux adds to the flags of an open for execve(2)
	// (__FMODE_EXEC of linux/fs.h).
	openToExecute = 0x20
)

// noCapabilities is a map by which there are no file capabilities.
var noCapabilities = func() *XattrMap {
	m, err := ParseXattrMap(":bad:all:" + capabilityName + ":" + capabilityName + ": :ok:all:::")
	if err != nil {
		panic(err) // it is a constant
	}
	return m
}()

// modes says what is changed in attributes.
type modes struct {
	noDev  bool
	hidden uint32 // bits of the mode that regular files are shown without
}

func isRegular(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFREG }

// isDevice reports whether mode is that of a block or character device, of any
// number.
func isDevice(mode uint32) bool {
	typ := mode & unix.S_IFMT
	return typ == unix.S_IFBLK || typ == unix.S_IFCHR
}

// show changes the attributes on their way to the guest.
func (m modes) show(a *vfs.Attr) {
	switch {
	case isRegular(a.Mode):
		a.Mode &^= m.hidden
	case m.noDev && isDevice(a.Mode):
		a.Rdev = 0
	}
}

type restricted struct {
	layer
	modes
}

// shown ends a call that returns an entry.
func (fs *restricted) shown(errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno == 0 {
		fs.show(&e.Attr)
	}
	return errno
}

// noExec reports whether nothing can be executed.
func (fs *restricted) noExec() bool { return fs.hidden&executeBits != 0 }

func (fs *restricted) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	if fs.noExec() {
		offered &^= vfs.FeatPOSIXACL
	}
	return fs.FileSystem.Init(offered)
}

func (fs *restricted) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return fs.shown(fs.FileSystem.Lookup(r, parent, name, out), out)
}

func (fs *restricted) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	errno := fs.FileSystem.Getattr(r, node, h, out)
	if errno == 0 {
		fs.show(&out.Attr)
	}
	return errno
}

func (fs *restricted) Statx(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	errno := fs.FileSystem.Statx(r, node, h, flags, mask, out)
	if errno == 0 {
		fs.show(&out.Attr)
	}
	return errno
}

// Access refuses to execute files before it looks who asks, as Linux does.
func (fs *restricted) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	if fs.noExec() && mask&unix.X_OK != 0 {
		mode, errno := fs.mode(r, node, vfs.NoHandle)
		switch {
		case errno != 0:
			return errno
		case isRegular(mode):
			return syscall.EACCES
		}
	}
	return fs.FileSystem.Access(r, node, mask)
}

// mode returns the mode that the file system behind shows.
func (fs *restricted) mode(r *vfs.Request, node vfs.NodeID, h vfs.Handle) (uint32, syscall.Errno) {
	s := scratches.Get().(*scratch)
	errno := fs.FileSystem.Getattr(r, node, h, &s.attr)
	mode := s.attr.Attr.Mode
	scratches.Put(s)
	return mode, errno
}

// Setattr keeps hidden bits as they are, but for set-ID bits of what is truncated.
func (fs *restricted) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	errno := fs.setattr(r, node, h, in, out)
	if errno == 0 {
		fs.show(&out.Attr)
	}
	return errno
}

func (fs *restricted) setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	if fs.hidden == 0 || in.Valid&(vfs.SetMode|vfs.SetSize) == 0 {
		return fs.FileSystem.Setattr(r, node, h, in, out)
	}
	old, errno := fs.mode(r, node, h)
	if errno != 0 {
		return errno
	}
	asked, keep := old&^unix.S_IFMT, old&fs.hidden
	if in.Valid&vfs.SetMode != 0 {
		asked = in.Mode
	}
	if in.Valid&vfs.SetSize != 0 {
		keep &^= setIDBits
	}
	if !isRegular(old) || in.Valid&vfs.SetMode == 0 && old&setIDBits == 0 {
		return fs.FileSystem.Setattr(r, node, h, in, out)
	}
	s := scratches.Get().(*scratch)
	s.set = *in
	s.set.Valid |= vfs.SetMode
	s.set.Mode = asked&^fs.hidden | keep
	errno = fs.FileSystem.Setattr(r, node, h, &s.set, out)
	scratches.Put(s)
	return errno
}

// dropSetID takes hidden set-ID bits away from a file that is about to change.
func (fs *restricted) dropSetID(r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
	if fs.hidden == 0 {
		return 0
	}
	mode, errno := fs.mode(r, node, h)
	if errno != 0 {
		return errno
	}
	return fs.clearSetID(r, node, h, mode)
}

// clearSetID is dropSetID for a file whose mode is known.
func (fs *restricted) clearSetID(r *vfs.Request, node vfs.NodeID, h vfs.Handle, mode uint32) syscall.Errno {
	if !isRegular(mode) || mode&setIDBits == 0 {
		return 0
	}
	s := scratches.Get().(*scratch)
	s.set = vfs.SetAttr{Valid: vfs.SetMode, Mode: mode &^ (unix.S_IFMT | setIDBits)}
	errno := fs.FileSystem.Setattr(r, node, h, &s.set, &s.attr)
	scratches.Put(s)
	return errno
}

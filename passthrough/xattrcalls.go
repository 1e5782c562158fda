package passthrough

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/oslib"
)

// The calls here work on the object behind a descriptor, which may be an O_PATH
// one: those that take a descriptor refuse these, so all go by the object's link
// in /proc/self/fd. A call that follows this link comes to the object itself, of
// whatever type, and if that is a symbolic link, not to its target.

// haveXattrat says whether the calls exist that take a directory to start from.
// The older ones take a path alone.
var haveXattrat = oslib.HaveXattrat

// fdPath is a buffer for the path of a link in /proc/self/fd.
type fdPath [len(procFDDir) + 12]byte

const procFDDir = "/proc/self/fd/"

// fdPath writes the path of fd's link for calls that take no directory. Where
// /proc is out of sight, the working directory is /proc/self/fd.
func (fs *FS) fdPath(p *fdPath, fd int) []byte {
	dir := procFDDir
	if fs.cfg.ProcSelfFD != nil {
		dir = ""
	}
	var buf [12]byte
	n := copy(p[:], dir)
	n += copy(p[n:], oslib.ProcFDName(&buf, fd))
	return p[:n]
}

func (fs *FS) getxattr(fd int, name, buf []byte) (int, syscall.Errno) {
	if haveXattrat() {
		var num [12]byte
		return oslib.Getxattrat(fs.procSelfFD, oslib.ProcFDName(&num, fd), 0, name, buf)
	}
	var path fdPath
	return oslib.Getxattr(fs.fdPath(&path, fd), name, buf)
}

func (fs *FS) listxattr(fd int, buf []byte) (int, syscall.Errno) {
	if haveXattrat() {
		var num [12]byte
		return oslib.Listxattrat(fs.procSelfFD, oslib.ProcFDName(&num, fd), 0, buf)
	}
	var path fdPath
	return oslib.Listxattr(fs.fdPath(&path, fd), buf)
}

func (fs *FS) setxattr(fd int, name, value []byte, flags int) syscall.Errno {
	if haveXattrat() {
		var num [12]byte
		return oslib.Setxattrat(fs.procSelfFD, oslib.ProcFDName(&num, fd), 0, name, value, flags)
	}
	var path fdPath
	return oslib.Setxattr(fs.fdPath(&path, fd), name, value, flags)
}

func (fs *FS) removexattr(fd int, name []byte) syscall.Errno {
	if haveXattrat() {
		var num [12]byte
		return oslib.Removexattrat(fs.procSelfFD, oslib.ProcFDName(&num, fd), 0, name)
	}
	var path fdPath
	return oslib.Removexattr(fs.fdPath(&path, fd), name)
}

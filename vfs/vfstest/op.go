package vfstest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// op is one step of a scenario: an operation that can be made on any system.
type op struct {
	text string
	// run makes the operation and returns what must be the same everywhere,
	// in a form that fmt prints in full.
	run func(*actor) (any, syscall.Errno)
	// want is the errno that the host must return.
	want syscall.Errno
	// free says that want does not count: the scenario is about whatever
	// the host says.
	free bool
}

func (o op) String() string { return o.text }

// GoString makes rapid print an op readably.
func (o op) GoString() string { return o.text }

// actor makes operations on one system, and has files open there.
type actor struct {
	system
	files map[string]file
}

func newActor(s system) *actor { return &actor{system: s, files: map[string]file{}} }

// end closes the files that a scenario left open.
func (a *actor) end() {
	for slot, f := range a.files {
		f.close()
		delete(a.files, slot)
	}
}

// fails says that the host answers the operation with errno.
func fails(errno syscall.Errno, o op) op {
	o.want = errno
	return o
}

// whatever says that the outcome depends on the host, and is to be the same.
func whatever(o op) op {
	o.free = true
	return o
}

// by makes an operation as another caller.
func by(who caller, o op) op {
	run := o.run
	o.text = fmt.Sprintf("as %d:%d%v umask %03o: %s", who.uid, who.gid, who.groups, who.umask, o.text)
	o.run = func(a *actor) (any, syscall.Errno) {
		return run(&actor{system: a.system.as(who), files: a.files})
	}
	return o
}

// onAttr is an op that answers with attributes.
func onAttr(run func(*actor) (attr, syscall.Errno), format string, args ...any) op {
	return op{text: fmt.Sprintf(format, args...), run: func(a *actor) (any, syscall.Errno) {
		at, errno := run(a)
		return at.plain(), errno
	}}
}

// onErrno is an op that answers with nothing but an errno.
func onErrno(run func(*actor) syscall.Errno, format string, args ...any) op {
	return op{text: fmt.Sprintf(format, args...), run: func(a *actor) (any, syscall.Errno) {
		return nil, run(a)
	}}
}

// onFile is an op on an open file. Without the file it is EBADF everywhere.
func onFile(slot string, run func(file) (any, syscall.Errno), format string, args ...any) op {
	return op{text: slot + "." + fmt.Sprintf(format, args...), run: func(a *actor) (any, syscall.Errno) {
		f := a.files[slot]
		if f == nil {
			return nil, syscall.EBADF
		}
		return run(f)
	}}
}

func stat(p string) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.stat(p) }, "stat(%q)", p)
}

// times compares the times of a file that were set before.
func times(p string) op {
	return op{text: fmt.Sprintf("times(%q)", p), run: func(a *actor) (any, syscall.Errno) {
		at, errno := a.stat(p)
		return [2]vfs.Timespec{at.atime, at.mtime}, errno
	}}
}

func statxOf(p string) op {
	return op{text: fmt.Sprintf("statx(%q)", p), run: func(a *actor) (any, syscall.Errno) {
		x, errno := a.statx(p)
		x.attr, x.btime = x.attr.plain(), vfs.Timespec{}
		return x, errno
	}}
}

func mkdir(p string, mode uint32) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.mkdir(p, mode) }, "mkdir(%q, %#o)", p, mode)
}

func mknod(p string, mode, rdev uint32) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.mknod(p, mode, rdev) }, "mknod(%q, %#o, %#x)", p, mode, rdev)
}

func symlink(target, p string) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.symlink(target, p) }, "symlink(%s, %q)", brief(target), p)
}

func readlink(p string) op {
	return op{text: fmt.Sprintf("readlink(%q)", p), run: func(a *actor) (any, syscall.Errno) {
		s, errno := a.readlink(p)
		return brief(s), errno
	}}
}

func link(old, p string) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.link(old, p) }, "link(%q, %q)", old, p)
}

func unlink(p string) op {
	return onErrno(func(a *actor) syscall.Errno { return a.unlink(p) }, "unlink(%q)", p)
}

func rmdir(p string) op {
	return onErrno(func(a *actor) syscall.Errno { return a.rmdir(p) }, "rmdir(%q)", p)
}

func rename(old, p string, flags uint32) op {
	return onErrno(func(a *actor) syscall.Errno { return a.rename(old, p, flags) }, "rename(%q, %q, %d)", old, p, flags)
}

func setattr(p string, change vfs.SetAttr) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) { return a.setattr(p, change) }, "setattr(%q, %s)", p, changeText(change))
}

func chmod(p string, mode uint32) op {
	return setattr(p, vfs.SetAttr{Valid: vfs.SetMode, Mode: mode})
}

func truncate(p string, size uint64) op {
	return setattr(p, vfs.SetAttr{Valid: vfs.SetSize, Size: size})
}

// chown changes the owner; -1 leaves a part as it is.
func chown(p string, uid, gid int64) op { return setattr(p, ownerChange(uid, gid)) }

func ownerChange(uid, gid int64) vfs.SetAttr {
	var c vfs.SetAttr
	if uid >= 0 {
		c.Valid, c.UID = c.Valid|vfs.SetUID, uint32(uid)
	}
	if gid >= 0 {
		c.Valid, c.GID = c.Valid|vfs.SetGID, uint32(gid)
	}
	return c
}

func utimens(p string, atime, mtime vfs.Timespec) op {
	return setattr(p, vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime, Atime: atime, Mtime: mtime})
}

// changeText shows the fields of a change that count.
func changeText(c vfs.SetAttr) string {
	var s []string
	for _, f := range []struct {
		bit  vfs.SetAttrMask
		text string
	}{
		{vfs.SetMode, fmt.Sprintf("mode %#o", c.Mode)},
		{vfs.SetUID, fmt.Sprintf("uid %d", c.UID)},
		{vfs.SetGID, fmt.Sprintf("gid %d", c.GID)},
		{vfs.SetSize, fmt.Sprintf("size %d", c.Size)},
		{vfs.SetAtime, fmt.Sprintf("atime %d.%09d", c.Atime.Sec, c.Atime.Nsec)},
		{vfs.SetMtime, fmt.Sprintf("mtime %d.%09d", c.Mtime.Sec, c.Mtime.Nsec)},
		{vfs.SetAtimeNow, "atime now"},
		{vfs.SetMtimeNow, "mtime now"},
	} {
		if c.Valid&f.bit != 0 {
			s = append(s, f.text)
		}
	}
	return strings.Join(s, ", ")
}

func getxattr(p, attrName string, size int) op {
	return op{text: fmt.Sprintf("getxattr(%q, %s, %d)", p, brief(attrName), size), run: func(a *actor) (any, syscall.Errno) {
		v, n, errno := a.getxattr(p, attrName, size)
		return fmt.Sprint(n, " ", brief(v)), errno
	}}
}

func listxattr(p string, size int) op {
	return op{text: fmt.Sprintf("listxattr(%q, %d)", p, size), run: func(a *actor) (any, syscall.Errno) {
		names, n, errno := a.listxattr(p, size)
		return fmt.Sprintf("%d %q", n, names), errno
	}}
}

func setxattr(p, attrName, value string, flags uint32) op {
	return onErrno(func(a *actor) syscall.Errno { return a.setxattr(p, attrName, value, flags) },
		"setxattr(%q, %s, %s, %d)", p, brief(attrName), brief(value), flags)
}

func removexattr(p, attrName string) op {
	return onErrno(func(a *actor) syscall.Errno { return a.removexattr(p, attrName) }, "removexattr(%q, %s)", p, brief(attrName))
}

func readdir(p string) op {
	return op{text: fmt.Sprintf("readdir(%q)", p), run: func(a *actor) (any, syscall.Errno) {
		entries, errno := a.list(p)
		return entries, errno
	}}
}

// open opens a file into a slot, closing what was open there.
func open(slot, p string, flags int, mode uint32) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) {
		if f := a.files[slot]; f != nil {
			f.close()
			delete(a.files, slot)
		}
		f, errno := a.open(p, flags, mode)
		if errno != 0 {
			return attr{}, errno
		}
		a.files[slot] = f
		return f.stat()
	}, "%s = open(%q, %#x, %#o)", slot, p, flags, mode)
}

func closeFile(slot string) op {
	return op{text: slot + ".close()", run: func(a *actor) (any, syscall.Errno) {
		f := a.files[slot]
		if f == nil {
			return nil, syscall.EBADF
		}
		delete(a.files, slot)
		return nil, f.close()
	}}
}

func pread(slot string, n int, off uint64) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		s, errno := f.pread(n, off)
		return brief(s), errno
	}, "pread(%d, %d)", n, off)
}

func pwrite(slot, data string, off uint64) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		n, errno := f.pwrite(data, off)
		return n, errno
	}, "pwrite(%s, %d)", brief(data), off)
}

func fstat(slot string) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		a, errno := f.stat()
		return a.plain(), errno
	}, "stat()")
}

func fsetattr(slot string, change vfs.SetAttr) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		a, errno := f.setattr(change)
		return a.plain(), errno
	}, "setattr(%s)", changeText(change))
}

func fsync(slot string, datasync bool) op {
	return onFile(slot, func(f file) (any, syscall.Errno) { return nil, f.fsync(datasync) }, "fsync(%v)", datasync)
}

func fallocate(slot string, mode uint32, off, length uint64) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		return nil, f.fallocate(mode, off, length)
	}, "fallocate(%#x, %d, %d)", mode, off, length)
}

func seek(slot string, off uint64, whence uint32) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		pos, errno := f.seek(off, whence)
		return pos, errno
	}, "lseek(%d, %d)", int64(off), whence)
}

func copyRange(src, dst string, srcOff, dstOff, n, flags uint64) op {
	return op{text: fmt.Sprintf("copy_file_range(%s:%d, %s:%d, %d, %d)", src, srcOff, dst, dstOff, n, flags), run: func(a *actor) (any, syscall.Errno) {
		from, to := a.files[src], a.files[dst]
		if from == nil || to == nil {
			return nil, syscall.EBADF
		}
		done, errno := from.copyTo(to, srcOff, dstOff, n, flags)
		return done, errno
	}}
}

func flink(slot, p string) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		a, errno := f.link(p)
		return a.plain(), errno
	}, "link(%q)", p)
}

func ioctl(slot string, cmd uint32, in string, out int) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		b, errno := f.ioctl(cmd, []byte(in), out)
		return fmt.Sprintf("%x", b), errno
	}, "ioctl(%#x, %x, %d)", cmd, in, out)
}

// mkfile makes a file with content.
func mkfile(p, data string, mode uint32) op {
	return onAttr(func(a *actor) (attr, syscall.Errno) {
		f, errno := a.open(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
		if errno != 0 {
			return attr{}, errno
		}
		defer f.close()
		for off := 0; off < len(data); {
			n, errno := f.pwrite(data[off:], uint64(off))
			if errno != 0 {
				return attr{}, errno
			}
			off += n
		}
		return f.stat()
	}, "mkfile(%q, %s, %#o)", p, brief(data), mode)
}

// cat reads a whole file.
func cat(p string) op {
	return op{text: fmt.Sprintf("cat(%q)", p), run: func(a *actor) (any, syscall.Errno) {
		s, errno := contents(a.system, p)
		return brief(s), errno
	}}
}

// contents reads a file from its start to where reads return nothing.
func contents(s system, p string) (string, syscall.Errno) {
	f, errno := s.open(p, unix.O_RDONLY, 0)
	if errno != 0 {
		return "", errno
	}
	defer f.close()
	var b strings.Builder
	for {
		part, errno := f.pread(1<<18, uint64(b.Len()))
		if errno != 0 {
			return "", errno
		}
		if part == "" {
			return b.String(), 0
		}
		b.WriteString(part)
	}
}

// brief shows a string, or what tells it from another if it is long.
func brief(s string) string {
	if len(s) <= 64 {
		return fmt.Sprintf("%q", s)
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%q...(%d bytes, %x)", s[:16], len(s), sum[:8])
}

package fsx

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	slots = 6 // descriptors
	page  = 4096
	// limit is the size that files grow to, and mapped the length of a
	// mapping, which is longer than any file: collapsed and widened ones
	// included.
	limit  = 200_000
	mapped = 1 << 20
)

// actor makes steps in a directory, with descriptors of its own.
type actor struct {
	dir   string
	files [slots]*opened
}

// opened is an open file.
type opened struct {
	fd      int
	direct  bool
	mapping []byte // nil without one
}

func (f *opened) close() error {
	if f.mapping != nil {
		unix.Munmap(f.mapping)
	}
	return unix.Close(f.fd)
}

// do makes a step. The answer's data are the caller's.
func (a *actor) do(o op) answer {
	if !byName[o.Call] && a.files[o.Slot] == nil {
		return answer{Errno: unix.EBADF}
	}
	return steps[o.Call](a, o)
}

// byName has the steps that need no open file.
var byName = map[call]bool{callOpen: true, callTruncate: true, callRename: true, callUnlink: true, callLink: true, callStat: true, callReset: true}

var steps = [...]func(*actor, op) answer{
	callOpen: (*actor).open,
	callClose: func(a *actor, o op) answer {
		f := a.files[o.Slot]
		a.files[o.Slot] = nil
		return plain(f.close())
	},
	callPread: (*actor).read, callRead: (*actor).read, callReadv: (*actor).read,
	callPwrite: (*actor).write, callWrite: (*actor).write, callWritev: (*actor).write,
	callTruncate: func(a *actor, o op) answer {
		return plain(eintr(func() error { return unix.Truncate(a.path(o.Name), o.Len) }))
	},
	callFtruncate: func(a *actor, o op) answer {
		return plain(eintr(func() error { return unix.Ftruncate(a.fd(o), o.Len) }))
	},
	callFallocate: func(a *actor, o op) answer {
		return plain(eintr(func() error { return unix.Fallocate(a.fd(o), uint32(o.Flags), o.Off, o.Len) }))
	},
	callMap:       (*actor).mmap,
	callUnmap:     (*actor).munmap,
	callLoad:      (*actor).load,
	callStore:     (*actor).store,
	callMsync:     func(a *actor, o op) answer { return plain(unix.Msync(a.files[o.Slot].mapping, unix.MS_SYNC)) },
	callCopy:      (*actor).copy,
	callExtents:   (*actor).extents,
	callFsync:     func(a *actor, o op) answer { return plain(eintr(func() error { return unix.Fsync(a.fd(o)) })) },
	callFdatasync: func(a *actor, o op) answer { return plain(eintr(func() error { return unix.Fdatasync(a.fd(o)) })) },
	callDrop: func(a *actor, o op) answer {
		err := eintr(func() error { return unix.Fsync(a.fd(o)) })
		if err == nil {
			err = unix.Fadvise(a.fd(o), 0, 0, unix.FADV_DONTNEED)
		}
		return plain(err)
	},
	callRename: func(a *actor, o op) answer { return plain(unix.Rename(a.path(o.Name), a.path(o.To))) },
	callUnlink: func(a *actor, o op) answer { return plain(unix.Unlink(a.path(o.Name))) },
	callLink:   func(a *actor, o op) answer { return plain(unix.Link(a.path(o.Name), a.path(o.To))) },
	callSize: func(a *actor, o op) answer {
		var st unix.Stat_t
		err := unix.Fstat(a.fd(o), &st)
		return answer{N: st.Size, Errno: errnoOf(err)}
	},
	callStat: func(a *actor, o op) answer {
		var st unix.Stat_t
		err := unix.Lstat(a.path(o.Name), &st)
		return answer{N: st.Size, Errno: errnoOf(err)}
	},
	callChurn: (*actor).churn,
	callReset: (*actor).reset,
}

func (a *actor) path(name string) string { return filepath.Join(a.dir, name) }
func (a *actor) fd(o op) int             { return a.files[o.Slot].fd }

// reset closes all files and goes to the directory o.Name.
func (a *actor) reset(o op) answer {
	for i, f := range a.files {
		if f != nil {
			f.close()
		}
		a.files[i] = nil
	}
	a.dir = o.Name
	return answer{}
}

func (a *actor) open(o op) answer {
	var fd int
	err := eintr(func() (err error) {
		fd, err = unix.Open(a.path(o.Name), o.Flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return plain(err)
	}
	if old := a.files[o.Slot]; old != nil {
		old.close()
	}
	a.files[o.Slot] = &opened{fd: fd, direct: o.Flags&unix.O_DIRECT != 0}
	return answer{}
}

// read reads o.Len bytes, or up to the end of the file.
func (a *actor) read(o op) answer {
	f := a.files[o.Slot]
	buf, free, err := f.buffer(int(o.Len))
	if err != nil {
		return plain(err)
	}
	defer free()
	n := 0
	err = eintr(func() (err error) {
		switch o.Call {
		case callRead:
			if _, err = unix.Seek(f.fd, o.Off, unix.SEEK_SET); err == nil {
				n, err = unix.Read(f.fd, buf)
			}
		case callReadv:
			n, err = unix.Preadv(f.fd, pieces(buf, o.Parts), o.Off)
		default:
			n, err = unix.Pread(f.fd, buf, o.Off)
		}
		return err
	})
	if err != nil {
		return plain(err)
	}
	return answer{N: int64(n), Data: append([]byte(nil), buf[:n]...)}
}

// write writes o.Data.
func (a *actor) write(o op) answer {
	f := a.files[o.Slot]
	buf, free, err := f.buffer(len(o.Data))
	if err != nil {
		return plain(err)
	}
	defer free()
	copy(buf, o.Data)
	n := 0
	err = eintr(func() (err error) {
		switch o.Call {
		case callWrite:
			if _, err = unix.Seek(f.fd, o.Off, unix.SEEK_SET); err == nil {
				n, err = unix.Write(f.fd, buf)
			}
		case callWritev:
			n, err = unix.Pwritev(f.fd, pieces(buf, o.Parts), o.Off)
		default:
			n, err = unix.Pwrite(f.fd, buf, o.Off)
		}
		return err
	})
	return answer{N: int64(max(n, 0)), Errno: errnoOf(err)}
}

// buffer returns memory for n bytes, which begins at a page for O_DIRECT.
func (f *opened) buffer(n int) (buf []byte, free func(), err error) {
	if !f.direct || n == 0 {
		return make([]byte, n), func() {}, nil
	}
	buf, err = unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	return buf, func() { unix.Munmap(buf) }, err
}

// pieces cuts a buffer into parts.
func pieces(buf []byte, parts []int) [][]byte {
	var all [][]byte
	for _, n := range parts {
		all = append(all, buf[:n])
		buf = buf[n:]
	}
	return append(all, buf)
}

// copy copies until all is copied or nothing is left to.
func (a *actor) copy(o op) answer {
	from, to, done := o.FromOff, o.Off, int64(0)
	for done < o.Len {
		n := 0
		err := eintr(func() (err error) {
			n, err = unix.CopyFileRange(a.files[o.From].fd, &from, a.fd(o), &to, int(o.Len-done), 0)
			return err
		})
		if err != nil {
			return answer{N: done, Errno: errnoOf(err)}
		}
		if n == 0 {
			break
		}
		done += int64(n)
	}
	if from != o.FromOff+done || to != o.Off+done {
		return answer{Wrong: fmt.Sprintf("after %d bytes the offsets are %d and %d", done, from, to)}
	}
	return answer{N: done}
}

// extents syncs a file and walks through its data and holes. A file system
// need not know of holes that have not been written yet as such.
func (a *actor) extents(o op) answer {
	if err := eintr(func() error { return unix.Fsync(a.fd(o)) }); err != nil {
		return plain(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(a.fd(o), &st); err != nil {
		return plain(err)
	}
	var all []extent
	for at := int64(0); at < st.Size; {
		data, err := unix.Seek(a.fd(o), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			data = st.Size
		} else if err != nil {
			return plain(err)
		}
		if data > at {
			all = append(all, extent{at, data, true})
		}
		if at = data; at >= st.Size {
			break
		}
		hole, err := unix.Seek(a.fd(o), at, unix.SEEK_HOLE)
		if err != nil {
			return plain(err)
		}
		if hole <= at {
			return answer{Wrong: fmt.Sprintf("there is data at %d, and a hole at %d", at, hole)}
		}
		all = append(all, extent{at, hole, false})
		at = hole
	}
	for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		if at, err := unix.Seek(a.fd(o), st.Size, whence); err != unix.ENXIO {
			return answer{Wrong: fmt.Sprintf("lseek %d behind the end: %d, %v", whence, at, err)}
		}
	}
	return answer{N: st.Size, Extents: all}
}

// mmap maps a file, for stores if it is open for writing, in place of an
// earlier mapping.
func (a *actor) mmap(o op) answer {
	f := a.files[o.Slot]
	prot := unix.PROT_READ
	if o.Flags&unix.O_ACCMODE == unix.O_RDWR {
		prot |= unix.PROT_WRITE
	}
	m, err := unix.Mmap(f.fd, 0, mapped, prot, unix.MAP_SHARED)
	if err != nil {
		return plain(err)
	}
	if f.mapping != nil {
		unix.Munmap(f.mapping)
	}
	f.mapping = m
	return answer{}
}

func (a *actor) munmap(o op) answer {
	f := a.files[o.Slot]
	m := f.mapping
	f.mapping = nil
	return plain(unix.Munmap(m))
}

func (a *actor) load(o op) answer {
	data := make([]byte, o.Len)
	err := guarded(func() { copy(data, a.files[o.Slot].mapping[o.Off:]) })
	return answer{N: o.Len, Data: data, Errno: errnoOf(err)}
}

func (a *actor) store(o op) answer {
	err := guarded(func() { copy(a.files[o.Slot].mapping[o.Off:], o.Data) })
	return answer{N: o.Len, Errno: errnoOf(err)}
}

// guarded returns EFAULT where memory cannot be reached: a mapped file is too
// short, or its pages cannot be read.
func guarded(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = unix.EFAULT
		}
	}()
	f()
	return nil
}

// churn writes a piece of a file in smaller ones and reads it back, each time
// with other bytes. Nobody else touches that piece meanwhile.
func (a *actor) churn(o op) answer {
	f := a.files[o.Slot]
	step := o.Len
	if len(o.Parts) > 0 {
		step = int64(o.Parts[0])
	}
	for round := range o.Rounds {
		want := pattern(o.Seed+uint64(round), int(o.Len))
		for off := int64(0); off < o.Len; off += step {
			end := min(off+step, o.Len)
			w := a.write(op{Call: callPwrite, Slot: o.Slot, Off: o.Off + off, Data: want[off:end]})
			if w.Errno != 0 || w.N != end-off {
				return answer{N: w.N, Errno: w.Errno, Wrong: fmt.Sprintf("round %d: %d of %d bytes written at %d", round, w.N, end-off, o.Off+off)}
			}
		}
		if o.Flags&unix.O_ACCMODE == unix.O_WRONLY {
			continue
		}
		r := a.read(op{Call: callPread, Slot: o.Slot, Off: o.Off, Len: o.Len})
		if r.Errno != 0 {
			return r
		}
		if difference := differ(r.Data, want, o.Off); difference != "" {
			return answer{Wrong: fmt.Sprintf("descriptor %d (%d), round %d: %s", o.Slot, f.fd, round, difference)}
		}
	}
	return answer{N: o.Len}
}

// pattern returns n bytes that are never zero, so that they differ from holes.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x>>32)%255 + 1
	}
	return b
}

// differ describes the first difference between two pieces that begin at off,
// or is "".
func differ(got, want []byte, off int64) string {
	for i := range min(len(got), len(want)) {
		if got[i] == want[i] {
			continue
		}
		last := i
		for j := i; j < min(len(got), len(want)); j++ {
			if got[j] != want[j] {
				last = j
			}
		}
		return fmt.Sprintf("bytes %d to %d differ: the first is %#02x, want %#02x", off+int64(i), off+int64(last), got[i], want[i])
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes at %d, want %d", len(got), off, len(want))
	}
	return ""
}

// eintr repeats a call that a signal interrupts, as Go's own ones do.
func eintr(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func plain(err error) answer { return answer{Errno: errnoOf(err)} }

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	fmt.Fprintln(os.Stderr, "fsx: no errno:", err)
	return unix.EIO
}

package fuse_test

import (
	"encoding/binary"
	"hash/maphash"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// modelFS makes nodes of names and takes all that is asked of it: names that
// begin with 'e' are errors, with 'n' absent, with 'w' blocked at first.
type modelFS struct {
	fusetest.NullFS
	seed maphash.Seed
}

func (f *modelFS) entry(r *vfs.Request, name vfs.Name, out *vfs.Entry) syscall.Errno {
	switch b := name.Bytes()[0]; {
	case b == 'e':
		return syscall.Errno(1 + maphash.Bytes(f.seed, name.Bytes())%1024)
	case b == 'w' && r.Nowait:
		return vfs.WouldBlock
	}
	*out = vfs.Entry{Node: vfs.NodeID(maphash.Bytes(f.seed, name.Bytes())&uint64(vfs.MaxNodeID)) | 2}
	return 0
}

func (f *modelFS) Lookup(r *vfs.Request, _ vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	errno := f.entry(r, name, out)
	if name.Bytes()[0] == 'n' {
		*out = vfs.Entry{}
	}
	return errno
}

func (f *modelFS) Mkdir(r *vfs.Request, _ vfs.NodeID, name vfs.Name, _ uint32, out *vfs.Entry) syscall.Errno {
	return f.entry(r, name, out)
}

func (f *modelFS) Symlink(r *vfs.Request, _ vfs.NodeID, name vfs.Name, _ []byte, out *vfs.Entry) syscall.Errno {
	return f.entry(r, name, out)
}

func (f *modelFS) Link(r *vfs.Request, _, _ vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return f.entry(r, name, out)
}

func (f *modelFS) Create(r *vfs.Request, _ vfs.NodeID, name vfs.Name, _, _ uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	o.Handle = 5
	return f.entry(r, name, e)
}

func (f *modelFS) Read(r *vfs.Request, _ vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, _ uint32) (int, syscall.Errno) {
	if r.Nowait && h&1 != 0 {
		return 0, vfs.WouldBlock
	}
	n, ok := oslib.IovWrite(dst, make([]byte, oslib.IovLen(dst)))
	if !ok {
		return 0, syscall.EFAULT
	}
	return n, 0
}

func (f *modelFS) Write(r *vfs.Request, _ vfs.NodeID, h vfs.Handle, src []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	if r.Nowait && h&1 != 0 {
		return 0, vfs.WouldBlock
	}
	n, ok := oslib.IovRead(make([]byte, oslib.IovLen(src)), src)
	if !ok {
		return 0, syscall.EFAULT
	}
	return n, 0
}

func (f *modelFS) Readdir(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	if r.Nowait && h&1 != 0 {
		return vfs.WouldBlock
	}
	return f.NullFS.Readdir(r, n, h, off, sink)
}

func (f *modelFS) Setlk(r *vfs.Request, _ vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	if r.Nowait && h&1 != 0 {
		return vfs.WouldBlock
	}
	return 0
}

// FuzzServe serves any bytes as a request, cut anywhere, with any room for the
// reply and holes in both. Nothing may panic; the reply must keep the rules, and
// what the file system gave must be what the guest was told of.
func FuzzServe(f *testing.F) {
	all := fusetest.Linux().Flags
	for i, s := range fusetest.Samples() {
		f.Add(all, uint32(45), s.Request, uint16(40), uint16(16), uint32(s.Reply), uint16(0xffff), uint16(0xffff))
		f.Add(all&^(1<<32|1<<29), uint32(36), s.Request, uint16(i+1), uint16(i+3), uint32(s.Reply+i), uint16(50+i), uint16(i))
	}
	a := fusetest.Append(nil)
	for _, name := range []string{"echo", "none", "wait", "..", ".", "a/b", ""} {
		request := fusetest.Request(fusetest.Header{Op: fuse.LOOKUP, Unique: 2, Node: 1}, a.Str(name), nil)
		f.Add(all, uint32(45), request, uint16(40), uint16(16), uint32(144), uint16(0xffff), uint16(0xffff))
		request = fusetest.Request(fusetest.Header{Op: fuse.CREATE, Unique: 2, Node: 1}, a.Zero(16).Str(name), fusetest.SecurityExt("n", "v"))
		f.Add(all, uint32(45), request, uint16(40), uint16(16), uint32(160), uint16(0xffff), uint16(20))
	}
	seed := maphash.MakeSeed()
	f.Fuzz(func(t *testing.T, flags uint64, minor uint32, request []byte, inCut, outCut uint16, room uint32, inHole, outHole uint16) {
		ledger := fusetest.NewLedger(&modelFS{seed: seed})
		s := fuse.NewServer(ledger, fuse.Options{MaxWrite: 64 << 10})
		c := fusetest.NewClient(fusetest.NewDirect(s))
		c.Init(fusetest.InitIn{Major: 7, Minor: minor, Flags: flags})
		raw := newRaw(s)
		out := make([]byte, room%(256<<10))
		in := punch(pieces(request, int(inCut)+1), int(inHole))
		used := raw.serveIov(in, punch(pieces(out, int(outCut)+1), int(outHole)))
		if int(used) > len(out) {
			t.Fatalf("reply of %d bytes in an area of %d", used, len(out))
		}
		reply := out[:used]
		if len(reply) != 0 {
			errno, _ := checkReply(t, reply, readableUnique(in))
			if errno != 0 {
				reply = nil
			}
		}
		var op fuse.Opcode
		if len(request) >= 8 {
			op = fuse.Opcode(binary.LittleEndian.Uint32(request[4:]))
		}
		if !takes(op) {
			var granted fusetest.Held
			if len(reply) != 0 {
				granted = grants(t, op, reply[fusetest.OutHeaderSize:])
			}
			if held := ledger.Held(); held != granted {
				t.Fatalf("%v: the guest was given %+v but holds %+v", op, granted, held)
			}
		}
		s.Reset()
		if s.Session().Started {
			t.Fatal("a session outlived Reset")
		}
	})
}

// punch replaces the piece with this index, if there is one, by a hole.
func punch(v []unix.Iovec, index int) []unix.Iovec {
	if index < len(v) {
		v[index].Base = nil
	}
	return v
}

// readableUnique returns the request number as far as it lies before a hole.
func readableUnique(in []unix.Iovec) uint64 {
	var b [40]byte
	n, _ := oslib.IovRead(b[:], in)
	return uniqueOf(b[:n])
}

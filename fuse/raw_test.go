package fuse_test

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// rawCall serves messages given as bytes.
type rawCall struct {
	s    *fuse.Server
	call *fuse.Call
	done chan uint32
}

func newRaw(s *fuse.Server) *rawCall {
	r := &rawCall{s: s, call: fuse.NewCall(), done: make(chan uint32, 1)}
	r.call.Done = r
	return r
}

func (r *rawCall) Complete(_ *fuse.Call, used uint32) { r.done <- used }

// serve returns the reply to in, for which there is room for n bytes.
func (r *rawCall) serve(in []byte, n int) []byte {
	out := make([]byte, n)
	return out[:r.serveIov(pieces(in, len(in)), pieces(out, n))]
}

func (r *rawCall) serveIov(in, out []unix.Iovec) uint32 {
	r.call.In, r.call.Out = in, out
	used, done := r.s.Serve(r.call)
	if !done {
		used = <-r.done
	}
	return used
}

// pieces cuts b into iovecs of size bytes.
func pieces(b []byte, size int) []unix.Iovec {
	var v []unix.Iovec
	for len(b) > 0 {
		n := min(size, len(b))
		v = append(v, oslib.Iov(b[:n]))
		b = b[n:]
	}
	return v
}

func uniqueOf(request []byte) uint64 {
	var b [16]byte
	copy(b[:], request)
	return binary.LittleEndian.Uint64(b[8:])
}

// checkReply fails the test if a reply breaks a rule. It returns the error
// number, and false if there is no reply.
func checkReply(t testing.TB, reply []byte, unique uint64) (syscall.Errno, bool) {
	t.Helper()
	if len(reply) == 0 {
		return 0, false
	}
	_, errno, err := fusetest.Reply(len(reply), reply, unique)
	if err != nil {
		t.Error(err)
	}
	return errno, true
}

// grants returns what a good reply to a request gives the guest.
func grants(t testing.TB, op fuse.Opcode, payload []byte) (h fusetest.Held) {
	t.Helper()
	switch op {
	case fuse.LOOKUP, fuse.SYMLINK, fuse.MKNOD, fuse.MKDIR, fuse.LINK, fuse.CREATE, fuse.TMPFILE:
		if fusetest.Entry(payload).Node != 0 {
			h.Refs = 1
		}
		if op == fuse.CREATE || op == fuse.TMPFILE {
			h.Files = 1
		}
	case fuse.OPEN:
		h.Files = 1
	case fuse.OPENDIR:
		h.Dirs = 1
	case fuse.READDIR, fuse.READDIRPLUS:
		for len(payload) > 0 {
			d, rest, ok := fusetest.NextDirent(payload, op == fuse.READDIRPLUS)
			if !ok {
				t.Fatalf("malformed listing: %x", payload)
			}
			if d.Entry.Node != 0 {
				h.Refs++
			}
			payload = rest
		}
	}
	return h
}

// takes reports whether a request itself gives things back.
func takes(op fuse.Opcode) bool {
	switch op {
	case fuse.FORGET, fuse.BATCH_FORGET, fuse.RELEASE, fuse.RELEASEDIR:
		return true
	}
	return false
}

// startRaw returns a server in a session that agreed on everything, over fs and
// a ledger.
func startRaw(t testing.TB) (*rawCall, *fusetest.Ledger) {
	t.Helper()
	l := fusetest.NewLedger(fusetest.NullFS{})
	s, _ := start(t, l, fuse.Options{})
	return newRaw(s), l
}

// TestTruncation cuts each request short at every byte, with and without the
// header saying so, and each reply area at every size. The server must answer by
// the rules, and count what it could not deliver as not given.
func TestTruncation(t *testing.T) {
	for _, sample := range fusetest.Samples() {
		t.Run(sample.Name, func(t *testing.T) {
			raw, ledger := startRaw(t)
			try := func(what string, n int, in []byte, room int) (syscall.Errno, bool) {
				if sample.Op == fuse.DESTROY || sample.Op == fuse.INIT {
					raw, ledger = startRaw(t)
				}
				before := ledger.Held()
				reply := raw.serve(in, room)
				errno, replied := checkReply(t, reply, uniqueOf(in))
				if takes(sample.Op) {
					return errno, replied
				}
				var granted fusetest.Held
				if replied && errno == 0 {
					granted = grants(t, sample.Op, reply[fusetest.OutHeaderSize:])
				}
				after := ledger.Held()
				got := fusetest.Held{Refs: after.Refs - before.Refs, Files: after.Files - before.Files, Dirs: after.Dirs - before.Dirs}
				if got != granted {
					t.Errorf("%s %d: the guest was given %+v but holds %+v", what, n, granted, got)
				}
				return errno, replied
			}
			full := sample.Request
			for n := range full {
				if _, replied := try("message cut", n, full[:n], sample.Reply); replied != (sample.Reply > 0) && n >= 40 {
					t.Errorf("message cut at %d: replied %v", n, replied)
				}
				short := bytes.Clone(full[:n])
				if n >= 4 {
					binary.LittleEndian.PutUint32(short, uint32(n))
				}
				errno, replied := try("request cut", n, short, sample.Reply)
				if n < 40 && replied && errno != syscall.EINVAL && errno != syscall.ENOSYS {
					t.Errorf("request cut at %d: %v", n, errno)
				}
			}
			for n := range sample.Reply {
				errno, replied := try("reply area", n, full, n)
				if n < fusetest.OutHeaderSize && replied {
					t.Errorf("reply area of %d bytes got a reply", n)
				}
				if n >= fusetest.OutHeaderSize && !replied {
					t.Errorf("reply area of %d bytes got no reply", n)
				}
				switch errno {
				case 0, syscall.EINVAL, syscall.ENOSYS:
				default:
					t.Errorf("reply area of %d bytes: %v", n, errno)
				}
			}
		})
	}
}

// TestPieces serves each request cut into pieces of every size, with the reply
// area cut likewise, and expects the reply that whole messages get.
func TestPieces(t *testing.T) {
	for _, sample := range fusetest.Samples() {
		t.Run(sample.Name, func(t *testing.T) {
			raw, _ := startRaw(t)
			want := raw.serve(sample.Request, sample.Reply)
			for size := 1; size <= len(sample.Request); size++ {
				raw, _ := startRaw(t)
				out := make([]byte, sample.Reply)
				used := raw.serveIov(pieces(sample.Request, size), pieces(out, size))
				if !bytes.Equal(out[:used], want) {
					t.Errorf("pieces of %d bytes:\n got %x\nwant %x", size, out[:used], want)
				}
			}
		})
	}
}

// TestMissingMemory puts a hole at every byte of requests and replies. A hole in
// what is copied is EFAULT; one in a reply's header leaves no reply.
func TestMissingMemory(t *testing.T) {
	for _, sample := range fusetest.Samples() {
		t.Run(sample.Name, func(t *testing.T) {
			hole := func(b []byte, at int) []unix.Iovec {
				v := pieces(b[:at], len(b))
				return append(append(v, unix.Iovec{Len: 1}), pieces(b[at+1:], len(b))...)
			}
			raw, ledger := startRaw(t)
			if sample.Op == fuse.DESTROY {
				return
			}
			for n := range sample.Request {
				out := make([]byte, sample.Reply)
				held := ledger.Held()
				used := raw.serveIov(hole(sample.Request, n), pieces(out, len(out)))
				unique := uniqueOf(sample.Request)
				if n < 16 {
					unique = uniqueOf(sample.Request[:n]) // of the bytes that are there
				}
				errno, replied := checkReply(t, out[:used], unique)
				if n < 40 && sample.Reply > 0 && (!replied || errno != syscall.EFAULT) {
					t.Errorf("hole at %d: %v, replied %v", n, errno, replied)
				}
				if errno != 0 && !takes(sample.Op) && ledger.Held() != held {
					t.Errorf("hole at %d: held %+v, was %+v", n, ledger.Held(), held)
				}
			}
			for n := range sample.Reply {
				out := make([]byte, sample.Reply)
				held := ledger.Held()
				used := raw.serveIov(pieces(sample.Request, len(sample.Request)), hole(out, n))
				if used != 0 && n < fusetest.OutHeaderSize {
					t.Errorf("hole at %d: reply of %d bytes", n, used)
				}
				if used == 16 || used == 0 {
					if !takes(sample.Op) && ledger.Held() != held {
						t.Errorf("hole at %d: held %+v, was %+v", n, ledger.Held(), held)
					}
				}
			}
		})
	}
}

// TestHeaderLength varies the length that the header says.
func TestHeaderLength(t *testing.T) {
	raw, _ := startRaw(t)
	request := fusetest.Request(fusetest.Header{Op: fuse.UNLINK, Unique: 4, Node: 1}, fusetest.Append(nil).Str("a"), nil)
	for _, tc := range []struct {
		length uint32
		want   syscall.Errno
	}{
		{0, syscall.EINVAL}, {39, syscall.EINVAL}, {40, syscall.EINVAL}, {41, syscall.EINVAL},
		{42, 0}, {43, syscall.EINVAL}, {1 << 20, syscall.EINVAL}, {1<<20 + 4096, syscall.EINVAL},
		{1<<20 + 4097, syscall.ENOMEM}, {1 << 31, syscall.ENOMEM}, {^uint32(0), syscall.ENOMEM},
	} {
		binary.LittleEndian.PutUint32(request, tc.length)
		if errno, ok := checkReply(t, raw.serve(request, 16), 4); !ok || errno != tc.want {
			t.Errorf("length %d: %v, want %v", tc.length, errno, tc.want)
		}
	}
	binary.LittleEndian.PutUint32(request, 42)
	if errno, ok := checkReply(t, raw.serve(append(request, "more"...), 16), 4); !ok || errno != 0 {
		t.Errorf("bytes behind the request: %v", errno)
	}
}

// TestWriteLength checks that a WRITE has just the data that it says.
func TestWriteLength(t *testing.T) {
	raw, _ := startRaw(t)
	for _, tc := range []struct {
		size uint32
		data int
		want syscall.Errno
	}{{0, 0, 0}, {4, 4, 0}, {4, 3, syscall.EINVAL}, {3, 4, syscall.EINVAL}, {1 << 20, 1 << 20, 0}, {^uint32(0), 8, syscall.EINVAL}} {
		args := fusetest.Append(nil).U64(3).U64(0).U32(tc.size).U32(0).U64(0).U32(0).U32(0).Zero(tc.data)
		request := fusetest.Request(fusetest.Header{Op: fuse.WRITE, Unique: 4, Node: 1}, args, nil)
		if errno, ok := checkReply(t, raw.serve(request, 24), 4); !ok || errno != tc.want {
			t.Errorf("size %d with %d bytes: %v, want %v", tc.size, tc.data, errno, tc.want)
		}
	}
}

// TestBatchForget gives back more nodes than any buffer holds, and lists that
// are shorter than they say.
func TestBatchForget(t *testing.T) {
	raw, ledger := startRaw(t)
	for _, tc := range []struct {
		count  uint32
		listed int
		want   int64
	}{{0, 0, 0}, {1, 1, 1}, {2, 1, 0}, {^uint32(0), 1, 0}, {1, 2, 1}, {65000, 65000, 65000}} {
		args := fusetest.Append(nil).U32(tc.count).U32(0)
		for range tc.listed {
			args = args.U64(2).U64(1)
		}
		before := ledger.Held().Refs
		request := fusetest.Request(fusetest.Header{Op: fuse.BATCH_FORGET, Unique: 4}, args, nil)
		if reply := raw.serve(request, 64); len(reply) != 0 {
			t.Errorf("reply %x", reply)
		}
		if got := before - ledger.Held().Refs; got != tc.want {
			t.Errorf("count %d with %d: %d given back, want %d", tc.count, tc.listed, got, tc.want)
		}
	}
}

// TestHostileNames puts what is not a name into every place for one.
func TestHostileNames(t *testing.T) {
	a := fusetest.Append(nil)
	long := string(bytes.Repeat([]byte{'x'}, 256))
	requests := []struct {
		name string
		op   fuse.Opcode
		args fusetest.Append // before the name
		tail fusetest.Append // behind it
	}{
		{"LOOKUP", fuse.LOOKUP, a, nil},
		{"SYMLINK", fuse.SYMLINK, a, a.Str("target")},
		{"MKNOD", fuse.MKNOD, a.Zero(16), nil},
		{"MKDIR", fuse.MKDIR, a.Zero(8), nil},
		{"UNLINK", fuse.UNLINK, a, nil},
		{"RMDIR", fuse.RMDIR, a, nil},
		{"RENAME old", fuse.RENAME, a.Zero(8), a.Str("new")},
		{"RENAME new", fuse.RENAME, a.Zero(8).Str("old"), nil},
		{"RENAME2 old", fuse.RENAME2, a.Zero(16), a.Str("new")},
		{"RENAME2 new", fuse.RENAME2, a.Zero(16).Str("old"), nil},
		{"LINK", fuse.LINK, a.Zero(8), nil},
		{"CREATE", fuse.CREATE, a.Zero(16), nil},
	}
	names := []struct {
		bytes fusetest.Append
		want  syscall.Errno
	}{
		{a.Str(""), syscall.EINVAL}, {a.Str("."), syscall.EINVAL}, {a.Str(".."), syscall.EINVAL},
		{a.Str("/"), syscall.EINVAL}, {a.Str("a/b"), syscall.EINVAL}, {a.Str("../a"), syscall.EINVAL},
		{a.Str("/etc/passwd"), syscall.EINVAL}, {a.Str(long), syscall.ENAMETOOLONG},
		{a.Str("..."), 0}, {a.Str(long[:255]), 0}, {a.Str("\xff\xfe\n"), 0},
	}
	for _, r := range requests {
		for _, n := range names {
			raw, fs := rawRecord(t)
			request := fusetest.Request(fusetest.Header{Op: r.op, Unique: 4, Node: 1}, a.Bytes(r.args).Bytes(n.bytes).Bytes(r.tail), nil)
			errno, ok := checkReply(t, raw.serve(request, 256), 4)
			if !ok || errno != n.want {
				t.Errorf("%s %q: %v, want %v", r.name, n.bytes, errno, n.want)
			}
			if calls := fs.take(); (errno == 0) != (len(calls) == 1) {
				t.Errorf("%s %q: %v, but the file system was asked %q", r.name, n.bytes, errno, calls)
			}
		}
		raw, fs := rawRecord(t)
		for what, tail := range map[string]fusetest.Append{"no NUL": a.Bytes([]byte("name")), "nothing": nil, "more": a.Str("name").Bytes(r.tail).Str("junk")} {
			request := fusetest.Request(fusetest.Header{Op: r.op, Unique: 4, Node: 1}, a.Bytes(r.args).Bytes(tail), nil)
			if errno, ok := checkReply(t, raw.serve(request, 256), 4); !ok || errno != syscall.EINVAL {
				t.Errorf("%s with %s: %v", r.name, what, errno)
			}
			if calls := fs.take(); len(calls) != 0 {
				t.Errorf("%s with %s: the file system was asked %q", r.name, what, calls)
			}
		}
	}
}

func rawRecord(t testing.TB) (*rawCall, *recordFS) {
	fs := &recordFS{}
	s, _ := start(t, fs, fuse.Options{})
	fs.take()
	return newRaw(s), fs
}

// TestNothingStale checks that replies show nothing of what buffers held before:
// not in the padding of names, and not as the number of a request too short to
// have one.
func TestNothingStale(t *testing.T) {
	s, _ := start(t, dirtyFS{}, fuse.Options{})
	raw := newRaw(s)
	full := func(op fuse.Opcode, size uint32) []byte {
		args := fusetest.Append(nil).U64(3).U64(0).U32(size).U32(0).U64(0).U64(0)
		return fusetest.Request(fusetest.Header{Op: op, Unique: ^uint64(0), Node: 1}, args, nil)
	}
	for _, size := range []uint32{256, 4096} {
		raw.serve(fusetest.Request(fusetest.Header{Op: fuse.LISTXATTR, Unique: 2, Node: 1}, fusetest.Append(nil).U32(size).U32(0), nil), 16+int(size))
		reply := raw.serve(full(fuse.READDIR, size), 16+int(size))
		for list := reply[16:]; len(list) > 0; {
			d, rest, ok := fusetest.NextDirent(list, false)
			if !ok {
				t.Fatalf("malformed: %x", list)
			}
			record := list[:len(list)-len(rest)]
			if padding := record[24+len(d.Name):]; !bytes.Equal(padding, make([]byte, len(padding))) {
				t.Errorf("%q is followed by %x", d.Name, padding)
			}
			list = rest
		}
	}
	if reply := raw.serve(full(fuse.READ, 0)[:9], 16); !bytes.Equal(reply[8:], append([]byte{0xff}, make([]byte, 7)...)) {
		t.Errorf("reply to 9 bytes: %x", reply)
	}
}

// dirtyFS leaves traces in the buffers it is given.
type dirtyFS struct{ fusetest.NullFS }

func (dirtyFS) Listxattr(_ *vfs.Request, _ vfs.NodeID, buf []byte) (int, syscall.Errno) {
	for i := range buf {
		buf[i] = 0xff
	}
	return len(buf), 0
}

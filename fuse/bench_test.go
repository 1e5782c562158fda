package fuse_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// prepared is a call with a request and a reply area laid out as Linux does: a
// piece each for the header, the arguments, and a page of data.
type prepared struct {
	call    *fuse.Call
	in, out []unix.Iovec
}

func prepare(sample fusetest.Sample) *prepared {
	p := &prepared{call: fuse.NewCall()}
	in := sample.Request
	p.in = append(p.in, pieces(in[:40], 40)...)
	rest := in[40:]
	if sample.Op == fuse.WRITE {
		p.in = append(p.in, pieces(rest[:40], 40)...)
		rest = rest[40:]
	}
	p.in = append(p.in, pieces(rest, 4096)...)
	out := make([]byte, sample.Reply)
	if len(out) >= 16 {
		p.out = append(pieces(out[:16], 16), pieces(out[16:], 4096)...)
	}
	return p
}

func (p *prepared) serve(s *fuse.Server) {
	p.call.In, p.call.Out = p.in, p.out
	if _, done := s.Serve(p.call); !done {
		panic("handed over")
	}
}

// benchSamples are the samples, with reads and writes also of usual sizes.
func benchSamples() []fusetest.Sample {
	list := fusetest.Samples()
	list = list[1 : len(list)-1] // INIT and DESTROY
	for _, size := range []uint32{4096, 1 << 20} {
		name := map[uint32]string{4096: "-4k", 1 << 20: "-1M"}[size]
		args := fusetest.Append(nil).U64(3).U64(0).U32(size).U32(0).U64(0).U64(0)
		head := fusetest.Header{Op: fuse.READ, Unique: 2, Node: 2}
		list = append(list, fusetest.Sample{Name: "READ" + name, Op: fuse.READ, Request: fusetest.Request(head, args, nil), Reply: 16 + int(size)})
		head.Op = fuse.WRITE
		list = append(list, fusetest.Sample{Name: "WRITE" + name, Op: fuse.WRITE, Request: fusetest.Request(head, args.Zero(int(size)), nil), Reply: 24})
	}
	return list
}

// TestAllocs asserts that no request allocates.
func TestAllocs(t *testing.T) {
	s, _ := start(t, fusetest.NullFS{}, fuse.Options{})
	for _, sample := range benchSamples() {
		p := prepare(sample)
		p.serve(s)
		if n := testing.AllocsPerRun(100, func() { p.serve(s) }); n != 0 {
			t.Errorf("%s: %v allocations", sample.Name, n)
		}
	}
}

// TestAllocsUnaligned has messages whose pieces do not end where a header does.
func TestAllocsUnaligned(t *testing.T) {
	s, _ := start(t, fusetest.NullFS{}, fuse.Options{})
	for _, sample := range benchSamples() {
		p := &prepared{call: fuse.NewCall(), in: pieces(sample.Request, 1100), out: pieces(make([]byte, sample.Reply), 1100)}
		p.serve(s)
		if n := testing.AllocsPerRun(100, func() { p.serve(s) }); n != 0 {
			t.Errorf("%s: %v allocations", sample.Name, n)
		}
	}
}

// TestClientAllocs asserts that the client is fit for benchmarks.
func TestClientAllocs(t *testing.T) {
	_, c := start(t, fusetest.NullFS{}, fuse.Options{})
	buf := make([]byte, 4096)
	for name, f := range map[string]func(){
		"Lookup":      func() { c.Lookup(1, "name") },
		"Getattr":     func() { c.Getattr(1, vfs.NoHandle) },
		"Create":      func() { c.Create(1, "name", 0, 0, 0) },
		"Read":        func() { c.Read(1, 3, buf, 0, 0) },
		"Write":       func() { c.Write(1, 3, buf, 0, 0, 0) },
		"Readdirplus": func() { c.Readdirplus(1, 3, 0, buf) },
		"Rename":      func() { c.Rename(1, "a", 1, "b") },
		"Forget":      func() { c.Forget(1, 1) },
		"Ioctl":       func() { c.Ioctl(1, 3, 0, 1, 0, buf[:8], buf[8:16]) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	s, _ := start(b, fusetest.NullFS{}, fuse.Options{})
	for _, sample := range benchSamples() {
		b.Run(sample.Name, func(b *testing.B) {
			p := prepare(sample)
			b.ReportAllocs()
			for b.Loop() {
				p.serve(s)
			}
		})
	}
}

// BenchmarkPending measures a request that is handed to a goroutine of its own.
func BenchmarkPending(b *testing.B) {
	_, c := start(b, &handOverFS{}, fuse.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if errno := c.Fsync(1, 3, false); errno != 0 {
			b.Fatal(errno)
		}
	}
}

// handOverFS would block in Fsync, and then does not.
type handOverFS struct{ fusetest.NullFS }

func (*handOverFS) Fsync(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ bool) (errno syscall.Errno) {
	if r.Nowait {
		errno = vfs.WouldBlock
	}
	return errno
}

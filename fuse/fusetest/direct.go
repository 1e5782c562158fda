package fusetest

import (
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/oslib"
)

// Direct is a Transport that calls a server. It belongs to one goroutine.
type Direct struct {
	s    *fuse.Server
	call *fuse.Call
	done chan uint32
}

// NewDirect returns a Transport to s.
func NewDirect(s *fuse.Server) *Direct {
	d := &Direct{s: s, call: fuse.NewCall(), done: make(chan uint32, 1)}
	d.call.Done = d
	return d
}

// Call returns the call that Direct uses for every request.
func (d *Direct) Call() *fuse.Call { return d.call }

// Complete implements fuse.Completer.
func (d *Direct) Complete(_ *fuse.Call, used uint32) { d.done <- used }

// Roundtrip implements Transport. A pending request is waited for.
func (d *Direct) Roundtrip(in, out [][]byte) (int, error) {
	d.call.In, d.call.Out = iovecs(d.call.In[:0], in), iovecs(d.call.Out[:0], out)
	used, done := d.s.Serve(d.call)
	if !done {
		used = <-d.done
	}
	return int(used), nil
}

func iovecs(v []unix.Iovec, parts [][]byte) []unix.Iovec {
	for _, p := range parts {
		v = append(v, oslib.Iov(p))
	}
	return v
}

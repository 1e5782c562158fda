package fusedev

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/vfs"
)

// noFiles names no files.
type noFiles struct{}

func (noFiles) Backing(vfs.NodeID, vfs.Handle) (int, bool) { return 0, false }

const (
	// What an INIT of Linux 6.9 offers among other things, and what it offered
	// before there was FUSE_PASSTHROUGH.
	offer    = flagInitExt | flagWriteback | flagKillPrivV2 | 1
	initSize = initInExtEnd
)

// initRequest returns an INIT with these flags.
func initRequest(flags, flags2 uint32, size int) []byte {
	req := make([]byte, initSize)
	put32(req, inOpcode, uint32(fuse.INIT))
	put32(req, initInFlags, flags)
	put32(req, initInFlags2, flags2)
	return req[:size]
}

func TestBackingFilesAreAgreedOnlyWhereOffered(t *testing.T) {
	for _, c := range []struct {
		name   string
		source vfs.Backer
		req    []byte
		agreed bool
		flags  uint32 // left of the offer
	}{
		{"offered", noFiles{}, initRequest(offer, flag2Passthru, initSize), true, flagInitExt | 1},
		{"nobody asked", nil, initRequest(offer, flag2Passthru, initSize), false, offer},
		{"not offered", noFiles{}, initRequest(offer, 0, initSize), false, offer},
		{"no second half", noFiles{}, initRequest(offer&^flagInitExt, flag2Passthru, initSize), false, offer &^ flagInitExt},
		{"short", noFiles{}, initRequest(offer, flag2Passthru, initInFlags2), false, offer},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &Mounted{opt: Options{Backing: c.source}}
			m.amendOffer(c.req)
			if got := get32(c.req, initInFlags); got != c.flags {
				t.Errorf("flags offered to the server %#x, want %#x", got, c.flags)
			}
			msg := make([]byte, initOutLength)
			put32(msg, initFlags, get32(c.req, initInFlags))
			m.amend(&worker{mount: m, dev: -1}, &call{opcode: fuse.INIT}, msg)
			stack := get32(msg, initStack)
			if m.Passthrough() != c.agreed || (stack == stackDepth) != c.agreed || (get32(msg, initFlags2) == flag2Passthru) != c.agreed {
				t.Errorf("agreed %v, flags2 %#x, depth %d; want %v", m.Passthrough(), get32(msg, initFlags2), stack, c.agreed)
			}
		})
	}
}

// FuzzAmend hands the door messages of any content: it changes none that says
// that a request failed, and never their length.
func FuzzAmend(f *testing.F) {
	f.Add(uint32(fuse.INIT), initRequest(offer, flag2Passthru, initSize), make([]byte, initOutLength))
	f.Add(uint32(fuse.OPEN), make([]byte, inHeaderSize+8), make([]byte, outHeaderSize+openOutSize))
	f.Add(uint32(fuse.CREATE), make([]byte, inHeaderSize+16), make([]byte, createOut+openOutSize))
	f.Add(uint32(fuse.TMPFILE), make([]byte, inHeaderSize), make([]byte, createOut))
	f.Add(uint32(fuse.RELEASE), make([]byte, inHeaderSize+24), make([]byte, outHeaderSize))
	f.Add(uint32(fuse.FORGET), make([]byte, 3), []byte{})
	f.Fuzz(func(t *testing.T, op uint32, req, msg []byte) {
		m := &Mounted{opt: Options{Backing: noFiles{}}, offered: true}
		m.backings.Store(&backings{source: noFiles{}, dev: -1, nodes: make(map[vfs.NodeID]backing)})
		m.amendOffer(req)
		before := string(msg)
		m.amend(&worker{mount: m, dev: -1}, &call{opcode: fuse.Opcode(op)}, msg)
		if len(msg) >= outHeaderSize && get32(msg, outErrno) != 0 && string(msg) != before {
			t.Error("an error reply was changed")
		}
	})
}

func TestAnErrorReplySaysWhatFailed(t *testing.T) {
	msg := errorReply(77, unix.EIO)
	if get32(msg[:], outLength) != outHeaderSize || int32(get32(msg[:], outErrno)) != -int32(unix.EIO) || get64(msg[:], outUnique) != 77 {
		t.Errorf("error reply % x", msg)
	}
}

package fusedev

import (
	"encoding/binary"
	"syscall"
)

// The few fields of linux/fuse.h 7.45 that the door itself looks at. Everything
// else is between the kernel and the server. Offsets count from the start of the
// message; integers are in the host's byte order.
const (
	inHeaderSize  = 40 // struct fuse_in_header
	outHeaderSize = 16 // struct fuse_out_header

	inOpcode = 4
	inUnique = 8
	inNode   = 16

	outLength = 0
	outErrno  = 4
	outUnique = 8

	// struct fuse_write_in follows the header and precedes the data.
	writeArgsEnd = inHeaderSize + 40

	// struct fuse_interrupt_in.
	interruptTarget = inHeaderSize

	// struct fuse_init_in and fuse_init_out.
	initInFlags   = inHeaderSize + 12
	initInFlags2  = inHeaderSize + 16
	initInExtEnd  = inHeaderSize + 64
	initFlags     = outHeaderSize + 12
	initFlags2    = outHeaderSize + 32
	initStack     = outHeaderSize + 36
	initOutLength = outHeaderSize + 64

	// struct fuse_open_out, in the reply to OPEN and, behind struct
	// fuse_entry_out, to CREATE and TMPFILE.
	openOut         = outHeaderSize
	createOut       = outHeaderSize + 128
	openHandle      = 0
	openFlags       = 8
	openBacking     = 12
	openOutSize     = 16
	createEntryNode = outHeaderSize

	flagWriteback   = 1 << 16 // FUSE_WRITEBACK_CACHE
	flagKillPrivV2  = 1 << 28 // FUSE_HANDLE_KILLPRIV_V2
	flagInitExt     = 1 << 30 // FUSE_INIT_EXT
	flag2Passthru   = 1 << 5  // FUSE_PASSTHROUGH, bit 37
	openDirectIO    = 1 << 0  // FOPEN_DIRECT_IO
	openNoFlush     = 1 << 5  // FOPEN_NOFLUSH
	openParallel    = 1 << 6  // FOPEN_PARALLEL_DIRECT_WRITES
	openPassthrough = 1 << 7  // FOPEN_PASSTHROUGH

	// openBackedFlags are the flags that may stand beside openPassthrough: with any
	// other the open fails (EIO; FOPEN_PASSTHROUGH_MASK in Linux, fs/fuse/iomode.c).
	openBackedFlags = openDirectIO | openNoFlush | openParallel

	// interruptBit marks the number of an INTERRUPT in a reply to it
	// (FUSE_INT_REQ_BIT).
	interruptBit = 1
)

// stackDepth is how many file systems may lie above one another in what is
// mounted: files of disks may back it, those of overlays not, and an overlay may
// still be made of it.
const stackDepth = 1

func get32(b []byte, off int) uint32    { return binary.NativeEndian.Uint32(b[off:]) }
func get64(b []byte, off int) uint64    { return binary.NativeEndian.Uint64(b[off:]) }
func put32(b []byte, off int, v uint32) { binary.NativeEndian.PutUint32(b[off:], v) }
func put64(b []byte, off int, v uint64) { binary.NativeEndian.PutUint64(b[off:], v) }

// errorReply returns the reply to a request that says only that it failed.
func errorReply(unique uint64, errno syscall.Errno) (msg [outHeaderSize]byte) {
	put32(msg[:], outLength, outHeaderSize)
	put32(msg[:], outErrno, -uint32(errno))
	put64(msg[:], outUnique, unique)
	return msg
}

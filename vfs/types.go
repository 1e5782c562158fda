package vfs

import (
	"syscall"
	"time"
)

// NodeID names a node of one FileSystem. Ids are below 1<<48 so that a tree of
// file systems can put the child's index into the upper 16 bits.
type NodeID uint64

// Root is the node that exists without being looked up and is never forgotten.
const Root NodeID = 1

// MaxNodeID is the largest id a FileSystem may give out.
const MaxNodeID NodeID = 1<<48 - 1

// Handle names an open file or directory of one FileSystem.
type Handle uint64

// NoHandle stands where a call that may be made on a handle is made on the
// node alone.
const NoHandle = ^Handle(0)

// WouldBlock is returned by a call with [Request.Nowait] that would have to
// wait. It lies outside the kernel's error numbers and never reaches a guest.
const WouldBlock syscall.Errno = 1 << 16

// Timespec is a point in time: seconds since 1970, which may be negative, and
// nanoseconds in 0..999999999.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// AttrFlags are properties of a node beside its stat(2) attributes.
type AttrFlags uint32

const (
	// AttrSubmount marks the root directory of another host file system
	// inside the share (FUSE_ATTR_SUBMOUNT).
	AttrSubmount AttrFlags = 1 << iota
	// AttrDAX asks for direct access through the window for this file
	// (FUSE_ATTR_DAX).
	AttrDAX
)

// Attr holds what stat(2) tells of a node.
type Attr struct {
	Ino     uint64
	Size    uint64
	Blocks  uint64 // in units of 512 bytes
	Atime   Timespec
	Mtime   Timespec
	Ctime   Timespec
	Mode    uint32 // type and permission bits
	Nlink   uint32
	UID     uint32
	GID     uint32
	Rdev    uint32 // as MakeDev packs it
	Blksize uint32
	Flags   AttrFlags
}

// MakeDev packs a device number the way it stands in FUSE messages and in the
// kernel's 32-bit form: 12 bits of major, 20 bits of minor.
func MakeDev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | minor&^0xff<<12
}

// SplitDev is the inverse of [MakeDev].
func SplitDev(dev uint32) (major, minor uint32) {
	return dev & 0xfff00 >> 8, dev&0xff | dev>>12&0xfff00
}

// AttrOut is the answer of Getattr and Setattr.
type AttrOut struct {
	Attr Attr
	TTL  time.Duration // how long the guest may keep the attributes
}

// Entry is the answer of Lookup and of every call that makes a name: a node,
// to which the guest now holds one more reference. An Entry with Node 0 says
// that the name does not exist and may be remembered as absent for EntryTTL.
type Entry struct {
	Node       NodeID
	Generation uint64
	Attr       Attr
	EntryTTL   time.Duration // how long the guest may keep the name
	AttrTTL    time.Duration // how long the guest may keep the attributes
}

// OpenFlags tell the guest how it may cache an open file or directory.
type OpenFlags uint32

const (
	OpenDirectIO             OpenFlags = 1 << iota // every read and write comes to us
	OpenKeepCache                                  // cached data stay valid across opens
	OpenNonseekable                                // the file has no position to set
	OpenCacheDir                                   // directory contents may be cached
	OpenStream                                     // the file has no position at all
	OpenNoFlush                                    // no Flush is wanted at close
	OpenParallelDirectWrites                       // direct writes need no lock in the guest
)

// Opened is the answer of Open, Create, Tmpfile and Opendir.
type Opened struct {
	Handle Handle
	Flags  OpenFlags
}

// SetAttrMask says which fields of a [SetAttr] are to be applied. The bits are
// those of FATTR_* in linux/fuse.h.
type SetAttrMask uint32

const (
	SetMode        SetAttrMask = 1 << 0
	SetUID         SetAttrMask = 1 << 1
	SetGID         SetAttrMask = 1 << 2
	SetSize        SetAttrMask = 1 << 3
	SetAtime       SetAttrMask = 1 << 4
	SetMtime       SetAttrMask = 1 << 5
	SetAtimeNow    SetAttrMask = 1 << 7
	SetMtimeNow    SetAttrMask = 1 << 8
	SetCtime       SetAttrMask = 1 << 10
	SetKillSUIDGID SetAttrMask = 1 << 11 // truncation or chown clears setuid and setgid
)

// SetAttr is a change of attributes. Only the fields named in Valid count.
// Atime and Mtime are ignored where the Now bit of the same time is set too.
type SetAttr struct {
	Valid SetAttrMask
	Mode  uint32 // permission bits
	UID   uint32
	GID   uint32
	Size  uint64
	Atime Timespec
	Mtime Timespec
	Ctime Timespec
}

// Statx is the answer of statx(2) in the layout-free form of this package.
// Mask and the attribute bits are those of linux/stat.h.
type Statx struct {
	Mask           uint32
	Attributes     uint64
	AttributesMask uint64
	Attr           Attr
	Btime          Timespec
	DevMajor       uint32
	DevMinor       uint32
	TTL            time.Duration
}

// Statfs is what statfs(2) tells of a file system.
type Statfs struct {
	Blocks, Bfree, Bavail uint64
	Files, Ffree          uint64
	Bsize, Frsize         uint32
	Namelen               uint32
}

// WriteFlags qualify a Write.
type WriteFlags uint32

const (
	// WriteCache marks data written back from the guest's page cache: the
	// handle may belong to another opener, and O_APPEND does not apply.
	WriteCache WriteFlags = 1 << iota
	// WriteKillSUIDGID asks for setuid and setgid to be cleared, as the
	// writer is not privileged.
	WriteKillSUIDGID
)

// ReleaseIn qualifies a Release.
type ReleaseIn struct {
	OpenFlags   uint32
	LockOwner   uint64
	FlockUnlock bool // the flock(2) lock of the handle ends with it
}

// Lock is a file lock, asked for or found. Start and End are byte offsets,
// both included; End is MaxLockEnd for "to the end of the file".
type Lock struct {
	Owner uint64 // who holds it: one per guest process or open file
	Start uint64
	End   uint64
	Type  uint32 // F_RDLCK, F_WRLCK or F_UNLCK
	PID   uint32
	Flock bool // flock(2) rather than fcntl(2)
	Wait  bool // wait until the lock is free
}

// MaxLockEnd is [Lock.End] of a lock that reaches to the end of the file.
const MaxLockEnd = 1<<63 - 1

// CopyRange is a server-side copy between two open files.
type CopyRange struct {
	SrcNode, DstNode     NodeID
	SrcHandle, DstHandle Handle
	SrcOff, DstOff       uint64
	Len                  uint64
	Flags                uint64
}

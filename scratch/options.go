package scratch

import (
	"fmt"
	"log/slog"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// What [Options] means where it says 0.
const (
	DefaultSize        = 1 << 30
	DefaultMaxNodes    = 1 << 18
	DefaultMaxMetadata = 256 << 20
)

// MaxSize is the largest [Options.Size]: 2 TiB.
const MaxSize = 2 << 40

// Options say how much a scratch space may hold and where. The zero value is 1 GiB
// of memory with a root directory that belongs to root and is open to nobody else.
type Options struct {
	// Size bounds the data of all files, in bytes, and so the memory or the disk
	// space that they take. It counts whole pages of 4 KiB and is rounded down
	// to them. 0 is DefaultSize.
	Size uint64
	// MaxNodes bounds the number of files, directories and so on, the root among
	// them. 0 is DefaultMaxNodes.
	MaxNodes int
	// MaxMetadata bounds the memory of this process, in bytes, for all but the
	// data: about 900 for a small file, 160 and the length for each name more.
	// Go's collector may take as much again. Open files are not in it; there can
	// be 262,144, of 100 bytes each. 0 is DefaultMaxMetadata.
	MaxMetadata uint64
	// Dir is a directory of the host on whose disk the data of all files are to
	// be, in one sparse file without a name. The disk must be able to punch holes
	// and may run out of space before Size is reached. "" is memory, which may be
	// swapped out.
	Dir string
	// File is a file that OpenData has made, in place of one in Dir. It is New's,
	// which closes it after an error too.
	File *os.File
	// UID, GID and Mode are those of the root directory. Mode 0 is 0700.
	UID, GID uint32
	Mode     uint32
	// Logger is told when the host fails; nil is slog.Default().
	Logger *slog.Logger
}

// withDefaults fills in what is 0 and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.MaxNodes == 0 {
		o.MaxNodes = DefaultMaxNodes
	}
	if o.MaxMetadata == 0 {
		o.MaxMetadata = DefaultMaxMetadata
	}
	if o.Mode == 0 {
		o.Mode = 0o700
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	switch {
	case o.Size < pageSize || o.Size > MaxSize:
		return o, fmt.Errorf("scratch: a size of %d bytes is not between %d and %d", o.Size, pageSize, uint64(MaxSize))
	case o.MaxNodes < 1 || o.MaxNodes > math.MaxInt32:
		return o, fmt.Errorf("scratch: a limit of %d nodes is not between 1 and %d", o.MaxNodes, math.MaxInt32)
	case o.MaxMetadata < rootCost:
		return o, fmt.Errorf("scratch: %d bytes for metadata are too few for a root directory", o.MaxMetadata)
	case o.Mode&^0o7777 != 0:
		return o, fmt.Errorf("scratch: %#o is not a mode of a directory", o.Mode)
	}
	return o, nil
}

// New makes an empty space. The result is the caller's to close.
func New(o Options) (*FS, error) {
	o, err := o.withDefaults()
	if err != nil {
		if o.File != nil {
			o.File.Close()
		}
		return nil, err
	}
	fs := &FS{
		maxMeta: o.MaxMetadata,
		bufs:    make(chan *listBuf, idleBufs),
	}
	if err := fs.store.open(&o); err != nil {
		return nil, err
	}
	fs.nodes.init(uint32(o.MaxNodes))
	fs.handles.init()
	fs.root = &node{typ: unix.S_IFDIR, attrs: attrs{mode: o.Mode, nlink: 2, uid: o.UID, gid: o.GID}}
	fs.addNode(fs.root) // the limits have been checked: it is the first
	return fs, nil
}

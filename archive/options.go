package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"

	"github.com/isthmus-fs/isthmus/vfs"
)

// What [Options] means where it says 0.
const (
	DefaultMaxBytes    = 4 << 30
	DefaultMaxLogical  = 16 << 40
	DefaultMaxEntries  = 1 << 20
	DefaultMaxMetadata = 256 << 20
)

// Options are the limits of what an archive may hold, and what to tell while it
// is read. The zero value is fit for archives of unknown origin on a host with
// some GiB to spare.
type Options struct {
	// MaxBytes bounds the file data that the archive holds, unpacked and in
	// bytes, and so the memory that they take: never more than twice as much,
	// which is what files a little longer than a page do, and 64 KiB. 0 is
	// DefaultMaxBytes; more than 4 TiB count as 4 TiB.
	MaxBytes uint64
	// MaxLogical bounds the sum of the sizes of all files, holes included.
	// Holes take no memory here, but may elsewhere. 0 is DefaultMaxLogical.
	MaxLogical uint64
	// MaxEntries bounds the number of names, those of directories among them
	// that no entry mentions but that are needed. Each takes some 130 bytes.
	// 0 is DefaultMaxEntries.
	MaxEntries int
	// MaxMetadata bounds, in bytes, what else is read and kept: extended
	// headers, names, link targets, extended attributes. 0 is
	// DefaultMaxMetadata; more than 4 GiB count as 4 GiB.
	MaxMetadata uint64
	// RequireUTF8 refuses names that are not UTF-8. Linux takes any bytes, and
	// so does this package without it.
	RequireUTF8 bool
	// Progress, if not nil, is told now and then how many entries have been
	// read and how many bytes of their data, and once more at the end.
	Progress func(entries int, bytes uint64)
	// Logger is told, once for an archive, of what it has and the file system
	// does not show; nil is slog.Default().
	Logger *slog.Logger
}

// withDefaults fills in what is 0 and caps what the index cannot hold.
func (o Options) withDefaults() Options {
	def := func(v *uint64, d, most uint64) {
		if *v == 0 {
			*v = d
		}
		*v = min(*v, most)
	}
	// Pages of a file are counted in 32 bits, places in the memfd are off_t,
	// those in the index's text 32 bits.
	def(&o.MaxBytes, DefaultMaxBytes, 4<<40)
	def(&o.MaxLogical, DefaultMaxLogical, math.MaxInt64/4)
	def(&o.MaxMetadata, DefaultMaxMetadata, math.MaxUint32-1)
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	o.MaxEntries = min(o.MaxEntries, math.MaxInt32-1)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Open reads the archive at path. Directories that no entry mentions get the
// modification time of the archive. The result is the caller's to close.
//
// An archive that is refused is an [*Error]. ctx is looked at between reads: its
// end ends the reading, but not one read that waits.
func Open(ctx context.Context, path string, o Options) (*FS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	defer f.Close()
	return OpenFile(ctx, f, path, o)
}

// OpenFile is [Open] for an archive that is open already. f stays the caller's.
func OpenFile(ctx context.Context, f *os.File, name string, o Options) (*FS, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	t := st.ModTime()
	return read(ctx, f, name, vfs.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}, o)
}

// Read is [Open] for an archive that comes out of r. name stands for it in
// errors. Directories that no entry mentions are of 1970. r is read to its end.
func Read(ctx context.Context, r io.Reader, name string, o Options) (*FS, error) {
	return read(ctx, r, name, vfs.Timespec{}, o)
}

func read(ctx context.Context, r io.Reader, name string, made vfs.Timespec, o Options) (*FS, error) {
	fs, at, err := build(ctx, r, made, o.withDefaults())
	if err == nil {
		return fs, nil
	}
	var e *Error
	if errors.As(err, &e) {
		e.Archive, e.Entry, e.Offset = name, at.entry, at.offset
		return nil, e
	}
	return nil, fmt.Errorf("archive %s: at byte %d: %w", name, at.offset, err)
}

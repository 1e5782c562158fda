package hermit

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path"

	"github.com/klauspost/compress/gzip"
)

// Format is what a file to start is.
type Format int

// The formats.
const (
	FormatUnknown Format = iota
	FormatELF            // a kernel
	FormatImage          // a Hermit image: tar in gzip
)

// DetectSize is how many bytes Detect looks at.
const DetectSize = 4

// Detect tells the format of a file by its first bytes.
func Detect(start []byte) Format {
	switch {
	case len(start) < DetectSize:
	case bytes.HasPrefix(start, []byte{0x7f, 'E', 'L', 'F'}):
		return FormatELF
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b, 8}):
		return FormatImage
	}
	return FormatUnknown
}

// Limits of an image, in bytes.
const (
	DefaultMaxKernel   = 1 << 30
	DefaultMaxUnpacked = 4 << 30

	maxConfig = 1 << 20
)

// ImageOptions are the limits of what an image may hold. The zero value has the
// defaults.
type ImageOptions struct {
	// MaxKernel bounds the kernel's file, which is kept in memory. Guest memory is a
	// good limit.
	MaxKernel uint64
	// MaxUnpacked bounds the archive without its compression, and so the time that
	// reading takes.
	MaxUnpacked uint64
}

// ErrUnpacked is what an image is refused with that is larger than
// [ImageOptions].MaxUnpacked.
var ErrUnpacked = errors.New("the image is larger, unpacked, than allowed")

// Image is what an image says of how to start it. Its other files are served by
// package archive, or handed to the guest as UnpackImage has them.
type Image struct {
	Config *ImageConfig
	// Kernel is the kernel's file.
	Kernel []byte
	// Dirs are the directories of the image that have files in them, for MountList.
	Dirs []string
}

// OpenImage reads the settings and the kernel of an image of size bytes. The whole of
// it is read, several times, and its checksum verified.
func OpenImage(r io.ReaderAt, size int64, o ImageOptions) (*Image, error) {
	if o.MaxKernel == 0 {
		o.MaxKernel = DefaultMaxKernel
	}
	text, err := findFile(r, size, o, ConfigName, maxConfig)
	if err != nil {
		return nil, err
	}
	c, err := ParseImageConfig(text)
	if err != nil {
		return nil, err
	}
	kernel, err := findFile(r, size, o, c.Kernel, o.MaxKernel)
	if err != nil {
		return nil, err
	}
	dirs, err := imageDirs(r, size, o)
	if err != nil {
		return nil, err
	}
	return &Image{Config: c, Kernel: kernel, Dirs: dirs}, nil
}

// UnpackImage returns the archive without its compression, which is what internal mode
// gives the guest. It is at most limit bytes; 0 is DefaultMaxUnpacked.
func UnpackImage(r io.ReaderAt, size int64, limit uint64) ([]byte, error) {
	in, err := unpack(r, size, limit)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return nil, imageError(err)
	}
	return b, nil
}

// findFile returns the contents of the one file of an image with a name.
func findFile(r io.ReaderAt, size int64, o ImageOptions, name string, limit uint64) ([]byte, error) {
	in, err := unpack(r, size, o.MaxUnpacked)
	if err != nil {
		return nil, err
	}
	var found []byte
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, imageError(err)
		}
		if path.Clean("/"+h.Name) != name {
			continue
		}
		switch {
		case found != nil:
			return nil, fmt.Errorf("the image has %s twice", name)
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%s in the image is not a regular file", name)
		case h.Size < 0 || uint64(h.Size) > limit:
			return nil, fmt.Errorf("%s in the image has %d bytes; at most %d are possible", name, h.Size, limit)
		}
		// It grows with what there is, not with what the header says.
		var b bytes.Buffer
		if _, err := io.Copy(&b, t); err != nil {
			return nil, imageError(err)
		}
		found = b.Bytes()
		if found == nil {
			found = []byte{}
		}
	}
	// What follows the archive's end is read for the checksum.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, imageError(err)
	}
	if found == nil {
		return nil, fmt.Errorf("the image has no %s", name)
	}
	return found, nil
}

// unpack returns the archive in an image, of which at most limit bytes are read; 0 is
// DefaultMaxUnpacked.
func unpack(r io.ReaderAt, size int64, limit uint64) (io.Reader, error) {
	z, err := gzip.NewReader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, imageError(err)
	}
	if limit == 0 {
		limit = DefaultMaxUnpacked
	}
	return &limitReader{r: z, left: min(limit, math.MaxInt64)}, nil
}

// imageError says that it was the image that could not be read.
func imageError(err error) error {
	if errors.Is(err, ErrUnpacked) {
		return ErrUnpacked
	}
	return fmt.Errorf("the image cannot be read: %w", err)
}

// limitReader is an error, not an end, where there is more than left bytes.
type limitReader struct {
	r    io.Reader
	left uint64
}

func (l *limitReader) Read(p []byte) (int, error) {
	// One byte more than left may come; then there is too much.
	if uint64(len(p)) > l.left {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if uint64(n) > l.left {
		return 0, ErrUnpacked
	}
	l.left -= uint64(n)
	return n, err
}

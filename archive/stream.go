package archive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// readAhead is what is read of an archive at a time.
	readAhead = 256 << 10
	// maxWindow is how far back zstd data may refer, which is the memory that
	// unpacking takes: what "zstd --ultra --long=27" needs, and what zstd(1)
	// unpacks without being asked to.
	maxWindow = 128 << 20
)

// source is the archive as it comes. It remembers an error of its own, so that
// it can be told from what an unpacker complains of.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// stream is the unpacked archive.
type stream struct {
	ctx    context.Context
	src    source
	r      io.Reader
	packed bool
	close  func()
	offset uint64 // of what has been read
}

// packings are the formats around tar, by the bytes that they begin with. Of
// zstd's skippable frames the first byte may be any of sixteen.
var packings = []struct {
	magic, mask []byte
	open        func(*stream, io.Reader) error
}{
	{[]byte{0x1f, 0x8b}, []byte{0xff, 0xff}, (*stream).openGzip},
	{[]byte{0x28, 0xb5, 0x2f, 0xfd}, []byte{0xff, 0xff, 0xff, 0xff}, (*stream).openZstd},
	{[]byte{0x50, 0x2a, 0x4d, 0x18}, []byte{0xf0, 0xff, 0xff, 0xff}, (*stream).openZstd},
}

func newStream(ctx context.Context, r io.Reader) (*stream, error) {
	s := &stream{ctx: ctx, src: source{r: r}, close: func() {}}
	in := bufio.NewReaderSize(&s.src, readAhead)
	s.r = in
	start, _ := in.Peek(4) // what is wrong comes again with the first read
	for _, p := range packings {
		if hasMagic(start, p.magic, p.mask) {
			if err := p.open(s, in); err != nil {
				return nil, s.fault(err)
			}
			s.r, s.packed = bufio.NewReaderSize(s.r, readAhead), true
			break
		}
	}
	return s, nil
}

func hasMagic(b, magic, mask []byte) bool {
	if len(b) < len(magic) {
		return false
	}
	for i := range magic {
		if b[i]&mask[i] != magic[i] {
			return false
		}
	}
	return true
}

func (s *stream) openGzip(in io.Reader) error {
	z, err := gzip.NewReader(in)
	s.r = z
	return err
}

func (s *stream) openZstd(in io.Reader) error {
	// What it unpacks to is bounded by us, entry by entry.
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<63))
	if err != nil {
		return err
	}
	s.r, s.close = z, z.Close
	return nil
}

// fault turns what came from below into an error of ours: the source's own error
// as it is, an end as ErrTruncated, and anything else as what the unpacker has
// to say.
func (s *stream) fault(err error) error {
	switch {
	case s.src.err != nil:
		return s.src.err
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return &Error{Kind: ErrTruncated}
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return refuse(ErrLimit, "unpacking it takes a window of more than %d bytes", maxWindow)
	}
	return refuse(ErrCorrupt, "%v", err)
}

// read fills p. An end before that is ErrTruncated.
func (s *stream) read(p []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	n, err := io.ReadFull(s.r, p)
	s.offset += uint64(n)
	if err != nil {
		return s.fault(err)
	}
	return nil
}

// skip reads n bytes for nothing.
func (s *stream) skip(n uint64, buf []byte) error {
	for n > 0 {
		p := buf[:min(n, uint64(len(buf)))]
		if err := s.read(p); err != nil {
			return err
		}
		n -= uint64(len(p))
	}
	return nil
}

// maxPadding bounds the zeros behind the end mark: tar(1) fills up its records,
// which are 10 KiB as a rule.
const maxPadding = 16 << 20

// finish reads what follows the end mark, which must be zeros, up to the end of
// the source, where unpackers compare their checksums.
func (s *stream) finish(buf []byte) error {
	for n := 0; n <= maxPadding; {
		k, err := s.r.Read(buf)
		n += k
		s.offset += uint64(k)
		switch {
		case !isZero(buf[:k]), s.src.err == nil && errors.Is(err, gzip.ErrHeader),
			s.src.err == nil && errors.Is(err, zstd.ErrMagicMismatch):
			return &Error{Kind: ErrTrailing}
		case err == io.EOF:
			return nil
		case err != nil:
			return s.fault(err)
		}
	}
	return refuse(ErrLimit, "more than %d zeros follow its end", maxPadding)
}

var zeros [pageSize]byte

// isZero reports whether b, of any length, holds nothing but zeros.
func isZero(b []byte) bool {
	for len(b) > pageSize {
		if !bytes.Equal(b[:pageSize], zeros[:]) {
			return false
		}
		b = b[pageSize:]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

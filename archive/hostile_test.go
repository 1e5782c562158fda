package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// raw makes a ustar header and its data by hand, without any check.
func raw(name string, typ byte, link, data string, change ...func(h []byte)) []byte {
	h := make([]byte, blockSize)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", len(data)))
	copy(h[136:], "00000000000\x00")
	h[156] = typ
	copy(h[157:], link)
	copy(h[257:], "ustar\x0000")
	for _, c := range change {
		c(h)
	}
	h = append(resum(h, 0), data...)
	return append(h, make([]byte, -len(data)&(blockSize-1))...)
}

// put overwrites a part of a header.
func put(at int, s string) func([]byte) { return func(h []byte) { copy(h[at:], s) } }

// gnu makes a header one of GNU's.
var gnu = put(257, "ustar  \x00")

// records makes the body of an extended header.
func records(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		rest := " " + pairs[i] + "=" + pairs[i+1] + "\n"
		n := len(rest) + 1
		for len(fmt.Sprint(n))+len(rest) != n {
			n++
		}
		fmt.Fprintf(&b, "%d%s", n, rest)
	}
	return b.String()
}

func pax(pairs ...string) []byte { return raw("pax", 'x', "", records(pairs...)) }

// whole puts parts together and an end mark behind them.
func whole(parts ...[]byte) []byte {
	return append(bytes.Join(parts, nil), make([]byte, 2*blockSize)...)
}

// hostileCase is an archive and why it is refused.
type hostileCase struct {
	what string
	kind error
	data []byte
	o    Options
}

func hostileCases() []hostileCase {
	return []hostileCase{
		{"nothing", ErrFormat, nil, Options{}},
		{"a text", ErrFormat, []byte(strings.Repeat("To be, or not to be\n", 100)), Options{}},
		{"a short text", ErrFormat, []byte("To be"), Options{}},
		{"a text in gzip", ErrFormat, pack(newGzip, []byte(strings.Repeat("To be, or not to be\n", 100))), Options{}},
		{"gzip in gzip", ErrFormat, pack(newGzip, pack(newGzip, noise(2000))), Options{}},
		{"gzip that is none", ErrCorrupt, append([]byte{0x1f, 0x8b, 99}, make([]byte, 100)...), Options{}},

		{"absolute", ErrName, whole(raw("/a", '0', "", "")), Options{}},
		{"only a slash", ErrName, whole(raw("/", '5', "", "")), Options{}},
		{"no name", ErrName, whole(raw("", '0', "", "")), Options{}},
		{"dots", ErrName, whole(raw("a/../b", '0', "", "")), Options{}},
		{"dots first", ErrName, whole(raw("../b", '0', "", "")), Options{}},
		{"dots last", ErrName, whole(raw("a/..", '5', "", "")), Options{}},
		{"dots behind a dot", ErrName, whole(raw("./../a", '0', "", "")), Options{}},
		{"a dot", ErrName, whole(raw("a/./b", '0', "", "")), Options{}},
		{"two dots first", ErrName, whole(raw("././b", '0', "", "")), Options{}},
		{"the root as a file", ErrName, whole(raw(".", '0', "", "")), Options{}},
		{"the root as a file, with a slash", ErrName, whole(raw("./", '0', "", "")), Options{}},
		{"an empty component", ErrName, whole(raw("a//b", '0', "", "")), Options{}},
		{"two slashes behind", ErrName, whole(raw("a//", '5', "", "")), Options{}},
		{"a slash behind a file", ErrName, whole(raw("a/", '0', "", "")), Options{}},
		{"a slash behind a link", ErrName, whole(raw("a/", '2', "b", "")), Options{}},
		{"a NUL", ErrName, whole(pax("path", "a\x00b"), raw("a", '0', "", "")), Options{}},
		{"a long component", ErrName, whole(pax("path", strings.Repeat("n", 256)), raw("a", '0', "", "")), Options{}},
		{"a long path", ErrName, whole(pax("path", strings.Repeat("n/", 2047)+"nn"), raw("a", '0', "", "")), Options{}},
		{"dots by GNU", ErrName, whole(raw("././@LongLink", 'L', "", "../x\x00", gnu), raw("a", '0', "", "", gnu)), Options{}},
		{"dots by sparse name", ErrName, whole(pax("GNU.sparse.name", "../x", "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "0"), raw("a", '0', "", "0\n"+string(pad(510)))), Options{}},
		{"no UTF-8", ErrNotUTF8, whole(raw("a\xff", '0', "", "")), Options{RequireUTF8: true}},
		{"no UTF-8 in a link", ErrNotUTF8, whole(raw("a", '0', "", ""), raw("b", '1', "\xff", "")), Options{RequireUTF8: true}},

		{"twice", ErrDuplicate, whole(raw("a", '0', "", ""), raw("./a", '0', "", "")), Options{}},
		{"a directory twice", ErrDuplicate, whole(raw("a/", '5', "", ""), raw("a", '5', "", "")), Options{}},
		{"a directory thrice", ErrDuplicate, whole(raw("a/b", '0', "", ""), raw("a", '5', "", ""), raw("a", '5', "", "")), Options{}},
		{"the root twice", ErrDuplicate, whole(raw("./", '5', "", ""), raw(".", '5', "", "")), Options{}},
		{"a file for a directory", ErrDuplicate, whole(raw("a/b", '0', "", ""), raw("a", '0', "", "")), Options{}},
		{"a directory for a file", ErrDuplicate, whole(raw("a", '0', "", ""), raw("a", '5', "", "")), Options{}},
		{"a directory for a link", ErrDuplicate, whole(raw("a", '2', "/etc", ""), raw("a", '5', "", "")), Options{}},
		{"in a file", ErrParent, whole(raw("a", '0', "", ""), raw("a/b", '0', "", "")), Options{}},
		{"in a link", ErrParent, whole(raw("a", '2', "/etc", ""), raw("a/passwd", '0', "", "")), Options{}},
		{"a directory in a link", ErrParent, whole(raw("a", '2', "/etc", ""), raw("a/b/c", '5', "", "")), Options{}},

		{"a link to nothing", ErrLink, whole(raw("a", '1', "b", "")), Options{}},
		{"a link to later", ErrLink, whole(raw("a", '1', "b", ""), raw("b", '0', "", "")), Options{}},
		{"a link to itself", ErrLink, whole(raw("a", '1', "a", "")), Options{}},
		{"a link to a directory", ErrLink, whole(raw("b", '5', "", ""), raw("a", '1', "b", "")), Options{}},
		{"a link to below a file", ErrLink, whole(raw("b", '0', "", ""), raw("a", '1', "b/c", "")), Options{}},
		{"a link out", ErrName, whole(raw("a", '1', "../b", "")), Options{}},
		{"a link to an absolute path", ErrName, whole(raw("a", '1', "/etc/passwd", "")), Options{}},
		{"a link to the root", ErrName, whole(raw("a", '1', "", "")), Options{}},
		{"a symbolic link to nowhere", ErrCorrupt, whole(raw("a", '2', "", "")), Options{}},
		{"a symbolic link with a NUL", ErrCorrupt, whole(pax("linkpath", "a\x00b"), raw("a", '2', "", "")), Options{}},
		{"a long symbolic link", ErrCorrupt, whole(pax("linkpath", strings.Repeat("x", 4096)), raw("a", '2', "", "")), Options{}},
		{"data for a link", ErrUnsupported, whole(raw("b", '0', "", ""), raw("a", '1', "b", "data")), Options{}},
		{"data for a fifo", ErrUnsupported, whole(raw("a", '6', "", "data")), Options{}},

		{"unknown type", ErrUnsupported, whole(raw("a", 'Z', "", "")), Options{}},
		{"volume label", ErrUnsupported, whole(raw("a", 'V', "", "", gnu)), Options{}},
		{"multi-volume", ErrUnsupported, whole(raw("a", 'M', "", "", gnu)), Options{}},
		{"incremental", ErrUnsupported, whole(raw("a", 'D', "", "Yb\x00\x00", gnu)), Options{}},
		{"global path", ErrUnsupported, whole(raw("g", 'g', "", records("path", "x")), raw("a", '0', "", "")), Options{}},
		{"global attribute", ErrUnsupported, whole(raw("g", 'g', "", records("SCHILY.xattr.user.x", "x")), raw("a", '0', "", "")), Options{}},
		{"a device of v7", ErrCorrupt, whole(raw("a", '3', "", "", put(257, string(pad(8))))), Options{}},
		{"a device too high", ErrCorrupt, whole(raw("a", '3', "", "", put(329, "0010000\x00"))), Options{}},

		{"checksum", ErrCorrupt, whole(raw("a", '0', "", ""), flip(raw("b", '0', "", ""), 5)), Options{}},
		{"first checksum", ErrFormat, whole(flip(raw("b", '0', "", ""), 5)), Options{}},
		{"mode", ErrCorrupt, whole(raw("a", '0', "", "", put(100, "rw-r--r-"))), Options{}},
		{"mode with something behind", ErrCorrupt, whole(raw("a", '0', "", "", put(100, "644 x\x00\x00\x00"))), Options{}},
		{"negative size", ErrCorrupt, whole(raw("a", '0', "", "", put(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))), Options{}},
		{"size of many bits", ErrCorrupt, whole(raw("a", '0', "", "", put(124, "\x80\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00"))), Options{}},
		{"size of all bits", ErrLimit, whole(raw("a", '0', "", "", put(124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"))), Options{}},
		{"uid too high", ErrCorrupt, whole(raw("a", '0', "", "", put(108, "\x80\x00\x00\x00\xff\xff\xff\xff"))), Options{}},
		{"uid too high by PAX", ErrCorrupt, whole(pax("uid", "4294967295"), raw("a", '0', "", "")), Options{}},
		{"negative gid", ErrCorrupt, whole(pax("gid", "-1"), raw("a", '0', "", "")), Options{}},
		{"a size by PAX that is none", ErrCorrupt, whole(pax("size", "0x10"), raw("a", '0', "", "")), Options{}},
		{"a size by PAX that is not there", ErrTruncated, whole(pax("size", "100000"), raw("a", '0', "", "")), Options{}},
		{"a time that is none", ErrCorrupt, whole(pax("mtime", "1.x"), raw("a", '0', "", "")), Options{}},
		{"a time before all time", ErrCorrupt, whole(pax("mtime", "-9223372036854775808.5"), raw("a", '0', "", "")), Options{}},
		{"PAX twice", ErrCorrupt, whole(pax("path", "x"), pax("path", "y"), raw("a", '0', "", "")), Options{}},
		{"PAX and GNU", ErrCorrupt, whole(pax("path", "x"), raw("l", 'L', "", "y\x00", gnu), raw("a", '0', "", "")), Options{}},
		{"PAX at the end", ErrCorrupt, whole(raw("a", '0', "", ""), pax("path", "x")), Options{}},
		{"PAX without a length", ErrCorrupt, whole(raw("p", 'x', "", "path=x\n"), raw("a", '0', "", "")), Options{}},
		{"PAX of the wrong length", ErrCorrupt, whole(raw("p", 'x', "", "99 path=x\n"), raw("a", '0', "", "")), Options{}},
		{"PAX of length 0", ErrCorrupt, whole(raw("p", 'x', "", "0 path=x\n"), raw("a", '0', "", "")), Options{}},
		{"PAX without a value", ErrCorrupt, whole(raw("p", 'x', "", "8 path\n\n"), raw("a", '0', "", "")), Options{}},
		{"PAX without a newline", ErrCorrupt, whole(raw("p", 'x', "", "10 path=xy"), raw("a", '0', "", "")), Options{}},
		{"PAX with a NUL", ErrCorrupt, whole(pax("pa\x00th", "x"), raw("a", '0', "", "")), Options{}},
		{"an attribute twice", ErrCorrupt, whole(pax("SCHILY.xattr.user.x", "1", "SCHILY.xattr.user.x", "2"), raw("a", '0', "", "")), Options{}},
		{"an attribute without a name", ErrCorrupt, whole(pax("SCHILY.xattr.", "1"), raw("a", '0', "", "")), Options{}},
		{"an attribute with a long name", ErrCorrupt, whole(pax("SCHILY.xattr.user."+strings.Repeat("x", 251), "1"), raw("a", '0', "", "")), Options{}},
		{"a large attribute", ErrCorrupt, whole(pax("SCHILY.xattr.user.x", strings.Repeat("x", 65537)), raw("a", '0', "", "")), Options{}},
		{"many attributes", ErrCorrupt, whole(raw("p", 'x', "", manyXattrs(400)), raw("a", '0', "", "")), Options{}},
		{"a large extended header", ErrLimit, whole(raw("p", 'x', "", strings.Repeat("x", maxExtended+1)), raw("a", '0', "", "")), Options{}},
		{"an extended header of negative size", ErrCorrupt, whole(raw("p", 'x', "", "", put(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))), Options{}},

		{"sparse of star", ErrUnsupported, whole(raw("a", 'S', "", "")), Options{}},
		{"sparse of a later version", ErrUnsupported, whole(pax("GNU.sparse.major", "2", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "1"), raw("a", '0', "", "")), Options{}},
		{"sparse without a size", ErrCorrupt, whole(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0"), raw("a", '0', "", "")), Options{}},
		{"sparse without a map", ErrCorrupt, whole(pax("GNU.sparse.size", "5"), raw("a", '0', "", "")), Options{}},
		{"sparse overlapping", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,3,2,2"), raw("a", '0', "", "12345")), Options{}},
		{"sparse behind the end", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,3,9,2"), raw("a", '0', "", "12345")), Options{}},
		{"sparse with too much data", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,3"), raw("a", '0', "", "12345")), Options{}},
		{"sparse with too little data", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,6"), raw("a", '0', "", "12345")), Options{}},
		{"sparse, wrong count", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,5"), raw("a", '0', "", "12345")), Options{}},
		{"sparse, half a pair", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,5,6"), raw("a", '0', "", "12345")), Options{}},
		{"sparse, lengths without offsets", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.numbytes", "5"), raw("a", '0', "", "12345")), Options{}},
		{"sparse that overflows", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "9223372036854775807,9223372036854775807"), raw("a", '0', "", "12345")), Options{}},
		{"sparse sums that overflow", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "18446744073709551615,1"), raw("a", '0', "", "12345")), Options{}},
		{"sparse directory", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,0"), raw("a", '5', "", "")), Options{}},
		{"a map in data that ends", ErrCorrupt, whole(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "10"), raw("a", '0', "", "99\n1\n"+strings.Repeat("1\n", 300))), Options{}},
		{"a map in data of letters", ErrCorrupt, whole(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "10"), raw("a", '0', "", "one\n"+string(pad(508)))), Options{}},
		{"a map in data of many parts", ErrLimit, whole(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "10"), raw("a", '0', "", "99999999\n"+string(pad(503)))), Options{}},
		{"an old map and PAX", ErrCorrupt, whole(pax("GNU.sparse.size", "10", "GNU.sparse.map", "0,0"), raw("a", 'S', "", "", gnu)), Options{}},
		{"an old map of letters", ErrCorrupt, whole(raw("a", 'S', "", "", gnu, put(386, "abc"))), Options{}},
		{"an old map that goes on", ErrTruncated, raw("a", 'S', "", "", gnu, put(482, "1")), Options{}},

		{"no end", ErrTruncated, raw("a", '0', "", ""), Options{}},
		{"half an end", ErrTruncated, append(raw("a", '0', "", ""), make([]byte, blockSize)...), Options{}},
		{"no data", ErrTruncated, raw("a", '0', "", strings.Repeat("x", 1000))[:700], Options{}},
		{"half a header", ErrTruncated, append(raw("b", '0', "", ""), raw("a", '0', "", "")[:300]...), Options{}},
		{"a block of zeros", ErrCorrupt, whole(make([]byte, blockSize), raw("a", '0', "", "")), Options{}},
		{"something behind", ErrTrailing, append(whole(raw("a", '0', "", "")), 'x'), Options{}},
		{"an archive behind", ErrTrailing, append(whole(raw("a", '0', "", "")), whole(raw("b", '0', "", ""))...), Options{}},
		{"something behind gzip", ErrTrailing, append(pack(newGzip, whole(raw("a", '0', "", ""))), "something else"...), Options{}},
		{"something behind zstd", ErrTrailing, append(pack(newZstd, whole(raw("a", '0', "", ""))), "something else"...), Options{}},
		{"gzip cut off", ErrTruncated, cut(pack(newGzip, whole(raw("a", '0', "", strings.Repeat("x", 1000))))), Options{}},
		{"zstd cut off", ErrTruncated, cut(pack(newZstd, whole(raw("a", '0', "", strings.Repeat("x", 1000))))), Options{}},
		{"gzip checksum", ErrCorrupt, flip(pack(newGzip, whole(raw("a", '0', "", ""))), -8), Options{}},
		{"zstd checksum", ErrCorrupt, flip(pack(newZstd, whole(raw("a", '0', "", ""))), -1), Options{}},

		{"many bytes", ErrLimit, whole(raw("a", '0', "", strings.Repeat("x", 600)), raw("b", '0', "", strings.Repeat("x", 600))), Options{MaxBytes: 1000}},
		{"a claim of many bytes", ErrLimit, whole(raw("a", '0', "", "", put(124, "77777777777\x00"))), Options{}},
		{"many names", ErrLimit, whole(raw("a", '0', "", ""), raw("b", '0', "", ""), raw("c", '0', "", "")), Options{MaxEntries: 2}},
		{"many implied names", ErrLimit, whole(raw("a/b/c", '0', "", "")), Options{MaxEntries: 2}},
		{"many links", ErrLimit, whole(raw("a", '0', "", ""), raw("b", '1', "a", ""), raw("c", '1', "a", "")), Options{MaxEntries: 2}},
		{"much metadata", ErrLimit, whole(pax("comment", strings.Repeat("x", 3000)), raw("a", '0', "", "")), Options{MaxMetadata: 3000}},
		{"much global metadata", ErrLimit, whole(bytes.Repeat(raw("g", 'g', "", ""), 10)), Options{MaxMetadata: 3000}},
		{"huge holes", ErrLimit, whole(pax("GNU.sparse.size", "9223372036854775807", "GNU.sparse.map", "0,0"), raw("a", '0', "", "")), Options{}},
		{"many holes", ErrLimit, whole(pax("GNU.sparse.size", "6000", "GNU.sparse.map", "0,0"), raw("a", '0', "", ""),
			pax("GNU.sparse.size", "6000", "GNU.sparse.map", "0,0"), raw("b", '0', "", "")), Options{MaxLogical: 10000}},
		{"many pages", ErrLimit, whole(pax("GNU.sparse.size", "40960000", "GNU.sparse.map", manyParts(1000)), raw("a", '0', "", strings.Repeat("x", 1000))), Options{MaxBytes: 100000}},
		{"a gzip bomb", ErrLimit, pack(newGzip, raw("a", '0', "", string(pad(20<<20)))), Options{MaxBytes: 1 << 20}},
		{"a zstd bomb", ErrLimit, pack(newZstd, raw("a", '0', "", string(pad(20<<20)))), Options{MaxBytes: 1 << 20}},
		{"a bomb behind the end", ErrLimit, pack(newGzip, pad(20<<20)), Options{}},
		{"a bomb of headers", ErrLimit, pack(newGzip, bytes.Repeat(raw("g", 'g', "", ""), 100000)), Options{MaxMetadata: 1 << 20}},
		{"a wide window", ErrLimit, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x01, 0x00, 0x00}, Options{}},
	}
}

func pad(n int) []byte { return make([]byte, n) }

// noise is data that do not get smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	must(rand.NewChaCha8([32]byte{}).Read(b))
	return b
}

func cut(b []byte) []byte { return b[:len(b)*2/3] }

// flip changes a byte, counted from the end where at is negative.
func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 0x55
	return b
}

func manyXattrs(n int) string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("SCHILY.xattr.user.%0200d", i), "")
	}
	return records(pairs...)
}

// manyParts has one byte of data in each of n pages.
func manyParts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%d,1", i*4096)
	}
	return b.String()[1:]
}

type packer interface {
	Write([]byte) (int, error)
	Close() error
}

func newGzip(b *bytes.Buffer) packer { return gzip.NewWriter(b) }

func newZstd(b *bytes.Buffer) packer { return must(zstd.NewWriter(b)) }

func pack(open func(*bytes.Buffer) packer, data ...[]byte) []byte {
	var b bytes.Buffer
	w := open(&b)
	for _, d := range data {
		must(w.Write(d))
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestHostile(t *testing.T) {
	fds := openFDs(t)
	for _, tt := range hostileCases() {
		t.Run(tt.what, func(t *testing.T) {
			fs, err := Read(t.Context(), bytes.NewReader(tt.data), "test.tar", tt.o)
			if err == nil {
				fs.Close()
			}
			wantKind(t, err, tt.kind)
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
	if n := openFDs(t); n > fds {
		t.Errorf("%d descriptors were left open", n-fds)
	}
}

// openFDs is the number of descriptors that the process has open.
func openFDs(t *testing.T) int {
	t.Helper()
	return len(must(os.ReadDir("/proc/self/fd")))
}

// TestErrorSaysWhere: the place of an error is that of the entry's first header.
func TestErrorSaysWhere(t *testing.T) {
	data := whole(raw("fine", '0', "", "data"), pax("path", "not/../fine"), raw("x", '0', "", ""))
	_, err := Read(t.Context(), bytes.NewReader(data), "test.tar", Options{})
	e, ok := err.(*Error)
	if !ok || e.Offset != 1024 || e.Entry != "not/../fine" {
		t.Fatalf("got %#v", err)
	}
	const want = `archive test.tar: entry "not/../fine" at byte 1024: the name is not a clean relative path: it has the component ".."`
	if e.Error() != want {
		t.Errorf("got  %s\nwant %s", e, want)
	}
}

// TestEveryCut reads all beginnings of an archive: none but the whole is one.
func TestEveryCut(t *testing.T) {
	data := makeTar(t, file("a", "some data"), item{tar.Header{Name: strings.Repeat("n", 120), Format: tar.FormatPAX}, "x"})
	for n := range len(data) - 1 {
		fs, err := Read(t.Context(), bytes.NewReader(data[:n]), "test.tar", Options{})
		if err == nil {
			fs.Close()
			if n < len(data)-blockSize {
				t.Errorf("%d of %d bytes are an archive", n, len(data))
			}
		}
	}
}

// TestBoundedMemory: what a refused bomb makes the process allocate is bounded
// by the limits, not by what it claims.
func TestBoundedMemory(t *testing.T) {
	for what, data := range map[string][]byte{
		"deep names": pack(newGzip, bytes.Repeat(append(pax("path", strings.Repeat("n/", 2000)+"n"), raw("a", '0', "", "")...), 5)),
		"data":       pack(newZstd, raw("a", '0', "", string(pad(64<<20)))),
	} {
		o := Options{MaxBytes: 1 << 20, MaxEntries: 1000, MaxMetadata: 1 << 20}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(t.Context(), bytes.NewReader(data), "test.tar", o)
		runtime.ReadMemStats(&after)
		wantKind(t, err, ErrLimit)
		if n := after.TotalAlloc - before.TotalAlloc; n > 24<<20 {
			t.Errorf("%s: %d bytes were allocated", what, n)
		}
	}
}

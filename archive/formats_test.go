package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TestAttributes reads what PAX can say of a file.
func TestAttributes(t *testing.T) {
	at := func(sec, nsec int64) time.Time { return time.Unix(sec, nsec) }
	fs := mustRead(t, makeTar(t,
		item{tar.Header{
			Name: "f", Mode: 0o6751, Uid: 70000000, Gid: 80000000, Format: tar.FormatPAX,
			ModTime: at(-5, 999999999), AccessTime: at(7, 5), ChangeTime: at(8, 0),
			PAXRecords: map[string]string{
				"SCHILY.xattr.user.a": "value\x00\n=", "SCHILY.xattr.user.empty": "", "SCHILY.xattr.security.capability": "x",
				"SCHILY.acl.access": "user::rw-", "comment": "ignored", "VENDOR.x": "ignored",
			},
		}, "12345"},
		item{tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 0xfff, Devminor: 0xfffff, Format: tar.FormatGNU}, ""},
		item{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Mode: 0o660, Devmajor: 8, Devminor: 300}, ""},
		item{tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, ""},
		item{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd", Mode: 0o600}, ""},
		link("hard", "f"), link("hardlink-to-link", "link"),
		item{tar.Header{Name: "a/b/late/", Typeflag: tar.TypeDir, Mode: 0o1700, Uid: 5}, ""},
		file("a/x", "x"),
		item{tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 6}, ""},
	), Options{Logger: slog.New(slog.DiscardHandler)})
	got := walkAll(t, fs)

	paths := slices.Sorted(maps.Keys(got))
	if want := []string{"", "a", "a/b", "a/b/late", "a/x", "disk", "f", "fifo", "hard", "hardlink-to-link", "link", "null"}; !slices.Equal(paths, want) {
		t.Fatalf("there are %q, want %q", paths, want)
	}
	f := got["f"]
	wantAttr := vfs.Attr{
		Ino: f.attr.Ino, Size: 5, Blocks: 1, Mode: unix.S_IFREG | 0o6751, Nlink: 2, UID: 70000000, GID: 80000000, Blksize: 4096,
		Atime: vfs.Timespec{Sec: 7, Nsec: 5}, Mtime: vfs.Timespec{Sec: -5, Nsec: 999999999}, Ctime: vfs.Timespec{Sec: 8},
	}
	if d := cmp.Diff(wantAttr, f.attr); d != "" {
		t.Errorf("f: %s", d)
	}
	wantX := map[string]string{"user.a": "value\x00\n=", "user.empty": "", "security.capability": "x"}
	if d := cmp.Diff(wantX, f.xattrs); d != "" {
		t.Errorf("attributes: %s", d)
	}
	if got["hard"].attr != f.attr {
		t.Errorf("the hard link is %+v", got["hard"].attr)
	}
	for p, want := range map[string]struct {
		mode, nlink, rdev, uid uint32
		sec                    int64
	}{
		"":     {unix.S_IFDIR | 0o755, 3, 0, 0, 0},
		"a":    {unix.S_IFDIR | 0o711, 3, 0, 6, 1e9},
		"a/b":  {unix.S_IFDIR | 0o755, 3, 0, 0, 0},
		"null": {unix.S_IFCHR | 0o666, 1, vfs.MakeDev(0xfff, 0xfffff), 0, 1e9},
		"disk": {unix.S_IFBLK | 0o660, 1, vfs.MakeDev(8, 300), 0, 1e9},
		"fifo": {unix.S_IFIFO | 0o600, 1, 0, 0, 1e9},
		"link": {unix.S_IFLNK | 0o777, 2, 0, 0, 1e9},

		"a/b/late": {unix.S_IFDIR | 0o1700, 2, 0, 5, 1e9},
	} {
		a := got[p].attr
		if a.Mode != want.mode || a.Nlink != want.nlink || a.Rdev != want.rdev || a.UID != want.uid || a.Mtime.Sec != want.sec {
			t.Errorf("%q is %+v, want %+v", p, a, want)
		}
	}
	if got["link"].data != "../../etc/passwd" || got["hardlink-to-link"].attr.Ino != got["link"].attr.Ino {
		t.Errorf("the link leads to %q", got["link"].data)
	}
	s := fs.Stats()
	if s.Files != 10 || s.Names != 11 || s.Logical != 6 || s.Data != 4096 {
		t.Errorf("stats are %+v", s)
	}
}

// TestLongNames has names that need extended headers, in each format that has
// them.
func TestLongNames(t *testing.T) {
	deep := strings.Repeat(strings.Repeat("d", 255)+"/", 15) + strings.Repeat("f", 255)
	odd := "\xff\xfe\n \\ \"'"
	for _, format := range []tar.Format{tar.FormatGNU, tar.FormatPAX} {
		fs := mustRead(t, makeTar(t,
			item{tar.Header{Name: deep, Format: format}, "deep"},
			item{tar.Header{Name: odd, Format: tar.FormatGNU}, "odd"},
			item{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: deep, Format: format}, ""},
			item{tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: deep, Format: format}, ""},
		), Options{})
		got := walkAll(t, fs)
		if got[deep].data != "deep" || got["h"].data != "deep" || got["l"].data != deep || got[odd].data != "odd" {
			t.Errorf("%v: %d objects", format, len(got))
		}
	}
	// ustar splits a name of up to 255 bytes.
	split := strings.Repeat("p", 150) + "/" + strings.Repeat("n", 100)
	if got := walkAll(t, mustRead(t, makeTar(t, item{tar.Header{Name: split, Format: tar.FormatUSTAR}, "x"}), Options{})); got[split].data != "x" {
		t.Errorf("the name that ustar splits is missing")
	}
}

// TestOldTypes has the type flags of programs older than ustar.
func TestOldTypes(t *testing.T) {
	v7 := func(name string, typ byte, data string) []byte {
		b := makeTar(t, item{tar.Header{Name: strings.TrimSuffix(name, "/"), Format: tar.FormatUSTAR}, data})
		b = b[:len(b)-2*blockSize]
		copy(b, name)
		clear(b[257:512])
		b[156] = typ
		return resum(b, 0)
	}
	var b []byte
	b = append(b, v7("old", 0, "one")...)
	b = append(b, v7("old-dir/", 0, "")...)
	b = append(b, v7("contiguous", '7', "two")...)
	got := walkAll(t, mustRead(t, append(b, make([]byte, 1024)...), Options{}))
	if got["old"].data != "one" || got["contiguous"].data != "two" || got["old-dir"].attr.Mode&unix.S_IFMT != unix.S_IFDIR || len(got) != 4 {
		t.Errorf("got %+v", got)
	}
}

// resum sets the checksum of the header at off.
func resum(b []byte, off int) []byte {
	h := b[off : off+blockSize]
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	return b
}

// TestSparse has tar(1) write files with holes in all its formats, and compares
// them with the files themselves.
func TestSparse(t *testing.T) {
	d := tempDir(t)
	block := strings.Repeat("some data ", 410)[:4096]
	for name, parts := range map[string][]struct {
		off  int64
		data string
	}{
		"start":   {{0, block}},
		"end":     {{1<<20 - 4096, block}},
		"middle":  {{1 << 18, block}, {1<<18 + 8192, block}, {1 << 19, block[:100]}},
		"nothing": nil,
		"many":    nil,
		"huge":    {{1 << 40, block}},
		"small":   nil,
	} {
		p := filepath.Join(d, name)
		f, err := os.Create(p)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(1 << 20)
		switch name {
		case "many":
			for i := range int64(100) {
				f.WriteAt([]byte(block), i*3*4096)
			}
			size += 777
		case "huge":
			size = 1<<41 + 5
		case "small":
			size = 999
		}
		for _, part := range parts {
			f.WriteAt([]byte(part.data), part.off)
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"--format=gnu"},
		{"--format=pax", "--sparse-version=0.0"},
		{"--format=pax", "--sparse-version=0.1"},
		{"--format=pax", "--sparse-version=1.0"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			image := runTar(t, d, append(args, "--sparse", ".")...)
			if len(image) > 1<<20 {
				t.Fatalf("tar(1) wrote %d bytes: the files have no holes", len(image))
			}
			fs := mustRead(t, image, Options{})
			if s := fs.Stats(); s.Data > 1<<20 {
				t.Errorf("it takes %d bytes", s.Data)
			}
			got := walkAll(t, fs)
			for _, e := range must(os.ReadDir(d)) {
				p := filepath.Join(d, e.Name())
				var st unix.Stat_t
				if err := unix.Stat(p, &st); err != nil {
					t.Fatal(err)
				}
				g := got[e.Name()]
				if g.attr.Size != uint64(st.Size) || g.attr.Blocks > uint64(st.Blocks) && st.Size >= 4096 {
					t.Errorf("%s has %d bytes in %d blocks, want %d in %d", p, g.attr.Size, g.attr.Blocks, st.Size, st.Blocks)
				}
				want := block // of the one that is too long to read
				if st.Size <= maxData {
					want = string(must(os.ReadFile(p)))
				}
				if g.data != want {
					t.Errorf("%s has other data", p)
				}
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestHolesOfZeros: zeros take no memory, wherever they come from.
func TestHolesOfZeros(t *testing.T) {
	data := make([]byte, 10<<20+100)
	copy(data[5<<20:], "island")
	data[len(data)-1] = 'x'
	fs := mustRead(t, makeTar(t, file("f", string(data)), file("g", string(data[:1<<20]))), Options{})
	got := walkAll(t, fs)
	if s := fs.Stats(); s.Data != 2*4096 || s.Logical != 11<<20+100 {
		t.Errorf("stats are %+v", s)
	}
	if a := got["f"].attr; a.Size != uint64(len(data)) || a.Blocks != 16 {
		t.Errorf("f has %d bytes in %d blocks", a.Size, a.Blocks)
	}
}

// TestPackings reads archives in each packing, in pieces as in one.
func TestPackings(t *testing.T) {
	plain := makeTar(t, file("a", "one"), file("b", strings.Repeat("two", 10000)))
	half := len(plain) / 2
	skippable := []byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}
	for what, data := range map[string][]byte{
		"plain": plain, "gzip": gzipped(t, plain), "zstd": zstded(t, plain),
		"gzip in members":   append(gzipped(t, plain[:half]), gzipped(t, plain[half:])...),
		"zstd in frames":    append(zstded(t, plain[:half]), zstded(t, plain[half:])...),
		"a skippable frame": append(skippable, zstded(t, plain)...),
		"more zeros":        append(bytes.Clone(plain), make([]byte, 100<<10+5)...),
	} {
		t.Run(what, func(t *testing.T) {
			fs := mustRead(t, data, Options{})
			if got := walkAll(t, fs); len(got) != 3 || got["a"].data != "one" || len(got["b"].data) != 30000 {
				t.Errorf("got %d objects", len(got))
			}
		})
	}
	for prog, arg := range map[string]string{"gzip": "-9", "zstd": "-19"} {
		cmd := exec.Command(prog, arg, "-c")
		cmd.Stdin = bytes.NewReader(plain)
		if got := walkAll(t, mustRead(t, must(cmd.Output()), Options{})); len(got) != 3 {
			t.Errorf("%s: %d objects", prog, len(got))
		}
	}
}

// TestOpen opens a file, whose time is that of directories nobody mentions.
func TestOpen(t *testing.T) {
	p := filepath.Join(tempDir(t), "without-a-suffix")
	if err := os.WriteFile(p, gzipped(t, makeTar(t, file("d/f", "x"))), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp := time.Unix(1234567, 89)
	if err := os.Chtimes(p, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	calls, entries := 0, 0
	fs, err := Open(t.Context(), p, Options{Progress: func(n int, _ uint64) { calls++; entries = n }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeFS(t, fs)
	if m := walkAll(t, fs)["d"].attr.Mtime; m != (vfs.Timespec{Sec: 1234567, Nsec: 89}) {
		t.Errorf("the directory is of %+v", m)
	}
	if calls != 1 || entries != 1 {
		t.Errorf("progress was told %d times, at last of %d entries", calls, entries)
	}
	if _, err := Open(t.Context(), p+"-none", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestProgress: reports come while a large file is read, and add up.
func TestProgress(t *testing.T) {
	var told []uint64
	mustRead(t, makeTar(t, file("large", string(make([]byte, 40<<20)))), Options{
		Progress: func(_ int, n uint64) { told = append(told, n) },
	})
	if len(told) != 3 || told[0] < 16<<20 || told[0] >= 20<<20 || told[2] != 40<<20 {
		t.Errorf("told %d", told)
	}
}

// TestContext: reading ends with its context.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	image := makeTar(t, file("a", "x"), file("large", string(make([]byte, 20<<20))))
	_, err := Read(ctx, bytes.NewReader(image), "test.tar", Options{Progress: func(int, uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSourceFails: an error of the reader is that, and no verdict on the archive.
func TestSourceFails(t *testing.T) {
	plain := makeTar(t, file("a", strings.Repeat("x", 10000)))
	for what, data := range map[string][]byte{"plain": plain[:3000], "gzip": gzipped(t, plain)[:60], "zstd": zstded(t, plain)[:20]} {
		r := io.MultiReader(bytes.NewReader(data), failing{})
		_, err := Read(t.Context(), r, "test.tar", Options{})
		var e *Error
		if !errors.Is(err, syscall.EIO) || errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, syscall.EIO }

// TestRareHeaders has what only some programs write.
func TestRareHeaders(t *testing.T) {
	signed := raw("a\xff", '0', "", "data")
	var sum int
	for i, c := range signed[:blockSize] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int(int8(c))
	}
	copy(signed[148:], fmt.Sprintf("%06o\x00 ", sum))
	for what, tt := range map[string]struct {
		image []byte
		want  map[string]string
	}{
		"a checksum of signed bytes": {signed, map[string]string{"a\xff": "data"}},
		"a directory with a size":    {append(raw("d", '5', "", "", put(124, "00000000001\x00")), raw("f", '0', "", "x")...), map[string]string{"d": "", "f": "x"}},
		"a prefix of star, and times behind it": {
			raw("f", '0', "", "x", put(345, strings.Repeat("p", 131)), put(476, "00000000001"), put(508, "tar\x00")),
			map[string]string{strings.Repeat("p", 131): "", strings.Repeat("p", 131) + "/f": "x"},
		},
		"times of GNU":              {raw("f", '0', "", "x", gnu, put(345, "00000000007\x0000000000010\x00")), map[string]string{"f": "x"}},
		"times of GNU, not as such": {raw("f", '0', "", "x", gnu, put(345, "prefix")), map[string]string{"f": "x"}},
		"one time of PAX":           {append(pax("mtime", "9"), raw("f", '0', "", "x")...), map[string]string{"f": "x"}},
		"two times of PAX":          {append(pax("mtime", "9", "ctime", "10"), raw("f", '0', "", "x")...), map[string]string{"f": "x"}},
		"a global comment":          {append(raw("pax_global_header", 'g', "", records("comment", "0123")), raw("f", '0', "", "x")...), map[string]string{"f": "x"}},
		"an empty value":            {append(pax("path", "", "size", ""), raw("f", '0', "", "x")...), map[string]string{"f": "x"}},
	} {
		got := walkAll(t, mustRead(t, whole(tt.image), Options{}))
		delete(got, "")
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %d objects", what, len(got))
		}
		for p, data := range tt.want {
			if f, ok := got[p]; !ok || f.data != data {
				t.Errorf("%s: %q is %+v", what, p, f)
			}
		}
		times := [3]int64{}
		for i, at := range []vfs.Timespec{got["f"].attr.Atime, got["f"].attr.Mtime, got["f"].attr.Ctime} {
			times[i] = at.Sec
		}
		want := map[string][3]int64{"times of GNU": {7, 0, 8}, "one time of PAX": {9, 9, 9}, "two times of PAX": {9, 9, 10}}[what]
		if times != want {
			t.Errorf("%s: the times are %d, want %d", what, times, want)
		}
	}
}

// TestSmallSparse: what lies before a small file in memory does not show in its
// holes.
func TestSmallSparse(t *testing.T) {
	var parts [][]byte
	for i := range 40 {
		parts = append(parts, raw(fmt.Sprint(i), '0', "", strings.Repeat("x", 4000)))
	}
	parts = append(parts, pax("GNU.sparse.size", "4000", "GNU.sparse.map", "10,1,3000,1"), raw("s", '0', "", "ab"))
	got := walkAll(t, mustRead(t, whole(parts...), Options{}))["s"].data
	if len(got) != 4000 || got[10] != 'a' || got[3000] != 'b' || strings.Count(got, "\x00") != 3998 {
		t.Errorf("it has %d zeros in %d bytes", strings.Count(got, "\x00"), len(got))
	}
}

// TestPagesAreCountedOnce, however many parts of a file they hold.
func TestPagesAreCountedOnce(t *testing.T) {
	fs := mustRead(t, whole(pax("GNU.sparse.size", "20000", "GNU.sparse.map", "1,1,5,1,4000,200,16000,1"),
		raw("s", '0', "", strings.Repeat("x", 203))), Options{})
	if s, a := fs.Stats(), walkAll(t, fs)["s"].attr; s.Data != 3*pageSize || a.Blocks != 3*8 {
		t.Errorf("they take %d bytes, the file %d blocks", s.Data, a.Blocks)
	}
}

// TestManyAttributes: as many as Linux takes are no burden.
func TestManyAttributes(t *testing.T) {
	var pairs []string
	for i := range 10000 {
		pairs = append(pairs, fmt.Sprintf("%s%05d", paxXattr, i), "v")
	}
	got := walkAll(t, mustRead(t, whole(pax(pairs...), raw("f", '0', "", "")), Options{}))
	if n := len(got["f"].xattrs); n != 10000 {
		t.Errorf("it has %d attributes", n)
	}
}

// TestPAXTimes has times with fractions, before and after 1970.
func TestPAXTimes(t *testing.T) {
	for text, want := range map[string]vfs.Timespec{
		"0": {}, "1.5": {Sec: 1, Nsec: 5e8}, "1.000000001": {Sec: 1, Nsec: 1}, "1.0000000019": {Sec: 1, Nsec: 1}, "7.": {Sec: 7},
		"-1": {Sec: -1}, "-0.5": {Sec: -1, Nsec: 5e8}, "-1.5": {Sec: -2, Nsec: 5e8}, "-0.000000001": {Sec: -1, Nsec: 999999999},
		"-0.9999999999": {Sec: -1}, "-1.0000000001": {Sec: -2, Nsec: 999999999},
	} {
		var got *vfs.Timespec
		if !paxTime([]byte(text), &got) || *got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{"", ".", ".5", "-", "+1", "1.-5", "1e5", "99999999999999999999", "1.5 "} {
		var got *vfs.Timespec
		if paxTime([]byte(text), &got) {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

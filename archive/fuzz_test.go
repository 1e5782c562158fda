package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"log/slog"
	"path"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzRead reads anything. What is accepted can be looked at completely, and is
// what the standard library takes it for, if that accepts it too.
func FuzzRead(f *testing.F) {
	for _, c := range hostileCases() {
		if len(c.data) < 10<<10 {
			f.Add(c.data)
		}
	}
	plain := makeTar(f, dir("d/"), file("d/f", "data"), link("d/h", "d/f"), symlink("l", "d"),
		item{tar.Header{Name: "n", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""},
		item{tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "more"})
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstded(f, plain))
	f.Add(whole(pax("GNU.sparse.size", "10000", "GNU.sparse.map", "1,2,5000,3"), raw("a", '0', "", "12345")))
	f.Add(whole(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "1000000000000", "GNU.sparse.name", "b"),
		raw("a", '0', "", "1\n900000000000\n5\n"+string(pad(495))+"12345")))
	f.Add(whole(raw("s", 'S', "", "12345", gnu, put(386, "00000010000\x0000000000005\x00"), put(483, "00000100000\x00"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := Options{MaxBytes: 1 << 20, MaxEntries: 500, MaxMetadata: 1 << 20, MaxLogical: 1 << 42, Logger: slog.New(slog.DiscardHandler)}
		fs, err := Read(t.Context(), bytes.NewReader(data), "test.tar", o)
		if err != nil {
			if len(err.Error()) > 4000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		defer closeFS(t, fs)
		if s := fs.Stats(); s.Data > 2<<20+smallChunk || s.Index > 4<<20 || s.Names > 500 {
			t.Errorf("over the limits: %+v", s)
		}
		got := walkAll(t, fs)
		if want, ok := standard(data); ok {
			compareStandard(t, got, want)
		}
	})
}

// standard reads a plain archive by archive/tar. ok is false if that refuses it.
func standard(data []byte) (items []item, ok bool) {
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return items, true
		}
		if err != nil {
			return nil, false
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		it := item{Header: *h}
		if h.Size <= maxData {
			b, err := io.ReadAll(r)
			if err != nil {
				return nil, false
			}
			it.data = string(b)
		}
		items = append(items, it)
	}
}

func compareStandard(t *testing.T, got map[string]found, want []item) {
	t.Helper()
	named := map[string]bool{}
	for _, w := range want {
		p := path.Clean("/" + w.Name)[1:]
		named[p] = true
		g, ok := got[p]
		if !ok {
			t.Errorf("%q is missing", p)
			continue
		}
		a := g.attr
		if w.Typeflag == tar.TypeLink {
			if other := got[path.Clean("/" + w.Linkname)[1:]]; other.attr != a {
				t.Errorf("%q is %+v, and %q, which it links to, %+v", p, a, w.Linkname, other.attr)
			}
			continue
		}
		if int(a.UID) != w.Uid || int(a.GID) != w.Gid || a.Mtime.Sec != w.ModTime.Unix() {
			t.Errorf("%q is %+v, want %+v", p, a, w.Header)
		}
		if typ := a.Mode & unix.S_IFMT; typ != unix.S_IFLNK && int64(a.Mode&0o7777) != w.Mode&0o7777 {
			t.Errorf("%q has the mode %#o, want %#o", p, a.Mode, w.Mode)
		} else if typ == unix.S_IFLNK && g.data != w.Linkname {
			t.Errorf("%q leads to %q, want %q", p, g.data, w.Linkname)
		} else if typ == unix.S_IFREG && (int64(a.Size) != w.Size || w.Size <= maxData && g.data != w.data) {
			t.Errorf("%q has other data or a size of %d, want %d", p, a.Size, w.Size)
		}
		for k, v := range w.PAXRecords {
			if name, ok := strings.CutPrefix(k, paxXattr); ok && g.xattrs[name] != v {
				t.Errorf("%q has attributes %q, want %q", p, g.xattrs, w.PAXRecords)
			}
		}
	}
	for p, g := range got {
		if !named[p] && g.attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%q is there, and nobody named it", p)
		}
	}
}

// FuzzHeader decodes any header block.
func FuzzHeader(f *testing.F) {
	f.Add(raw("a", '0', "", "")[:blockSize])
	f.Add(raw("a", '3', "", "", gnu, put(329, "\x80\x00\x00\x00\x00\x00\x0f\xff"))[:blockSize])
	f.Fuzz(func(t *testing.T, data []byte) {
		var b block
		copy(b[:], data)
		b.checked()
		var e entry
		if e.decode(&b) == nil && (e.mode > 0o7777 || e.size > 1<<63-1 || e.uid == ^uint32(0) || bytes.IndexByte(e.name, 0) >= 0) {
			t.Errorf("decoded as %+v", e)
		}
	})
}

// FuzzPAX decodes any extended header.
func FuzzPAX(f *testing.F) {
	f.Add(records("path", "x", "mtime", "-1.5", "SCHILY.xattr.user.x", "y"))
	f.Add(records("GNU.sparse.offset", "1", "GNU.sparse.numbytes", "2", "GNU.sparse.size", "10"))
	f.Add(records("GNU.sparse.map", "1,2,3,4", "GNU.sparse.size", "10"))
	f.Fuzz(func(t *testing.T, body string) {
		var x extended
		var e entry
		if x.parsePAX([]byte(body)) != nil || x.apply(&e) != nil {
			return
		}
		if e.mtime.Nsec > 999999999 || e.size > 1<<63-1 || x.xattrList > maxXattrList {
			t.Errorf("decoded as %+v", e)
		}
	})
}

// FuzzPath cleans any path: what comes out has components that are names.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"a/b", "./a/", ".", "../a", "a//b", "/", "a/./b"} {
		f.Add([]byte(p), true)
		f.Add([]byte(p), false)
	}
	f.Fuzz(func(t *testing.T, p []byte, dir bool) {
		clean, err := cleanPath(p, dir, false)
		if err != nil {
			return
		}
		if len(clean) == 0 && !dir {
			t.Errorf("%q is the root, and no directory", p)
		}
		for part := range components(clean) {
			name(t, string(part))
		}
	})
}

package oslib_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

func TestGetdents(t *testing.T) {
	d, _ := openDir(t)
	types := map[string]uint32{".": unix.S_IFDIR, "..": unix.S_IFDIR}
	for i := range 300 {
		name := fmt.Sprintf("file-%03d-with-a-longer-name", i)
		newFile(t, d, name, "")
		types[name] = unix.S_IFREG
	}
	must(t, "mkdir", oslib.Mkdirat(d, cstr("sub"), 0o755))
	must(t, "symlink", oslib.Symlinkat(cstr("x"), d, cstr("lnk")))
	must(t, "fifo", oslib.Mknodat(d, cstr("fifo"), unix.S_IFIFO|0o600, 0))
	types["sub"], types["lnk"], types["fifo"] = unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO

	buf := make([]byte, 1024)
	next := map[string]uint64{}
	var order []string
	for {
		n, errno := oslib.Getdents(d, buf)
		must(t, "getdents", errno)
		if n == 0 {
			break
		}
		ents := oslib.Dirents(buf[:n])
		var e oslib.Dirent
		for ents.Read(&e) {
			name := string(e.Name())
			if e.Type != types[name] || e.Ino == 0 || string(e.CName) != name+"\x00" {
				t.Errorf("%q: %+v, want type %o", name, e, types[name])
			}
			delete(types, name)
			next[name] = e.Next
			order = append(order, name)
		}
	}
	if len(types) != 0 {
		t.Errorf("not listed: %v", types)
	}
	// Seeking to the position behind an entry comes to the one after it.
	for i := 0; i+1 < len(order); i += 37 {
		_, errno := oslib.Lseek(d, int64(next[order[i]]), unix.SEEK_SET)
		must(t, "seek", errno)
		n, errno := oslib.Getdents(d, buf)
		must(t, "getdents", errno)
		ents := oslib.Dirents(buf[:n])
		var e oslib.Dirent
		if !ents.Read(&e) || string(e.Name()) != order[i+1] {
			t.Errorf("behind %q: %q, want %q", order[i], e.Name(), order[i+1])
		}
	}
}

// dirent makes a record; reclen 0 stands for the right one.
func dirent(name string, reclen int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, 11)
	b = binary.LittleEndian.AppendUint64(b, 1<<63|5)
	size := (19 + len(name) + 1 + 7) &^ 7
	if reclen == 0 {
		reclen = size
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(reclen))
	b = append(append(b, unix.DT_DIR), name...)
	return append(b, make([]byte, size-len(b))...)
}

func TestDirentsMalformed(t *testing.T) {
	good := dirent("first", 0)
	noNUL := dirent("name", 23)
	for name, tail := range map[string][]byte{
		"header cut":    dirent("second", 0)[:18],
		"record cut":    dirent("second", 0)[:24],
		"no name":       dirent("", 0),
		"no NUL":        noNUL,
		"length 0":      {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'x', 0},
		"length 18":     dirent("second", 18),
		"length 0xffff": dirent("second", 0xffff),
	} {
		ents := oslib.Dirents(append(append([]byte{}, good...), tail...))
		var e oslib.Dirent
		if !ents.Read(&e) || string(e.Name()) != "first" || e.Ino != 11 || e.Next != 1<<63|5 || e.Type != unix.S_IFDIR {
			t.Errorf("%s: first record: %+v", name, e)
		}
		if ents.Read(&e) {
			t.Errorf("%s: read as %+v", name, e)
		}
		if len(ents) != 0 || ents.Read(&e) {
			t.Errorf("%s: %d bytes left", name, len(ents))
		}
	}
}

func FuzzDirents(f *testing.F) {
	f.Add([]byte{})
	f.Add(dirent("a", 0))
	f.Add(append(dirent("a", 0), dirent("bc", 0)...))
	f.Add(dirent("name", 23))
	f.Fuzz(func(t *testing.T, b []byte) {
		ents := oslib.Dirents(b)
		var e oslib.Dirent
		for left := len(b); ents.Read(&e); left = len(ents) {
			if len(ents) >= left {
				t.Fatal("no progress")
			}
			if n := len(e.CName); n < 2 || e.CName[n-1] != 0 {
				t.Fatalf("name %q", e.CName)
			}
		}
		if len(ents) != 0 {
			t.Fatalf("ended with %d bytes left", len(ents))
		}
	})
}

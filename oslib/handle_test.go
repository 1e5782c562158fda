package oslib_test

import (
	"bytes"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

func TestHandles(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "by handle")
	newFile(t, d, "g", "")

	var a, b, g oslib.FileHandle
	for i := range b.Data {
		b.Data[i] = 0xee // must be gone after the call
	}
	mntA, errno := oslib.NameToHandle(d, cstr("f"), &a, 0)
	must(t, "handle by name", errno)
	mntB, errno := oslib.NameToHandle(fd, oslib.Empty, &b, unix.AT_EMPTY_PATH)
	must(t, "handle by descriptor", errno)
	if a != b || mntA != mntB || a.Bytes == 0 {
		t.Errorf("two handles of one file differ: %+v %d, %+v %d", a, mntA, b, mntB)
	}
	_, errno = oslib.NameToHandle(d, cstr("g"), &g, 0)
	must(t, "handle of another", errno)
	if g == a {
		t.Error("two files with one handle")
	}
	var stx unix.Statx_t
	must(t, "statx", oslib.Statx(fd, oslib.Empty, unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stx))
	if uint64(mntA) != stx.Mnt_id {
		t.Errorf("mount id %d, statx says %d", mntA, stx.Mnt_id)
	}
	const mntIDUnique = 1 // AT_HANDLE_MNT_ID_UNIQUE: 64 bits come back
	if mnt, errno := oslib.NameToHandle(d, cstr("f"), &b, mntIDUnique); errno == 0 && mnt <= mntA {
		t.Errorf("unique mount id %d", mnt)
	}

	back, errno := oslib.OpenByHandle(d, &a, unix.O_RDONLY)
	must(t, "open by handle", errno)
	defer oslib.Close(back)
	checkCloexec(t, back)
	buf := make([]byte, 16)
	n, errno := oslib.Preadv2(back, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	if errno != 0 || string(buf[:n]) != "by handle" {
		t.Errorf("read %q, %v", buf[:n], errno)
	}

	must(t, "unlink g", oslib.Unlinkat(d, cstr("g"), 0))
	_, errno = oslib.NameToHandle(d, cstr("g"), &g, 0)
	want(t, "handle of nothing", errno, syscall.ENOENT)
	if g != (oslib.FileHandle{}) {
		t.Error("a failed call left something in the handle")
	}
	bad := oslib.FileHandle{Bytes: 129, Type: 1}
	_, errno = oslib.OpenByHandle(d, &bad, unix.O_RDONLY)
	want(t, "too long a handle", errno, syscall.EINVAL)

	var s oslib.FileHandle
	bin, err := a.AppendBinary([]byte("xy"))
	if err != nil || !bytes.HasPrefix(bin, []byte("xy")) {
		t.Fatalf("AppendBinary: %q, %v", bin, err)
	}
	if err := s.UnmarshalBinary(bin[2:]); err != nil || s != a {
		t.Errorf("serialised and back: %+v, %v, want %+v", s, err, a)
	}
}

func TestHandleStale(t *testing.T) {
	d, _ := openDir(t)
	fd, errno := oslib.Openat(d, cstr("f"), unix.O_RDWR|unix.O_CREAT, 0o600)
	must(t, "create", errno)
	var h oslib.FileHandle
	_, errno = oslib.NameToHandle(d, cstr("f"), &h, 0)
	must(t, "handle", errno)
	must(t, "unlink", oslib.Unlinkat(d, cstr("f"), 0))
	oslib.Close(fd)
	_, errno = oslib.OpenByHandle(d, &h, unix.O_RDONLY)
	want(t, "handle of a deleted file", errno, syscall.ESTALE)
}

func TestHandleBinary(t *testing.T) {
	ok := append([]byte{3, 0, 0, 0, 1, 0, 0, 0}, "abc"...)
	long := append([]byte{128, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 128)...)
	for name, c := range map[string]struct {
		b  []byte
		ok bool
	}{
		"good":          {ok, true},
		"longest":       {long, true},
		"empty":         {nil, false},
		"half a header": {ok[:7], false},
		"cut":           {ok[:10], false},
		"too much":      {append(bytes.Clone(ok), 0), false},
		"no bytes":      {[]byte{0, 0, 0, 0, 1, 0, 0, 0}, false},
		"129 bytes":     {append([]byte{129, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 129)...), false},
		"huge":          {[]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1}, false},
		"negative type": {[]byte{1, 0, 0, 0, 0, 0, 0, 0x80, 1}, false},
		"invalid type":  {[]byte{1, 0, 0, 0, 0xff, 0, 0, 0, 1}, false},
	} {
		before := oslib.FileHandle{Bytes: 1, Type: 77}
		h := before
		err := h.UnmarshalBinary(c.b)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && h != before {
			t.Errorf("%s: an error changed the handle", name)
		}
	}
	for _, h := range []oslib.FileHandle{{}, {Bytes: 129, Type: 1}, {Bytes: 4, Type: -1}} {
		if b, err := h.AppendBinary(nil); err == nil || len(b) != 0 {
			t.Errorf("%d bytes, type %d: serialised to %x", h.Bytes, h.Type, b)
		}
	}
}

func FuzzHandleBinary(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 0, 0, 0, 1, 0, 0, 0, 'a', 'b', 'c'})
	f.Add(append([]byte{128, 0, 0, 0, 0x81, 0, 0, 0}, make([]byte, 128)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h oslib.FileHandle
		if h.UnmarshalBinary(b) != nil {
			return
		}
		again, err := h.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x, %v", b, again, err)
		}
	})
}

package compose

import (
	"archive/tar"
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vfs"
)

var discard = slog.New(slog.DiscardHandler)

// host makes a directory with a file in it, a lone file and an archive.
func host(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(
		w.WriteHeader(&tar.Header{Name: "etc/motd", Mode: 0o644, Size: 3, Typeflag: tar.TypeReg}),
		func() error { _, err := w.Write([]byte("tar")); return err }(),
		w.Close(),
		os.WriteFile(filepath.Join(dir, "root.tar"), b.Bytes(), 0o600),
		os.Mkdir(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "f"), []byte("dir"), 0o755),
		os.WriteFile(filepath.Join(dir, "lone"), []byte("lone"), 0o640),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// resolve reads mounts in which {} stands for dir.
func resolve(t *testing.T, dir string, specs ...string) []Mount {
	t.Helper()
	var list []spec.Mount
	for _, s := range specs {
		m, err := spec.ParseFlag(strings.ReplaceAll(s, "{}", dir))
		if err == nil {
			m, err = Settle(m)
		}
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		list = append(list, m)
	}
	if err := spec.Check(list); err != nil {
		t.Fatal(err)
	}
	mounts := make([]Mount, len(list))
	for i := range list {
		mounts[i] = Decide(&list[i], discard)
	}
	return mounts
}

func open(t *testing.T, dir string, opt Options, specs ...string) *Share {
	t.Helper()
	mounts := resolve(t, dir, specs...)
	files := make([]Files, len(mounts))
	for i := range mounts {
		var err error
		if files[i], err = OpenFiles(&mounts[i], dir); err != nil {
			t.Fatal(err)
		}
	}
	opt.Logger = discard
	s, err := Open(t.Context(), mounts, files, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, errno := s.FS().Init(^vfs.Features(0)); errno != 0 {
		t.Fatal(errno)
	}
	return s
}

// guest makes calls by path as root of a guest would. It forgets nothing.
type guest struct {
	t  *testing.T
	fs vfs.FileSystem
}

func (g guest) walk(path string) (e vfs.Entry, errno syscall.Errno) {
	e.Node = vfs.Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		n, errno := vfs.MakeName(name)
		if errno != 0 {
			g.t.Fatalf("%q: %v", name, errno)
		}
		parent := e.Node
		if errno := g.fs.Lookup(&vfs.Request{}, parent, n, &e); errno != 0 {
			return e, errno
		}
		if e.Node == 0 {
			return e, syscall.ENOENT
		}
	}
	return e, 0
}

func (g guest) read(path string) string {
	g.t.Helper()
	e, errno := g.walk(path)
	if errno != 0 {
		return errno.Error()
	}
	var o vfs.Opened
	if errno := g.fs.Open(&vfs.Request{}, e.Node, unix.O_RDONLY, false, &o); errno != 0 {
		return errno.Error()
	}
	buf := make([]byte, 100)
	iov := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	n, errno := g.fs.Read(&vfs.Request{}, e.Node, o.Handle, iov, 0, unix.O_RDONLY)
	if errno != 0 {
		return errno.Error()
	}
	if errno := g.fs.Release(&vfs.Request{}, e.Node, o.Handle, &vfs.ReleaseIn{}); errno != 0 {
		g.t.Errorf("release %s: %v", path, errno)
	}
	return string(buf[:n])
}

// write writes text at the beginning of a file that may have to be made.
func (g guest) write(path, text string) syscall.Errno {
	g.t.Helper()
	dir, base := filepath.Split(path)
	parent := vfs.Entry{Node: vfs.Root}
	if dir != "/" {
		var errno syscall.Errno
		if parent, errno = g.walk(dir); errno != 0 {
			return errno
		}
	}
	name, _ := vfs.MakeName(base)
	var e vfs.Entry
	var o vfs.Opened
	errno := g.fs.Lookup(&vfs.Request{}, parent.Node, name, &e)
	if errno == 0 && e.Node != 0 {
		errno = g.fs.Open(&vfs.Request{}, e.Node, unix.O_WRONLY, false, &o)
	} else {
		errno = g.fs.Create(&vfs.Request{}, parent.Node, name, unix.O_WRONLY|unix.O_CREAT, 0o644, &e, &o)
	}
	if errno != 0 {
		return errno
	}
	defer g.fs.Release(&vfs.Request{}, e.Node, o.Handle, &vfs.ReleaseIn{})
	b := []byte(text)
	_, errno = g.fs.Write(&vfs.Request{}, e.Node, o.Handle, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, 0, unix.O_WRONLY, 0)
	return errno
}

func (g guest) unlink(path string) syscall.Errno {
	g.t.Helper()
	dir, base := filepath.Split(path)
	parent := vfs.Entry{Node: vfs.Root}
	if dir != "/" {
		var errno syscall.Errno
		if parent, errno = g.walk(dir); errno != 0 {
			return errno
		}
	}
	name, _ := vfs.MakeName(base)
	return g.fs.Unlink(&vfs.Request{}, parent.Node, name)
}

func (g guest) mode(path string) uint32 {
	g.t.Helper()
	e, errno := g.walk(path)
	if errno != 0 {
		g.t.Errorf("%s: %v", path, errno)
	}
	return e.Attr.Mode
}

func hostText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		return errors.Unwrap(err).Error()
	}
	return string(b)
}

// TestEverySource puts one mount of each type into a tree, changes what can be changed
// and looks what the host has of it.
func TestEverySource(t *testing.T) {
	dir := host(t)
	s := open(t, dir, Options{},
		"type=archive,source={}/root.tar",
		"{}/d:/dir", "{}/d:/ro:ro", "{}/lone:/some/where",
		"type=scratch,target=/tmp,mode=1777,size=1M", "type=scratch,target=/disk,backing=disk",
		"type=overlay,source={}/d,target=/over", "type=overlay,lower=archive,source={}/root.tar,target=/overtar",
		"type=overlay,source={}/lone,target=/overfile", "{}/d:/plain:noexec")
	g := guest{t, s.FS()}
	for _, test := range []struct{ path, is, write, after, host, onHost string }{
		{"/etc/motd", "tar", syscall.EROFS.Error(), "tar", "", ""},
		{"/some/where", "lone", "", "NEWe", "lone", "NEWe"},
		{"/overfile", "NEWe", "", "NEWe", "lone", "NEWe"},
		{"/ro/f", "dir", syscall.EROFS.Error(), "dir", "d/f", "dir"},
		{"/over/f", "dir", "", "NEW", "d/f", "dir"},
		{"/overtar/etc/motd", "tar", "", "NEW", "", ""},
		{"/tmp/x", syscall.ENOENT.Error(), "", "NEW", "tmp/x", syscall.ENOENT.Error()},
		{"/disk/x", syscall.ENOENT.Error(), "", "NEW", "disk/x", syscall.ENOENT.Error()},
		{"/dir/f", "dir", "", "NEW", "d/f", "NEW"},
	} {
		if got := g.read(test.path); got != test.is {
			t.Errorf("%s is %q, want %q", test.path, got, test.is)
		}
		want := "errno 0"
		if test.write != "" {
			want = test.write
		}
		if got := g.write(test.path, "NEW"); got.Error() != want {
			t.Errorf("write %s: %v, want %s", test.path, got, want)
		}
		if got := g.read(test.path); got != test.after {
			t.Errorf("%s is then %q, want %q", test.path, got, test.after)
		}
		if test.host != "" {
			if got := hostText(t, filepath.Join(dir, test.host)); got != test.onHost {
				t.Errorf("after %s the host has %q in %s, want %q", test.path, got, test.host, test.onHost)
			}
		}
	}
	if mode := g.mode("/tmp"); mode != unix.S_IFDIR|0o1777 {
		t.Errorf("mode of /tmp: %#o", mode)
	}
	if with, without := g.mode("/dir/f"), g.mode("/plain/f"); with&0o111 == 0 || without&0o111 != 0 {
		t.Errorf("modes with execution %#o and without %#o", with, without)
	}
}

// TestOverFileLeavesItsFile changes a file through an overlay alone.
func TestOverFileLeavesItsFile(t *testing.T) {
	dir := host(t)
	s := open(t, dir, Options{}, "type=scratch,target=/", "type=overlay,source={}/lone,target=/f")
	g := guest{t, s.FS()}
	if errno := g.write("/f", "NEW"); errno != 0 {
		t.Fatal(errno)
	}
	if got, on := g.read("/f"), hostText(t, filepath.Join(dir, "lone")); got != "NEWe" || on != "lone" {
		t.Errorf("the guest reads %q, the host %q", got, on)
	}
	// What a guest changed outlives its session, as with every overlay.
	s.FS().Destroy()
	if _, errno := s.FS().Init(^vfs.Features(0)); errno != 0 {
		t.Fatal(errno)
	}
	if got := g.read("/f"); got != "NEWe" {
		t.Errorf("the next session reads %q", got)
	}
}

func TestUnlinkOfAMountedFile(t *testing.T) {
	for _, test := range []struct {
		how    string
		errno  syscall.Errno
		guest  string
		host   string
		mounts int
	}{
		{"refuse", syscall.EBUSY, "lone", "lone", 2},
		{"hide", 0, syscall.ENOENT.Error(), "lone", 1},
		{"delete", 0, syscall.ENOENT.Error(), syscall.ENOENT.Error(), 1},
	} {
		t.Run(test.how, func(t *testing.T) {
			dir := host(t)
			if err := os.Symlink("lone", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, Options{}, "type=scratch,target=/", "{}/link:/f:unlink="+test.how)
			g := guest{t, s.FS()}
			if got := g.read("/f"); got != "lone" {
				t.Fatalf("it is %q", got)
			}
			if errno := g.unlink("/f"); errno != test.errno {
				t.Errorf("unlink: %v, want %v", errno, test.errno)
			}
			if got := g.read("/f"); got != test.guest {
				t.Errorf("the guest then reads %q, want %q", got, test.guest)
			}
			if got := hostText(t, filepath.Join(dir, "lone")); got != test.host {
				t.Errorf("the host then has %q, want %q", got, test.host)
			}
			if list := s.Mounts(); len(list) != test.mounts {
				t.Errorf("%d mounts are left, want %d", len(list), test.mounts)
			}
		})
	}
}

// TestUnlinkOfAnotherFile: what the host has put in the place of a mounted file is not
// removed.
func TestUnlinkOfAnotherFile(t *testing.T) {
	dir := host(t)
	s := open(t, dir, Options{}, "type=scratch,target=/", "{}/lone:/f:unlink=delete")
	path := filepath.Join(dir, "lone")
	if err := errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, []byte("another"), 0o600)); err != nil {
		t.Fatal(err)
	}
	g := guest{t, s.FS()}
	if errno := g.unlink("/f"); errno != syscall.EBUSY {
		t.Errorf("unlink: %v", errno)
	}
	if got := hostText(t, path); got != "another" {
		t.Errorf("the host has %q", got)
	}
}

func TestAddAndRemove(t *testing.T) {
	dir := host(t)
	s := open(t, dir, Options{Changing: true}, "{}/d:/")
	g := guest{t, s.FS()}
	add := func(specs ...string) error {
		m := resolve(t, dir, specs...)[0]
		f, err := OpenFiles(&m, dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.HostSource(); ok {
			if f.Root, err = OpenRoot(&m); err != nil {
				t.Fatal(err)
			}
			m.Host.Path = "/nonexistent" // it is not needed
		}
		return s.Add(t.Context(), &m, &f)
	}
	before := descriptors(t)
	for _, m := range []string{"{}/lone:/new/lone", "type=archive,source={}/root.tar,target=/tar", "type=scratch,target=/tmp", "type=overlay,source={}/d,target=/over"} {
		if err := add(m); err != nil {
			t.Errorf("add %s: %v", m, err)
		}
	}
	if a, b, c := g.read("/new/lone"), g.read("/tar/etc/motd"), g.read("/over/f"); a != "lone" || b != "tar" || c != "dir" {
		t.Errorf("added mounts hold %q, %q, %q", a, b, c)
	}
	if err := add("{}/lone:/tmp"); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a second mount at a path: %v", err)
	}
	if n := len(s.Mounts()); n != 5 {
		t.Errorf("%d mounts", n)
	}
	for _, path := range []string{"/new/lone", "/tar", "/tmp", "/over"} {
		if err := s.Remove(path); err != nil {
			t.Errorf("remove %s: %v", path, err)
		}
		if got := g.read(path); got != syscall.ENOENT.Error() {
			t.Errorf("%s is then %q", path, got)
		}
	}
	if err := s.Remove("/tmp"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("remove what is not there: %v", err)
	}
	if err := s.Remove("/"); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("remove the root: %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, and %d at the beginning", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestOneDirectoryIsNoTree: nothing stands between a lone mount and the guest.
func TestOneDirectoryIsNoTree(t *testing.T) {
	dir := host(t)
	s := open(t, dir, Options{}, "{}/d")
	if s.tree != nil {
		t.Error("there is a tree")
	}
	if err := s.Remove("/"); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("remove: %v", err)
	}
	m := resolve(t, dir, "{}/lone:/x")[0]
	if err := s.Add(t.Context(), &m, &Files{}); err == nil {
		t.Error("something was added to it")
	}
}

func TestSettle(t *testing.T) {
	dir := host(t)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ spec, says string }{
		{"{}/none:/x", "no such file"},
		{"{}/fifo:/x", "neither a directory nor a regular file"},
		{"type=archive,source={}/d", "it is a directory, not an archive"},
		{"type=dir,source={}/lone,target=/x", "say type=file"},
		{"type=file,source={}/d,target=/x", "say type=dir"},
		{"{}/lone", "cannot be the root"},
		{"{}/lone:/x:readdirplus=false", "readdirplus"},
	} {
		m, err := spec.ParseFlag(strings.ReplaceAll(test.spec, "{}", dir))
		if err == nil {
			_, err = Settle(m)
		}
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want something with %q", test.spec, err, test.says)
		}
	}
}

// TestFailureClosesAll: nothing is left open where one of several mounts cannot be.
func TestFailureClosesAll(t *testing.T) {
	dir := host(t)
	if err := os.WriteFile(filepath.Join(dir, "bad.tar"), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	mounts := resolve(t, dir, "{}/d:/d", "type=scratch,target=/s,backing=disk", "type=archive,source={}/bad.tar,target=/a")
	files := make([]Files, len(mounts))
	for i := range mounts {
		var err error
		if files[i], err = OpenFiles(&mounts[i], dir); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), mounts, files, Options{Logger: discard})
	if err == nil {
		s.Close()
		t.Fatal("a bad archive was opened")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, and %d at the beginning", after, before)
	}
}

package hypercall

import (
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		errno   syscall.Errno
	}{
		{"/", "", 0},
		{"//", "", 0},
		{".", "", 0},
		{"a", "a", 0},
		{"/a", "a", 0},
		{"a/b/", "a/b", 0},
		{"a//b/./c", "a/b/c", 0},
		{"a/..//b", "b", 0},
		{"a/b/../..", "", 0},
		{"/..", "", 0},
		{"/../../a/../b", "b", 0},
		{"/a/../../b", "b", 0},
		{"...", "...", 0},
		{"a/..b/.c/", "a/..b/.c", 0},
		{"", "", syscall.ENOENT},
		{"..", "", syscall.ENOENT},
		{"../a", "", syscall.ENOENT},
		{"a/../../b", "", syscall.ENOENT},
		{"./../a", "", syscall.ENOENT},
	} {
		b := []byte(tt.in)
		n, errno := clean(b)
		if errno != tt.errno || errno == 0 && string(b[:n]) != tt.out {
			t.Errorf("%q: %q, %v", tt.in, b[:n], errno)
		}
	}
}

// FuzzClean compares with package path.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"/", "", "a/../b", "../..", "a//./..", "/../a/b/../../c/", "..a/."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := []byte(s)
		n, errno := clean(b)
		want := path.Clean(s)
		out := s == "" || want == ".." || strings.HasPrefix(want, "../")
		if out != (errno == syscall.ENOENT) || !out && errno != 0 {
			t.Fatalf("%q: %v, want %q", s, errno, want)
		}
		want = strings.TrimPrefix(want, "/")
		if want == "." {
			want = ""
		}
		if !out && string(b[:n]) != want {
			t.Fatalf("%q: %q, want %q", s, b[:n], want)
		}
	})
}

// TestLinks: links lead where they would in a chroot.
func TestLinks(t *testing.T) {
	m, fs := scratchMachine(t)
	for _, d := range []string{"a", "a/b", "a/b/c", "x"} {
		m.mkdir(d)
	}
	for _, f := range []string{"root", "a/in-a", "a/b/in-b", "x/in-x"} {
		m.makeFile(f, f)
	}
	a := node(t, fs, 1, "a")
	b := node(t, fs, a, "b")
	for _, l := range []struct {
		dir          vfs.NodeID
		name, target string
	}{
		{1, "abs", "/a/b"},
		{1, "rel", "a/b"},
		{b, "up", ".."},
		{b, "upup", "../.."},
		{b, "far", "../../../../../../x"},
		{b, "absolute", "/x/in-x"},
		{b, "slashes", "..//./in-a"},
		{b, "tail", "c/"},
		{b, "dotted", "c/."},
		{b, "self", "."},
		{1, "host", "/etc/passwd"},
		{1, "two", "rel/up"},
		{b, "file-tail", "in-b/"},
	} {
		symlink(t, fs, l.target, l.dir, l.name)
	}
	fs.Forget(b, 1)
	fs.Forget(a, 1)
	for _, tt := range []struct{ name, want string }{
		{"abs/in-b", "a/b/in-b"},
		{"/rel/in-b", "a/b/in-b"},
		{"rel/up/in-a", "a/in-a"},
		{"abs/up/in-a", "a/in-a"},
		{"rel/upup/root", "root"},
		{"rel/far/in-x", "x/in-x"},
		{"rel/absolute", "x/in-x"},
		{"rel/slashes", "a/in-a"},
		{"two/in-a", "a/in-a"},
		{"two/b/self/self/up/in-a", "a/in-a"},
		{"rel/file-tail", "a/b/in-b"},
		{"rel/../root", "root"}, // as text
		{"host", syscall.ENOENT.Error()},
		{"rel/up/root", syscall.ENOENT.Error()},
	} {
		if got := m.content(tt.name); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		held(t, fs, 0, 0)
	}
	// Links that end in a directory, whatever they say last.
	for _, name := range []string{"rel/up", "rel/upup", "rel/tail", "rel/dotted", "rel/self", "abs", "rel/far"} {
		fd := m.open(name, unix.O_DIRECTORY, 0)
		s, errno := m.stat(name, KindStat)
		o, errno2 := m.fstat(fd)
		if fd < firstFile || errno != 0 || errno2 != 0 || s != o {
			t.Errorf("%s: open %d, stat %v, fstat %v", name, fd, errno, errno2)
		}
		if l, errno := m.stat(name, KindLstat); errno != 0 || l.Mode.Get()&unix.S_IFMT != unix.S_IFLNK {
			t.Errorf("%s: lstat %#o, %v", name, l.Mode.Get(), errno)
		}
		if errno := m.mkdir(name); errno != syscall.EEXIST {
			t.Errorf("%s: mkdir %v", name, errno)
		}
		want(t, "create "+name, m.open(name, rdwrCreate, 0), syscall.EISDIR)
		m.close(fd)
		held(t, fs, 0, 0)
	}
}

// TestLinkBounds: chains of links, and links that grow.
func TestLinkBounds(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("end", "end")
	m.mkdir("d")
	symlink(t, fs, "end", 1, "l1")
	for i := 2; i <= MaxLinks+1; i++ {
		symlink(t, fs, fmt.Sprintf("l%d", i-1), 1, fmt.Sprintf("l%d", i))
	}
	long := strings.Repeat("d/../", 800)
	symlink(t, fs, long+"grow", 1, "grow")
	symlink(t, fs, "grow/"+long, 1, "grow2")
	symlink(t, fs, "deep/"+strings.Repeat("x/", 2000), 1, "deep")
	symlink(t, fs, "d/../d/deeper", 1, "deeper")
	if s := m.content(fmt.Sprintf("l%d", MaxLinks)); s != "end" {
		t.Errorf("%d links: %q", MaxLinks, s)
	}
	for name, errno := range map[string]syscall.Errno{
		fmt.Sprintf("l%d", MaxLinks+1):         syscall.ELOOP,
		"grow":                                 syscall.ELOOP,
		"grow2/x":                              syscall.ELOOP,
		"deep":                                 syscall.ENAMETOOLONG,
		"deeper/" + strings.Repeat("x/", 2000): syscall.ENOENT,
	} {
		want(t, name[:min(len(name), 20)], m.open(name, unix.O_RDONLY, 0), errno)
		held(t, fs, 0, 0)
	}
	// ".." in a link below the top is the top.
	symlink(t, fs, strings.Repeat("../", 1300)+"end", node(t, fs, 1, "d"), "top")
	fs.Forget(node(t, fs, 1, "d"), 2)
	if s := m.content("d/top"); s != "end" {
		t.Errorf("far above the top: %q", s)
	}
	held(t, fs, 0, 0)
}

// TestDepth: with links a path may lead deeper than it is long, but not for ever.
func TestDepth(t *testing.T) {
	m, fs := scratchMachine(t)
	name, _ := vfs.MakeName("d")
	dir, made := vfs.Root, []vfs.NodeID(nil)
	for range maxDepth + 1 {
		var e vfs.Entry
		if errno := fs.Mkdir(&vfs.Request{}, dir, name, 0o755, &e); errno != 0 {
			t.Fatal(errno)
		}
		dir = e.Node
		made = append(made, dir)
	}
	const half = maxDepth / 2
	symlink(t, fs, strings.Repeat("d/", half), 1, "half")
	for _, n := range made {
		fs.Forget(n, 1)
	}
	for more, errno := range map[int]syscall.Errno{
		half - 1: 0,
		half:     0,
		half + 1: 0, // the last is not walked through
		half + 2: syscall.ENAMETOOLONG,
	} {
		a, got := m.stat("half/"+strings.Repeat("d/", more), KindStat)
		if got != errno || got == 0 && a.Mode.Get()&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%d deep: %v", half+more, got)
		}
		held(t, fs, 0, 0)
	}
}

// TestMakeParents: directories are made where the owner says so, and only there.
func TestMakeParents(t *testing.T) {
	fs := newScratch(t)
	var private vfs.NodeID
	m := newMachine(t, Config{FS: fs, MakeParents: func(dir vfs.NodeID) bool { return dir != private }})
	private = ^vfs.NodeID(0)
	m.makeFile("/root/sub/f", "data")
	if s := m.content("root/sub/f"); s != "data" {
		t.Errorf("%q", s)
	}
	if errno := m.mkdir("/tmp/a/b"); errno != 0 {
		t.Error(errno)
	}
	m.mkdir("real")
	private = node(t, fs, 1, "real")
	want(t, "create", m.open("real/x/f", rdwrCreate, 0), syscall.ENOENT)
	if errno := m.mkdir("real/x/f"); errno != syscall.ENOENT {
		t.Error(errno)
	}
	want(t, "open", m.open("no/x/f", unix.O_RDWR, 0), syscall.ENOENT)
	want(t, "unlink", m.unlink("no/x/f"), syscall.ENOENT)
	if _, errno := m.stat("no", KindStat); errno != syscall.ENOENT {
		t.Errorf("a directory was made: %v", errno)
	}
	want(t, "create", m.open("root/sub/f/x/y", rdwrCreate, 0), syscall.ENOTDIR)
	fs.Forget(private, 1)
	held(t, fs, 0, 0)
}

// TestNamesAreBytes: UTF-8 or not.
func TestNamesAreBytes(t *testing.T) {
	m, _ := scratchMachine(t)
	for _, name := range []string{"\xff\xfe", "a\nb", "ü", "\x01", "-", "...", "a\\b"} {
		m.makeFile(name, name)
		if s := m.content("/" + name); s != name {
			t.Errorf("%q: %q", name, s)
		}
	}
}

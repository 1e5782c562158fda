package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TestMountErrors checks what is refused, and that nothing is left of it.
func TestMountErrors(t *testing.T) {
	fs := newTree(t)
	dir := tempDir(t, "/dev/shm", "file", "dir/file")
	if err := os.Symlink("dir", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	below := plain(t, dir)
	other := dirOf(t)
	mounted(t, fs, "/", below)
	mounted(t, fs, "/other", other)
	one := plain(t, filepath.Join(tempDir(t, "/dev/shm", "one"), "one"))
	mounted(t, fs, "/one", one)
	nodes := below.Stats().Nodes
	for _, tt := range []struct {
		path  string
		child vfs.FileSystem
		errno syscall.Errno
		text  string
	}{
		{"", nil, syscall.EINVAL, "does not begin with /"},
		{"a", nil, syscall.EINVAL, "does not begin with /"},
		{"/a/", nil, syscall.EINVAL, "it would be /a"},
		{"/a/../b", nil, syscall.EINVAL, "it would be /b"},
		{"//a", nil, syscall.EINVAL, "it would be /a"},
		{"/a\x00b", nil, syscall.EINVAL, "no name of a file"},
		{"/" + strings.Repeat("n", 256), nil, syscall.EINVAL, "no name of a file"},
		{"/", nil, syscall.EBUSY, "mounted there already"},
		{"/other", nil, syscall.EBUSY, "mounted there already"},
		{"/again", other, syscall.EBUSY, "already, at /other"},
		{"/tree", newTree(t), syscall.EINVAL, "tree cannot be mounted in a tree"},
		{"/file/x", nil, syscall.ENOTDIR, "/file cannot be gone through"},
		{"/link/x", nil, syscall.ENOTDIR, "/link cannot be gone through"},
		{"/dir/file/x/y", nil, syscall.ENOTDIR, "/dir/file cannot be gone through"},
		{"/one/x", nil, syscall.ENOTDIR, "mounted at /one is not a directory"},
		{"/broken", rootless{}, syscall.ENOSYS, "has no root"},
	} {
		for _, session := range []bool{false, true} {
			if session {
				begin(t, fs)
			}
			child := tt.child
			if child == nil {
				child = dirOf(t)
			}
			wantErr(t, fs.Mount(tt.path, child), tt.errno, tt.text)
		}
	}
	begin(t, fs)
	if n := below.Stats().Nodes; n != nodes {
		t.Errorf("the mount below holds %d nodes, want %d", n, nodes)
	}
	if s := fs.Stats(); s != (Stats{Mounts: 3}) {
		t.Errorf("the tree holds %+v", s)
	}

	wantErr(t, fs.Unmount("/"), syscall.EBUSY, "stays as long as the tree")
	wantErr(t, fs.Unmount("/none"), syscall.EINVAL, "nothing is mounted there")
	mounted(t, fs, "/other/in", dirOf(t))
	wantErr(t, fs.Unmount("/other"), syscall.EBUSY, "inside, at /other/in")
	wantErr(t, fs.Mount("/other", dirOf(t)), syscall.EBUSY, "mounted there already")

	late := newTree(t)
	begin(t, late)
	wantErr(t, late.Mount("/", dirOf(t)), syscall.EBUSY, "before")
}

// rootless agrees to everything and has nothing.
type rootless struct{ vfs.Unimplemented }

func (rootless) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }

// TestPlaces mounts in each order, before and in a session, and looks at what is
// where.
func TestPlaces(t *testing.T) {
	type share struct {
		path  string
		files []string
	}
	for _, tt := range []struct {
		name   string
		shares []share
		names  map[string]string
		reads  map[string]string
	}{
		{"beside each other", []share{{"/a", []string{"f"}}, {"/b", []string{"g"}}},
			map[string]string{"/": "a b", "/a": "f", "/b": "g"}, map[string]string{"/a/f": "content of f"}},
		{"synthetic directories", []share{{"/a/b/c", []string{"f"}}, {"/a/b/d", nil}, {"/a/e", nil}},
			map[string]string{"/": "a", "/a": "b e", "/a/b": "c d", "/a/b/c": "f", "/a/b/d": ""}, nil},
		{"over what is there", []share{{"/", []string{"a/covered", "a/b/covered", "x"}}, {"/a/b", []string{"f"}}},
			map[string]string{"/": "a x", "/a": "b covered", "/a/b": "f"}, map[string]string{"/a/b/f": "content of f", "/a/covered": "content of a/covered"}},
		{"below what is there", []share{{"/", []string{"a/x"}}, {"/a/n/e/w", []string{"f"}}, {"/a/n/m", nil}},
			map[string]string{"/": "a", "/a": "n x", "/a/n": "e m", "/a/n/e": "w", "/a/n/e/w": "f"}, nil},
		{"nested", []share{{"/", []string{"a/b/c/0"}}, {"/a", []string{"b/c/1"}}, {"/a/b", []string{"c/2"}}, {"/a/b/c", []string{"3"}}},
			map[string]string{"/": "a", "/a": "b", "/a/b": "c", "/a/b/c": "3"}, map[string]string{"/a/b/c/3": "content of 3"}},
		{"nested through synthetic ones", []share{{"/", nil}, {"/s/a", []string{"0"}}, {"/s/a/t/b", []string{"1"}}, {"/s", []string{"a/hidden", "own"}}},
			map[string]string{"/": "s", "/s": "a own", "/s/a": "0 t", "/s/a/t": "b", "/s/a/t/b": "1"}, nil},
		{"names that begin alike", []share{{"/a", []string{"f"}}, {"/a-b", []string{"g"}}, {"/a/b", []string{"h"}}, {"/ab", nil}},
			map[string]string{"/": "a a-b ab", "/a": "b f", "/a/b": "h", "/a-b": "g"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			permute(len(tt.shares), func(order []int) {
				for _, session := range []bool{false, true} {
					fs := newTree(t)
					if session && tt.shares[0].path != "/" {
						begin(t, fs)
					}
					for _, i := range order {
						if session && tt.shares[0].path == "/" && i != 0 && fs.Stats().Mounts == 0 {
							return // the root comes first in a session
						}
						mounted(t, fs, tt.shares[i].path, dirOf(t, tt.shares[i].files...))
						if session && i == 0 {
							begin(t, fs)
						}
					}
					for round := range 2 {
						for path, want := range tt.names {
							if got := names(t, fs, path); got != want {
								t.Fatalf("order %v, session %v, round %d: %s has %q, want %q", order, session, round, path, got, want)
							}
						}
						for path, want := range tt.reads {
							if got := content(t, fs, path); got != want {
								t.Fatalf("order %v: %s reads %q, want %q", order, path, got, want)
							}
						}
						begin(t, fs)
					}
					// Take them away from the deepest up.
					for _, in := range backwards(fs.Mounts()) {
						if in.Path != "/" {
							unmounted(t, fs, in.Path)
						}
					}
					if s := fs.Stats(); s.Synthetic != 0 || s.Pins != 0 || fs.table.Load() != nil {
						t.Fatalf("order %v: after all is unmounted there is %+v", order, s)
					}
				}
			})
		})
	}
}

func backwards(list []Info) []Info {
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// permute calls f with all orders of n things.
func permute(n int, f func([]int)) {
	order := make([]int, 0, n)
	used := make([]bool, n)
	var next func()
	next = func() {
		if len(order) == n {
			f(order)
		}
		for i := range n {
			if !used[i] {
				used[i], order = true, append(order, i)
				next()
				used[i], order = false, order[:len(order)-1]
			}
		}
	}
	next()
}

// TestFileMount mounts a single file, over a file, over a directory and where
// nothing is.
func TestFileMount(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t, "file", "dir/x"))
	for _, p := range []string{"/file", "/dir", "/new/file"} {
		mounted(t, fs, p, plain(t, filepath.Join(tempDir(t, "/dev/shm", "one"), "one")))
	}
	begin(t, fs)
	for _, p := range []string{"/file", "/dir", "/new/file"} {
		e := walk(t, fs, p)
		if e.Attr.Mode&unix.S_IFMT != unix.S_IFREG || e.Attr.Flags != 0 {
			t.Errorf("%s has mode %#o and flags %d", p, e.Attr.Mode, e.Attr.Flags)
		}
		if got := content(t, fs, p); got != "content of one" {
			t.Errorf("%s reads %q", p, got)
		}
		want(t, "lookup in it", fs.Lookup(&root, e.Node, name("x"), &e), syscall.ENOTDIR)
	}
	for _, x := range readdir(t, fs, vfs.Root, 0, 10, true) {
		if mode := uint32(unix.S_IFREG); x.name != "new" && (x.typ != mode || x.entry.Attr.Mode&unix.S_IFMT != mode || x.ino != x.entry.Attr.Ino) {
			t.Errorf("%s is listed as %+v", x.name, x)
		}
	}
	dir := walk(t, fs, "/new")
	var e vfs.Entry
	var o vfs.Opened
	for flags, errno := range map[uint32]syscall.Errno{
		unix.O_RDWR | unix.O_CREAT:                0,
		unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC: 0,
		unix.O_RDWR | unix.O_CREAT | unix.O_EXCL:  syscall.EEXIST,
	} {
		got := fs.Create(&root, dir.Node, name("file"), flags, 0o644, &e, &o)
		want(t, fmt.Sprintf("create with %#x", flags), got, errno)
		if got == 0 {
			want(t, "release", fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{}), 0)
			fs.Forget(e.Node, 1)
		}
	}
	user := &vfs.Request{UID: 1000, GID: 1000}
	want(t, "create by one who may not", fs.Create(user, dir.Node, name("file"), unix.O_RDWR|unix.O_CREAT, 0, &e, &o), syscall.ESTALE)
	want(t, "create of a directory", fs.Create(&root, vfs.Root, name("new"), unix.O_RDWR|unix.O_CREAT, 0, &e, &o), syscall.EISDIR)
}

// TestMovedDirectory renames the directory that a mount is in, on the host and by
// the guest: the mount goes with it, until a new session.
func TestMovedDirectory(t *testing.T) {
	dir := tempDir(t, "/dev/shm", "a/b/f", "c/")
	fs := newTree(t)
	below := plain(t, dir)
	mounted(t, fs, "/", below)
	begin(t, fs)
	mounted(t, fs, "/a/b/m", dirOf(t, "in"))
	if err := os.Rename(filepath.Join(dir, "a/b"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if got := names(t, fs, "/moved/m"); got != "in" {
		t.Errorf("after a rename on the host the mount has %q", got)
	}
	absent(t, fs, "/a/b")
	c := walk(t, fs, "/c")
	want(t, "rename", fs.Rename(&root, vfs.Root, name("moved"), c.Node, name("d"), 0), 0)
	if got := names(t, fs, "/c/d") + ", " + names(t, fs, "/c/d/m"); got != "f m, in" {
		t.Errorf("after a rename by the guest there is %q", got)
	}
	begin(t, fs)
	if got := names(t, fs, "/a/b/m") + ", " + names(t, fs, "/c/d"); got != "in, f" {
		t.Errorf("in a new session there is %q", got)
	}
	// What the host puts in the way does not keep a mount out.
	if err := os.WriteFile(filepath.Join(dir, "a/b"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	begin(t, fs)
	if got := names(t, fs, "/a/b/m") + ", " + names(t, fs, "/a"); got != "in, b" {
		t.Errorf("with a file in the way there is %q", got)
	}
	unmounted(t, fs, "/a/b/m")
	if e := walk(t, fs, "/a/b"); e.Attr.Mode&unix.S_IFMT != unix.S_IFREG {
		t.Errorf("without the mount, the file has mode %#o", e.Attr.Mode)
	}
}

// TestUncovered sees what was covered come back.
func TestUncovered(t *testing.T) {
	fs := newTree(t)
	below := dirOf(t, "a/b/covered")
	mounted(t, fs, "/", below)
	begin(t, fs)
	for range 3 {
		inner := dirOf(t, "x/y")
		mounted(t, fs, "/a/b", inner)
		if got := names(t, fs, "/a/b"); got != "x" {
			t.Errorf("while it is mounted there is %q", got)
		}
		unmounted(t, fs, "/a/b")
		rest(t, inner, 0)
		if got := names(t, fs, "/a/b"); got != "covered" {
			t.Errorf("after it is unmounted there is %q", got)
		}
	}
}

// TestMounts checks what is told of mounts.
func TestMounts(t *testing.T) {
	fs := newTree(t)
	a, b := dirOf(t, "f"), dirOf(t)
	mounted(t, fs, "/b", b)
	mounted(t, fs, "/", a)
	begin(t, fs)
	list := fs.Mounts()
	if len(list) != 2 || list[0].Path != "/" || list[0].FS != vfs.FileSystem(a) || list[0].Root != vfs.Root || list[1].Path != "/b" || list[1].FS != vfs.FileSystem(b) {
		t.Fatalf("mounts are %+v", list)
	}
	e := walk(t, fs, "/b")
	if e.Node != list[1].Root || fs.Mounts()[1].References != 1 {
		t.Errorf("the root of /b is %#x with %d references, Mounts says %#x", e.Node, fs.Mounts()[1].References, list[1].Root)
	}
	if f := walk(t, fs, "/f"); f.Node > vfs.MaxNodeID {
		t.Errorf("a node at / is %#x", f.Node)
	}
}

// TestMountOverMoved mounts at a path that a guest has moved another mount, or the way to
// one, to: on Linux it would lie on top, here it is refused.
func TestMountOverMoved(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t, "a/x"))
	mounted(t, fs, "/a/m", dirOf(t, "in"))
	mounted(t, fs, "/a/s/m", dirOf(t, "deep"))
	begin(t, fs)
	want(t, "rename", fs.Rename(&root, vfs.Root, name("a"), vfs.Root, name("b"), 0), 0)
	wantErr(t, fs.Mount("/b/m", dirOf(t)), syscall.EBUSY, "moved")
	wantErr(t, fs.Mount("/b/s", dirOf(t)), syscall.EBUSY, "moved")
	mounted(t, fs, "/b/s/n", dirOf(t, "other"))
	if got := names(t, fs, "/b") + ", " + names(t, fs, "/b/s") + ", " + names(t, fs, "/b/m"); got != "m s x, m n, in" {
		t.Errorf("there is %q", got)
	}
	unmounted(t, fs, "/a/m")
	unmounted(t, fs, "/a/s/m")
	if got := names(t, fs, "/b") + ", " + names(t, fs, "/b/s"); got != "s x, n" {
		t.Errorf("in the end there is %q", got)
	}
}

package passthrough

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// maker is one of the calls that make something.
type maker struct {
	what string
	make func(fs *FS, r *vfs.Request, parent vfs.NodeID, n vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno
}

var makers = []maker{
	{"create", func(fs *FS, r *vfs.Request, parent vfs.NodeID, n vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
		var o vfs.Opened
		errno := fs.Create(r, parent, n, unix.O_RDWR, mode, e, &o)
		if errno == 0 {
			fs.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{})
		}
		return errno
	}},
	{"mkdir", func(fs *FS, r *vfs.Request, parent vfs.NodeID, n vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
		return fs.Mkdir(r, parent, n, mode, e)
	}},
	{"mknod", func(fs *FS, r *vfs.Request, parent vfs.NodeID, n vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
		return fs.Mknod(r, parent, n, mode|unix.S_IFIFO, 0, e)
	}},
	{"symlink", func(fs *FS, r *vfs.Request, parent vfs.NodeID, n vfs.Name, _ uint32, e *vfs.Entry) syscall.Errno {
		return fs.Symlink(r, parent, n, []byte("target\x00"), e)
	}},
}

// host is what the host says of a path.
func host(t testing.TB, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// TestCredentials makes things as an ordinary user in a directory with setgid
// whose group is one of the caller's supplementary groups, and compares owner and
// mode with what the same call made on the host leaves.
func TestCredentials(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		const uid, gid, group = 1234, 5678, 4321
		shared := join(dir, "shared")
		if err := os.Mkdir(shared, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(shared, 0, group); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(shared, 0o2775); err != nil {
			t.Fatal(err)
		}
		closed := join(dir, "closed")
		if err := os.Mkdir(closed, 0o755); err != nil {
			t.Fatal(err)
		}
		fs := share(t, Config{Path: dir})
		in := walk(t, fs, "shared").Node
		no := walk(t, fs, "closed").Node
		member := &vfs.Request{UID: uid, GID: gid, Groups: []uint32{group}}
		stranger := &vfs.Request{UID: uid, GID: gid}
		for _, m := range makers {
			var e vfs.Entry
			want(t, m.what+" by a member", m.make(fs, member, in, name(t, m.what), 0o2775, &e), 0)
			st := host(t, join(shared, m.what))
			if st.Uid != uid || st.Gid != group {
				t.Errorf("%s: owner %d:%d, want %d:%d", m.what, st.Uid, st.Gid, uid, group)
			}
			if e.Attr.UID != uid || e.Attr.GID != group || e.Attr.Mode != st.Mode || e.Attr.Ino != st.Ino {
				t.Errorf("%s: entry %+v is not what the host has", m.what, e.Attr)
			}
			// The kernel decides the mode by the groups of the caller: a
			// member keeps setgid.
			if m.what != "symlink" && st.Mode&0o7777 != 0o2775 {
				t.Errorf("%s: mode %#o", m.what, st.Mode)
			}
			want(t, m.what+" by a stranger", m.make(fs, stranger, in, name(t, m.what+"2"), 0o775, &e), syscall.EACCES)
			want(t, m.what+" in a closed directory", m.make(fs, member, no, name(t, m.what), 0o775, &e), syscall.EACCES)
			want(t, m.what+" by root", m.make(fs, &vfs.Request{Groups: []uint32{group}}, no, name(t, m.what), 0o775, &e), 0)
			if st := host(t, join(closed, m.what)); st.Uid != 0 || st.Gid != 0 {
				t.Errorf("%s by root: owner %d:%d", m.what, st.Uid, st.Gid)
			}
		}
	})
}

// TestCredentialsWithoutGroups is about guests that do not tell groups: they
// have checked them, so a directory is not closed to their callers.
func TestCredentialsWithoutGroups(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir})
	fs.Init(0)
	r := &vfs.Request{UID: 1234, GID: 5678, Groups: []uint32{4321}}
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what, m.make(fs, r, vfs.Root, name(t, m.what), 0o600, &e), 0)
		if st := host(t, join(dir, m.what)); st.Uid != 1234 || st.Gid != 5678 {
			t.Errorf("%s: owner %d:%d", m.what, st.Uid, st.Gid)
		}
	}
}

// threadIDs counts the threads of the process by who they act as.
func threadIDs(t *testing.T) map[string]int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for _, task := range tasks {
		b, err := os.ReadFile(join("/proc/self/task", task.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		var s string
		for _, field := range []string{"\nUid:", "\nGid:", "\nGroups:", "\nCapEff:", "\nUmask:"} {
			s += line(string(b), field)
		}
		ids[s]++
	}
	return ids
}

func line(s, field string) string {
	for i := 0; i+len(field) <= len(s); i++ {
		if s[i:i+len(field)] == field {
			j := i + 1
			for j < len(s) && s[j] != '\n' {
				j++
			}
			return s[i:j]
		}
	}
	return ""
}

// TestCredentialsDoNotLeak has several users make things at once, in ways that
// fail and that succeed, and looks at every thread afterwards.
func TestCredentialsDoNotLeak(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	fs := share(t, Config{Path: dir, KillPriv: true})
	fs.features.Store(fs.features.Load() | uint64(vfs.FeatDontMask))
	before := threadIDs(t)
	if len(before) != 1 {
		t.Fatalf("threads differ already: %v", before)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			uid := uint32(1000 * (g % 4)) // root among them
			r := &vfs.Request{UID: uid, GID: uid + uint32(g%2), Groups: []uint32{7, 8, uid}, Umask: uint32(g)}
			for i := range 100 {
				m := makers[i%len(makers)]
				n, _ := vfs.MakeName(fmt.Sprint(g, "-", i))
				var e vfs.Entry
				if errno := m.make(fs, r, vfs.Root, n, 0o666, &e); errno != 0 {
					t.Errorf("%s: %v", m.what, errno)
					return
				}
				if e.Attr.UID != uid || e.Attr.GID != r.GID {
					t.Errorf("%s: owner %d:%d, want %d:%d", m.what, e.Attr.UID, e.Attr.GID, uid, r.GID)
				}
				if m.what != "symlink" && e.Attr.Mode&0o777 != 0o666&^r.Umask {
					t.Errorf("%s with umask %#o: mode %#o", m.what, r.Umask, e.Attr.Mode)
				}
				if errno := m.make(fs, r, vfs.Root, n, 0o666, &e); m.what != "create" && errno != syscall.EEXIST {
					t.Errorf("%s again: %v", m.what, errno)
				}
			}
		})
	}
	wg.Wait()
	after := threadIDs(t)
	if len(after) != 1 {
		t.Errorf("threads differ: %v", after)
	}
	for s := range after {
		if before[s] == 0 {
			t.Errorf("threads are%s\nand were%v", s, before)
		}
	}
}

// TestUmask is about default ACLs, which go before the umask.
func TestUmask(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir, PosixACL: NegotiateAlways})
	if _, errno := fs.Init(everything); errno != 0 {
		t.Fatal(errno)
	}
	if err := os.Mkdir(join(dir, "acl"), 0o777); err != nil {
		t.Fatal(err)
	}
	// user::rwx, group::rwx, mask::rwx, other::rwx
	acl := []byte{2, 0, 0, 0}
	for _, tag := range []byte{1, 4, 0x10, 0x20} {
		acl = append(acl, tag, 0, 7, 0, 0xff, 0xff, 0xff, 0xff)
	}
	if err := unix.Setxattr(join(dir, "acl"), "system.posix_acl_default", acl, 0); err != nil {
		t.Fatal(err)
	}
	in := walk(t, fs, "acl").Node
	r := &vfs.Request{Umask: 0o077}
	for _, m := range makers[:3] {
		var e vfs.Entry
		want(t, m.what, m.make(fs, r, vfs.Root, name(t, m.what), 0o666, &e), 0)
		if e.Attr.Mode&0o777 != 0o600 {
			t.Errorf("%s: mode %#o, want the umask applied", m.what, e.Attr.Mode)
		}
		want(t, m.what, m.make(fs, r, in, name(t, m.what), 0o666, &e), 0)
		if e.Attr.Mode&0o777 != 0o666 {
			t.Errorf("%s under a default ACL: mode %#o, want the umask not applied", m.what, e.Attr.Mode)
		}
	}
}

// TestCreateExisting opens what is there with the caller's rights.
func TestCreateExisting(t *testing.T) {
	dir := tempDir(t, "")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, join(dir, "open"), "content")
	write(t, join(dir, "secret"), "content")
	if err := os.Chmod(join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := share(t, Config{Path: dir})
	user := &vfs.Request{UID: 1234, GID: 1234}
	var e vfs.Entry
	var o vfs.Opened
	want(t, "existing", fs.Create(user, vfs.Root, name(t, "open"), unix.O_RDONLY, 0o644, &e, &o), 0)
	if e.Attr.Size != 7 || e.Attr.UID != 0 {
		t.Errorf("entry %+v", e.Attr)
	}
	release(t, fs, e.Node, o.Handle)
	stats := fs.Stats()
	want(t, "truncating a file of root", fs.Create(user, vfs.Root, name(t, "open"), unix.O_WRONLY|unix.O_TRUNC, 0o644, &e, &o), syscall.ESTALE)
	want(t, "reading a secret", fs.Create(user, vfs.Root, name(t, "secret"), unix.O_RDONLY, 0o644, &e, &o), syscall.ESTALE)
	if got := fs.Stats(); got != stats {
		t.Errorf("%+v after failures, want %+v", got, stats)
	}
	want(t, "truncating as root", fs.Create(&root, vfs.Root, name(t, "secret"), unix.O_WRONLY|unix.O_TRUNC, 0o644, &e, &o), 0)
	if st := host(t, join(dir, "secret")); st.Size != 0 {
		t.Errorf("size %d after O_TRUNC", st.Size)
	}
}

// TestCreateRace creates one name from many sides, while the host renames what
// comes of it. The entry must be that of the handle's file.
func TestCreateRace(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		var wg sync.WaitGroup
		n := name(t, "f")
		for g := range 4 {
			wg.Go(func() {
				for i := range 200 {
					var e vfs.Entry
					var o vfs.Opened
					switch errno := fs.Create(&root, vfs.Root, n, unix.O_RDWR, 0o644, &e, &o); errno {
					case 0:
						h, errno := fs.handle(e.Node, o.Handle, kindFile)
						if errno != 0 {
							t.Errorf("handle: %v", errno)
							return
						}
						var st unix.Stat_t
						if err := unix.Fstat(h.fd, &st); err != nil || st.Ino != e.Attr.Ino {
							t.Errorf("%v: handle of inode %d, entry of %d", err, st.Ino, e.Attr.Ino)
						}
						if a, errno := getattr(fs, e.Node); errno != 0 || a.Ino != st.Ino {
							t.Errorf("getattr: %v, inode %d, want %d", errno, a.Ino, st.Ino)
						}
						h.unpin()
						fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
						fs.Forget(e.Node, 1)
					case syscall.EAGAIN, syscall.ESTALE: // lost the race too often
					default:
						t.Errorf("create: %v", errno)
						return
					}
					os.Rename(join(dir, "f"), join(dir, fmt.Sprint(g, i%3)))
				}
			})
		}
		wg.Wait()
		if s := fs.Stats(); s.Nodes != 1 || s.Handles != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTmpfile(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		user := &vfs.Request{UID: 1234, GID: 5678}
		var e, l vfs.Entry
		var o vfs.Opened
		want(t, "tmpfile", fs.Tmpfile(user, vfs.Root, unix.O_RDWR, 0o640, &e, &o), 0)
		if e.Attr.UID != 1234 || e.Attr.GID != 5678 || e.Attr.Mode != unix.S_IFREG|0o640 || e.Attr.Nlink != 0 {
			t.Errorf("entry %+v", e.Attr)
		}
		evict(fs)
		release(t, fs, e.Node, o.Handle)
		want(t, "link", fs.Link(&root, e.Node, vfs.Root, name(t, "named"), &l), 0)
		if l.Node != e.Node || l.Attr.Nlink != 1 {
			t.Errorf("the linked file is node %#x with %d links, want %#x with 1", l.Node, l.Attr.Nlink, e.Node)
		}
		want(t, "tmpfile never to be linked", fs.Tmpfile(user, vfs.Root, unix.O_RDWR|unix.O_EXCL, 0o640, &e, &o), 0)
		want(t, "link", fs.Link(&root, e.Node, vfs.Root, name(t, "never"), &l), syscall.ENOENT)
	})
}

func TestMknodDevice(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir})
	dev := vfs.MakeDev(1234, 0x54321)
	var e vfs.Entry
	want(t, "mknod", fs.Mknod(&root, vfs.Root, name(t, "dev"), unix.S_IFCHR|0o600, dev, &e), 0)
	st := host(t, join(dir, "dev"))
	if e.Attr.Rdev != dev || unix.Major(st.Rdev) != 1234 || unix.Minor(st.Rdev) != 0x54321 {
		t.Errorf("device %#x in the entry, %#x on the host, want %#x", e.Attr.Rdev, st.Rdev, dev)
	}
	if a, errno := getattr(fs, e.Node); errno != 0 || a != e.Attr {
		t.Errorf("getattr %+v, entry %+v", a, e.Attr)
	}
	want(t, "mknod of a directory", fs.Mknod(&root, vfs.Root, name(t, "d"), unix.S_IFDIR|0o700, 0, &e), syscall.EPERM)
}

func TestSecurityLabels(t *testing.T) {
	eachFS(t, func(t *testing.T, parent string) {
		eachXattrCall(t, func(t *testing.T, cfg Config) {
			dir := tempDir(t, parent)
			cfg.Path, cfg.SecurityLabel = dir, NegotiateAlways
			testSecurityLabels(t, share(t, cfg), dir)
		})
	})
}

func testSecurityLabels(t *testing.T, fs *FS, dir string) {
	label := func(attr string) *vfs.Request {
		return &vfs.Request{Security: []vfs.SecurityContext{{Name: []byte(attr + "\x00"), Value: []byte("label")}}}
	}
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what, m.make(fs, label("trusted.label"), vfs.Root, name(t, m.what), 0o644, &e), 0)
		buf := make([]byte, 64)
		n, err := unix.Lgetxattr(join(dir, m.what), "trusted.label", buf)
		if err != nil || string(buf[:n]) != "label" {
			t.Errorf("%s: label %q, %v", m.what, buf[:max(n, 0)], err)
		}
		stats, fds := fs.Stats(), openFDs(t)
		if errno := m.make(fs, label("unknown.label"), vfs.Root, name(t, m.what+"2"), 0o644, &e); errno == 0 {
			t.Errorf("%s with a label that cannot be set succeeds", m.what)
		}
		if _, err := os.Lstat(join(dir, m.what+"2")); err == nil {
			t.Errorf("%s that failed left its object behind", m.what)
		}
		if got := fs.Stats(); got != stats || openFDs(t) != fds {
			t.Errorf("%s that failed: %+v and %d descriptors, before %+v and %d", m.what, got, openFDs(t), stats, fds)
		}
	}
}

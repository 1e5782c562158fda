package tree

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// wanting is a file system with wishes of its own.
type wanting struct {
	vfs.FileSystem
	wants vfs.Features
	fails syscall.Errno
	// only, if not 0, are features that make no sense without each other.
	only   vfs.Features
	agreed vfs.Features
	inits  int
	mode   uint32 // of the last call of Mkdir
}

func (w *wanting) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	w.inits++
	if w.fails != 0 {
		return 0, w.fails
	}
	w.FileSystem.Init(offered & w.wants)
	w.agreed = offered & w.wants
	if !w.agreed.Has(w.only) {
		w.agreed &^= w.only
	}
	return w.agreed, 0
}

func (w *wanting) Mkdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, mode uint32, _ *vfs.Entry) syscall.Errno {
	w.mode = mode
	return syscall.EPERM
}

// TestCombineKnowsAll says something of each feature, once.
func TestCombineKnowsAll(t *testing.T) {
	var all vfs.Features
	for _, c := range combine {
		if all&c.feature != 0 || c.name == "" {
			t.Errorf("feature %#x is there twice, or has no name", c.feature)
		}
		all |= c.feature
	}
	if all != vfs.FeatExport<<1-1 {
		t.Errorf("the rules are for %#x", all)
	}
}

// TestAgree combines wishes.
func TestAgree(t *testing.T) {
	const a, b, both = vfs.FeatPOSIXACL, vfs.FeatReaddirplus, vfs.FeatWriteback
	for _, tt := range []struct {
		name        string
		x, y, only  vfs.Features
		offered     vfs.Features
		agreed      vfs.Features
		xHas, yHas  vfs.Features
		xInit, most int
	}{
		{"any", a, b, 0, everything, a | b | vfs.FeatSubmounts, a, b, 1, 1},
		{"all", both | a, both, 0, everything, both | a | vfs.FeatSubmounts, both | a, both, 1, 1},
		{"not all", both | a, b, 0, everything, a | b | vfs.FeatSubmounts, a, b, 2, 1},
		{"not offered", both | a, both | b, 0, b, b, 0, b, 1, 1},
		// What y loses makes it lose something that x counts on.
		{"one after the other", vfs.FeatKillPriv, vfs.FeatKillPriv | both, vfs.FeatKillPriv | both, everything, vfs.FeatSubmounts, 0, 0, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := newTree(t)
			x := &wanting{FileSystem: dirOf(t), wants: tt.x}
			y := &wanting{FileSystem: dirOf(t), wants: tt.y, only: tt.only}
			mounted(t, fs, "/", x)
			mounted(t, fs, "/y", y)
			agreed, errno := fs.Init(tt.offered)
			if errno != 0 || agreed != tt.agreed {
				t.Errorf("agreed to %s; want %s", describe(agreed), describe(tt.agreed))
			}
			if x.agreed != tt.xHas || y.agreed != tt.yHas {
				t.Errorf("the file systems have %s and %s", describe(x.agreed), describe(y.agreed))
			}
			if x.inits != tt.xInit || y.inits > tt.most {
				t.Errorf("there were %d and %d calls of Init", x.inits, y.inits)
			}
		})
	}
}

// tolerant is wanting with what it does not mind.
type tolerant struct {
	wanting
	tolerates vfs.Features
}

func (w *tolerant) Tolerates() vfs.Features { return w.tolerates }

// TestTolerant: a file system that does not mind a feature neither keeps it from others
// nor asks for it, at the start and later.
func TestTolerant(t *testing.T) {
	const f = vfs.FeatWriteback
	for _, tt := range []struct {
		name               string
		x, y, yCan, agreed vfs.Features
	}{
		{"wanted by the other", f, 0, f, f},
		{"minded", f, 0, 0, 0},
		{"wanted by nobody", 0, 0, f, 0},
	} {
		newY := func() *tolerant {
			return &tolerant{wanting{FileSystem: dirOf(t), wants: tt.y}, tt.yCan}
		}
		fs := newTree(t)
		mounted(t, fs, "/", &wanting{FileSystem: dirOf(t), wants: tt.x})
		mounted(t, fs, "/y", newY())
		if agreed := begin(t, fs); agreed&f != tt.agreed {
			t.Errorf("%s: agreed to %s", tt.name, describe(agreed))
		}
		late := newTree(t)
		mounted(t, late, "/", &wanting{FileSystem: dirOf(t), wants: tt.x})
		begin(t, late)
		if err := late.Mount("/y", newY()); (err == nil) != (tt.x == 0 || tt.yCan != 0) {
			t.Errorf("%s: a late mount: %v", tt.name, err)
		}
	}
}

// TestInitRefused has a file system refuse the guest.
func TestInitRefused(t *testing.T) {
	fs := newTree(t)
	a := dirOf(t, "f")
	mounted(t, fs, "/a", a)
	b := &wanting{FileSystem: dirOf(t), fails: syscall.EPROTO}
	mounted(t, fs, "/b", b)
	_, errno := fs.Init(everything)
	want(t, "Init", errno, syscall.EPROTO)
	b.fails = 0
	begin(t, fs)
	if got := names(t, fs, "/a"); got != "f" {
		t.Errorf("afterwards there is %q", got)
	}
}

// TestLateMount joins a session.
func TestLateMount(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", &wanting{FileSystem: dirOf(t), wants: vfs.FeatWriteback | vfs.FeatDontMask})
	begin(t, fs)
	wantErr(t, fs.Mount("/a", &wanting{FileSystem: dirOf(t), wants: vfs.FeatReaddirplus}), syscall.EPROTO, "write-back cache")
	wantErr(t, fs.Mount("/a", &wanting{FileSystem: dirOf(t), fails: syscall.EPROTO}), syscall.EPROTO, "does not do with what was agreed")
	ok := &wanting{FileSystem: dirOf(t), wants: everything}
	mounted(t, fs, "/a", ok)
	if ok.agreed != vfs.FeatWriteback|vfs.FeatDontMask|vfs.FeatSubmounts {
		t.Errorf("a late mount has %s", describe(ok.agreed))
	}
	begin(t, fs)
	if !ok.agreed.Has(vfs.FeatWriteback) {
		t.Errorf("in a new session it has %s", describe(ok.agreed))
	}
}

// TestAdapts checks what the tree does for file systems that do without a feature.
func TestAdapts(t *testing.T) {
	var log bytes.Buffer
	fs := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	dir := tempDir(t, "/dev/shm", "f")
	acl := share(t, passthrough.Config{Path: tempDir(t, "/tmp", "f"), PosixACL: passthrough.NegotiateAlways, KillPriv: true, Writeback: true})
	not := &wanting{FileSystem: share(t, passthrough.Config{Path: dir, Xattr: true}), wants: vfs.FeatReaddirplus}
	mounted(t, fs, "/acl", acl)
	mounted(t, fs, "/not", not)
	if f := begin(t, fs); !f.Has(vfs.FeatPOSIXACL|vfs.FeatDontMask) || f&(vfs.FeatKillPriv|vfs.FeatWriteback) != 0 {
		t.Fatalf("agreed to %s", describe(f))
	}
	if s := log.String(); !strings.Contains(s, "write-back cache") || !strings.Contains(s, "clearing of setuid") {
		t.Errorf("the log says %q", s)
	}
	r := &vfs.Request{Umask: 0o027}
	n := walk(t, fs, "/not").Node
	fs.Mkdir(r, n, name("new"), 0o777, &vfs.Entry{})
	if not.mode != 0o750 {
		t.Errorf("the mode of a new directory is %#o", not.mode)
	}
	var e vfs.Entry
	a := walk(t, fs, "/acl").Node
	want(t, "mkdir", fs.Mkdir(r, a, name("new"), 0o777, &e), 0)
	if e.Attr.Mode != unix.S_IFDIR|0o750 {
		t.Errorf("with ACLs, the mode of a new directory is %#o", e.Attr.Mode)
	}
	fs.Forget(e.Node, 1)
	value := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
	for path, errno := range map[string]syscall.Errno{"/not/f": syscall.EOPNOTSUPP, "/acl/f": 0} {
		node := walk(t, fs, path).Node
		for _, attr := range []string{"system.posix_acl_access\x00"} {
			want(t, path+": setxattr", fs.Setxattr(&root, node, []byte(attr), value, 0, false), errno)
			_, got := fs.Getxattr(&root, node, []byte(attr), nil)
			if errno != 0 || got != syscall.ENODATA { // an ACL that is only a mode is not kept
				want(t, path+": getxattr", got, errno)
			}
			want(t, path+": removexattr", fs.Removexattr(&root, node, []byte(attr)), errno)
		}
		if path == "/not/f" {
			_, got := fs.Getxattr(&root, node^1<<40, []byte("system.posix_acl_access\x00"), nil)
			want(t, "getxattr of a node that is not there", got, syscall.ESTALE)
		}
	}
}

// TestInsteadOfENOSYS checks that no mount makes a guest give up a call on all of
// them.
func TestInsteadOfENOSYS(t *testing.T) {
	bare := &counter{}
	calls := map[string]struct {
		make  func(*FS, vfs.NodeID) syscall.Errno
		errno syscall.Errno
	}{
		"getxattr": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			_, e := fs.Getxattr(&root, n, []byte("user.x\x00"), nil)
			return e
		}, syscall.EOPNOTSUPP},
		"listxattr": {func(fs *FS, n vfs.NodeID) syscall.Errno { _, e := fs.Listxattr(&root, n, nil); return e }, syscall.EOPNOTSUPP},
		"setxattr": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			return fs.Setxattr(&root, n, []byte("user.x\x00"), nil, 0, false)
		}, syscall.EOPNOTSUPP},
		"removexattr": {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Removexattr(&root, n, []byte("user.x\x00")) }, syscall.EOPNOTSUPP},
		"access":      {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Access(&root, n, 1) }, 0},
		"flush":       {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Flush(&root, n, 0, 0) }, 0},
		"fsync":       {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Fsync(&root, n, 0, false) }, 0},
		"fsyncdir":    {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Fsyncdir(&root, n, 0, false) }, 0},
		"syncfs":      {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Syncfs(&root, n) }, 0},
		"statx":       {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Statx(&root, n, vfs.NoHandle, 0, 0, &vfs.Statx{}) }, 0},
		"fallocate":   {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Fallocate(&root, n, 0, 0, 0, 0) }, syscall.EOPNOTSUPP},
		"lseek": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			_, e := fs.Lseek(&root, n, 0, 0, unix.SEEK_DATA)
			return e
		}, syscall.ENXIO},
		"copy": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			_, e := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: n, DstNode: n})
			return e
		}, syscall.EOPNOTSUPP},
		"rename": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			return fs.Rename(&root, n, name("a"), n, name("b"), unix.RENAME_NOREPLACE)
		}, syscall.EINVAL},
		"link": {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Link(&root, n, n, name("a"), &vfs.Entry{}) }, syscall.EPERM},
		"create": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			return fs.Create(&root, n, name("a"), 0, 0, &vfs.Entry{}, &vfs.Opened{})
		}, syscall.EOPNOTSUPP},
		"tmpfile": {func(fs *FS, n vfs.NodeID) syscall.Errno {
			return fs.Tmpfile(&root, n, 0, 0, &vfs.Entry{}, &vfs.Opened{})
		}, syscall.EOPNOTSUPP},
		"ioctl": {func(fs *FS, n vfs.NodeID) syscall.Errno { _, _, e := fs.Ioctl(&root, n, 0, 0, 0, nil, nil); return e }, syscall.ENOTTY},
		"getlk": {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Getlk(&root, n, 0, &vfs.Lock{}) }, syscall.ENOLCK},
		"setlk": {func(fs *FS, n vfs.NodeID) syscall.Errno { return fs.Setlk(&root, n, 0, &vfs.Lock{}) }, syscall.ENOLCK},
	}
	alone, both := newTree(t), newTree(t)
	mounted(t, alone, "/", bare)
	mounted(t, both, "/", &counter{})
	mounted(t, both, "/n", &counter{})
	begin(t, alone)
	begin(t, both)
	nested := walk(t, both, "/n").Node
	for what, c := range calls {
		want(t, what+" alone", c.make(alone, vfs.Root), syscall.ENOSYS)
		want(t, what+" beside others", c.make(both, vfs.Root), c.errno)
		want(t, what+" nested", c.make(both, nested), c.errno)
	}
}

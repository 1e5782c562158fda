package passthrough

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// fdFlags are the status flags of an open handle's descriptor on the host.
func fdFlags(t testing.TB, fs *FS, id vfs.NodeID, h vfs.Handle) int {
	t.Helper()
	hh, errno := fs.handle(id, h, kindAny)
	want(t, "handle", errno, 0)
	defer hh.unpin()
	f, err := unix.FcntlInt(uintptr(hh.fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f &^ (0o100000 | unix.O_NOFOLLOW) // O_LARGEFILE
}

func release(t testing.TB, fs *FS, id vfs.NodeID, h vfs.Handle) {
	t.Helper()
	want(t, "release", fs.Release(&root, id, h, &vfs.ReleaseIn{}), 0)
}

func TestOpenFlags(t *testing.T) {
	const (
		wronly  = unix.O_WRONLY
		rdwr    = unix.O_RDWR
		direct  = unix.O_DIRECT
		noatime = unix.O_NOATIME
	)
	dir := tempDir(t, "")
	i := 0
	for _, c := range []struct {
		cfg         Config
		guest, host int
		reply       vfs.OpenFlags
	}{
		{Config{}, unix.O_RDONLY, unix.O_RDONLY, vfs.OpenNoFlush},
		{Config{}, wronly | unix.O_APPEND, wronly, vfs.OpenNoFlush},
		{Config{}, wronly | unix.O_ASYNC | unix.O_NOCTTY, wronly, vfs.OpenNoFlush},
		{Config{}, rdwr | noatime | direct, rdwr, vfs.OpenNoFlush},
		{Config{PreserveNoatime: true}, rdwr | noatime, rdwr | noatime, vfs.OpenNoFlush},
		{Config{DirectIO: true}, rdwr | direct, rdwr | direct, vfs.OpenNoFlush | vfs.OpenParallelDirectWrites},
		{Config{Writeback: true}, wronly, rdwr, 0},
		{Config{Writeback: true}, unix.O_RDONLY, unix.O_RDONLY, 0},
		{Config{Cache: CacheNever}, rdwr, rdwr, vfs.OpenNoFlush | vfs.OpenDirectIO | vfs.OpenParallelDirectWrites},
		{Config{Cache: CacheMetadata}, rdwr, rdwr, vfs.OpenNoFlush | vfs.OpenDirectIO | vfs.OpenParallelDirectWrites},
		{Config{Cache: CacheAlways}, rdwr, rdwr, vfs.OpenNoFlush | vfs.OpenKeepCache},
		{Config{Locks: Locks{POSIX: true}}, rdwr, rdwr, 0},
		{Config{}, rdwr | unix.O_SYNC, rdwr | unix.O_SYNC, vfs.OpenNoFlush},
	} {
		c.cfg.Path = dir
		fs := share(t, c.cfg)
		i++
		n := fmt.Sprint("f", i)
		var e vfs.Entry
		var o vfs.Opened
		// The rules are the same whether a file is made, found or nameless.
		for _, how := range []string{"create", "open", "create existing", "tmpfile"} {
			errno := syscall.Errno(0)
			switch how {
			case "create", "create existing":
				errno = fs.Create(&root, vfs.Root, name(t, n), uint32(c.guest), 0o644, &e, &o)
			case "open":
				errno = fs.Open(&root, e.Node, uint32(c.guest), false, &o)
			case "tmpfile":
				if c.guest&unix.O_ACCMODE == unix.O_RDONLY {
					continue // the kernel wants those writable
				}
				errno = fs.Tmpfile(&root, vfs.Root, uint32(c.guest), 0o644, &e, &o)
			}
			if errno != 0 {
				t.Errorf("%s with %#o: %v", how, c.guest, errno)
				continue
			}
			host := fdFlags(t, fs, e.Node, o.Handle)
			if how == "tmpfile" {
				host &^= unix.O_TMPFILE
			}
			if host != c.host {
				t.Errorf("case %d: %s with %#o: host flags %#o, want %#o", i, how, c.guest, host, c.host)
			}
			if o.Flags != c.reply {
				t.Errorf("case %d: %s with %#o: reply %#x, want %#x", i, how, c.guest, o.Flags, c.reply)
			}
			release(t, fs, e.Node, o.Handle)
		}
	}
}

// TestOpenTypes opens everything that is not to be opened. The pipe has no
// other end: a real open of it would never return.
func TestOpenTypes(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "file"), "")
		for _, err := range []error{
			os.Mkdir(join(dir, "dir"), 0o755),
			os.Symlink("/etc", join(dir, "link")),
			os.Symlink("file", join(dir, "inner link")),
			unix.Mkfifo(join(dir, "fifo"), 0o666),
			unix.Mknod(join(dir, "socket"), unix.S_IFSOCK|0o666, 0),
			unix.Mknod(join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
			unix.Mknod(join(dir, "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(250, 77))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name string
			typ  uint32
			want syscall.Errno
		}{
			{"file", unix.S_IFREG, 0},
			{"dir", unix.S_IFDIR, syscall.EISDIR},
			{"link", unix.S_IFLNK, syscall.ELOOP},
			{"inner link", unix.S_IFLNK, syscall.ELOOP},
			{"fifo", unix.S_IFIFO, syscall.EBADF},
			{"socket", unix.S_IFSOCK, syscall.ENXIO},
			{"null", unix.S_IFCHR, syscall.EBADF},
			{"disk", unix.S_IFBLK, syscall.EBADF},
		} {
			e := walk(t, fs, c.name)
			if e.Attr.Mode&unix.S_IFMT != c.typ {
				t.Errorf("%s is of type %#o", c.name, e.Attr.Mode&unix.S_IFMT)
			}
			for _, flags := range []uint32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR | unix.O_TRUNC, unix.O_PATH, unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_DIRECTORY} {
				var o vfs.Opened
				want(t, "open "+c.name, fs.Open(&root, e.Node, flags, false, &o), c.want)
			}
			var o vfs.Opened
			var again vfs.Entry
			want(t, "create over "+c.name, fs.Create(&root, vfs.Root, name(t, c.name), unix.O_RDWR, 0o644, &again, &o), c.want)
			want(t, "exclusive create over "+c.name, fs.Create(&root, vfs.Root, name(t, c.name), unix.O_RDWR|unix.O_EXCL, 0o644, &again, &o), syscall.EEXIST)
			var out vfs.AttrOut
			errno := fs.Setattr(&root, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize}, &out)
			switch c.typ {
			case unix.S_IFREG:
				want(t, "truncate "+c.name, errno, 0)
			case unix.S_IFDIR:
				want(t, "truncate "+c.name, errno, syscall.EISDIR)
			default:
				want(t, "truncate "+c.name, errno, syscall.EINVAL)
			}
			if c.typ != unix.S_IFDIR {
				want(t, "lookup in "+c.name, fs.Lookup(&root, e.Node, name(t, "passwd"), &again), syscall.ENOTDIR)
				want(t, "create in "+c.name, fs.Create(&root, e.Node, name(t, "passwd"), 0, 0o644, &again, &o), syscall.ENOTDIR)
				want(t, "unlink in "+c.name, fs.Unlink(&root, e.Node, name(t, "passwd")), syscall.ENOTDIR)
				want(t, "rename from "+c.name, fs.Rename(&root, e.Node, name(t, "passwd"), vfs.Root, name(t, "x"), 0), syscall.ENOTDIR)
			}
		}
	})
}

func TestHandles(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "a"), "")
	write(t, join(dir, "b"), "")
	fs := share(t, Config{Path: dir})
	a, b := walk(t, fs, "a"), walk(t, fs, "b")
	before := fs.Stats()
	var o vfs.Opened
	want(t, "open", fs.Open(&root, a.Node, unix.O_RDWR, false, &o), 0)
	if got := fs.Stats(); got.Handles != 1 {
		t.Errorf("%+v with one open file", got)
	}
	for _, c := range []struct {
		what string
		id   vfs.NodeID
		h    vfs.Handle
		kind handleKind
	}{
		{"another node", b.Node, o.Handle, kindFile},
		{"the root", vfs.Root, o.Handle, kindFile},
		{"another kind", a.Node, o.Handle, kindDir},
		{"0", a.Node, 0, kindFile},
		{"no handle", a.Node, vfs.NoHandle, kindFile},
		{"the next index", a.Node, o.Handle + 1, kindFile},
		{"another generation", a.Node, o.Handle + 1<<32, kindFile},
		{"an index far away", a.Node, o.Handle | 1<<31, kindFile},
	} {
		_, errno := fs.handle(c.id, c.h, c.kind)
		want(t, c.what, errno, syscall.EBADF)
		_, errno = fs.dropHandle(c.id, c.h, c.kind)
		want(t, "dropping "+c.what, errno, syscall.EBADF)
	}

	// A call in progress keeps the descriptor while the handle is released.
	h, errno := fs.handle(a.Node, o.Handle, kindFile)
	want(t, "handle", errno, 0)
	release(t, fs, a.Node, o.Handle)
	want(t, "second release", fs.Release(&root, a.Node, o.Handle, &vfs.ReleaseIn{}), syscall.EBADF)
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil || st.Ino != a.Attr.Ino {
		t.Errorf("the descriptor of a handle in use: %v, inode %d", err, st.Ino)
	}
	h.unpin()
	if got := fs.Stats(); got != before {
		t.Errorf("%+v after release, want %+v", got, before)
	}

	var o2 vfs.Opened
	want(t, "open", fs.Open(&root, a.Node, unix.O_RDWR, false, &o2), 0)
	if o2.Handle == o.Handle {
		t.Error("a released handle was given out again")
	}
	if uint32(o2.Handle) != uint32(o.Handle) {
		t.Error("the slot of a released handle was not reused")
	}
	// A new session starts with nothing.
	fs.Init(everything)
	if got := fs.Stats(); got.Handles != 0 || got.Nodes != 1 {
		t.Errorf("%+v after Init", got)
	}
	_, errno = fs.handle(a.Node, o2.Handle, kindFile)
	want(t, "a handle of the session before", errno, syscall.EBADF)
}

// TestHandleRace has many open, use and release files at once.
func TestHandleRace(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	fs := share(t, Config{Path: dir})
	var ids [4]vfs.NodeID
	for i := range ids {
		write(t, join(dir, fmt.Sprint(i)), fmt.Sprint(i))
		ids[i] = walk(t, fs, fmt.Sprint(i)).Node
	}
	before := openFDs(t)
	shared := make(chan vfs.Handle, 64)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			id := ids[0]
			for range 500 {
				var o vfs.Opened
				if errno := fs.Open(&root, id, unix.O_RDONLY, false, &o); errno != 0 {
					t.Errorf("open: %v", errno)
					return
				}
				if g%2 == 0 {
					shared <- o.Handle // somebody else releases it
				} else {
					for range 2 {
						fs.Release(&root, id, o.Handle, &vfs.ReleaseIn{})
					}
				}
				select {
				case h := <-shared:
					if hh, errno := fs.handle(id, h, kindFile); errno == 0 {
						var st unix.Stat_t
						if err := unix.Fstat(hh.fd, &st); err != nil || st.Size != 1 {
							t.Errorf("fstat of a pinned handle: %v", err)
						}
						fs.Release(&root, id, h, &vfs.ReleaseIn{})
						hh.unpin()
					}
				default:
				}
			}
		})
	}
	wg.Wait()
	close(shared)
	for h := range shared {
		release(t, fs, ids[0], h)
	}
	if s := fs.Stats(); s.Handles != 0 {
		t.Errorf("%+v", s)
	}
	if got := openFDs(t); got != before {
		t.Errorf("%d descriptors, want %d", got, before)
	}
}

func TestQuota(t *testing.T) {
	dir := tempDir(t, "")
	for i := range 10 {
		write(t, join(dir, fmt.Sprint(i)), "content")
	}
	const quota = 6
	fs := share(t, Config{Path: dir, FileHandles: HandlesNever, MaxFDs: quota})
	// The root and the file take one each.
	f := walk(t, fs, "0")
	var handles []vfs.Handle
	for range quota - 2 {
		var o vfs.Opened
		want(t, "open", fs.Open(&root, f.Node, unix.O_RDONLY, false, &o), 0)
		handles = append(handles, o.Handle)
	}
	var o vfs.Opened
	var e vfs.Entry
	fds := openFDs(t)
	want(t, "open beyond the quota", fs.Open(&root, f.Node, unix.O_WRONLY|unix.O_TRUNC, false, &o), syscall.ENFILE)
	want(t, "lookup beyond the quota", fs.Lookup(&root, vfs.Root, name(t, "1"), &e), syscall.ENFILE)
	want(t, "create beyond the quota", fs.Create(&root, vfs.Root, name(t, "new"), unix.O_RDWR, 0o644, &e, &o), syscall.ENFILE)
	want(t, "tmpfile beyond the quota", fs.Tmpfile(&root, vfs.Root, unix.O_RDWR, 0o644, &e, &o), syscall.ENFILE)
	if a, errno := getattr(fs, f.Node); errno != 0 || a.Size != 7 {
		t.Errorf("a refused open truncated the file: %v, size %d", errno, a.Size)
	}
	want(t, "lookup of what is known", fs.Lookup(&root, vfs.Root, name(t, "0"), &e), 0)
	release(t, fs, f.Node, handles[0])
	// One place is left, and a new file needs two.
	want(t, "create with one place left", fs.Create(&root, vfs.Root, name(t, "new"), unix.O_RDWR, 0o644, &e, &o), syscall.ENFILE)
	if _, err := os.Lstat(join(dir, "new")); err == nil {
		t.Error("a create that failed left the file behind")
	}
	want(t, "lookup with one place left", fs.Lookup(&root, vfs.Root, name(t, "1"), &e), 0)
	if got := openFDs(t); got != fds {
		t.Errorf("%d descriptors, want %d: one given back, one taken", got, fds)
	}
}

func TestSingleFile(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "secret"), "")
	write(t, join(dir, "file"), "content")
	fs := share(t, Config{Path: join(dir, "file")})
	a, errno := getattr(fs, vfs.Root)
	if errno != 0 || a.Mode&unix.S_IFMT != unix.S_IFREG || a.Size != 7 {
		t.Fatalf("getattr: %v, mode %#o, size %d", errno, a.Mode, a.Size)
	}
	var e vfs.Entry
	want(t, "lookup", fs.Lookup(&root, vfs.Root, name(t, "secret"), &e), syscall.ENOTDIR)
	want(t, "mkdir", fs.Mkdir(&root, vfs.Root, name(t, "d"), 0o755, &e), syscall.ENOTDIR)
	want(t, "tmpfile", fs.Tmpfile(&root, vfs.Root, unix.O_RDWR, 0o644, &e, new(vfs.Opened)), syscall.ENOTDIR)
	var o vfs.Opened
	want(t, "open", fs.Open(&root, vfs.Root, unix.O_RDWR, false, &o), 0)
	var out vfs.AttrOut
	want(t, "truncate", fs.Setattr(&root, vfs.Root, o.Handle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 2}, &out), 0)
	if out.Attr.Size != 2 {
		t.Errorf("size %d after truncate", out.Attr.Size)
	}
	buf := make([]byte, 8)
	_, errno = fs.Write(&root, vfs.Root, o.Handle, iovs([]byte("ntent"), 2), 2, 0, 0)
	want(t, "write", errno, 0)
	n, errno := fs.Read(&root, vfs.Root, o.Handle, iovs(buf, 3), 0, 0)
	if errno != 0 || string(buf[:n]) != "content" {
		t.Errorf("read %q, %v", buf[:n], errno)
	}
	want(t, "opendir", fs.Opendir(&root, vfs.Root, 0, new(vfs.Opened)), syscall.ENOTDIR)
	want(t, "create", fs.Create(&root, vfs.Root, name(t, "f"), unix.O_RDWR, 0o644, &e, new(vfs.Opened)), syscall.ENOTDIR)
	want(t, "rename", fs.Rename(&root, vfs.Root, name(t, "file"), vfs.Root, name(t, "f"), 0), syscall.ENOTDIR)
	want(t, "unlink", fs.Unlink(&root, vfs.Root, name(t, "file")), syscall.ENOTDIR)
	release(t, fs, vfs.Root, o.Handle)
	fs.Forget(vfs.Root, 1)
	if _, errno := getattr(fs, vfs.Root); errno != 0 {
		t.Errorf("getattr after the root was forgotten: %v", errno)
	}
}

func TestNewErrors(t *testing.T) {
	dir := tempDir(t, "")
	if err := unix.Mkfifo(join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	for _, cfg := range []Config{
		{},
		{Path: join(dir, "absent")},
		{Path: join(dir, "fifo")},
		{Path: "/dev/null"},
		{Path: dir, Cache: 99},
		{Path: dir, PosixACL: 99},
		{Path: dir, SecurityLabel: NegotiateAlways + 1},
	} {
		if fs, err := New(cfg); err == nil {
			t.Errorf("New(%+v) succeeds", cfg)
			fs.Close()
		}
	}
	if got := openFDs(t); got != before {
		t.Errorf("%d descriptors after New failed, want %d", got, before)
	}
	fs, err := New(Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	fs.Init(everything)
	walk(t, fs, "fifo")
	fs.Close()
	if got := openFDs(t); got != before {
		t.Errorf("%d descriptors after Close, want %d", got, before)
	}
}

func TestFeatures(t *testing.T) {
	dir := tempDir(t, "")
	always := vfs.FeatParallelDirops | vfs.FeatAutoInval | vfs.FeatAsyncDIO | vfs.FeatSuppGroups | vfs.FeatIDMap | vfs.FeatIoctlDir
	plus := vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto
	for _, c := range []struct {
		cfg     Config
		offered vfs.Features
		want    vfs.Features
		errno   syscall.Errno
	}{
		{Config{}, everything, always | plus | vfs.FeatCacheSymlinks, 0},
		{Config{}, 0, 0, 0},
		{Config{Cache: CacheNever}, everything, always, 0},
		{Config{NoReaddirplus: true, Xattr: true}, everything, always | vfs.FeatCacheSymlinks | vfs.FeatSetxattrExt, 0},
		{Config{Cache: CacheNever, Writeback: true, KillPriv: true, AnnounceSubmounts: true, DirectIOMmap: true, Locks: Locks{true, true}}, everything,
			always | vfs.FeatWriteback | vfs.FeatKillPriv | vfs.FeatAtomicTrunc | vfs.FeatSubmounts | vfs.FeatDirectIOMmap | vfs.FeatPOSIXLocks | vfs.FeatFlock, 0},
		{Config{Cache: CacheNever, PosixACL: NegotiateAlways}, everything, always | vfs.FeatPOSIXACL | vfs.FeatDontMask | vfs.FeatSetxattrExt, 0},
		{Config{PosixACL: NegotiateAlways}, everything &^ vfs.FeatDontMask, 0, syscall.EPROTO},
		{Config{Cache: CacheNever, KillPriv: true}, everything &^ vfs.FeatKillPriv, always, 0},
		{Config{SecurityLabel: NegotiateAlways}, everything &^ vfs.FeatSecurityContext, 0, syscall.EPROTO},
		{Config{Cache: CacheNever, PosixACL: NegotiateAuto}, everything, always | needACL, 0},
		{Config{Cache: CacheNever, PosixACL: NegotiateAuto}, everything &^ vfs.FeatDontMask, always | vfs.FeatSetxattrExt, 0},
		{Config{Cache: CacheNever, PosixACL: NegotiateAuto}, everything &^ vfs.FeatPOSIXACL, always | vfs.FeatSetxattrExt, 0},
		{Config{Cache: CacheNever, SecurityLabel: NegotiateAuto}, everything, always | vfs.FeatSetxattrExt | vfs.FeatSecurityContext, 0},
		{Config{Cache: CacheNever, SecurityLabel: NegotiateAuto, PosixACL: NegotiateAlways}, everything &^ vfs.FeatSecurityContext, always | needACL, 0},
		{Config{SecurityLabel: NegotiateAlways, PosixACL: NegotiateAuto}, everything &^ vfs.FeatSecurityContext, 0, syscall.EPROTO},
	} {
		c.cfg.Path = dir
		c.cfg.Logger = slog.New(slog.DiscardHandler)
		fs, err := New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, errno := fs.Init(c.offered)
		if got != c.want || errno != c.errno {
			t.Errorf("%+v: %#x, %v, want %#x, %v", c.cfg, got, errno, c.want, c.errno)
		}
		if _, errno := fs.Listxattr(&root, vfs.Root, nil); (errno != syscall.ENOSYS) != (c.cfg.Xattr || c.cfg.PosixACL+c.cfg.SecurityLabel != NegotiateNever) {
			t.Errorf("%+v: listxattr: %v", c.cfg, errno)
		}
		fs.Close()
	}
}

func TestTimeouts(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	ms, sec := time.Millisecond, time.Second
	for _, c := range []struct {
		cfg         Config
		entry, attr time.Duration
	}{
		{Config{}, sec, sec},
		{Config{Cache: CacheNever}, 0, 0},
		{Config{Cache: CacheMetadata}, 86400 * sec, 86400 * sec},
		{Config{Cache: CacheAlways, AttrTimeout: &ms}, 86400 * sec, ms},
		{Config{EntryTimeout: new(time.Duration)}, 0, sec},
	} {
		c.cfg.Path = dir
		fs := share(t, c.cfg)
		e := walk(t, fs, "f")
		var out vfs.AttrOut
		want(t, "getattr", fs.Getattr(&root, e.Node, vfs.NoHandle, &out), 0)
		if e.EntryTTL != c.entry || e.AttrTTL != c.attr || out.TTL != c.attr {
			t.Errorf("%+v: %v, %v, %v, want %v, %v", c.cfg, e.EntryTTL, e.AttrTTL, out.TTL, c.entry, c.attr)
		}
	}
}

package passthrough

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// These tests are about errors that other servers of host directories had, as a
// hostile guest would make use of them.

// TestSpecialFilesStayClosed (CVE-2020-35517) makes all calls on a pipe and on
// a device while the host's kernel tells of each time that one is opened.
func TestSpecialFilesStayClosed(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "file"), "content")
		file, fileH := openAt(t, fs, "file", unix.O_RDWR)
		want(t, "mkfifo", fs.Mknod(&root, vfs.Root, name(t, "pipe"), unix.S_IFIFO|0o666, 0, new(vfs.Entry)), 0)
		want(t, "mknod", fs.Mknod(&root, vfs.Root, name(t, "null"), unix.S_IFCHR|0o666, vfs.MakeDev(1, 3), new(vfs.Entry)), 0)
		// With both ends held, no way to open the pipe would fail or wait.
		both, err := os.OpenFile(join(dir, "pipe"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer both.Close()
		watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(watch)
		opened := func() bool {
			n, _ := unix.Read(watch, make([]byte, 4096))
			return n > 0
		}
		for _, special := range []string{"pipe", "null"} {
			if _, err := unix.InotifyAddWatch(watch, join(dir, special), unix.IN_OPEN); err != nil {
				t.Fatal(err)
			}
			n := name(t, special)
			id := walk(t, fs, special).Node
			var e vfs.Entry
			var o vfs.Opened
			for _, flags := range []uint32{
				unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, 3, unix.O_RDWR | unix.O_TRUNC, unix.O_RDONLY | unix.O_NONBLOCK, unix.O_RDWR | unix.O_CREAT,
				unix.O_RDONLY | unix.O_NOFOLLOW, unix.O_PATH, unix.O_RDWR | unix.O_DIRECT | unix.O_NOATIME, ^uint32(0),
			} {
				for _, kill := range []bool{false, true} {
					want(t, special+": open", fs.Open(&root, id, flags, kill, &o), syscall.EBADF)
				}
				want(t, special+": opendir", fs.Opendir(&root, id, flags, &o), syscall.ENOTDIR)
				if errno := fs.Create(&root, vfs.Root, n, flags, 0o666, &e, &o); errno != syscall.EBADF && errno != syscall.EEXIST {
					t.Errorf("%s: create with flags %#x: %v", special, flags, errno)
				}
				want(t, special+": tmpfile", fs.Tmpfile(&root, id, flags, 0o666, &e, &o), syscall.ENOTDIR)
			}
			_, errno := setattr(fs, id, vfs.SetAttr{Valid: vfs.SetSize})
			want(t, special+": truncate", errno, syscall.EINVAL)
			_, errno = setattr(fs, id, vfs.SetAttr{Valid: vfs.SetMode | vfs.SetUID | vfs.SetMtimeNow, Mode: 0o666})
			want(t, special+": setattr", errno, 0)
			want(t, special+": syncfs", fs.Syncfs(&root, id), syscall.EBADF)
			want(t, special+": access", fs.Access(&someone, id, unix.R_OK|unix.W_OK), 0)
			_, _, errno = fs.Ioctl(&root, id, vfs.NoHandle, unix.FS_IOC_GETFLAGS, 0, nil, make([]byte, 4))
			want(t, special+": ioctl", errno, syscall.ENOTTY)
			_, errno = fs.Readlink(&root, id, make([]byte, 64))
			want(t, special+": readlink", errno, syscall.EINVAL)
			// The handle of another file, which is open, with this node.
			_, errno = fs.Read(&root, id, fileH, iovs(make([]byte, 8), 8), 0, 0)
			want(t, special+": read", errno, syscall.EBADF)
			_, errno = fs.Write(&root, id, fileH, iovs(make([]byte, 8), 8), 0, 0, 0)
			want(t, special+": write", errno, syscall.EBADF)
			_, errno = fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: file, SrcHandle: fileH, DstNode: id, DstHandle: fileH, Len: 1})
			want(t, special+": copy", errno, syscall.EBADF)
			want(t, special+": fallocate", fs.Fallocate(&root, id, fileH, 0, 1, 0), syscall.EBADF)
			want(t, special+": link", fs.Link(&root, id, vfs.Root, name(t, special+"2"), &e), 0)
			evict(fs)
			_, errno = getattr(fs, id)
			want(t, special+": getattr", errno, 0)
			if opened() {
				t.Fatalf("%s was opened on the host", special)
			}
		}
		// Had one been opened, it would have been seen.
		if f, err := os.Open(join(dir, "null")); err != nil || !opened() {
			t.Error("opening the device goes unnoticed; nothing was tested")
		} else {
			f.Close()
		}
	})
}

// TestSetgidByNonMember (CVE-2022-0358, CVE-2018-13405) has a user make programs
// in a directory with setgid whose group the user is not in: they must not run
// with that group. The host's kernel sees to it if it knows who is asking.
func TestSetgidByNonMember(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		const group = 4321
		fs := share(t, Config{Path: dir, KillPriv: true})
		shared := join(dir, "shared")
		for _, err := range []error{os.Mkdir(shared, 0o777), os.Chown(shared, 0, group), unix.Chmod(shared, 0o2777)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		in := walk(t, fs, "shared").Node
		made := 0
		try := func(what string, r *vfs.Request, keeps bool) {
			t.Helper()
			check := func(call string, e *vfs.Entry, errno syscall.Errno) {
				t.Helper()
				want(t, call+" by "+what, errno, 0)
				if e.Attr.GID != group || (e.Attr.Mode&unix.S_ISGID != 0) != keeps {
					t.Errorf("%s by %s: mode %#o of group %d", call, what, e.Attr.Mode, e.Attr.GID)
				}
			}
			made++
			var e vfs.Entry
			var o vfs.Opened
			errno := fs.Create(r, in, name(t, fmt.Sprint("create", made)), unix.O_WRONLY, 0o2777, &e, &o)
			check("create", &e, errno)
			errno = fs.Mknod(r, in, name(t, fmt.Sprint("mknod", made)), unix.S_IFREG|0o2777, 0, &e)
			check("mknod", &e, errno)
			errno = fs.Tmpfile(r, in, unix.O_WRONLY, 0o2777, &e, &o)
			check("tmpfile", &e, errno)
		}
		stranger := &vfs.Request{UID: 1000, GID: 1000, Groups: []uint32{1001}}
		member := &vfs.Request{UID: 1000, GID: 1000, Groups: []uint32{group}}
		try("a stranger", stranger, false)
		try("a member", member, true)
		// Groups come along with a caller who needs no other ids, and must not
		// stay on the thread for the next one.
		try("root with the group", &vfs.Request{Groups: []uint32{group}}, true)
		try("a stranger after root with the group", stranger, false)
		try("root's user in another group", &vfs.Request{GID: 5, Groups: []uint32{group}}, true)
		try("a stranger after the group", &vfs.Request{UID: 1000, GID: 1000}, false)
		if _, errno := fs.Init(0); errno != 0 { // a guest that does not tell groups
			t.Fatal(errno)
		}
		in = walk(t, fs, "shared").Node
		try("somebody whose groups are not told", member, false)
	})
}

// TestGroupsDoNotStay makes the calls of TestSetgidByNonMember on one thread
// and looks at it after each.
func TestGroupsDoNotStay(t *testing.T) {
	dir := tempDir(t, "")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	fs := share(t, Config{Path: dir})
	before := threadIDs(t)
	for i, r := range []*vfs.Request{
		{Groups: []uint32{1, 2, 3}},
		{UID: 1000, Groups: []uint32{1, 2, 3}},
		{GID: 1000, Groups: []uint32{1, 2, 3}},
		{UID: 1000, GID: 1000, Groups: []uint32{4}},
		{UID: 1000, GID: 1000, Groups: make([]uint32, 65536)},
	} {
		for _, m := range makers {
			var e vfs.Entry
			want(t, m.what, m.make(fs, r, vfs.Root, name(t, fmt.Sprint(m.what, i)), 0o644, &e), 0)
		}
		if ids := threadIDs(t); len(ids) != 1 {
			t.Fatalf("after a caller with groups %v, threads are %v, and were %v", r.Groups[:1], ids, before)
		}
	}
	var e vfs.Entry
	want(t, "too many groups", fs.Mkdir(&vfs.Request{UID: 1, GID: 1, Groups: make([]uint32, 65537)}, vfs.Root, name(t, "d"), 0o755, &e), syscall.EPERM)
	if ids := threadIDs(t); len(ids) != 1 {
		t.Errorf("threads differ: %v", ids)
	}
}

// TestNewFileFlags has the flags of files that are made be the same as those of
// files that are opened.
func TestNewFileFlags(t *testing.T) {
	dir := tempDir(t, "")
	const odd = unix.O_DIRECT | unix.O_APPEND | unix.O_NOATIME | unix.O_ASYNC | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_TRUNC
	for i, c := range []struct {
		cfg         Config
		guest, host int
	}{
		{Config{}, unix.O_WRONLY | odd, unix.O_WRONLY | unix.O_NONBLOCK},
		{Config{DirectIO: true}, unix.O_WRONLY | odd, unix.O_WRONLY | unix.O_NONBLOCK | unix.O_DIRECT},
		{Config{PreserveNoatime: true}, unix.O_WRONLY | odd, unix.O_WRONLY | unix.O_NONBLOCK | unix.O_NOATIME},
		{Config{Writeback: true}, unix.O_WRONLY | odd, unix.O_RDWR | unix.O_NONBLOCK},
		{Config{Writeback: true}, unix.O_RDONLY, unix.O_RDONLY},
		{Config{}, unix.O_RDWR | unix.O_SYNC, unix.O_RDWR | unix.O_SYNC},
	} {
		c.cfg.Path = dir
		fs := share(t, c.cfg)
		for _, r := range []*vfs.Request{&root, {UID: 0, GID: 1000}} {
			var e vfs.Entry
			var o vfs.Opened
			n := name(t, fmt.Sprint(i, "-", r.GID))
			check := func(what string, errno syscall.Errno) {
				t.Helper()
				want(t, what, errno, 0)
				// Only a file without a name has O_TMPFILE, as a reminder of how it was made.
				if got := fdFlags(t, fs, e.Node, o.Handle) &^ unix.O_TMPFILE; got != c.host&^unix.O_TMPFILE {
					t.Errorf("%+v, %s: flags %#o, want %#o", c.cfg, what, got, c.host)
				}
				release(t, fs, e.Node, o.Handle)
			}
			check("create", fs.Create(r, vfs.Root, n, uint32(c.guest), 0o644, &e, &o))
			check("create of one that exists", fs.Create(r, vfs.Root, n, uint32(c.guest), 0o644, &e, &o))
			check("open", fs.Open(r, e.Node, uint32(c.guest), false, &o))
			if c.guest&unix.O_ACCMODE != unix.O_RDONLY {
				check("tmpfile", fs.Tmpfile(r, vfs.Root, uint32(c.guest), 0o644, &e, &o))
			}
		}
	}
}

// TestQuotaMakesNothing (CVE-2020-10717): a guest that holds all descriptors it
// may have is told so before anything is made.
func TestQuotaMakesNothing(t *testing.T) {
	for cfgName, cfg := range configs {
		t.Run(cfgName, func(t *testing.T) {
			dir := tempDir(t, "")
			write(t, join(dir, "file"), "")
			cfg.Path, cfg.MaxFDs = dir, 8
			fs := share(t, cfg)
			f := walk(t, fs, "file")
			errno := syscall.Errno(0)
			for held := 0; errno == 0; held++ {
				if held > cfg.MaxFDs {
					t.Fatalf("%d files are open", held)
				}
				errno = fs.Open(&root, f.Node, unix.O_RDONLY, false, new(vfs.Opened))
			}
			want(t, "open", errno, syscall.ENFILE)
			fds := openFDs(t)
			byFD := cfg.FileHandles == HandlesNever
			for _, m := range makers {
				var e vfs.Entry
				errno := m.make(fs, &root, vfs.Root, name(t, m.what), 0o644, &e)
				_, err := os.Lstat(join(dir, m.what))
				if byFD || m.what == "create" {
					want(t, m.what, errno, syscall.ENFILE)
					if err == nil {
						t.Errorf("%s failed and left its object behind", m.what)
					}
				} else {
					want(t, m.what+" of what takes no descriptor", errno, 0)
				}
			}
			if got := openFDs(t); byFD && got != fds {
				t.Errorf("%d descriptors, before %d", got, fds)
			}
		})
	}
}

// Where there are no handles, every node takes a descriptor of the quota, and
// nothing is set aside for a cache that nobody uses.
func TestQuotaWithoutHandles(t *testing.T) {
	var quota []int64
	for _, use := range []HandleUse{HandlesNever, HandlesPrefer} {
		fs, err := New(Config{Path: "/proc/sys", FileHandles: use}) // procfs has none
		if err != nil {
			t.Fatal(err)
		}
		quota = append(quota, fs.fds.max)
		fs.Close()
	}
	if quota[0] != quota[1] {
		t.Errorf("%d descriptors without handles, %d where they are wanted and not there", quota[0], quota[1])
	}
}

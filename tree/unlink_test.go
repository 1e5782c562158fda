package tree

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// fileMount is a mount of one file of the host that a guest may remove.
type fileMount struct {
	host  string
	child *passthrough.FS
	ended chan struct{}
	over  atomic.Int32
}

// removable mounts a new file. If unlink is nil, its name is hidden.
func removable(t *testing.T, fs *FS, path string, unlink func() syscall.Errno) *fileMount {
	t.Helper()
	f := &fileMount{host: filepath.Join(tempDir(t, "/dev/shm", "file"), "file"), ended: make(chan struct{})}
	f.child = plain(t, f.host)
	if unlink == nil {
		unlink = Hide
	}
	err := fs.MountWith(path, f.child, MountOptions{Unlink: unlink, Ended: func() {
		if f.over.Add(1) == 1 {
			close(f.ended)
		}
		f.child.Close()
	}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// isOver waits for the end of the mount, which must come once.
func (f *fileMount) isOver(t *testing.T) {
	t.Helper()
	<-f.ended
	if n := f.over.Load(); n != 1 {
		t.Errorf("the mount ended %d times", n)
	}
}

func (f *fileMount) goesOn(t *testing.T) {
	t.Helper()
	if f.over.Load() != 0 {
		t.Error("the mount is over")
	}
}

func unlink(t *testing.T, fs *FS, path string, errno syscall.Errno) {
	t.Helper()
	dir := vfs.Root
	if up := filepath.Dir(path); up != "/" {
		dir = walk(t, fs, up).Node
	}
	want(t, "unlink "+path, fs.Unlink(&root, dir, name(filepath.Base(path))), errno)
}

// drained waits until no removed mount is left in a tree.
func drained(fs *FS) {
	for fs.Stats().Removed != 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestUnlinkOpen removes the name of a mount that is open. The file goes on until the
// guest has forgotten it, as any removed file does.
func TestUnlinkOpen(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t, "d/x"))
	f := removable(t, fs, "/d/file", nil)
	begin(t, fs)
	e, errno := find(fs, "/d/file")
	want(t, "lookup", errno, 0)
	var o vfs.Opened
	want(t, "open", fs.Open(&root, e.Node, unix.O_RDWR, false, &o), 0)
	want(t, "unlink with Nowait", fs.Unlink(&vfs.Request{Nowait: true}, walk(t, fs, "/d").Node, name("file")), vfs.WouldBlock)
	unlink(t, fs, "/d/file", 0)
	absent(t, fs, "/d/file")
	unlink(t, fs, "/d/file", syscall.ENOENT)
	if got := names(t, fs, "/d"); got != "x" {
		t.Errorf("the directory has %q", got)
	}
	wantErr(t, fs.Mount("/other", f.child), syscall.EBUSY, "mounted already")
	buf := []byte("written ")
	_, errno = fs.Write(&root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0, 0)
	want(t, "write", errno, 0)
	want(t, "getattr", fs.Getattr(&root, e.Node, vfs.NoHandle, &vfs.AttrOut{}), 0)
	want(t, "release", fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{}), 0)
	want(t, "open again, as through /proc", fs.Open(&root, e.Node, unix.O_RDWR, false, &o), 0)
	want(t, "release", fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{}), 0)
	f.goesOn(t)
	if s := fs.Stats(); s != (Stats{Mounts: 1, Removed: 1}) {
		t.Errorf("the tree holds %+v", s)
	}
	fs.Forget(e.Node, 7) // of which there is one
	f.isOver(t)
	drained(fs)
	want(t, "getattr in the end", fs.Getattr(&root, e.Node, vfs.NoHandle, &vfs.AttrOut{}), syscall.ESTALE)
	if data, err := os.ReadFile(f.host); err != nil || string(data) != "written of file" {
		t.Errorf("the host's file has %q, %v", data, err)
	}
	wantErr(t, fs.Unmount("/d/file"), syscall.EINVAL, "nothing")
}

// TestUnlinkUnknown removes the name of a mount that the guest has not looked up.
func TestUnlinkUnknown(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t))
	f := removable(t, fs, "/file", nil)
	begin(t, fs)
	unlink(t, fs, "/file", 0)
	f.isOver(t)
	drained(fs)
}

// TestUnlinkRefused has mounts whose name stays.
func TestUnlinkRefused(t *testing.T) {
	fs := newTree(t)
	answer := syscall.EPERM
	f := removable(t, fs, "/refused", func() syscall.Errno { return answer })
	mounted(t, fs, "/mounted", plain(t, tempDir(t, "/dev/shm", "one")+"/one"))
	if err := fs.MountWith("/dir", dirOf(t), MountOptions{Unlink: Hide}); err != nil {
		t.Fatal(err)
	}
	begin(t, fs)
	unlink(t, fs, "/refused", syscall.EPERM)
	unlink(t, fs, "/mounted", syscall.EROFS)
	unlink(t, fs, "/dir", syscall.EROFS)
	if got := names(t, fs, "/"); got != "dir mounted refused" {
		t.Errorf("there is %q", got)
	}
	f.goesOn(t)
	answer = 0
	unlink(t, fs, "/refused", 0)
	f.isOver(t)
}

// TestUnlinkDelete removes the host's file too.
func TestUnlinkDelete(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t))
	var f *fileMount
	f = removable(t, fs, "/file", func() syscall.Errno {
		f.goesOn(t)
		if err := os.Remove(f.host); err != nil {
			return syscall.EIO
		}
		return 0
	})
	begin(t, fs)
	e, errno := find(fs, "/file")
	want(t, "lookup", errno, 0)
	var o vfs.Opened
	want(t, "open", fs.Open(&root, e.Node, unix.O_RDONLY, false, &o), 0)
	unlink(t, fs, "/file", 0)
	if _, err := os.Lstat(f.host); !os.IsNotExist(err) {
		t.Errorf("the host's file: %v", err)
	}
	buf := make([]byte, 100)
	n, errno := fs.Read(&root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	if want(t, "read", errno, 0); string(buf[:n]) != "content of file" {
		t.Errorf("the removed file reads %q", buf[:n])
	}
	fs.Destroy()
	f.isOver(t)
}

// TestUnlinkCovered removes a name that covers a file. That does not appear, and cannot
// be changed by the name, until the owner says so.
func TestUnlinkCovered(t *testing.T) {
	fs := newTree(t)
	dir := tempDir(t, "/dev/shm", "d/file", "d/free", "other")
	mounted(t, fs, "/", plain(t, dir))
	f := removable(t, fs, "/d/file", nil)
	g := removable(t, fs, "/d/absent", nil)
	begin(t, fs)
	d := walk(t, fs, "/d").Node
	unlink(t, fs, "/d/file", 0)
	unlink(t, fs, "/d/absent", 0)
	f.isOver(t)
	g.isOver(t)
	var e vfs.Entry
	var o vfs.Opened
	other := walk(t, fs, "/other").Node
	hidden := func() {
		t.Helper()
		absent(t, fs, "/d/file")
		unlink(t, fs, "/d/file", syscall.ENOENT)
		d := walk(t, fs, "/d").Node
		for _, plus := range []bool{false, true} {
			if got := nameList(readdir(t, fs, d, 0, 9, plus)); len(got) != 1 || got[0] != "free" {
				t.Errorf("the directory has %q", got)
			}
		}
		if data, err := os.ReadFile(dir + "/d/file"); err != nil || string(data) != "content of d/file" {
			t.Errorf("the covered file has %q, %v", data, err)
		}
	}
	hidden()
	n := name("file")
	for what, got := range map[string]syscall.Errno{
		"create":              fs.Create(&root, d, n, unix.O_RDWR|unix.O_CREAT, 0o644, &e, &o),
		"create with O_TRUNC": fs.Create(&root, d, n, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644, &e, &o),
		"mkdir":               fs.Mkdir(&root, d, n, 0o755, &e),
		"mknod":               fs.Mknod(&root, d, n, unix.S_IFREG, 0, &e),
		"symlink":             fs.Symlink(&root, d, n, []byte("x\x00"), &e),
		"link":                fs.Link(&root, other, d, n, &e),
		"rename to":           fs.Rename(&root, vfs.Root, name("other"), d, n, 0),
		"rename to, if new":   fs.Rename(&root, vfs.Root, name("other"), d, n, unix.RENAME_NOREPLACE),
	} {
		want(t, what, got, syscall.EBUSY)
	}
	for what, got := range map[string]syscall.Errno{
		"rmdir":       fs.Rmdir(&root, d, n),
		"rename":      fs.Rename(&root, d, n, d, name("x"), 0),
		"rename same": fs.Rename(&root, d, n, d, n, 0),
		"exchange":    fs.Rename(&root, vfs.Root, name("other"), d, n, unix.RENAME_EXCHANGE),
	} {
		want(t, what+" of what is gone", got, syscall.ENOENT)
	}
	want(t, "unlink of the rest", fs.Unlink(&root, d, name("free")), 0)
	want(t, "rmdir of the directory", fs.Rmdir(&root, vfs.Root, name("d")), syscall.ENOTEMPTY)
	if err := os.WriteFile(dir+"/d/free", nil, 0o644); err != nil {
		t.Fatal(err)
	}

	// A name that covered nothing is free.
	want(t, "create where nothing was covered", fs.Create(&root, d, name("absent"), unix.O_RDWR|unix.O_CREAT, 0o644, &e, &o), 0)
	want(t, "release", fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{}), 0)
	fs.Forget(e.Node, 1)
	unlink(t, fs, "/d/absent", 0)
	begin(t, fs)
	hidden()

	// A mount above, with a session in it, and one in the place, come and go.
	mounted(t, fs, "/d", dirOf(t, "file"))
	begin(t, fs)
	if got := content(t, fs, "/d/file"); got != "content of file" {
		t.Errorf("in the mount above it reads %q", got)
	}
	unmounted(t, fs, "/d")
	hidden()
	mounted(t, fs, "/d/file/below", dirOf(t))
	if got := names(t, fs, "/d/file"); got != "below" {
		t.Errorf("with a directory in the way there is %q", got)
	}
	begin(t, fs)
	unmounted(t, fs, "/d/file/below")
	hidden()
	if s := fs.Stats(); s.Hidden != 1 || s.Pins != 1 {
		t.Errorf("the tree holds %+v", s)
	}
	again := removable(t, fs, "/d/file", nil)
	if got := content(t, fs, "/d/file"); got != "content of file" {
		t.Errorf("mounted again, it reads %q", got)
	}
	unmounted(t, fs, "/d/file")
	again.isOver(t)
	if got := content(t, fs, "/d/file"); got != "content of d/file" {
		t.Errorf("unmounted, it reads %q", got)
	}

	// Unmount shows it, and so does a file system that no longer has it.
	removable(t, fs, "/d/file", nil)
	unlink(t, fs, "/d/file", 0)
	hidden()
	unmounted(t, fs, "/d/file")
	if got := content(t, fs, "/d/file"); got != "content of d/file" {
		t.Errorf("shown again, it reads %q", got)
	}
	removable(t, fs, "/d/file", nil)
	unlink(t, fs, "/d/file", 0)
	if err := os.Remove(dir + "/d/file"); err != nil {
		t.Fatal(err)
	}
	begin(t, fs)
	if s := fs.Stats(); s != (Stats{Mounts: 1}) {
		t.Errorf("with nothing left to hide, the tree holds %+v", s)
	}
}

// TestUnlinkSynthetic removes the last name from a synthetic directory, which stays.
func TestUnlinkSynthetic(t *testing.T) {
	for _, top := range []bool{false, true} {
		fs := newTree(t)
		if top {
			mounted(t, fs, "/", dirOf(t))
		}
		f := removable(t, fs, "/s/t/file", nil)
		begin(t, fs)
		unlink(t, fs, "/s/t/file", 0)
		f.isOver(t)
		for range 2 {
			if got := names(t, fs, "/s/t"); got != "" {
				t.Errorf("there is %q", got)
			}
			d := walk(t, fs, "/s/t").Node
			var e vfs.Entry
			want(t, "lookup", fs.Lookup(&root, d, name("file"), &e), syscall.ENOENT)
			want(t, "mkdir", fs.Mkdir(&root, d, name("file"), 0o755, &e), syscall.EROFS)
			want(t, "create", fs.Create(&root, d, name("file"), unix.O_CREAT|unix.O_RDWR, 0o644, &e, &vfs.Opened{}), syscall.EROFS)
			want(t, "rmdir", fs.Rmdir(&root, walk(t, fs, "/s").Node, name("t")), syscall.EROFS)
			begin(t, fs)
		}
		mounted(t, fs, "/s", dirOf(t, "x"))
		if got := names(t, fs, "/s"); got != "x" {
			t.Errorf("a mount in the way has %q", got)
		}
		unmounted(t, fs, "/s")
		if got := names(t, fs, "/s") + names(t, fs, "/s/t"); got != "t" {
			t.Errorf("without it there is %q", got)
		}
		unmounted(t, fs, "/s/t/file")
		absent(t, fs, "/s")
		if s := fs.Stats(); s.Synthetic != 0 || s.Hidden != 0 {
			t.Errorf("the tree holds %+v", s)
		}
	}
}

// TestUnlinkInUnmounted unmounts what a removed name was in.
func TestUnlinkInUnmounted(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t))
	m := dirOf(t, "d/file")
	mounted(t, fs, "/m", m)
	f := removable(t, fs, "/m/d/file", nil)
	g := removable(t, fs, "/m/s/file", nil)
	begin(t, fs)
	unlink(t, fs, "/m/d/file", 0)
	unlink(t, fs, "/m/s/file", 0)
	f.isOver(t)
	g.isOver(t)
	unmounted(t, fs, "/m")
	rest(t, m, 0)
	mounted(t, fs, "/m", m)
	if got := content(t, fs, "/m/d/file"); got != "content of d/file" {
		t.Errorf("mounted anew, it reads %q", got)
	}
	if s := fs.Stats(); s.Hidden != 0 || s.Synthetic != 0 || s.Mounts != 2 {
		t.Errorf("the tree holds %+v", s)
	}
}

// TestUnlinkEnds ends a mount that the guest still has, in each way there is.
func TestUnlinkEnds(t *testing.T) {
	for what, end := range map[string]func(*FS){
		"unmount": func(fs *FS) { fs.Unmount("/file") },
		"init":    func(fs *FS) { fs.Init(everything) },
		"destroy": func(fs *FS) { fs.Destroy() },
	} {
		t.Run(what, func(t *testing.T) {
			fs := newTree(t)
			mounted(t, fs, "/", dirOf(t, "file"))
			f := removable(t, fs, "/file", nil)
			begin(t, fs)
			e, errno := find(fs, "/file")
			want(t, "lookup", errno, 0)
			var o vfs.Opened
			want(t, "open", fs.Open(&root, e.Node, unix.O_RDWR, false, &o), 0)
			unlink(t, fs, "/file", 0)
			end(fs)
			f.isOver(t)
			_, errno = fs.Read(&root, e.Node, o.Handle, nil, 0, 0)
			want(t, "read", errno, syscall.ESTALE)
			fs.Forget(e.Node, 1)
			fs.Forget(e.Node, 1)
			drained(fs)
		})
	}
}

// TestUnlinkRaces has guests look a name up, open it and remove it while its owner
// mounts it again and again. Each mount ends once, and none before its Unlink returns.
func TestUnlinkRaces(t *testing.T) {
	fs := newTree(t)
	fs.limit = 8
	mounted(t, fs, "/", dirOf(t, "file"))
	child := plain(t, tempDir(t, "/dev/shm", "file")+"/file")
	begin(t, fs)
	var stop atomic.Bool
	done := make(chan struct{})
	for i := range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			var e vfs.Entry
			var o vfs.Opened
			for !stop.Load() {
				if fs.Lookup(&root, vfs.Root, name("file"), &e) == 0 {
					if fs.Open(&root, e.Node, unix.O_RDONLY, false, &o) == 0 {
						fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
					}
					if e.Node > vfs.MaxNodeID && i != 0 {
						switch errno := fs.Unlink(&root, vfs.Root, name("file")); errno {
						case 0, syscall.ENOENT, syscall.ESTALE: // the last between two sessions
						default:
							t.Errorf("unlink: %v", errno)
						}
					}
					fs.Forget(e.Node, 1)
				}
			}
		}()
	}
	for i := range 300 {
		var busy, over atomic.Int32
		ended := make(chan struct{})
		for {
			err := fs.MountWith("/file", child, MountOptions{
				Unlink: func() syscall.Errno {
					busy.Add(1)
					defer busy.Add(-1)
					return 0
				},
				Ended: func() {
					if busy.Load() != 0 || over.Add(1) != 1 {
						t.Error("the end comes twice, or before an Unlink has returned")
					}
					close(ended)
				},
			})
			if err == nil {
				break
			}
			time.Sleep(time.Millisecond) // all indices may be in use
		}
		if i%3 == 0 {
			fs.Unmount("/file") // which may be too late
		}
		if i%50 == 7 {
			begin(t, fs)
		}
		<-ended
	}
	stop.Store(true)
	for range 3 {
		<-done
	}
	drained(fs)
	rest(t, child, 0)
}

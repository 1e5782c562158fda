package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// TestCVE_2020_10717: virtiofsd raised its limit of open files to all that the
// host has, and a guest that opened files took them from everybody.
// Ours must stop the guest with ENFILE, and keep enough for itself and the host.
func TestCVE_2020_10717(t *testing.T) {
	const limit = 1200
	share := t.TempDir()
	makeFiles(t, share, limit)
	for _, tt := range []struct {
		name string
		args []string
		// lookups that have to succeed: all where names cost no descriptor.
		least int
	}{
		{"handles", []string{"--file-handles", "mandatory"}, limit},
		{"descriptors", []string{"--file-handles", "never"}, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := serve(t, share, append(tt.args, "--rlimit-nofile", strconv.Itoa(limit))...)
			inner, idle := d.inner(), d.openFiles()
			first := exhaust(t, d, share, limit, tt.least)
			// The next guest gets as much as the first.
			eventually(t, "the descriptors of the first guest come back", func() bool { return d.openFiles() <= idle })
			if again := exhaust(t, d, share, limit, tt.least); again != first {
				t.Errorf("the first guest could open %d files, the second %d", first, again)
			}
			d.survives(inner)
		})
	}
}

// exhaust has a guest take what it gets of a daemon with a limit of open files,
// checks what it gets, and what is left, and returns how many files it had open.
func exhaust(t *testing.T, d *daemon, share string, limit, leastLookups int) int {
	t.Helper()
	g := attack(t, d)
	defer g.hangUp()
	var nodes []vfs.NodeID
	var errno syscall.Errno
	for i := range limit {
		e, errno := g.Lookup(vfs.Root, strconv.Itoa(i))
		if errno != 0 {
			wantErrno(t, fmt.Sprint("LOOKUP ", i), errno, syscall.ENFILE)
			break
		}
		nodes = append(nodes, e.Node)
	}
	if len(nodes) < leastLookups {
		t.Errorf("the guest could look up %d files, want %d", len(nodes), leastLookups)
	}
	// Where names cost descriptors there are none left: give some back.
	if len(nodes) < limit {
		g.BatchForget(nodes[len(nodes)/2:]...)
		nodes = nodes[:len(nodes)/2]
	}
	type open struct {
		node   vfs.NodeID
		handle vfs.Handle
	}
	var files []open
	for len(files) < limit {
		node := nodes[len(files)%len(nodes)]
		var o vfs.Opened
		if o, errno = g.Open(node, uint32(os.O_RDONLY), false); errno != 0 {
			break
		}
		files = append(files, open{node, o.Handle})
	}
	wantErrno(t, fmt.Sprintf("OPEN number %d with a limit of %d", len(files), limit), errno, syscall.ENFILE)
	_, errno = g.Opendir(vfs.Root, 0)
	wantErrno(t, "OPENDIR", errno, syscall.ENFILE)
	_, _, errno = g.Create(vfs.Root, "new", uint32(os.O_RDWR), 0o100644, 0)
	wantErrno(t, "CREATE", errno, syscall.ENFILE)
	_, _, errno = g.Tmpfile(vfs.Root, uint32(os.O_RDWR), 0o100644, 0)
	wantErrno(t, "TMPFILE", errno, syscall.ENFILE)
	if _, err := os.Lstat(filepath.Join(share, "new")); err == nil {
		t.Error("the CREATE that failed has made its file")
	}

	// What is there goes on, and the VMM gets what it needs: all its memory
	// slots, and rings with new descriptors.
	buf := make([]byte, 16)
	for _, f := range files[:10] {
		if n, errno := g.Read(f.node, f.handle, buf, 0, 0); errno != 0 || n == 0 {
			t.Errorf("READ of an open file: %d bytes, %v", n, errno)
		}
	}
	if used := d.openFiles(); used > limit-guestmem.MaxRegions {
		t.Errorf("%d descriptors are in use of %d: that leaves too few", used, limit)
	}
	g.fillSlots()
	g.restartRings()
	if errno := g.Release(files[0].node, files[0].handle, vfs.ReleaseIn{}); errno != 0 {
		t.Errorf("RELEASE: %v", errno)
	}
	if _, errno := g.Open(files[0].node, uint32(os.O_RDONLY), false); errno != 0 {
		t.Errorf("OPEN after a RELEASE: %v", errno)
	}
	return len(files)
}

// fillSlots adds memory until there are as many regions as a VMM may have.
func (g *hostile) fillSlots() {
	g.t.Helper()
	const page = 4096
	more, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 1 << 40, Size: guestmem.MaxRegions * page})
	if err != nil {
		g.t.Fatal(err)
	}
	defer more.Close()
	slots, err := g.fe.GetMaxMemSlots()
	if err != nil || slots != guestmem.MaxRegions {
		g.t.Fatalf("GET_MAX_MEM_SLOTS: %d, %v", slots, err)
	}
	for i := range slots - 1 {
		r := guestmem.Region{GPA: 1<<40 + 2*i*page, Size: page, UVA: 1<<46 + 2*i*page, FD: more.FD(), Offset: i * page}
		if err := g.fe.AddMemReg(r); err != nil {
			g.t.Fatalf("memory region %d: %v", i+1, err)
		}
	}
}

// restartRings stops the rings and starts them with new eventfds.
func (g *hostile) restartRings() {
	g.t.Helper()
	for i, q := range g.queues {
		base, err := g.fe.GetVringBase(i)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, fd := range []*int{&q.KickFD, &q.CallFD} {
			unix.Close(*fd)
			if *fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
				g.t.Fatal(err)
			}
		}
		if err := g.fe.StartRing(i, g.mem, q.Driver, base); err != nil {
			g.t.Fatal(err)
		}
	}
	if _, errno := g.Statfs(vfs.Root); errno != 0 {
		g.t.Errorf("STATFS after the rings were started anew: %v, %v", errno, g.Err())
	}
}

// TestCVE_2020_10717_Default is the same without a limit of the owner's: a
// guest works on with more files than it may open, and the host has files left.
func TestCVE_2020_10717_Default(t *testing.T) {
	const files = 12000
	share := t.TempDir()
	makeFiles(t, share, files)
	d := serve(t, share)
	inner, limit := d.inner(), softLimit(t, d.inner())
	g := attack(t, d)
	opened := 0
	for i := range files {
		e := g.lookup(vfs.Root, strconv.Itoa(i))
		if opened != i {
			continue // they go on being looked up
		}
		_, errno := g.Open(e.Node, uint32(os.O_RDONLY), false)
		if errno == 0 {
			opened++
			continue
		}
		wantErrno(t, fmt.Sprint("OPEN ", i), errno, syscall.ENFILE)
	}
	t.Logf("limit %d, opened %d files, the daemon has %d descriptors", limit, opened, d.openFiles())
	if limit < files && opened > limit-guestmem.MaxRegions {
		t.Errorf("%d files are open with a limit of %d", opened, limit)
	}
	if used := d.openFiles(); used > limit-guestmem.MaxRegions {
		t.Errorf("%d descriptors are in use of %d: that leaves too few", used, limit)
	}
	g.fillSlots()
	g.restartRings()
	other := exec.Command("cat", "/proc/sys/fs/file-nr")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, err := other.CombinedOutput(); err != nil {
		t.Errorf("another user of the host opens a file: %v\n%s", err, out)
	}
	g.hangUp()
	d.survives(inner)
}

// TestCVE_2020_10717_SmallHost starts the daemon on a host that has few files
// to give, or says so: the daemon must not take them all.
func TestCVE_2020_10717_SmallHost(t *testing.T) {
	const hostFiles = 10000
	fake := filepath.Join(t.TempDir(), "file-max")
	if err := os.WriteFile(fake, fmt.Appendln(nil, hostFiles), 0o644); err != nil {
		t.Fatal(err)
	}
	l := launch{wrapper: []string{
		"unshare", "--mount", "--propagation", "private", "sh", "-euc",
		`mount --bind ` + fake + ` /proc/sys/fs/file-max; exec "$@"`, "sh",
	}}
	d := l.serve(t, t.TempDir())
	if limit := softLimit(t, d.inner()); limit > hostFiles*9/10 {
		t.Errorf("the daemon may open %d files on a host with %d", limit, hostFiles)
	}
}

// softLimit returns RLIMIT_NOFILE of a process.
func softLimit(t *testing.T, pid int) int {
	t.Helper()
	var lim unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		t.Fatal(err)
	}
	return int(min(lim.Cur, 1<<30))
}

// makeFiles makes n files named by their numbers, with something in each.
func makeFiles(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte("something"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

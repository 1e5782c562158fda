package compat

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtiofs/virtiofstest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// agreements are the features of FUSE_INIT that depend on options (linux/fuse.h).
var agreements = []struct {
	bit  int
	name string
}{
	{6, "DONT_MASK"}, {13, "READDIRPLUS"}, {16, "WRITEBACK"}, {20, "POSIX_ACL"}, {28, "KILLPRIV_V2"},
	{32, "SECURITY_CTX"}, {36, "DIRECT_IO_ALLOW_MMAP"},
}

// caching are the flags of opened files that follow from the cache policy.
const caching = vfs.OpenDirectIO | vfs.OpenKeepCache | vfs.OpenCacheDir

// session is a guest that looks at the file f of the share, and says what it
// learns from that about the options.
func session(x *process) {
	if told, err := talk(x); err != nil {
		x.out.told = "error: " + err.Error()
	} else {
		x.out.told = told
	}
}

func talk(x *process) (string, error) {
	sock := x.connect()
	if sock == nil {
		return "", nil
	}
	fe := vhosttest.New(sock)
	defer fe.Close()
	fe.Timeout = patience
	if _, err := fe.Negotiate(virtq.FeatRingIndirectDesc); err != nil {
		return "", err
	}
	const queues = 2
	mem, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 1 << 20, Size: queues * (2*virtiofstest.Room + 1<<20)})
	if err != nil {
		return "", err
	}
	defer mem.Close()
	if err := fe.ShareMemory(mem); err != nil {
		return "", err
	}
	var q *virtiofstest.Queue
	for i := range queues {
		if q, err = virtiofstest.NewQueue(mem, virtqtest.Config{Size: 64}); err != nil {
			return "", err
		}
		defer q.Close()
		if err := fe.StartRing(i, mem, q.Driver, 0); err != nil {
			return "", err
		}
	}
	return observe(fusetest.NewClient(q))
}

// observe uses a started queue.
func observe(guest *fusetest.Client) (string, error) {
	init, errno := guest.Init(fusetest.Linux())
	if errno != 0 {
		return "INIT " + errnoName(errno), guest.Err()
	}
	var told []string
	for _, a := range agreements {
		if init.Flags&(1<<a.bit) != 0 {
			told = append(told, a.name)
		}
	}
	f, errno := guest.Lookup(vfs.Root, "f")
	if errno != 0 {
		return "LOOKUP " + errnoName(errno), guest.Err()
	}
	told = append(told, fmt.Sprintf("entry %v attr %v owner %d:%d", f.EntryTTL, f.AttrTTL, f.Attr.UID, f.Attr.GID))
	opened, errno := guest.Open(f.Node, unix.O_RDONLY, false)
	if errno != 0 {
		return "OPEN " + errnoName(errno), guest.Err()
	}
	told = append(told, fmt.Sprintf("open %d", opened.Flags&caching))
	guest.Release(f.Node, opened.Handle, vfs.ReleaseIn{})
	dir, errno := guest.Opendir(vfs.Root, 0)
	if errno != 0 {
		return "OPENDIR " + errnoName(errno), guest.Err()
	}
	told = append(told, fmt.Sprintf("opendir %d", dir.Flags&caching))
	guest.Releasedir(vfs.Root, dir.Handle)
	if _, errno := guest.Getxattr(f.Node, "user.none", nil); errno != unix.ENOSYS {
		told = append(told, "xattr")
	}
	told = append(told, "unlink "+errnoName(guest.Unlink(vfs.Root, "none")))
	return strings.Join(told, " "), guest.Err()
}

func errnoName(errno syscall.Errno) string {
	if errno == 0 {
		return "0"
	}
	return unix.ErrnoName(errno)
}

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// The workloads on names and attributes. A file that is looked at has one page.

var (
	oneName   = []byte(oneFile + "\x00")
	otherName = []byte("other\x00")
)

func openWalk(t *turn) error  { return t.open(walkDir, unix.O_RDONLY) }
func openList(t *turn) error  { return t.open(listDir, unix.O_RDONLY) }
func openNames(t *turn) error { return t.open(namesDir, unix.O_RDONLY) }

func openNew(t *turn) error {
	for i := range maxThreads {
		if err := t.open(fmt.Sprint(newDir, i), unix.O_RDONLY); err != nil {
			return err
		}
	}
	return nil
}

// stat asks for the attributes of a file of one page.
func stat(dir int, name []byte, flags int) error {
	var st unix.Statx_t
	errno := oslib.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|flags, unix.STATX_BASIC_STATS, &st)
	if errno == 0 && st.Size != page {
		return fmt.Errorf("stat: %d bytes instead of %d", st.Size, page)
	}
	return failed("stat", errno)
}

func statName(t *turn, o op) error   { return stat(t.fds[0], t.names[o.i], 0) }
func statCached(t *turn, _ op) error { return stat(t.root, oneName, 0) }
func statForced(t *turn, _ op) error { return stat(t.root, oneName, unix.AT_STATX_FORCE_SYNC) }

// list reads a directory from the start, has each called for each name but those
// of the directory and its parent, and checks how many there are.
func list(t *turn, o op, each func(name []byte) error) error {
	dir := t.fds[0]
	if _, errno := oslib.Lseek(dir, 0, unix.SEEK_SET); errno != 0 {
		return failed("lseek", errno)
	}
	found := 0
	var d oslib.Dirent
	for {
		n, errno := oslib.Getdents(dir, o.buf[:listBuffer])
		if errno != 0 {
			return failed("getdents64", errno)
		}
		if n == 0 {
			break
		}
		records := oslib.Dirents(o.buf[:n])
		for records.Read(&d) {
			if d.CName[0] == '.' {
				continue
			}
			found++
			if err := each(d.CName); err != nil {
				return err
			}
		}
	}
	if found != t.size.names {
		return fmt.Errorf("%d names instead of %d", found, t.size.names)
	}
	return nil
}

// listBuffer is the room that C libraries give getdents64.
const listBuffer = 32 << 10

func listShort(t *turn, o op) error {
	return list(t, o, func([]byte) error { return nil })
}

func listLong(t *turn, o op) error {
	return list(t, o, func(name []byte) error { return stat(t.fds[0], name, 0) })
}

func readSmall(t *turn, o op) error {
	fd, errno := oslib.Openat(t.fds[0], t.names[o.i%len(t.names)], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errno != 0 {
		return failed("open", errno)
	}
	n, err := unix.Pread(fd, o.buf[:page], 0)
	if err == nil && n != page {
		err = fmt.Errorf("read %d bytes instead of %d", n, page)
	}
	return errors.Join(err, failed("close", oslib.Close(fd)))
}

func openClose(t *turn, _ op) error {
	fd, errno := oslib.Openat(t.root, oneName, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errno != 0 {
		return failed("open", errno)
	}
	return failed("close", oslib.Close(fd))
}

func createSmall(t *turn, o op) error {
	fd, errno := oslib.Openat(t.fds[o.thread], t.names[o.i%len(t.names)], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if errno != 0 {
		return failed("create", errno)
	}
	n, err := unix.Pwrite(fd, o.buf[:page], 0)
	if err == nil && n != page {
		err = fmt.Errorf("wrote %d bytes instead of %d", n, page)
	}
	return errors.Join(err, failed("close", oslib.Close(fd)))
}

func unlinkSmall(t *turn, o op) error {
	return failed("unlink", oslib.Unlinkat(t.fds[o.thread], t.names[o.i%len(t.names)], 0))
}

// seeCreated looks for the files of createSmall.
func seeCreated(t *turn, _ []byte) error {
	found := 0
	for i := range maxThreads {
		entries, err := os.ReadDir(t.path(fmt.Sprint(newDir, i)))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Size() != page {
				return fmt.Errorf("created %s, and found %v: %v", e.Name(), info, err)
			}
		}
		found += len(entries)
	}
	if found != t.size.made {
		return fmt.Errorf("created %d files, and there are %d", t.size.made, found)
	}
	return nil
}

// seeUnlinked looks whether nothing that was made is left.
func seeUnlinked(t *turn, _ []byte) error {
	for i := range maxThreads {
		entries, err := os.ReadDir(t.path(fmt.Sprint(newDir, i)))
		if err != nil {
			return err
		}
		if len(entries) != 0 {
			return fmt.Errorf("%d files are left of what was removed", len(entries))
		}
	}
	return nil
}

func makeDir(t *turn, o op) error {
	if errno := oslib.Mkdirat(t.fds[0], t.names[o.i%len(t.names)], 0o755); errno != 0 {
		return failed("mkdir", errno)
	}
	if o.i == 0 {
		if info, err := os.Stat(t.path(newDir + "0/file-00000")); err != nil || !info.IsDir() {
			return fmt.Errorf("made a directory, and found %v: %v", info, err)
		}
	}
	return failed("rmdir", oslib.Unlinkat(t.fds[0], t.names[o.i%len(t.names)], unix.AT_REMOVEDIR))
}

func renameBoth(t *turn, o op) error {
	if errno := oslib.Renameat2(t.root, oneName, t.root, otherName, 0); errno != 0 {
		return failed("rename", errno)
	}
	if o.i == 0 {
		if err := stat(t.bare, otherName, 0); err != nil {
			return err
		}
	}
	return failed("rename back", oslib.Renameat2(t.root, otherName, t.root, oneName, 0))
}

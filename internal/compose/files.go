package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/scratch"
)

// Files are what is opened for a mount before the process that serves it is closed in.
// Those that a mount has no use for are nil.
type Files struct {
	// Root is the directory or file itself, of O_PATH. Without it the path in
	// Mount.Host is opened.
	Root *os.File
	// Archive is to be read from its beginning.
	Archive *os.File
	// Data is the data file of private space on a disk.
	Data *os.File
	// Parent is the directory that a file is in which a guest may remove.
	Parent *os.File
}

// fields lists the files of a mount, in the order in which they are handed over. Root is
// the first of those that there are.
func (f *Files) fields(m *Mount, root bool) (list []**os.File) {
	if _, host := m.HostSource(); host && root {
		list = append(list, &f.Root)
	}
	if m.base() == spec.Archive {
		list = append(list, &f.Archive)
	}
	if m.OnDisk {
		list = append(list, &f.Data)
	}
	if m.removes() {
		list = append(list, &f.Parent)
	}
	return list
}

// removes says that a guest may remove the host's file.
func (m *Mount) removes() bool { return m.Type == spec.File && m.Unlink == spec.UnlinkDelete }

// OpenFiles opens what m needs but Root, private data in a new directory of mode 0700 in
// tempdir. The files are the caller's, until [Open] or [Share.Add] takes them over.
func OpenFiles(m *Mount, tempdir string) (f Files, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if m.base() == spec.Archive {
		if f.Archive, err = os.Open(m.Source); err != nil {
			return f, fmt.Errorf("archive: %w", err)
		}
	}
	if m.OnDisk {
		if f.Data, err = scratch.OpenData(tempdir); err != nil {
			return f, err
		}
	}
	if m.removes() {
		f.Parent, err = openParent(m.Source)
	}
	return f, err
}

// OpenRoot opens the directory or file that m serves as it is, for a daemon that cannot
// reach it by its path.
func OpenRoot(m *Mount) (*os.File, error) {
	fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", m.Source, err)
	}
	return os.NewFile(uintptr(fd), m.Source), nil
}

// openParent opens the directory that a file is in.
func openParent(path string) (*os.File, error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s, to remove a file in it: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// List returns the files of m that there are to hand over, and [TakeFiles] makes Files of
// them again.
func (f *Files) List(m *Mount) (list []*os.File) {
	for _, p := range f.fields(m, f.Root != nil) {
		list = append(list, *p)
	}
	return list
}

// TakeFiles takes the files of m off a list and returns the rest of it. root tells whether
// Root is among them where m has one.
func TakeFiles(m *Mount, list []*os.File, root bool) (f Files, rest []*os.File, err error) {
	fields := f.fields(m, root)
	if len(list) < len(fields) {
		return f, list, fmt.Errorf("mount %s: %d files were handed over, not %d", m.Target, len(list), len(fields))
	}
	for i, p := range fields {
		*p = list[i]
	}
	return f, list[len(fields):], nil
}

// Close closes the files.
func (f *Files) Close() {
	for _, p := range []**os.File{&f.Root, &f.Archive, &f.Data, &f.Parent} {
		if *p != nil {
			(*p).Close()
			*p = nil
		}
	}
}

// remover removes one file of the host, by the name that it had when it was shared.
type remover struct {
	parent *os.File
	name   string
	dev    uint64
	ino    uint64
}

// newRemover takes note of the file at path, which is in parent.
func newRemover(parent *os.File, path string) (*remover, error) {
	r := &remover{parent: parent, name: filepath.Base(path)}
	st, errno := r.stat()
	if errno != 0 {
		return nil, fmt.Errorf("find %s, to remove it when the guest does: %w", path, errno)
	}
	r.dev, r.ino = st.Dev, st.Ino
	return r, nil
}

func (r *remover) stat() (st unix.Stat_t, errno syscall.Errno) {
	err := unix.Fstatat(int(r.parent.Fd()), r.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		errno = err.(syscall.Errno)
	}
	return st, errno
}

// remove removes the file. If the host has put another in its place meanwhile, that stays
// and the answer is EBUSY.
func (r *remover) remove() syscall.Errno {
	st, errno := r.stat()
	switch {
	case errno == syscall.ENOENT:
		return 0
	case errno != 0:
		return errno
	case st.Dev != r.dev || st.Ino != r.ino:
		return syscall.EBUSY
	}
	if err := unix.Unlinkat(int(r.parent.Fd()), r.name, 0); err != nil && err != unix.ENOENT {
		return err.(syscall.Errno)
	}
	return 0
}

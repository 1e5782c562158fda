package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// machineTree is what a Hermit guest sees.
type machineTree struct {
	mounts []compose.Mount
	files  []compose.Files // of mounts, until share has them
	share  *compose.Share
	// private says that what is not in a mount is private space of the guest's.
	private bool
	made    []*madeFile
}

// resolve decides how each mount is opened. root, if not nil, is what the guest sees where
// there is no mount.
func (t *machineTree) resolve(list []spec.Mount, root *spec.Mount, all *spec.Mount, log *slog.Logger) error {
	t.private = true
	for i := range list {
		t.private = t.private && list[i].Target != "/"
	}
	if t.private {
		list = append(list[:len(list):len(list)], *root)
	}
	for i := range list {
		if err := t.makeFile(&list[i]); err != nil {
			return err
		}
		m, err := compose.Settle(list[i])
		if err != nil {
			return err
		}
		if err := m.Fill(all); err != nil {
			return &usageError{err}
		}
		list[i] = m
	}
	if err := spec.Check(list); err != nil {
		return &usageError{err}
	}
	for i := range list {
		m := compose.Decide(&list[i], log)
		m.Host.FileHandles = passthrough.HandlesNever // which Landlock's rules go without
		t.mounts = append(t.mounts, m)
	}
	return nil
}

// open opens what the mounts are made of, before the process is closed in.
func (t *machineTree) open(tempdir string) error {
	for i := range t.mounts {
		m := &t.mounts[i]
		f, err := compose.OpenFiles(m, tempdir)
		if err != nil {
			return err
		}
		t.files = append(t.files, f)
		if _, host := m.HostSource(); host {
			if t.files[i].Root, err = compose.OpenRoot(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// close closes what no share has taken over, and takes back files that were made for
// nothing.
func (t *machineTree) close() error {
	for i := range t.files {
		t.files[i].Close()
	}
	var errs []error
	for _, m := range t.made {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

// madeFile is a file of the host's that was not there when a guest was given it. A guest
// expects to create it; what it has not written to is taken away at the end.
type madeFile struct {
	dir  *os.File // O_PATH
	name string
	file *os.File // O_PATH
	was  unix.Stat_t
}

// makeFile makes the file that a mapping names, if it does not exist but its directory does.
func (t *machineTree) makeFile(m *spec.Mount) error {
	if m.Type != spec.Auto && m.Type != spec.File || m.ReadOnly || m.Source == "" {
		return nil
	}
	if _, err := os.Lstat(m.Source); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	parent := filepath.Dir(m.Source)
	fd, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mapping %s: neither it nor the directory %s is there: %w", m.Source, parent, err)
	}
	made := &madeFile{dir: os.NewFile(uintptr(fd), parent), name: filepath.Base(m.Source)}
	f, err := unix.Openat(fd, made.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
	if err != nil {
		made.dir.Close()
		return fmt.Errorf("mapping %s: create it: %w", m.Source, err)
	}
	made.file = os.NewFile(uintptr(f), m.Source)
	t.made = append(t.made, made)
	if err := unix.Fstat(f, &made.was); err != nil {
		return fmt.Errorf("mapping %s: %w", m.Source, err)
	}
	return nil
}

// close takes the file away, if it is as it was made.
func (m *madeFile) close() error {
	defer m.dir.Close()
	defer m.file.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(m.file.Fd()), &now); err != nil {
		return err
	}
	if now.Nlink == 0 || now.Size != 0 || now.Mtim != m.was.Mtim || now.Ctim != m.was.Ctim {
		return nil
	}
	if err := unix.Unlinkat(int(m.dir.Fd()), m.name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take back the empty file %s, which the guest has not used: %w", m.file.Name(), err)
	}
	return nil
}

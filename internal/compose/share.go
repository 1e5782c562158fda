package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Options say how a [Share] is made. The zero value will do.
type Options struct {
	// Changing says that mounts will be added or removed while guests use the share:
	// guests then forget names after a second at most.
	Changing bool
	// ProcSelfFD is as in passthrough.Config.
	ProcSelfFD *os.File
	// Progress, if not nil, is told while an archive is read what it is, how many
	// entries there were so far and how many bytes of data.
	Progress func(source string, entries int, bytes uint64)
	// Logger is for what goes wrong on our side; nil is slog.Default().
	Logger *slog.Logger
}

// Share is what a guest sees: mounts as one file system.
type Share struct {
	opt  Options
	fs   vfs.FileSystem
	tree *tree.FS // nil where one mount is the whole

	mu sync.Mutex
	// mounts are those that are open. One whose name the guest has removed stays
	// until the guest has closed it too.
	mounts map[*mounted]struct{}
}

// mounted is a mount that was opened.
type mounted struct {
	Mount
	fs      vfs.FileSystem
	remover *remover    // of the host's file, where the guest may remove that
	removed atomic.Bool // by the guest: it has no name any more
	closers []func() error
}

func (m *mounted) close() error {
	var errs []error
	for _, c := range slices.Backward(m.closers) {
		errs = append(errs, c())
	}
	m.closers = nil
	return errors.Join(errs...)
}

// Open opens mounts, to which [spec.Check] has no objection, each with the files in the
// same place of files. Those are closed after success and after an error. ctx ends
// the reading of archives.
func Open(ctx context.Context, mounts []Mount, files []Files, opt Options) (_ *Share, err error) {
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	s := &Share{opt: opt, mounts: make(map[*mounted]struct{})}
	defer func() {
		for i := range files {
			files[i].Close()
		}
		if err != nil {
			s.Close()
		}
	}()
	quota := divideFiles(mounts)
	for i := range mounts {
		m, err := s.open(ctx, &mounts[i], &files[i], quota)
		if err != nil {
			return nil, err
		}
		s.mounts[m] = struct{}{}
		if m.Target == "/" && len(mounts) == 1 && !opt.Changing {
			s.fs = m.fs
			return s, nil
		}
	}
	s.tree = tree.New(tree.Config{Logger: opt.Logger, Changing: opt.Changing})
	s.fs = s.tree
	// What a mount lies in comes first.
	for _, m := range slices.SortedFunc(maps.Keys(s.mounts), func(a, b *mounted) int { return cmp.Compare(a.Target, b.Target) }) {
		if err := s.attach(m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// FS returns the file system. It is the same as long as the Share.
func (s *Share) FS() vfs.FileSystem { return s.fs }

// attach puts an opened mount into the tree.
func (s *Share) attach(m *mounted) error {
	err := s.tree.MountWith(m.Target, m.fs, s.treeOptions(m))
	if err != nil {
		return fmt.Errorf("share %s: %w", cmp.Or(m.Source, m.Type.String()), err)
	}
	return nil
}

// Add opens a mount and adds it to the tree, in which guests see it within a second. The
// files are closed.
//
// Errors of the tree are a [*tree.PathError].
func (s *Share) Add(ctx context.Context, m *Mount, files *Files) error {
	defer files.Close()
	if s.tree == nil {
		return errors.New("this share is one directory: it was started without a way to add to it")
	}
	opened, err := s.open(ctx, m, files, quota{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.attach(opened); err != nil {
		return errors.Join(err, opened.close())
	}
	s.mounts[opened] = struct{}{}
	return nil
}

// Remove takes a mount out of the tree. Files in it that the guest has open are ESTALE
// from then on; nothing else changes.
func (s *Share) Remove(target string) error {
	if s.tree == nil {
		return &tree.PathError{Op: "unmount", Path: target, Err: errRoot, Why: "the mount at / stays as long as the share"}
	}
	return s.tree.Unmount(target) // which ends in ended
}

// ended closes a mount that is in the tree no more.
func (s *Share) ended(m *mounted) {
	s.mu.Lock()
	delete(s.mounts, m)
	s.mu.Unlock()
	if err := m.close(); err != nil {
		s.opt.Logger.Error("close a mount that was removed", "mount", m.Target, "error", err)
	}
}

// Info describes a mount.
type Info struct {
	Mount
	Counts vfs.Counts
	// References are those that the guest has to files and directories of the mount,
	// and is 0 for the mount at /.
	References uint64
}

// Mounts returns what is mounted, sorted by target.
func (s *Share) Mounts() []Info {
	references := make(map[string]uint64)
	if s.tree != nil {
		for _, i := range s.tree.Mounts() {
			references[i.Path] = i.References
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Info, 0, len(s.mounts))
	for m := range s.mounts {
		if m.removed.Load() {
			continue
		}
		i := Info{Mount: m.Mount, References: references[m.Target]}
		if c, ok := m.fs.(vfs.Counter); ok {
			i.Counts = c.Counts()
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Target, b.Target) })
	return list
}

// Close closes all. No call may be under way, nor come later.
func (s *Share) Close() error {
	if s.fs != nil {
		s.fs.Destroy()
	}
	var errs []error
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.mounts {
		errs = append(errs, m.close())
	}
	clear(s.mounts)
	return errors.Join(errs...)
}

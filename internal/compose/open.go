package compose

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/archive"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
)

// open opens a mount and puts its rules around it. The files are the caller's, but for
// that of private data.
func (s *Share) open(ctx context.Context, m *Mount, f *Files, q quota) (_ *mounted, err error) {
	o := &mounted{Mount: *m}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	switch m.Type {
	case spec.Scratch:
		o.fs, err = o.openScratch(f)
	case spec.Overlay:
		o.fs, err = s.openOverlay(ctx, o, f, q)
	default:
		o.fs, err = s.openSource(ctx, o, f, q)
	}
	if err != nil {
		return nil, err
	}
	if m.Restrict != (rules.Restrictions{}) {
		o.fs = rules.Restrict(o.fs, m.Restrict)
	}
	if m.ReadOnly {
		o.fs = rules.ReadOnly(o.fs)
	}
	if m.removes() {
		err = o.keepParent(f)
	}
	return o, err
}

// openSource opens a directory, a file or an archive with the rules that say what is
// different on the host.
func (s *Share) openSource(ctx context.Context, o *mounted, f *Files, q quota) (fs vfs.FileSystem, err error) {
	if o.base() == spec.Archive {
		fs, err = s.openArchive(ctx, o, f)
	} else {
		fs, err = s.openHost(o, f, q)
	}
	if err != nil {
		return nil, err
	}
	if o.Xattrs != nil {
		fs = rules.MapXattrs(fs, o.Xattrs)
	}
	if o.UIDs != nil || o.GIDs != nil {
		fs = rules.TranslateIDs(fs, o.UIDs, o.GIDs)
	}
	return fs, nil
}

func (s *Share) openHost(o *mounted, f *Files, q quota) (vfs.FileSystem, error) {
	c := o.Host
	c.Root, c.ProcSelfFD = f.Root, s.opt.ProcSelfFD
	if c.Name == "" {
		c.Name = o.Source
	}
	if c.MaxFDs == 0 {
		c.MaxFDs, c.MaxCachedFDs = q.descriptors, q.cached
	}
	fs, err := passthrough.New(c)
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, fs.Close)
	return fs, nil
}

func (s *Share) openArchive(ctx context.Context, o *mounted, f *Files) (vfs.FileSystem, error) {
	opt := o.Archive
	if p := s.opt.Progress; p != nil {
		opt.Progress = func(entries int, bytes uint64) { p(o.Source, entries, bytes) }
	}
	fs, err := archive.OpenFile(ctx, f.Archive, o.Source, opt)
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, fs.Close)
	return fs, nil
}

func (o *mounted) openScratch(f *Files) (vfs.FileSystem, error) {
	opt := o.Scratch
	opt.File, f.Data = f.Data, nil
	fs, err := scratch.New(opt)
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, fs.Close)
	return fs, nil
}

// openOverlay opens a source and private space over it. Both are closed after the overlay,
// which needs no closing itself.
func (s *Share) openOverlay(ctx context.Context, o *mounted, f *Files, q quota) (vfs.FileSystem, error) {
	lower, err := s.openSource(ctx, o, f, q)
	if err != nil {
		return nil, err
	}
	upper, err := o.openScratch(f)
	if err != nil {
		return nil, err
	}
	opt := overlay.Options{Name: o.Target, Logger: s.opt.Logger}
	if o.Lower == spec.File {
		return overFile(lower, upper, opt, s.opt.Logger)
	}
	return overlay.New(lower, upper, opt)
}

// keepParent keeps the directory of a file that the guest may remove.
func (o *mounted) keepParent(f *Files) error {
	r, err := newRemover(f.Parent, o.Source)
	if err != nil {
		return err
	}
	o.remover = r
	o.closers = append(o.closers, f.Parent.Close)
	f.Parent = nil
	return nil
}

// treeOptions say how a mount behaves in the tree.
func (s *Share) treeOptions(m *mounted) tree.MountOptions {
	opt := tree.MountOptions{Ended: func() { s.ended(m) }}
	if m.Type != spec.File {
		return opt
	}
	var remove func() syscall.Errno
	switch m.Unlink {
	case spec.UnlinkRefuse:
		return opt
	case spec.UnlinkHide:
		remove = tree.Hide
	case spec.UnlinkDelete:
		remove = m.remover.remove
	}
	opt.Unlink = func() syscall.Errno {
		errno := remove()
		m.removed.CompareAndSwap(false, errno == 0)
		return errno
	}
	return opt
}

// errRoot is the kind of error that removing the only mount is.
const errRoot = syscall.EBUSY

// quota is the share of one mount in the descriptors that the process may have. Zero
// leaves it to package passthrough.
type quota struct{ descriptors, cached int }

const (
	// reservedFiles are for sockets, rings, memory and logs.
	reservedFiles = 1024
	// fewestFiles is what each mount gets, even if the limit is then too small for
	// all of them at once: guests get ENFILE or EMFILE at another time.
	fewestFiles = 256
)

// divideFiles divides what RLIMIT_NOFILE allows among the mounts that need descriptors.
func divideFiles(mounts []Mount) quota {
	n := 0
	for i := range mounts {
		if _, ok := mounts[i].HostSource(); ok {
			n++
		}
	}
	var lim unix.Rlimit
	if n < 2 || unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return quota{}
	}
	each := max(int(min(lim.Cur, 1<<30))-reservedFiles, 0) / n / 2
	each = max(each, fewestFiles)
	return quota{descriptors: each, cached: each}
}

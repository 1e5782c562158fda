package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vfs"
)

type mountFlags struct {
	share       shareFlags
	observe     observeFlags
	log         logFlags
	allowOther  bool
	workers     int
	passthrough string
	background  bool
	tempDir     string
}

func newMount() *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] SPEC... MOUNTPOINT",
		Short: "Look at a share on this host, exactly as a guest would see it",
		Long: `mount shows a share at MOUNTPOINT through FUSE: the same tree, under the same rules, as a guest gets
from 'isthmus serve' with each SPEC as a --share and the same flags. A SPEC is HOST[:GUEST[:OPTION,…]], or
OPTION,… with source=HOST and target=GUEST. With --config FILE the mounts are those of the file, and
its settings, which are about a daemon, are left aside.

It runs until it is interrupted, and unmounts then; 'umount MOUNTPOINT' ends it too. If the mount is still in
use when it is interrupted, it is detached and its files fail. With --background it returns when the mount is there;
what is logged after that goes to the same place, unless that is a pipe.

Root needs /dev/fuse alone. Other users need fusermount3 (package fuse3), and see no more in the mount than
they may see in the sources; scratch space is theirs, unless uid and gid say otherwise. The daemon is not closed in as that of serve is: only this host's users speak to it.`,
		Example: `  isthmus mount --readonly /srv/src /mnt
  isthmus mount --translate-uid map:0:100000:65536 /srv/guest1 /mnt
  isthmus mount type=archive,source=root.tar.zst type=scratch,target=/tmp,mode=1777 /mnt
  isthmus mount --background type=overlay,source=/usr /mnt && … && umount /mnt`,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no mount point: isthmus mount SPEC... MOUNTPOINT")
			}
			last := len(args) - 1
			f.share.shares = args[:last]
			if f.background && !inBackground() {
				return background(cmd.Context(), cmd.ErrOrStderr())
			}
			return mount(cmd.Context(), &f, args[last])
		}),
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.allowOther, "allow-other", false, "let other users in, root among them (ordinary users need user_allow_other in /etc/fuse.conf)")
	fl.IntVar(&f.workers, "workers", 0, fmt.Sprintf("threads that serve, up to %d (default: one per processor, 2 to 8)", fusedev.MaxWorkers))
	fl.StringVar(&f.passthrough, "passthrough", "auto", "let the kernel read and write the host's plain files itself: auto (where it can: Linux 6.9, root, neither --writeback nor --audit) or never")
	fl.BoolVar(&f.background, "background", false, "return when the mount is there, and go on serving it")
	fl.StringVar(&f.tempDir, "tempdir", "", "where private data with backing=disk are kept (default $TMPDIR, or /tmp)")
	f.share.bind(fl)
	f.observe.bind(fl)
	f.log.bind(fl)
	return cmd
}

func mount(ctx context.Context, f *mountFlags, at string) error {
	log, level, err := f.log.logger()
	if err != nil {
		return err
	}
	outliveReader()
	if f.workers < 0 || f.workers > fusedev.MaxWorkers {
		return usagef("--workers %d: want 1 to %d", f.workers, fusedev.MaxWorkers)
	}
	if f.passthrough != "auto" && f.passthrough != "never" {
		return usagef("--passthrough %q: want auto or never", f.passthrough)
	}
	// Elsewhere the mount would succeed and nobody could use it. What else may be wrong
	// with the mount point, Mount says.
	if info, err := os.Stat(at); err == nil && !info.IsDir() {
		return fmt.Errorf("mount on %s: it is not a directory", at)
	}
	list, _, err := f.share.read()
	if err != nil {
		return err
	}
	ownSpace(&f.share.all, os.Getuid(), os.Getgid())
	spec := shareSpec{tempDir: f.tempDir, all: &f.share.all}
	if spec.mounts, err = f.share.resolve(list, log); err != nil {
		return err
	}
	for i := range spec.mounts {
		if path, ok := spec.mounts[i].HostSource(); ok {
			if err := checkApart(path, at); err != nil {
				return err
			}
		}
	}
	s, err := f.open(ctx, &spec, at, log)
	if err != nil {
		return err
	}
	s.level = level
	return errors.Join(f.serve(ctx, s, &spec, at), s.close())
}

// ownSpace makes the user the owner of scratch space where nothing else is said: root's,
// which it is in a guest, would be of no use to others.
func ownSpace(all *spec.Mount, uid, gid int) {
	if uid != 0 {
		all.RootUID, all.RootGID = new(uint32(uid)), new(uint32(gid))
	}
}

// open opens what is to be mounted.
func (f *mountFlags) open(ctx context.Context, spec *shareSpec, at string, log *slog.Logger) (*served, error) {
	files := make([]compose.Files, len(spec.mounts))
	var err error
	for i := range files {
		if files[i], err = compose.OpenFiles(&spec.mounts[i], tempDir(f.tempDir)); err != nil {
			break
		}
	}
	var share *compose.Share
	if err == nil {
		share, err = compose.Open(ctx, spec.mounts, files, compose.Options{
			Changing: f.observe.changing(),
			Progress: progress(log),
			Logger:   log,
		})
	}
	if err != nil {
		for i := range files {
			files[i].Close()
		}
		return nil, err
	}
	return &served{name: at, pid: os.Getpid(), share: share, log: log, defaults: &f.share.all}, nil
}

// serve mounts what s serves and serves it until the mount ends.
func (f *mountFlags) serve(ctx context.Context, s *served, spec *shareSpec, at string) error {
	o, err := f.observe.open()
	if err != nil {
		return err
	}
	defer o.close()
	o.enter(&f.observe)
	s.observe(&f.observe, &o)
	opt := fusedev.Options{
		FSName:     fsName(spec.String()),
		AllowOther: f.allowOther,
		ReadOnly:   spec.isReadOnly(),
		Workers:    f.workers,
		Logger:     s.log,
	}
	if b, ok := s.fs.(vfs.Backer); ok && f.passthrough == "auto" && f.observe.audit == "" && !spec.collectsWrites() {
		opt.Backing = b
	}
	m, err := fusedev.Mount(ctx, fuse.NewServer(s.fs, fuse.Options{Logger: s.log, Stats: s.stats}), at, opt)
	if err != nil {
		return err
	}
	s.queues = func() []control.Queue { return waitingIn(m) }
	if err := s.begin(&o); err != nil {
		return errors.Join(err, m.Unmount(), m.Wait())
	}
	s.log.Info("mounted", "share", spec.String(), "at", m.Dir())
	notifyBackground()
	return m.Wait()
}

// waitingIn says how many requests wait in the kernel.
func waitingIn(m *fusedev.Mounted) []control.Queue {
	n, err := m.Waiting()
	if err != nil {
		return nil
	}
	return []control.Queue{{Name: "kernel", Depth: uint64(n)}}
}

// isReadOnly says that nothing in the share can be changed.
func (s *shareSpec) isReadOnly() bool {
	for i := range s.mounts {
		if !s.mounts[i].ReadOnly {
			return false
		}
	}
	return true
}

// collectsWrites says that the owner wants writes to be collected in the kernel, which it
// does not do for files that it reads and writes itself.
func (s *shareSpec) collectsWrites() bool {
	for i := range s.mounts {
		if s.mounts[i].Host.Writeback {
			return true
		}
	}
	return false
}

// checkApart refuses a mount point inside of what is mounted on it: whoever walks
// the share would come to the mount, and the daemon to itself.
func checkApart(dir, at string) error {
	var real [2]string
	for i, path := range []string{dir, at} {
		abs, err := filepath.Abs(path)
		if err == nil {
			real[i], err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			var path *os.PathError
			if errors.As(err, &path) {
				return fmt.Errorf("%s: %w", path.Path, path.Err)
			}
			return err
		}
	}
	if real[0] == "/" || real[0] == real[1] || strings.HasPrefix(real[1], real[0]+"/") {
		return fmt.Errorf("the mount point %s lies inside the directory %s: choose one outside of it", at, dir)
	}
	return nil
}

// fsName is what mount(8) shows as the source: of a text the beginning that fits,
// printable.
func fsName(text string) string {
	const most, more = 255, "…"
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
	if len(name) <= most {
		return name
	}
	end := most - len(more)
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + more
}

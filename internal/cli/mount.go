package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
)

type mountFlags struct {
	share      shareFlags
	log        logFlags
	allowOther bool
	workers    int
}

func newMount() *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] DIR MOUNTPOINT",
		Short: "Look at a share on this host, exactly as a guest would see it",
		Long: `mount shows the directory DIR at MOUNTPOINT through FUSE: the same file system, under the same
rules, as a guest gets from 'isthmus serve' with the same flags. It runs until it is
interrupted, and unmounts then; 'umount MOUNTPOINT' ends it too. If the mount is still in use when it
is interrupted, it is detached and its files fail.

Root needs /dev/fuse alone. Other users need fusermount3 (package fuse3), and see no more in the mount than
they may see in DIR. The daemon is not closed in as that of serve is: only this host's users speak to it.`,
		Example: `  isthmus mount --readonly /srv/src /mnt
  isthmus mount --translate-uid map:0:100000:65536 /srv/guest1 /mnt`,
		Args: cobra.ExactArgs(2),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return mount(cmd.Context(), &f, args[0], args[1])
		}),
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.allowOther, "allow-other", false, "let other users in, root among them (ordinary users need user_allow_other in /etc/fuse.conf)")
	fl.IntVar(&f.workers, "workers", 0, fmt.Sprintf("threads that serve, up to %d (default: one per processor, 2 to 8)", fusedev.MaxWorkers))
	f.share.bind(fl)
	f.log.bind(fl)
	return cmd
}

func mount(ctx context.Context, f *mountFlags, dir, at string) error {
	log, err := f.log.logger()
	if err != nil {
		return err
	}
	if f.workers < 0 || f.workers > fusedev.MaxWorkers {
		return usagef("--workers %d: want 1 to %d", f.workers, fusedev.MaxWorkers)
	}
	if err := checkApart(dir, at); err != nil {
		return err
	}
	spec, err := f.share.spec(dir, log)
	if err != nil {
		return err
	}
	base, fs, err := openFS(&spec)
	if err != nil {
		return err
	}
	defer base.Close()
	m, err := fusedev.Mount(ctx, fuse.NewServer(fs, fuse.Options{Logger: log}), at, fusedev.Options{
		FSName:     dir,
		AllowOther: f.allowOther,
		ReadOnly:   f.share.readOnly,
		Workers:    f.workers,
		Logger:     log,
	})
	if err != nil {
		return err
	}
	log.Info("mounted", "share", dir, "at", m.Dir())
	return m.Wait()
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

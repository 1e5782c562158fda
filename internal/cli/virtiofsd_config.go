package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

const (
	// minVirtiofsdFiles is one descriptor for each of 509 memory slots, 100
	// for the daemon and one for its work.
	minVirtiofsdFiles = 509 + 100 + 1
	// enoughGuestFiles is what a guest hardly gets by without.
	enoughGuestFiles = 128
	// roomyFiles is where the division of the limit can be left to package
	// passthrough. Below, the guest gets as much as from virtiofsd.
	roomyFiles = 2048
	// fewCachedFiles fit in what the daemon has for itself.
	fewCachedFiles = 64
)

// guestFiles is what a small --rlimit-nofile leaves to the guest.
func (o *virtiofsdOptions) guestFiles() int {
	if o.nofile <= minVirtiofsdFiles {
		return 0
	}
	return int(min(o.nofile-minVirtiofsdFiles, math.MaxInt32))
}

// daemon says what the options mean. Its errors are those of a command line that
// is well formed but cannot be fulfilled.
func (o *virtiofsdOptions) daemon(log *slog.Logger, nofileGiven bool) (*daemonConfig, error) {
	if err := o.checkMeaning(); err != nil {
		return nil, err
	}
	c := &daemonConfig{
		share:  shareSpec{mounts: []compose.Mount{o.mount(log)}, tag: o.tag, queues: 1},
		listen: listenSpec{path: o.socketPath, fd: o.fd, options: vhostuser.ListenOptions{Mode: 0o700}},
		modes:  []sandbox.Mode{o.sandbox},
		sandbox: sandbox.Config{
			UIDMap: o.uidMap, GIDMap: o.gidMap,
			Seccomp: o.seccomp,
		},
		nofile:  defaultFileLimit(),
		once:    true,
		lenient: true,
		says:    virtiofsdPhrases,
		log:     log,
	}
	mount := &c.share.mounts[0]
	host := &mount.Host
	if nofileGiven {
		c.nofile = fileLimit{want: o.nofile, explicit: true}
		if o.nofile != 0 && o.nofile < roomyFiles {
			host.MaxFDs, host.MaxCachedFDs = max(1, o.guestFiles()), fewCachedFiles
		}
	}
	var err error
	if mount.UIDs, err = translation("translate-uid", o.uids); err != nil {
		return nil, err
	}
	if mount.GIDs, err = translation("translate-gid", o.gids); err != nil {
		return nil, err
	}
	if c.sandbox.Keep, err = o.capsToKeep(); err != nil {
		return nil, err
	}
	if o.hasGroup {
		if c.listen.options, err = groupSocket(o.socketGroup); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// mount says what the options mean for the directory that is shared.
func (o *virtiofsdOptions) mount(log *slog.Logger) compose.Mount {
	return compose.Mount{
		Target: "/",
		Type:   spec.Dir,
		Source: o.sharedDir,
		Host: passthrough.Config{
			Path:              o.sharedDir,
			Cache:             o.cache,
			Writeback:         o.writeback,
			DirectIO:          o.directIO,
			DirectIOMmap:      o.allowMmap,
			FileHandles:       o.fileHandles,
			AnnounceSubmounts: o.submounts,
			NoReaddirplus:     o.noReaddirplus,
			Xattr:             o.xattr || o.xattrMap != nil,
			PosixACL:          o.posixACL,
			SecurityLabel:     o.securityLabel,
			KillPriv:          o.killpriv,
			PreserveNoatime:   o.noatime,
			Logger:            log,
		},
		ReadOnly: o.readOnly,
		Xattrs:   o.xattrMap,
	}
}

// checkMeaning finds options that contradict each other or the host.
func (o *virtiofsdOptions) checkMeaning() error {
	if !o.hasDir {
		return errors.New("nothing is shared: give --shared-dir DIR, or source=DIR in a list of -o")
	}
	if _, err := os.Stat(o.sharedDir); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("share %q: it does not exist", o.sharedDir)
		}
		return fmt.Errorf("share %q: %w", o.sharedDir, errors.Unwrap(err))
	}
	for _, c := range []struct {
		is   bool
		text string
	}{
		{o.socketPath == "" && o.fd < 0, "neither the path of a socket nor the number of an inherited one: give --socket-path PATH"},
		{o.posixACL != passthrough.NegotiateNever && len(o.uids)+len(o.gids) > 0,
			"--posix-acl and --translate-uid or --translate-gid exclude each other: the ids in ACLs are not translated"},
		{o.verifyHandles && o.migration == passHandles, "--migration-verify-handles is for --migration-mode find-paths alone"},
		{o.confirmPaths && o.migration == passHandles, "--migration-confirm-paths is for --migration-mode find-paths alone"},
		{o.nofile != 0 && o.nofile < minVirtiofsdFiles,
			fmt.Sprintf("--rlimit-nofile %d is too small: the daemon needs at least %d", o.nofile, minVirtiofsdFiles)},
	} {
		if c.is {
			return errors.New(c.text)
		}
	}
	return o.checkSandbox(os.Geteuid() == 0 && !sandbox.Inside())
}

// checkSandbox checks what depends on who runs the daemon.
func (o *virtiofsdOptions) checkSandbox(root bool) error {
	if sandbox.Inside() {
		return nil // the process outside has checked
	}
	if o.sandbox == sandbox.ModeChroot && !root {
		return errors.New("--sandbox chroot takes root: use --sandbox namespace")
	}
	if len(o.uidMap)+len(o.gidMap) > 0 && (root || o.sandbox != sandbox.ModeNamespace) {
		return errors.New("--uid-map and --gid-map are for ordinary users with --sandbox namespace; root can use --translate-uid and --translate-gid")
	}
	return nil
}

// capsToKeep are the usual capabilities as --modcaps changes them.
func (o *virtiofsdOptions) capsToKeep() (sandbox.Caps, error) {
	handles := o.fileHandles != passthrough.HandlesNever
	keep := sandbox.ServerCaps(handles)
	if !o.hasModcaps {
		return keep, nil
	}
	keep, err := keep.Modify(o.modcaps)
	if err != nil {
		return 0, fmt.Errorf("--modcaps: %w", err)
	}
	if handles && !keep.Has(unix.CAP_DAC_READ_SEARCH) {
		return 0, errors.New("--modcaps=-dac_read_search: opening files by handle takes that capability; add --inode-file-handles=never")
	}
	return keep, nil
}

// translation is the map that the rules of a flag make together.
func translation(flag string, specs []string) (*rules.IDMap, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	m := new(rules.IDMap)
	for _, s := range specs {
		if err := m.Add(s); err != nil {
			return nil, fmt.Errorf("--%s %s: %w", flag, s, err)
		}
	}
	return m, nil
}

// groupSocket lets the members of a group connect.
func groupSocket(name string) (vhostuser.ListenOptions, error) {
	opt := vhostuser.ListenOptions{Mode: 0o770}
	g, err := user.LookupGroup(name)
	if err != nil {
		return opt, fmt.Errorf("--socket-group %q: there is no such group on this host", name)
	}
	opt.Group, err = strconv.Atoi(g.Gid)
	return opt, err
}

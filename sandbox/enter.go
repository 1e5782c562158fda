package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// View is how the process reaches its share after [Enter].
type View struct {
	// Paths are the shares, in the order of the Config's, to be opened by these names.
	Paths []string
	// ProcSelfFD is an O_PATH descriptor of the directory /proc/self/fd, for when
	// there is no /proc any more: opening the name "7" in it opens anew what descriptor
	// 7 refers to. It is the caller's; in ModeNone it is nil.
	ProcSelfFD *os.File
}

// Enter changes what the process can reach: of the host's files, the shares alone
// in ModeNamespace and, by path, in ModeChroot; all in ModeNone. ModeNamespace is for the
// process in which [Inherited] returned something. A process that may drops its supplementary
// groups, and becomes root of its user namespace if cfg maps that.
//
// In the first two modes the working directory is ProcSelfFD afterwards, so that
// calls that take nothing but a path can name an open file by its number. Relative paths
// of before mean nothing any more.
//
// After an error, the process may have been moved half way and is not to go on.
func Enter(cfg *Config) (*View, error) {
	view, err := enter(cfg)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", cfg.Mode, err)
	}
	cfg.entered = view
	return view, nil
}

func enter(cfg *Config) (*View, error) {
	if cfg.Mode == ModeNamespace && !inside {
		return nil, errors.New("this process has no namespaces of its own")
	}
	if err := dropGroups(); err != nil {
		return nil, fmt.Errorf("drop supplementary groups: %w", err)
	}
	switch cfg.Mode {
	case ModeNamespace:
		return enterNamespace(cfg)
	case ModeChroot:
		return enterChroot(cfg)
	case ModeNone:
		return enterNone(cfg)
	}
	return nil, errors.New("unknown mode")
}

// dropGroups takes the groups of the user that started the process, which would
// count in every access, whoever the guest's user is.
func dropGroups() error {
	have, err := threadCapSets()
	if err != nil || !have.effective.Has(unix.CAP_SETGID) {
		return err
	}
	// A namespace in which only the own ids exist has "deny" here.
	if allowed, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(allowed)) != "allow" {
		return nil
	}
	return syscall.Setgroups(nil)
}

// source is an opened share.
type source struct {
	*os.File
	dir      bool
	readOnly bool
}

// openSource opens a share without rights over it.
func openSource(s Share) (*source, error) {
	fd, err := unix.Open(s.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the share %s: %w", s.Path, err)
	}
	src := &source{File: os.NewFile(uintptr(fd), s.Path), readOnly: s.ReadOnly}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		src.Close()
		return nil, fmt.Errorf("stat the share %s: %w", s.Path, err)
	}
	src.dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	return src, nil
}

// openProcSelfFD opens /proc/self/fd. Where the process may make mounts, the descriptor
// is of a clone that is mounted nowhere, and whose root that directory is: from there,
// ".." leads back to it and not to the rest of /proc.
func openProcSelfFD(cfg *Config) (*os.File, error) {
	const path = "/proc/self/fd"
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		cfg.logger().Warn("/proc stays within reach of this process by way of /proc/self/fd", "reason", err)
		if fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w (is /proc mounted?)", path, err)
		}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func enterNamespace(cfg *Config) (_ *View, err error) {
	sources := make([]*source, 0, len(cfg.Shares))
	defer func() {
		for _, s := range sources {
			s.Close()
		}
	}()
	for _, s := range cfg.Shares {
		src, err := openSource(s)
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	view := &View{}
	if view.ProcSelfFD, err = openProcSelfFD(cfg); err != nil {
		return nil, err
	}
	if err := moveInto(cfg, sources, view); err != nil {
		view.ProcSelfFD.Close()
		return nil, err
	}
	return view, nil
}

// moveInto gives this process a root directory with the shares, and nothing else.
func moveInto(cfg *Config, sources []*source, view *View) error {
	if err := becomeRoot(cfg); err != nil {
		return err
	}
	// What is mounted here stays here, but what the host mounts below a
	// share later is to appear.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	root, paths, err := newRoot(cfg, sources)
	if err != nil {
		return err
	}
	defer root.Close()
	view.Paths = paths
	if err := changeRoot(root); err != nil {
		return err
	}
	return chdir(view.ProcSelfFD)
}

// becomeRoot takes id 0 of the user namespace where there is one and it is not this
// process's already. It comes once the share is open: the way there may be open only to
// the user that started the process.
func becomeRoot(cfg *Config) error {
	if mapsID(cfg.GIDMap, 0) {
		if err := syscall.Setresgid(0, 0, 0); err != nil {
			cfg.logger().Warn("cannot take the group id 0", "reason", err)
		}
	}
	if mapsID(cfg.UIDMap, 0) {
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			cfg.logger().Warn("cannot take the user id 0", "reason", err)
		}
	}
	// A change of ids clears the parent-death signal. It also makes the process
	// non-dumpable, which keeps the user's other processes out of its memory.
	if err := prctlAll(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)); err != nil {
		return fmt.Errorf("set the parent-death signal: %w", err)
	}
	return nil
}

func enterChroot(cfg *Config) (*View, error) {
	have, err := threadCapSets()
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	if !have.effective.Has(unix.CAP_SYS_CHROOT) {
		return nil, errors.New("it takes the capability CAP_SYS_CHROOT: run as root, or use the mode namespace or none")
	}
	if len(cfg.Shares) != 1 {
		return nil, fmt.Errorf("there are %d shares, and one alone can be the root directory: use the mode namespace or none", len(cfg.Shares))
	}
	share, err := openSource(cfg.Shares[0])
	if err != nil {
		return nil, err
	}
	defer share.Close()
	if !share.dir {
		return nil, fmt.Errorf("the share %s is no directory, which a root directory must be: use the mode namespace or none", share.Name())
	}
	procFD, err := openProcSelfFD(cfg)
	if err != nil {
		return nil, err
	}
	if err = chdir(share.File); err == nil {
		if err = unix.Chroot("."); err == nil {
			err = chdir(procFD)
		}
	}
	if err != nil {
		procFD.Close()
		return nil, fmt.Errorf("change root to %s: %w", share.Name(), err)
	}
	return &View{Paths: []string{"/"}, ProcSelfFD: procFD}, nil
}

func enterNone(cfg *Config) (*View, error) {
	view := &View{}
	for _, s := range cfg.Shares {
		path, err := filepath.Abs(s.Path)
		if err != nil {
			return nil, fmt.Errorf("share %s: %w", s.Path, err)
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("share: %w", err)
		}
		view.Paths = append(view.Paths, path)
	}
	return view, nil
}

// chdir is f.Chdir for descriptors of O_PATH too.
func chdir(f *os.File) error {
	if err := unix.Fchdir(int(f.Fd())); err != nil {
		return fmt.Errorf("enter %s: %w", f.Name(), err)
	}
	return nil
}

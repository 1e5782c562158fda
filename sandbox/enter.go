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
	// Path is the share, to be opened by this name.
	Path string
	// ProcSelfFD is an O_PATH descriptor of the directory /proc/self/fd, for when
	// there is no /proc any more: opening the name "7" in it opens anew what descriptor
	// 7 refers to. It is the caller's; in ModeNone it is nil.
	ProcSelfFD *os.File
}

// Enter changes what the process can reach: of the host's files, the share alone
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

// openShare opens the share without rights over it, and tells whether it is a directory.
func openShare(path string) (f *os.File, dir bool, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("open the share %s: %w", path, err)
	}
	f = os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, false, fmt.Errorf("stat the share %s: %w", path, err)
	}
	return f, st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
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

func enterNamespace(cfg *Config) (*View, error) {
	share, dir, err := openShare(cfg.Share)
	if err != nil {
		return nil, err
	}
	defer share.Close()
	procFD, err := openProcSelfFD(cfg)
	if err != nil {
		return nil, err
	}
	view := &View{Path: "/", ProcSelfFD: procFD}
	if !dir {
		view.Path = "/" + filepath.Base(cfg.Share)
	}
	if err := moveInto(cfg, share, view); err != nil {
		procFD.Close()
		return nil, err
	}
	return view, nil
}

// moveInto makes the share this process's root directory, or a file at view.Path in it.
func moveInto(cfg *Config, share *os.File, view *View) error {
	if err := becomeRoot(cfg); err != nil {
		return err
	}
	// What is mounted here stays here, but what the host mounts below the
	// share later is to appear.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	root, err := newRoot(cfg, share, view.Path)
	if err != nil {
		return err
	}
	defer root.Close()
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
	share, dir, err := openShare(cfg.Share)
	if err != nil {
		return nil, err
	}
	defer share.Close()
	if !dir {
		return nil, fmt.Errorf("the share %s is no directory, which a root directory must be: use the mode namespace or none", cfg.Share)
	}
	procFD, err := openProcSelfFD(cfg)
	if err != nil {
		return nil, err
	}
	if err = chdir(share); err == nil {
		if err = unix.Chroot("."); err == nil {
			err = chdir(procFD)
		}
	}
	if err != nil {
		procFD.Close()
		return nil, fmt.Errorf("change root to %s: %w", cfg.Share, err)
	}
	return &View{Path: "/", ProcSelfFD: procFD}, nil
}

func enterNone(cfg *Config) (*View, error) {
	path, err := filepath.Abs(cfg.Share)
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", cfg.Share, err)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	return &View{Path: path}, nil
}

// chdir is f.Chdir for descriptors of O_PATH too.
func chdir(f *os.File) error {
	if err := unix.Fchdir(int(f.Fd())); err != nil {
		return fmt.Errorf("enter %s: %w", f.Name(), err)
	}
	return nil
}

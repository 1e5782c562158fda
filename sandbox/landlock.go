package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// landlockRefer is the first ABI that can allow to rename and link into another
// directory (REFER). Before, that is refused as soon as any right to files is.
const landlockRefer = 2

// What a file server does with regular files, and with directories and all else
// that is in them. Missing are EXECUTE, IOCTL_DEV and RESOLVE_UNIX (to connect to a
// socket by its name), which are so refused everywhere.
const (
	readFile  landlock.AccessFSSet = ll.AccessFSReadFile
	writeFile landlock.AccessFSSet = ll.AccessFSWriteFile | ll.AccessFSTruncate
	readDir   landlock.AccessFSSet = ll.AccessFSReadDir
	writeDir  landlock.AccessFSSet = ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeChar |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo |
		ll.AccessFSMakeBlock | ll.AccessFSMakeSym | ll.AccessFSRefer
)

// applyLandlock forbids every thread of the process, and those to come, all network
// ports, signals and abstract sockets to processes outside, and, unless files are opened by
// handle, all files outside the share. It sets no_new_privs. desc says what is in force;
// it is empty if nothing is. It comes after [Enter].
//
// With file handles, no right to files is restricted at all. A file that is opened by handle
// after the host has dropped its caches has no known way up to the share: under path rules,
// Linux 6.18 refuses to open it anew (EACCES) unless the share is the root of a mount, and to
// link it (EXDEV) even then. Nor can EXECUTE or IOCTL_DEV be restricted alone: with any right comes
// REFER, so that nothing could be renamed or linked into another directory (EXDEV).
func applyLandlock(cfg *Config) (desc string, err error) {
	if cfg.NoLandlock {
		return "", nil
	}
	abi, err := landlockABI()
	if err != nil {
		cfg.logger().Debug("this kernel has no Landlock", "reason", err)
		return "", nil
	}
	rules := landlock.V11.BestEffort()
	var share []landlock.Rule
	var refused []string
	if cfg.FileHandles || abi < landlockRefer {
		rules.HandledAccessFS = 0
	} else {
		for i := range cfg.Shares {
			rule, err := shareRule(cfg, i)
			if err != nil {
				return "", err
			}
			share = append(share, rule)
		}
		for _, dir := range cfg.Removals {
			share = append(share, landlock.PathAccess(ll.AccessFSRemoveFile, cfg.pathOf(dir)))
		}
		for _, dir := range cfg.Later {
			share = append(share, landlock.PathAccess(readFile|readDir|writeFile|writeDir, cfg.pathOf(dir)))
		}
		refused = append(refused, "files outside the share")
	}
	if err := rules.Restrict(share...); err != nil {
		return "", err
	}
	cfg.pathRules = refused != nil
	for _, f := range landlockFeatures {
		if abi >= f.abi {
			refused = append(refused, f.what)
		}
	}
	if refused == nil {
		return "", nil
	}
	return fmt.Sprintf("Landlock ABI %d: no %s", abi, strings.Join(refused, ", no ")), nil
}

// landlockFeatures are what is refused beside files, and the ABI that brought it.
var landlockFeatures = []struct {
	abi  int
	what string
}{
	{4, "TCP"},
	{6, "signals to outside"},
	{6, "abstract sockets"},
	{10, "UDP"},
}

// landlockABI is the kernel's ABI as far as it is used. The library leaves out what ABI 6 brought
// where it kept the threads of one process from signalling each other.
func landlockABI() (int, error) {
	const signalsFixed = 1 << 1
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0, err
	}
	if abi >= 6 {
		if errata, err := ll.LandlockGetErrata(); err != nil || errata&signalsFixed == 0 {
			return 5, nil
		}
	}
	return abi, nil
}

// shareRule allows what serving a share takes, below the share.
func shareRule(cfg *Config, i int) (landlock.Rule, error) {
	path := cfg.Shares[i].Path
	if cfg.entered != nil {
		path = cfg.entered.Paths[i]
	}
	rights, err := shareRights(path, cfg.Shares[i].ReadOnly)
	if err != nil {
		return nil, err
	}
	return landlock.PathAccess(rights, path), nil
}

// shareRights are what serving a directory or a file takes.
func shareRights(path string, readOnly bool) (landlock.AccessFSSet, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("find the share: %w", err)
	}
	rights := readFile
	if info.IsDir() {
		rights |= readDir
	}
	if !readOnly {
		rights |= writeFile
		if info.IsDir() {
			rights |= writeDir
		}
	}
	return rights, nil
}

// pathOf is a path by which an open file can be opened again in each mode; see [Enter] for
// the working directory.
func (cfg *Config) pathOf(f *os.File) string {
	if cfg.Mode == ModeNone {
		return procPath(f)
	}
	return strconv.Itoa(int(f.Fd()))
}

// procPath is a path by which an open file can be opened again where there is a /proc.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

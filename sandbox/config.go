package sandbox

import (
	"fmt"
	"log/slog"
	"os"
)

// Mode says what becomes of the rest of the host's files.
type Mode uint8

const (
	// ModeNamespace: gone, with everything else that namespaces can hide.
	ModeNamespace Mode = iota
	// ModeChroot: out of reach by path. Takes CAP_SYS_CHROOT, and holds less:
	// for places where namespaces are not allowed, such as containers.
	ModeChroot
	// ModeNone: as before, for launchers that have closed the process in
	// themselves. The other layers apply all the same.
	ModeNone
)

// String is the name that command lines use.
func (m Mode) String() string { return nameOf(m, "namespace", "chroot", "none") }

// Action is what happens to a thread that makes a system call which is not on
// the list.
type Action uint8

const (
	SeccompKill Action = iota // the process dies of SIGSYS
	SeccompLog                // it is let through and stands in the kernel's log
	SeccompTrap               // SIGSYS, which a debugger sees
	SeccompNone               // there is no filter
)

// String is the name that command lines use.
func (a Action) String() string { return nameOf(a, "kill", "log", "trap", "none") }

func nameOf[T Mode | Action | Isolation | Role](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%d", v)
}

// IDMap is one extent of a user namespace's map: the Count ids from Inside on
// are those from Outside on in the namespace of the caller of [Start].
type IDMap struct{ Inside, Outside, Count uint32 }

// Share is a directory or a file to serve, which must exist.
type Share struct {
	Path string // a symbolic link is followed
	// ReadOnly lets the kernel refuse every change, where the mode has a mount of
	// its own, or Landlock the rules, to do that with.
	ReadOnly bool
}

// Config says how a process is closed in. Outer and inner process use an equal
// one.
type Config struct {
	Mode Mode
	// Shares are all that the process is to reach.
	Shares []Share
	// FileHandles says that files are opened by handle, which needs a
	// system call, a capability and the renunciation of Landlock's path rules.
	FileHandles bool

	// MemoryFiles says that the process makes files in memory, and TCPServer that it
	// serves connections of a listening TCP socket that it has. Both need system calls.
	MemoryFiles, TCPServer bool

	// UIDMap and GIDMap are for ModeNamespace: the maps of a user namespace.
	// Without both, a process that may make the other namespaces gets no user
	// namespace, and one that may not gets one in which its own ids exist or, if it has
	// CAP_SETUID and CAP_SETGID, all. With one of them, the other kind is as without both.
	// If 0 is mapped, the process that serves takes that id.
	UIDMap, GIDMap []IDMap

	// Removals are directories, such as that of the socket, in which files may still be
	// removed where Landlock would forbid it, and Later ones that shares may come
	// from which another process hands over as descriptors while this one serves.
	// Neither gives a way to these directories that the process has not otherwise.
	Removals, Later []*os.File

	// Keep is the capabilities that remain; see [ServerCaps].
	Keep    Caps
	Seccomp Action
	// NoLandlock leaves that layer out.
	NoLandlock bool

	// Logger is for what this package has to tell, such as a layer that the
	// kernel does not have; nil is slog.Default().
	Logger *slog.Logger

	entered   *View // set by Enter
	pathRules bool  // set by Lock
}

// PathRules says, after [Lock], that Landlock refuses files by where they are: what
// lies neither below a share nor below one of Later cannot be opened, also not by way of a
// descriptor that another process hands over.
func (cfg *Config) PathRules() bool { return cfg.pathRules }

func (cfg *Config) logger() *slog.Logger {
	if cfg.Logger != nil {
		return cfg.Logger
	}
	return slog.Default()
}

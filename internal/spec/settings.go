package spec

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Settings are what a configuration file says about the daemon. What it does not
// say is nil, so that the command line, which prevails, and defaults can fill it
// in. The names are those of the flags.
type Settings struct {
	Socket       *string
	FD           *int
	SocketMode   *uint32 // permissions
	SocketGroup  *string
	Tag          *string
	Queues       *int
	Once         *bool
	RlimitNofile *uint64
	TempDir      *string

	Sandbox  *string // one of auto, namespace, chroot, none
	Seccomp  *string // one of kill, log, trap, none
	Landlock *bool
	Modcaps  *string
	UIDMap   []string // rules for the daemon's user namespace, unchecked
	GIDMap   []string

	LogLevel  *string // one of error, warn, info, debug
	LogFormat *string // one of text, json
	Control   *string
	Metrics   *string
	Audit     *string
	// AllowSource are directories that mounts may come from later.
	AllowSource []string
}

var sandboxes = words[string]{
	{"auto", "auto", "the first of these that the host allows"},
	{"namespace", "namespace", "own namespaces, with the shares alone"},
	{"chroot", "chroot", "the shares by the root directory, which takes root"},
	{"none", "none", "all that the daemon's user may see"},
}

var seccomps = words[string]{
	{"kill", "kill", "the daemon ends"},
	{"log", "log", "the kernel logs it"},
	{"trap", "trap", "SIGSYS"},
	{"none", "none", "no filter"},
}

var logLevels = words[string]{
	{"error", "error", "what failed"},
	{"warn", "warn", "that, and what is odd"},
	{"info", "info", "that, and what is worth knowing"},
	{"debug", "debug", "that, and each step"},
}

var logFormats = words[string]{
	{"text", "text", "for people"},
	{"json", "json", "for programs"},
}

// Bounds of settings: see virtiofs.MaxRequestQueues and virtiofs.MaxTag.
const (
	maxQueues = 64
	maxTag    = 36
	maxFD     = 1<<31 - 1
	// maxFiles is beyond what any kernel allows as RLIMIT_NOFILE.
	maxFiles = 1 << 31
)

// settingForm are the settings: the one table behind TOML and docs.
var settingForm = newForm("setting", []option[Settings]{
	{word: "socket", kind: pathKind, arg: "PATH", help: "the UNIX socket to listen on",
		access: text(func(s *Settings) **string { return &s.Socket }, checkPath, wantPath)},
	{word: "fd", kind: numberKind, arg: "N", help: "the inherited file descriptor to listen on, instead of a socket",
		access: number(func(s *Settings) **int { return &s.FD }, 0, maxFD)},
	{word: "socket-mode", kind: textKind, arg: "MODE", initial: "0600; 0660 with socket-group", help: "permissions of the socket, octal",
		access: value(func(s *Settings) **uint32 { return &s.SocketMode }, octal(0o777), formatOctal, "octal permissions such as 0660")},
	{word: "socket-group", kind: textKind, arg: "GROUP", help: "group of the socket, by name or number",
		access: text(func(s *Settings) **string { return &s.SocketGroup }, checkNotEmpty, "the name or the number of a group")},
	{word: "tag", kind: textKind, arg: "TAG", help: "the name by which the guest mounts the share, for VMMs that ask the daemon for it",
		access: text(func(s *Settings) **string { return &s.Tag }, checkTag, fmt.Sprintf("UTF-8 of 1 to %d bytes without NUL", maxTag))},
	{word: "queues", kind: numberKind, arg: "N", initial: "1", help: "request queues; the VM uses at most as many",
		access: number(func(s *Settings) **int { return &s.Queues }, 1, maxQueues)},
	{word: "once", kind: flagKind, initial: "false", help: "end when the first VM has gone",
		access: optional(func(s *Settings) **bool { return &s.Once })},
	{word: "rlimit-nofile", kind: numberKind, arg: "N", initial: "1000000, or what the host allows", help: "file descriptors that the daemon may use",
		access: number(func(s *Settings) **uint64 { return &s.RlimitNofile }, 1, maxFiles)},
	{word: "tempdir", kind: pathKind, arg: "PATH", initial: "$TMPDIR, or /tmp", help: "where private directories are made, for backing=disk",
		access: text(func(s *Settings) **string { return &s.TempDir }, checkPath, wantPath)},
	{word: "sandbox", kind: textKind, arg: "MODE", initial: "auto", help: "what the daemon still sees of the host",
		access: oneOf(func(s *Settings) **string { return &s.Sandbox }, sandboxes)},
	{word: "seccomp", kind: textKind, arg: "ACTION", initial: "kill", help: "what a system call that the daemon never makes leads to",
		access: oneOf(func(s *Settings) **string { return &s.Seccomp }, seccomps)},
	{word: "landlock", kind: flagKind, initial: "true", help: "use Landlock, where the kernel has it",
		access: optional(func(s *Settings) **bool { return &s.Landlock })},
	{word: "modcaps", kind: textKind, arg: "LIST", help: "keep or drop capabilities beside the usual ones, as in +sys_admin:-mknod",
		access: text(func(s *Settings) **string { return &s.Modcaps }, checkNotEmpty, "capabilities, as in +sys_admin:-mknod")},
	{word: "uid-map", kind: listKind, arg: ":INSIDE:OUTSIDE:COUNT:", help: "user ids of the daemon's user namespace",
		access: texts(func(s *Settings) *[]string { return &s.UIDMap }, ":INSIDE:OUTSIDE:COUNT:")},
	{word: "gid-map", kind: listKind, arg: ":INSIDE:OUTSIDE:COUNT:", help: "the same for group ids",
		access: texts(func(s *Settings) *[]string { return &s.GIDMap }, ":INSIDE:OUTSIDE:COUNT:")},
	{word: "log-level", kind: textKind, arg: "LEVEL", initial: "info", help: "what is logged",
		access: oneOf(func(s *Settings) **string { return &s.LogLevel }, logLevels)},
	{word: "log-format", kind: textKind, arg: "FORMAT", initial: "text", help: "how it is logged",
		access: oneOf(func(s *Settings) **string { return &s.LogFormat }, logFormats)},
	{word: "control", kind: pathKind, arg: "PATH", help: "the UNIX socket for isthmus ctl",
		access: text(func(s *Settings) **string { return &s.Control }, checkPath, wantPath)},
	{word: "metrics", kind: textKind, arg: "ADDRESS", help: "serve Prometheus metrics at this address, as in localhost:9100",
		access: text(func(s *Settings) **string { return &s.Metrics }, checkNotEmpty, "HOST:PORT")},
	{word: "audit", kind: pathKind, arg: "PATH", help: "the file to log each access to",
		access: text(func(s *Settings) **string { return &s.Audit }, checkPath, wantPath)},
	{word: "allow-source", kind: pathsKind, arg: "PATH", help: "a directory below which isthmus ctl add may take directories and files, where Landlock closes the daemon in by paths",
		access: texts(func(s *Settings) *[]string { return &s.AllowSource }, wantPath)},
}, shareWord)

func texts(field func(*Settings) *[]string, want string) access[Settings] {
	return access[Settings]{
		set: func(s *Settings, v string) error {
			if v == "" {
				return errUnwanted
			}
			*field(s) = append(*field(s), v)
			return nil
		},
		get:  func(s *Settings) []string { return *field(s) },
		want: want,
	}
}

func checkNotEmpty(s string) error {
	if s == "" {
		return errUnwanted
	}
	return nil
}

func checkTag(s string) error {
	if s == "" || len(s) > maxTag || !utf8.ValidString(s) {
		return errUnwanted
	}
	for i := range len(s) {
		if s[i] == 0 {
			return errUnwanted
		}
	}
	return nil
}

// Each calls f for each setting that was said, with its values, which are those that
// a flag of that name takes.
func (s *Settings) Each(f func(word string, values []string) error) error {
	for i := range settingForm.options {
		o := &settingForm.options[i]
		if v := o.get(s); len(v) != 0 {
			if err := f(o.word, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// check says what cannot be said together.
func (s *Settings) check() error {
	switch {
	case s.Socket != nil && s.FD != nil:
		return errors.New("fd: there is a socket too: want one of them")
	case s.FD != nil && (s.SocketMode != nil || s.SocketGroup != nil):
		return errors.New("fd: socket-mode and socket-group are for a socket that is made here: want none of them beside fd")
	}
	return nil
}

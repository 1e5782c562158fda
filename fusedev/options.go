package fusedev

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Bounds of the options.
const (
	MaxWorkers = 64
	// maxName bounds the strings that the kernel takes as options of a mount.
	maxName = 255
)

// defaultName stands for an empty FSName or Subtype.
const defaultName = "isthmus"

// Options are the settings of a mount. The zero value has the defaults. How
// much data one request moves and how many may be under way are settings of the
// server (fuse.Options).
type Options struct {
	// FSName is what mount(8) and df(1) show as the source, 1 to 255 bytes
	// without control characters. Empty means "isthmus".
	FSName string
	// Subtype is shown as the type, behind "fuse.": letters, digits and any of
	// "._-". Empty means "isthmus".
	Subtype string
	// AllowOther lets other users in, root among them. Without it only
	// processes of the user who mounts get anything but EACCES. Ordinary
	// users may set it only where /etc/fuse.conf has user_allow_other.
	AllowOther bool
	// ReadOnly has the kernel refuse what would change something (EROFS).
	ReadOnly bool
	// AllowSUID and AllowDev have set-user-ID bits and file capabilities, and
	// device files, take effect. Both need CAP_SYS_ADMIN.
	AllowSUID, AllowDev bool
	// Workers is how many threads read requests, 1 to MaxWorkers. Zero means
	// one for each processor that Go uses, at least 2 and at most 8.
	Workers int
	// Backing, if not nil, names the host files that the kernel may read and
	// write by itself. It has no effect where the kernel lacks
	// FUSE_PASSTHROUGH (before Linux 6.9) and without CAP_SYS_ADMIN. Where it
	// has, the file system is not offered vfs.FeatWriteback, which the kernel
	// does not combine with it, nor vfs.FeatKillPriv: the kernel clears setuid
	// bits itself, with a change of mode, as only it sees who writes. What the
	// kernel reads and writes by itself is in no fuse.Stats.
	Backing vfs.Backer
	// Logger gets what goes wrong. Nil means slog.Default().
	Logger *slog.Logger
}

// withDefaults returns the options with what was left out, or what is wrong
// with them.
func (o Options) withDefaults() (Options, error) {
	if o.FSName == "" {
		o.FSName = defaultName
	}
	if o.Subtype == "" {
		o.Subtype = defaultName
	}
	if o.Workers == 0 {
		o.Workers = min(max(runtime.GOMAXPROCS(0), 2), 8)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, errors.Join(
		checkName("file system name", o.FSName, func(r rune) bool { return r < ' ' || r == 0x7f }),
		checkName("subtype", o.Subtype, func(r rune) bool {
			return !strings.ContainsRune("._-", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}),
		checkWorkers(o.Workers))
}

func checkName(what, s string, bad func(rune) bool) error {
	switch {
	case len(s) > maxName:
		return fmt.Errorf("the %s has %d bytes: at most %d fit", what, len(s), maxName)
	case strings.ContainsFunc(s, bad):
		return fmt.Errorf("the %s %q has a character that cannot stand there", what, s)
	}
	return nil
}

func checkWorkers(n int) error {
	if n < 1 || n > MaxWorkers {
		return fmt.Errorf("%d workers: want 1 to %d", n, MaxWorkers)
	}
	return nil
}

package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Kind is the kind of guest to start.
type Kind int

const (
	// UML is User-Mode Linux: the kernel as a program. One processor, no PCI,
	// no DAX, and up in about a second.
	UML Kind = iota
	// QEMU is a PC with an emulated processor (TCG): PCI, MSI-X, several
	// processors and request queues. It takes six to ten seconds to boot.
	QEMU
)

var kindNames = [...]string{UML: "uml", QEMU: "qemu"}

// String returns the name [ParseKind] takes.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// ParseKind returns the kind called name: "uml" or "qemu".
func ParseKind(name string) (Kind, error) {
	for kind, known := range kindNames {
		if name == known {
			return Kind(kind), nil
		}
	}
	return 0, fmt.Errorf("unknown kind of guest %q: one of %s", name, strings.Join(kindNames[:], ", "))
}

// Share is a virtio-fs device of the guest. Its back end must be listening
// before the guest starts.
type Share struct {
	Tag     string // as the guest mounts it; QEMU gives it to the guest, to User-Mode Linux the back end does
	Socket  string // of the vhost-user back end
	Dir     string // where the guest mounts it; "" leaves that to the command
	Options string // of mount(8), such as "ro,nosuid"; "" for none
}

// File is a host file that is copied into the guest's initramfs.
type File struct {
	Path   string      // in the guest
	Mode   fs.FileMode // permissions; zero means those of the host file
	Source string      // on the host
}

// Size is the size of a terminal in characters.
type Size struct{ Rows, Cols uint16 }

// Config says which guest to start and what to run in it.
type Config struct {
	Kind Kind
	// Kernel is the kernel to boot: linux.uml for UML, a vmlinuz for QEMU.
	// "" means the one that [Find] finds.
	Kernel     string
	MemoryMiB  int      // zero means 256 for UML and 512 for QEMU
	CPUs       int      // zero means 1; UML has no more
	KernelArgs []string // added to the kernel command line
	Modules    []string // loaded besides those virtio-fs needs, by name

	Shares        []Share
	RequestQueues int // of each share, QEMU only; zero means 1
	QueueSize     int // entries of each queue, QEMU only; zero means 1024

	// Root, when set, is the guest's root file system in place of the
	// initramfs. Its Dir means nothing.
	Root *Share
	// Init, with Root, is the program of the root that becomes process 1. The
	// guest is then on its own: Args must be empty, there are no streams but
	// the console, and Run returns when the guest has powered off.
	Init string

	// Args is the command. A name without slash is looked up in the guest's PATH.
	Args []string
	Env  []string // NAME=value, added to PATH, HOME and ISTHMUS_BOOT
	Dir  string   // the command's working directory; "" means /
	// Files are added to the initramfs. They cannot be seen once Root has
	// taken its place.
	Files []File

	// Stdin is the command's input; nil means none. Run returns when the
	// command has ended, and may then leave one goroutine behind that waits in
	// Stdin.Read.
	Stdin          io.Reader
	Stdout, Stderr io.Writer // nil discards
	// Console takes what the guest kernel and the VMM print.
	Console io.Writer
	// Terminal gives the command a terminal: Stdin is its keyboard and Stdout
	// its screen. The caller puts its own terminal into raw mode.
	Terminal bool
	// Size is the size of the terminal, Resize yields its later sizes.
	Size   Size
	Resize <-chan Size

	// Reboots is how often the guest starts over after its command has
	// succeeded, or because the command rebooted it. The command runs once in
	// each boot, with the number of the boot, from 1, in ISTHMUS_BOOT. Under
	// QEMU the connections to the back ends outlive a reboot; User-Mode Linux
	// makes new ones. Stdin must be nil, because what the guest has read of
	// it at a reboot is lost.
	Reboots int

	// BootTimeout bounds the time from the start, or from the end of a command
	// after which the guest reboots, to the agent's first sign of life. Zero
	// means two minutes.
	BootTimeout time.Duration
	// Agent is the program that becomes the guest's first process: one that
	// calls [MaybeInit] first in main, and is linked statically. "" means the
	// program in the environment variable ISTHMUS_INIT or, without that, the
	// running program.
	Agent string
}

// Result is how a run ended.
type Result struct {
	// ExitCode is the command's exit status as a shell reports it: 128+n for
	// signal n, 127 for a command that was not found, 126 for one that cannot
	// be executed. It is zero with Config.Init.
	ExitCode int
	// Boots is how often the guest booted. Boots with Config.Init whose
	// kernel mounts the root itself are not counted.
	Boots int
	// Kernel is the guest's kernel release.
	Kernel string
}

// withDefaults returns cfg with its zero values replaced.
func (cfg Config) withDefaults() Config {
	def := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	if cfg.Kind == UML {
		def(&cfg.MemoryMiB, 256)
	} else {
		def(&cfg.MemoryMiB, 512)
	}
	def(&cfg.CPUs, 1)
	def(&cfg.RequestQueues, 1)
	def(&cfg.QueueSize, 1024)
	if cfg.BootTimeout == 0 {
		cfg.BootTimeout = 2 * time.Minute
	}
	if cfg.Stdout == nil {
		cfg.Stdout = io.Discard
	}
	if cfg.Stderr == nil {
		cfg.Stderr = io.Discard
	}
	if cfg.Console == nil {
		cfg.Console = io.Discard
	}
	return cfg
}

// check reports what cannot work in cfg, whose defaults are filled in.
func (cfg *Config) check() error {
	switch {
	case cfg.Kind != UML && cfg.Kind != QEMU:
		return fmt.Errorf("unknown kind of guest %v", cfg.Kind)
	case cfg.MemoryMiB < 64:
		return fmt.Errorf("%d MiB of memory: a guest needs 64", cfg.MemoryMiB)
	case cfg.CPUs < 1 || cfg.CPUs > 255:
		return fmt.Errorf("%d processors: from 1 to 255", cfg.CPUs)
	case cfg.Kind == UML && cfg.CPUs > 1:
		return errors.New("User-Mode Linux has one processor: use QEMU for more")
	case cfg.Kind == UML && cfg.RequestQueues > 1:
		return errors.New("User-Mode Linux takes the number of request queues from the back end: use QEMU to choose it")
	case cfg.RequestQueues < 1 || cfg.RequestQueues > 1024:
		return fmt.Errorf("%d request queues: from 1 to 1024", cfg.RequestQueues)
	case cfg.QueueSize < 2 || cfg.QueueSize > 1024 || cfg.QueueSize&(cfg.QueueSize-1) != 0:
		return fmt.Errorf("queue size %d: a power of two from 2 to 1024", cfg.QueueSize)
	case cfg.Init == "" && len(cfg.Args) == 0:
		return errors.New("no command to run in the guest")
	case cfg.Init != "" && cfg.Root == nil:
		return errors.New("an init without a root file system")
	case cfg.Init != "" && len(cfg.Args) > 0:
		return errors.New("both an init and a command")
	case cfg.Init != "" && !path.IsAbs(cfg.Init):
		return fmt.Errorf("the init %q is no absolute path", cfg.Init)
	case cfg.Reboots < 0:
		return fmt.Errorf("%d reboots", cfg.Reboots)
	case cfg.Reboots > 0 && cfg.Stdin != nil:
		return errors.New("a guest that reboots cannot have an input")
	}
	for _, s := range cfg.devices() {
		switch {
		case s.Tag == "" || len(s.Tag) > 36:
			return fmt.Errorf("tag %q: from 1 to 36 bytes", s.Tag)
		case s.Socket == "":
			return fmt.Errorf("share %s has no socket", s.Tag)
		case s.Dir != "" && !path.IsAbs(s.Dir):
			return fmt.Errorf("share %s: mount point %q is no absolute path", s.Tag, s.Dir)
		case strings.ContainsAny(s.Tag+s.Socket, ", \t\n\"") || cfg.Kind == UML && strings.Contains(s.Socket, ":"):
			return fmt.Errorf("share %s: the command line of a guest has no way to write the tag or the socket %q", s.Tag, s.Socket)
		}
	}
	return nil
}

// devices returns all shares, the root first.
func (cfg *Config) devices() []Share {
	if cfg.Root == nil {
		return cfg.Shares
	}
	return append([]Share{*cfg.Root}, cfg.Shares...)
}

// start returns the order for boot number n.
func (cfg *Config) start(n int) start {
	s := start{
		Boot:     n,
		Reboot:   n <= cfg.Reboots,
		Init:     cfg.Init,
		Args:     cfg.Args,
		Env:      cfg.Env,
		Dir:      cfg.Dir,
		Terminal: cfg.Terminal,
		Rows:     cfg.Size.Rows,
		Cols:     cfg.Size.Cols,
		Stdin:    cfg.Stdin != nil,
	}
	if cfg.Root != nil {
		s.Root = &guestMount{Tag: cfg.Root.Tag, Options: cfg.Root.Options}
	}
	for _, share := range cfg.Shares {
		if share.Dir != "" {
			s.Mounts = append(s.Mounts, guestMount{Tag: share.Tag, Dir: share.Dir, Options: share.Options})
		}
	}
	return s
}

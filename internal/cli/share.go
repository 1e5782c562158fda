package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// shareFlags are the flags that say how a directory is shared.
type shareFlags struct {
	cache           string
	entryTimeout    time.Duration
	attrTimeout     time.Duration
	negativeTimeout time.Duration
	writeback       bool
	directIO        bool
	allowMmap       bool
	xattr           bool
	readdirplus     bool
	submounts       bool
	killpriv        bool
	fileHandles     string
	posixLocks      bool
	flock           bool
	set             *pflag.FlagSet
}

// choice is a flag's words and what they stand for.
type choice[T any] []struct {
	word  string
	value T
}

func (c choice[T]) words() string {
	w := make([]string, len(c))
	for i := range c {
		w[i] = c[i].word
	}
	return strings.Join(w, ", ")
}

func (c choice[T]) pick(flag, word string) (v T, err error) {
	for i := range c {
		if c[i].word == word {
			return c[i].value, nil
		}
	}
	return v, usagef("--%s %q: want one of %s", flag, word, c.words())
}

var cachePolicies = choice[passthrough.CachePolicy]{
	{"auto", passthrough.CacheAuto},
	{"never", passthrough.CacheNever},
	{"metadata", passthrough.CacheMetadata},
	{"always", passthrough.CacheAlways},
}

var handleUses = choice[passthrough.HandleUse]{
	{"prefer", passthrough.HandlesPrefer},
	{"mandatory", passthrough.HandlesMandatory},
	{"never", passthrough.HandlesNever},
}

func (f *shareFlags) bind(fl *pflag.FlagSet) {
	f.set = fl
	fl.StringVar(&f.cache, "cache", "auto", `what the guest may remember:
auto      names, attributes and data for a second; for directories that the host changes too
never     nothing
metadata  names and attributes for a day, no data
always    everything for a day; for directories that the guest has for itself
`)
	fl.DurationVar(&f.entryTimeout, "entry-timeout", 0, "how long the guest may trust a name (default by --cache)")
	fl.DurationVar(&f.attrTimeout, "attr-timeout", 0, "how long the guest may trust attributes (default by --cache)")
	fl.DurationVar(&f.negativeTimeout, "negative-timeout", 0, "how long the guest may trust that a name does not exist (default by --cache)")
	fl.BoolVar(&f.writeback, "writeback", false, "let the guest collect writes in its cache: faster, and the host sees them later")
	fl.BoolVar(&f.directIO, "direct-io", false, "pass the guest's O_DIRECT on to the host's files")
	fl.BoolVar(&f.allowMmap, "allow-mmap", false, "let the guest map files shared under --cache never and metadata")
	fl.BoolVar(&f.xattr, "xattr", true, "extended attributes")
	fl.BoolVar(&f.readdirplus, "readdirplus", true, "send attributes with directory listings")
	fl.BoolVar(&f.submounts, "announce-submounts", true, "show the guest where other host file systems begin")
	fl.BoolVar(&f.killpriv, "killpriv", true, "clear setuid and setgid on the host when a file is written, so that the guest need not ask each time")
	fl.StringVar(&f.fileHandles, "file-handles", "prefer", "hold files by handle rather than by open descriptor: prefer, mandatory or never")
	fl.BoolVar(&f.posixLocks, "posix-locks", false, "fcntl locks hold between guests and the host; Linux guests cannot interrupt a wait for one")
	fl.BoolVar(&f.flock, "flock", false, "flock locks hold between guests and the host; Linux guests cannot interrupt a wait for one")
}

func (f *shareFlags) config(dir string, log *slog.Logger) (passthrough.Config, error) {
	cfg := passthrough.Config{
		Path:              dir,
		Writeback:         f.writeback,
		DirectIO:          f.directIO,
		DirectIOMmap:      f.allowMmap,
		Xattr:             f.xattr,
		NoReaddirplus:     !f.readdirplus,
		AnnounceSubmounts: f.submounts,
		KillPriv:          f.killpriv,
		PreserveNoatime:   true,
		Locks:             passthrough.Locks{POSIX: f.posixLocks, Flock: f.flock},
		Logger:            log,
	}
	var err error
	if cfg.Cache, err = cachePolicies.pick("cache", f.cache); err != nil {
		return cfg, err
	}
	if cfg.FileHandles, err = handleUses.pick("file-handles", f.fileHandles); err != nil {
		return cfg, err
	}
	for _, t := range []struct {
		flag  string
		value *time.Duration
		field **time.Duration
	}{
		{"entry-timeout", &f.entryTimeout, &cfg.EntryTimeout},
		{"attr-timeout", &f.attrTimeout, &cfg.AttrTimeout},
		{"negative-timeout", &f.negativeTimeout, &cfg.NegativeTimeout},
	} {
		if !f.set.Changed(t.flag) {
			continue
		}
		if *t.value < 0 {
			return cfg, usagef("--%s %v: a time cannot be negative", t.flag, *t.value)
		}
		*t.field = t.value
	}
	return cfg, nil
}

// share is a directory with the device that serves it.
type share struct {
	fs     *passthrough.FS
	device *virtiofs.Device
	log    *slog.Logger
}

type shareConfig struct {
	tag    string
	queues int
	log    *slog.Logger
}

// openShare makes the device that serves dir. The caller closes it.
func openShare(dir string, f *shareFlags, c shareConfig) (*share, error) {
	cfg, err := f.config(dir, c.log)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
		return nil, fmt.Errorf("share %s: it is a file, and a guest can mount only directories: share the directory that it is in", dir)
	}
	fs, err := passthrough.New(cfg)
	if err != nil {
		return nil, err
	}
	server := fuse.NewServer(fs, fuse.Options{Logger: c.log})
	device, err := virtiofs.New(server, virtiofs.Config{Tag: c.tag, RequestQueues: c.queues, Logger: c.log})
	if err != nil {
		fs.Close()
		return nil, err
	}
	return &share{fs: fs, device: device, log: c.log}, nil
}

func (s *share) close() {
	s.device.Close()
	s.fs.Close()
}

// serveInBackground serves dir on a socket in a private temporary directory
// until stop is called.
func serveInBackground(dir string, f *shareFlags, c shareConfig) (socket string, stop func(), err error) {
	s, err := openShare(dir, f, c)
	if err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp("", "isthmus-")
	if err != nil {
		s.close()
		return "", nil, fmt.Errorf("a directory for the socket: %w", err)
	}
	socket = filepath.Join(tmp, "share.sock")
	l, err := vhostuser.Listen(socket, vhostuser.ListenOptions{})
	if err != nil {
		os.RemoveAll(tmp)
		s.close()
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.serveListener(ctx, l, false); err != nil {
			s.log.Error("the share is no longer served", "error", err)
		}
	}()
	return socket, func() {
		cancel()
		<-done
		l.Close()
		s.close()
		os.RemoveAll(tmp)
	}, nil
}

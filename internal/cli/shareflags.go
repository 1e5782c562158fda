package cli

import (
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
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
	readOnly        bool
	xattrMap        string
	posixACL        string
	securityLabel   string
	noatime         bool
	uids, gids      []string
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

var negotiations = choice[passthrough.Negotiate]{
	{"never", passthrough.NegotiateNever},
	{"auto", passthrough.NegotiateAuto},
	{"always", passthrough.NegotiateAlways},
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
	fl.StringVar(&f.fileHandles, "file-handles", "prefer", "hold files by handle rather than by open descriptor: prefer, mandatory or never; a daemon outside of namespaces does without unless this is given")
	fl.BoolVar(&f.readOnly, "readonly", false, "refuse every change")
	fl.StringVar(&f.xattrMap, "xattrmap", "", "rules for the names of extended attributes, as virtiofsd has them; ':map::user.virtiofs.:' keeps the guest's apart")
	fl.StringVar(&f.posixACL, "posix-acl", "never", "POSIX ACLs: never, auto (if the guest can) or always (a guest that cannot is refused)")
	fl.StringVar(&f.securityLabel, "security-label", "never", "security labels, as of SELinux, for new files: never, auto or always")
	fl.BoolVar(&f.noatime, "preserve-noatime", true, "pass the guest's O_NOATIME on to the host's files")
	fl.StringArrayVar(&f.uids, "translate-uid", nil, `other user ids on the host than in the guest; may be repeated:
map:GUEST:HOST:COUNT, guest:GUEST:HOST:COUNT, host:HOST:GUEST:COUNT,
squash-guest:GUEST:HOST:COUNT, squash-host:HOST:GUEST:COUNT, forbid-guest:GUEST:COUNT`)
	fl.StringArrayVar(&f.gids, "translate-gid", nil, "the same for group ids")
	fl.BoolVar(&f.posixLocks, "posix-locks", false, "fcntl locks hold between guests and the host; Linux guests cannot interrupt a wait for one")
	fl.BoolVar(&f.flock, "flock", false, "flock locks hold between guests and the host; Linux guests cannot interrupt a wait for one")
}

// spec says what the flags say about sharing dir.
func (f *shareFlags) spec(dir string, log *slog.Logger) (shareSpec, error) {
	spec := shareSpec{readOnly: f.readOnly}
	var err error
	if spec.fs, err = f.config(dir, log); err != nil {
		return spec, err
	}
	if f.xattrMap != "" {
		if spec.xattrs, err = rules.ParseXattrMap(f.xattrMap); err != nil {
			return spec, usagef("--xattrmap: %v", err)
		}
		spec.fs.Xattr = true
	}
	if spec.uids, err = idMap("translate-uid", f.uids); err != nil {
		return spec, err
	}
	if spec.gids, err = idMap("translate-gid", f.gids); err != nil {
		return spec, err
	}
	if (spec.uids != nil || spec.gids != nil) && spec.fs.PosixACL == passthrough.NegotiateAlways {
		return spec, usagef("--posix-acl=always and translated ids: the ids in ACLs are not translated")
	}
	return spec, nil
}

// idMap is the map that the values of a flag make, nil without any.
func idMap(flag string, specs []string) (*rules.IDMap, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	m := new(rules.IDMap)
	for _, s := range specs {
		if err := m.Add(s); err != nil {
			return nil, usagef("--%s %q: %v", flag, s, err)
		}
	}
	return m, nil
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
		PreserveNoatime:   f.noatime,
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
	if cfg.PosixACL, err = negotiations.pick("posix-acl", f.posixACL); err != nil {
		return cfg, err
	}
	if cfg.SecurityLabel, err = negotiations.pick("security-label", f.securityLabel); err != nil {
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

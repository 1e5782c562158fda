package spec

import (
	"slices"
	"time"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
)

// typeSet are the types of mounts that an option is for.
type typeSet uint8

const (
	dirs typeSet = 1 << iota
	files
	archives
	scratches
	overlays

	hosts  = dirs | files // what the host has besides
	spaces = scratches | overlays
	all    = hosts | archives | spaces
)

// sets are what a mount of a type may be. One that is to be found out takes
// the options of both.
var sets = [...]typeSet{Auto: hosts, Dir: dirs, File: files, Archive: archives, Scratch: scratches, Overlay: overlays}

func (s typeSet) types() (t []Type) {
	for i := Dir; int(i) < len(sets); i++ {
		if s&sets[i] != 0 {
			t = append(t, i)
		}
	}
	return t
}

// String lists the types: "dir and file".
func (s typeSet) String() string {
	var w []string
	for _, t := range s.types() {
		w = append(w, t.String())
	}
	return list(w, "and")
}

// maxID is the largest user or group id: one more stands for none at all.
const maxID = 1<<32 - 2

var lowers = words[Type]{
	{"auto", Auto, "a directory or a file, whichever the source is"},
	{"dir", Dir, "a directory"},
	{"file", File, "a single file"},
	{"archive", Archive, "a tar archive"},
}

var cachePolicies = words[passthrough.CachePolicy]{
	{"auto", passthrough.CacheAuto, "names and attributes for a second, data until the file changes (for what the host changes too)"},
	{"never", passthrough.CacheNever, "nothing"},
	{"metadata", passthrough.CacheMetadata, "names and attributes for a day, no data"},
	{"always", passthrough.CacheAlways, "everything for a day (for what the guest has for itself)"},
}

var handleUses = words[passthrough.HandleUse]{
	{"prefer", passthrough.HandlesPrefer, "by handle, where the host can"},
	{"mandatory", passthrough.HandlesMandatory, "by handle, or not at all"},
	{"never", passthrough.HandlesNever, "by open descriptor"},
}

var negotiations = words[passthrough.Negotiate]{
	{"never", passthrough.NegotiateNever, "off"},
	{"auto", passthrough.NegotiateAuto, "on for guests that can"},
	{"always", passthrough.NegotiateAlways, "on, and a guest that cannot is refused"},
}

// mountForm are the options of a mount: the one table behind the command line,
// TOML, help and docs. Their order is that of the canonical form.
var mountForm = newForm("option", []option[Mount]{
	{word: "type", kind: textKind, arg: "TYPE", types: all, initial: "auto",
		help:   "what the mount is made of",
		access: typed(func(m *Mount) *Type { return &m.Type }, types)},
	{word: "source", aliases: []alias{{word: "src"}}, kind: pathKind, arg: "PATH", types: all &^ scratches,
		help:   "the directory, the file or the archive of the host; for an overlay, what it lies over",
		access: sourceAccess},
	{word: "target", aliases: []alias{{word: "dst"}, {word: "destination"}}, kind: textKind, arg: "PATH", types: all, initial: "/",
		help:   "where it stands in the guest's tree",
		access: targetAccess},
	{word: "lower", kind: textKind, arg: "TYPE", types: overlays, initial: "auto",
		help:   "what the source of an overlay is",
		access: typed(func(m *Mount) *Type { return &m.Lower }, lowers)},
	{word: "readonly", aliases: []alias{{word: "ro"}, {word: "rw", negated: true}}, kind: flagKind, types: all, initial: "false; true for an archive",
		help:   "refuse every change. An archive is always read-only, scratch space and an overlay never",
		access: readonlyAccess},
	{word: "nodev", kind: flagKind, types: all &^ files, initial: "false",
		help:   "no device files: the guest cannot make them, and those that there are cannot be used",
		access: boolean(func(m *Mount) *bool { return &m.NoDev })},
	{word: "noexec", kind: flagKind, types: all, initial: "false",
		help:   "no programs: no file can be executed",
		access: boolean(func(m *Mount) *bool { return &m.NoExec })},
	{word: "nosuid", kind: flagKind, types: all, initial: "false",
		help:   "set-user-ID and set-group-ID bits and file capabilities have no effect",
		access: boolean(func(m *Mount) *bool { return &m.NoSUID })},
	{word: "unlink", kind: textKind, arg: "WHAT", types: files, initial: "refuse",
		help:   "what happens when the guest removes the name of the mounted file itself",
		access: oneOf(func(m *Mount) **Unlink { return &m.Unlink }, unlinks)},
	{word: "translate-uid", kind: listKind, arg: "RULE", types: all &^ scratches,
		help: "other user ids on the host than in the guest: map:GUEST:HOST:COUNT, guest:GUEST:HOST:COUNT, host:HOST:GUEST:COUNT, " +
			"squash-guest:GUEST:HOST:COUNT, squash-host:HOST:GUEST:COUNT, forbid-guest:GUEST:COUNT",
		access: ids(func(m *Mount) *IDMap { return &m.UIDs })},
	{word: "translate-gid", kind: listKind, arg: "RULE", types: all &^ scratches,
		help:   "the same for group ids",
		access: ids(func(m *Mount) *IDMap { return &m.GIDs })},
	{word: "xattr", kind: flagKind, types: hosts | overlays, initial: "true",
		help:   "extended attributes",
		access: optional(func(m *Mount) **bool { return &m.Xattr })},
	{word: "xattrmap", kind: textKind, arg: "RULES", types: all &^ scratches,
		help:   "other names of extended attributes on the host, by virtiofsd's rules; :map::user.virtiofs.: keeps the guest's apart",
		access: xattrsAccess},
	{word: "posix-acl", kind: textKind, arg: "WHEN", types: hosts, initial: "never",
		help:   "POSIX access control lists",
		access: oneOf(func(m *Mount) **passthrough.Negotiate { return &m.PosixACL }, negotiations)},
	{word: "security-label", kind: textKind, arg: "WHEN", types: hosts, initial: "never",
		help:   "labels of new files, as SELinux has them",
		access: oneOf(func(m *Mount) **passthrough.Negotiate { return &m.Label }, negotiations)},
	{word: "cache", kind: textKind, arg: "POLICY", types: hosts | overlays, initial: "auto",
		help:   "what the guest may remember. Archives and scratch space, which nobody else changes, it may always remember",
		access: oneOf(func(m *Mount) **passthrough.CachePolicy { return &m.Cache }, cachePolicies)},
	{word: "entry-timeout", kind: textKind, arg: "TIME", types: hosts | overlays, initial: "as cache says",
		help:   "how long the guest may trust a name",
		access: duration(func(m *Mount) **time.Duration { return &m.EntryTimeout })},
	{word: "attr-timeout", kind: textKind, arg: "TIME", types: hosts | overlays, initial: "as cache says",
		help:   "how long the guest may trust sizes, times, permissions",
		access: duration(func(m *Mount) **time.Duration { return &m.AttrTimeout })},
	{word: "negative-timeout", kind: textKind, arg: "TIME", types: dirs | overlays, initial: "as cache says",
		help:   "how long the guest may trust that a name does not exist",
		access: duration(func(m *Mount) **time.Duration { return &m.NegativeTime })},
	{word: "writeback", kind: flagKind, types: hosts, initial: "false",
		help:   "let the guest collect writes in its cache: faster, and the host sees them later",
		access: optional(func(m *Mount) **bool { return &m.Writeback })},
	{word: "allow-mmap", kind: flagKind, types: hosts, initial: "false",
		help:   "let the guest map files shared under cache=never and cache=metadata",
		access: optional(func(m *Mount) **bool { return &m.AllowMmap })},
	{word: "readdirplus", kind: flagKind, types: dirs, initial: "true",
		help:   "send attributes with directory listings",
		access: optional(func(m *Mount) **bool { return &m.Readdirplus })},
	{word: "io", kind: listKind, arg: "MODE", types: hosts,
		help:   "how the host's files are read and written, whatever the guest asks for",
		access: ioAccess},
	{word: "direct-io", kind: flagKind, types: hosts, initial: "false",
		help:   "pass the guest's O_DIRECT on to the host's files",
		access: optional(func(m *Mount) **bool { return &m.DirectIO })},
	{word: "preserve-noatime", kind: flagKind, types: hosts, initial: "true",
		help:   "pass the guest's O_NOATIME on to the host's files",
		access: optional(func(m *Mount) **bool { return &m.PreserveNoatime })},
	{word: "killpriv", kind: flagKind, types: hosts, initial: "true",
		help:   "clear set-user-ID and set-group-ID on the host when a file is written, so that the guest need not ask each time",
		access: optional(func(m *Mount) **bool { return &m.KillPriv })},
	{word: "announce-submounts", kind: flagKind, types: dirs, initial: "true",
		help:   "show the guest where other file systems of the host begin",
		access: optional(func(m *Mount) **bool { return &m.Submounts })},
	{word: "file-handles", kind: textKind, arg: "WHEN", types: hosts | overlays, initial: "prefer in namespaces, otherwise never",
		help:   "hold files by handle rather than by open descriptor",
		access: oneOf(func(m *Mount) **passthrough.HandleUse { return &m.FileHandles }, handleUses)},
	{word: "posix-locks", kind: flagKind, types: hosts, initial: "false",
		help:   "fcntl locks hold between guests and the host",
		access: optional(func(m *Mount) **bool { return &m.PosixLocks })},
	{word: "flock", kind: flagKind, types: hosts, initial: "false",
		help:   "flock locks hold between guests and the host",
		access: optional(func(m *Mount) **bool { return &m.Flock })},
	{word: "size", kind: sizeKind, arg: "SIZE", types: archives | spaces, initial: "4G for an archive, otherwise 1G",
		help:   "the most that the guest's data may take; for an archive, that it may hold, unpacked",
		access: sizeAccess},
	{word: "backing", kind: textKind, arg: "WHERE", types: spaces, initial: "memory",
		help:   "where private data are kept",
		access: oneOf(func(m *Mount) **Backing { return &m.Backing }, backings)},
	{word: "mode", kind: textKind, arg: "MODE", types: scratches, initial: "0700",
		help:   "permissions of the directory that the space is, octal; 1777 for a /tmp",
		access: value(func(m *Mount) **uint32 { return &m.RootMode }, octal(0o7777), formatOctal, "octal permissions such as 0755 or 1777")},
	{word: "uid", kind: numberKind, arg: "ID", types: scratches, initial: "0",
		help:   "the user in the guest whose directory it is",
		access: number(func(m *Mount) **uint32 { return &m.RootUID }, 0, maxID)},
	{word: "gid", kind: numberKind, arg: "ID", types: scratches, initial: "0",
		help:   "the same for the group",
		access: number(func(m *Mount) **uint32 { return &m.RootGID }, 0, maxID)},
})

var sourceAccess = access[Mount]{
	set: func(m *Mount, s string) error {
		m.Source = s
		return checkPath(s)
	},
	get: func(m *Mount) []string {
		if m.Source == "" {
			return nil
		}
		return []string{m.Source}
	},
	want: wantPath,
}

var targetAccess = access[Mount]{
	set: func(m *Mount, s string) (err error) {
		m.Target, err = cleanTarget(s)
		return err
	},
	get: func(m *Mount) []string {
		if m.Target == "" {
			return nil
		}
		return []string{m.Target}
	},
	want: wantTarget,
}

var readonlyAccess = access[Mount]{
	set: func(m *Mount, s string) error {
		ro, err := parseFlagValue(s)
		m.ReadOnly, m.Writable = ro && err == nil, !ro && err == nil
		return err
	},
	get: func(m *Mount) []string {
		switch {
		case m.ReadOnly:
			return []string{"true"}
		case m.Writable:
			return []string{"false"}
		}
		return nil
	},
	want: wantFlag,
}

var xattrsAccess = access[Mount]{
	set: func(m *Mount, s string) (err error) {
		m.Xattrs.Rules = s
		m.Xattrs.Map, err = rules.ParseXattrMap(s)
		return err
	},
	get: func(m *Mount) []string {
		if m.Xattrs.Map == nil {
			return nil
		}
		return []string{m.Xattrs.Rules}
	},
	want: "rules such as :map::user.virtiofs.:",
}

var ioAccess = access[Mount]{
	set: func(m *Mount, s string) error {
		switch s {
		case "direct":
			m.IO.Direct = true
		case "sync":
			m.IO.Sync = true
		default:
			return errUnwanted
		}
		return nil
	},
	get: func(m *Mount) (v []string) {
		if m.IO.Direct {
			v = append(v, "direct")
		}
		if m.IO.Sync {
			v = append(v, "sync")
		}
		return v
	},
	want: "direct or sync, or both one after the other",
	values: []ValueHelp{
		{"direct", "past the host's page cache"},
		{"sync", "a write that is answered is on the disk"},
	},
}

var sizeAccess = access[Mount]{
	set: func(m *Mount, s string) (err error) {
		m.Size, err = parseSize(s)
		return err
	},
	get: func(m *Mount) []string {
		if m.Size == 0 {
			return nil
		}
		return []string{formatSize(m.Size)}
	},
	want: wantSize,
}

// OptionHelp describes an option or a setting, for --help, the manual and docs.
type OptionHelp struct {
	Word string
	// Aliases mean the same; Negations are flags that mean the opposite.
	Aliases, Negations []string
	Arg                string // what stands for the value; "" for a flag
	Values             []ValueHelp
	Repeat             bool   // may be said more than once
	Types              []Type // that it is for; none for a setting
	Default            string // in words; "" for nothing
	Help               string
}

// ValueHelp describes a word that an option takes.
type ValueHelp struct{ Word, Help string }

// Options describes the options of a mount, in the order of the canonical form.
func Options() []OptionHelp { return describe(mountForm) }

// SettingOptions describes the settings of a configuration file.
func SettingOptions() []OptionHelp { return describe(settingForm) }

func describe[T any](f *form[T]) []OptionHelp {
	h := make([]OptionHelp, len(f.options))
	for i := range f.options {
		o := &f.options[i]
		h[i] = OptionHelp{
			Word: o.word, Arg: o.arg, Values: slices.Clone(o.values), Repeat: o.kind.repeats(),
			Types: o.types.types(), Default: o.initial, Help: o.help,
		}
		for _, a := range o.aliases {
			if a.negated {
				h[i].Negations = append(h[i].Negations, a.word)
			} else {
				h[i].Aliases = append(h[i].Aliases, a.word)
			}
		}
	}
	return h
}

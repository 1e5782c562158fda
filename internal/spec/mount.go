package spec

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
)

// Type says what a mount is made of.
type Type uint8

const (
	// Auto is Dir or File, whichever the source is when it is opened; see
	// [Mount.As]. An archive is never taken for one by its looks.
	Auto Type = iota
	// Dir is a directory of the host.
	Dir
	// File is a single regular file of the host.
	File
	// Archive is what a tar archive holds, read-only.
	Archive
	// Scratch is private, empty, writable space.
	Scratch
	// Overlay is private, writable space over a source that stays as it is.
	Overlay
)

var types = words[Type]{
	{"auto", Auto, "a directory or a file, whichever the source is"},
	{"dir", Dir, "a directory of the host"},
	{"file", File, "a single file of the host"},
	{"archive", Archive, "what a tar archive holds, plain, gzip or zstd, read-only"},
	{"scratch", Scratch, "private writable space, empty at first and gone at the end"},
	{"overlay", Overlay, "private writable space over a source: what the guest changes, the host never sees"},
}

// String is the type's word, as in type=dir.
func (t Type) String() string { return types.word(t) }

// Backing says where the data of scratch space are kept.
type Backing uint8

const (
	// Memory: in memory, and in the host's swap.
	Memory Backing = iota
	// Disk: in files of a directory that nobody else can read.
	Disk
)

var backings = words[Backing]{
	{"memory", Memory, "in the host's memory"},
	{"disk", Disk, "in files in the directory that the setting tempdir names"},
}

// String is the word, as in backing=disk.
func (b Backing) String() string { return backings.word(b) }

// Unlink says what becomes of a mounted file whose name a guest removes.
type Unlink uint8

const (
	// UnlinkRefuse: EBUSY, as for every mount point of Linux.
	UnlinkRefuse Unlink = iota
	// UnlinkHide: the guest no longer sees it; the host's file stays.
	UnlinkHide
	// UnlinkDelete: the guest no longer sees it, and the host's file is
	// removed too.
	UnlinkDelete
)

var unlinks = words[Unlink]{
	{"refuse", UnlinkRefuse, "EBUSY, as for any mount point"},
	{"hide", UnlinkHide, "it is gone for the guest, and the host keeps its file"},
	{"delete", UnlinkDelete, "the host's file is removed"},
}

// String is the word, as in unlink=hide.
func (u Unlink) String() string { return unlinks.word(u) }

// IO says how the host's files are read and written, whatever the guest asks for.
type IO struct {
	Direct bool // past the host's page cache (O_DIRECT)
	Sync   bool // a write that is answered is on the disk (O_SYNC)
}

// IDMap is a map of ids with the rules that made it.
type IDMap struct {
	Rules []string     // as they were written
	Map   *rules.IDMap // nil without rules
}

// Add adds a rule in the grammar of [rules.IDMap.Add]. It must not be called on
// a copy, which has the same map.
func (m *IDMap) Add(rule string) error {
	if m.Map == nil {
		m.Map = new(rules.IDMap)
	}
	if err := m.Map.Add(rule); err != nil {
		return err
	}
	m.Rules = append(m.Rules, rule)
	return nil
}

// XattrMap is a map of the names of attributes with the text that made it.
type XattrMap struct {
	Rules string          // as it was written
	Map   *rules.XattrMap // nil without rules
}

// Mount says what stands at one path of the guest's tree, and how. A field that
// is nil, zero or empty was not said: then what is usual for the type holds,
// or what the command line says for all mounts.
type Mount struct {
	Type Type
	// Source is a path of the host, as it was written: of the directory, the
	// file, the archive, or what an overlay lies over. Scratch space has none.
	Source string
	// Target is where it stands: absolute, clean, without "..".
	Target string
	// Lower is what the source of an overlay is: Dir, File, Archive, or
	// Auto, which is one of the first two.
	Lower Type

	// ReadOnly refuses every change. Writable says that the owner asked
	// for the opposite, which an archive cannot be. Both are never set.
	ReadOnly, Writable bool
	// NoDev, NoExec and NoSUID keep device files, execution, and set-user-ID,
	// set-group-ID and file capabilities from taking effect.
	NoDev, NoExec, NoSUID bool
	Unlink                *Unlink // files only

	UIDs, GIDs IDMap
	Xattr      *bool
	Xattrs     XattrMap
	PosixACL   *passthrough.Negotiate
	Label      *passthrough.Negotiate

	Cache                                   *passthrough.CachePolicy
	EntryTimeout, AttrTimeout, NegativeTime *time.Duration
	Writeback                               *bool
	AllowMmap                               *bool
	Readdirplus                             *bool

	IO              IO
	DirectIO        *bool // the guest's O_DIRECT goes on to the host
	PreserveNoatime *bool
	KillPriv        *bool
	Submounts       *bool
	FileHandles     *passthrough.HandleUse
	PosixLocks      *bool
	Flock           *bool

	// Size bounds what scratch space and overlays take, and what an archive
	// holds, in bytes. 0 was not said; see Limit.
	Size    uint64
	Backing *Backing
	// RootMode, RootUID and RootGID are those of the directory that scratch
	// space is.
	RootMode, RootUID, RootGID *uint32

	// Pos is where it was written, for errors about it.
	Pos Pos
}

// String is the mount in the long form, which [ParseFlag] reads as the same
// mount, but for Pos.
func (m *Mount) String() string {
	var b strings.Builder
	for i := range mountForm.options {
		o := &mountForm.options[i]
		for _, v := range o.get(m) {
			if b.Len() != 0 {
				b.WriteByte(',')
			}
			b.WriteString(o.word)
			if o.kind == flagKind && v == "true" {
				continue
			}
			b.WriteByte('=')
			escape(&b, v)
		}
	}
	return b.String()
}

// Set takes a value of the option that word stands for, as --WORD=VALUE has it: of what
// is said for all mounts. Later values replace earlier ones, but for lists.
func (m *Mount) Set(word, value string) error {
	meaning, why := mountForm.find(word)
	if why != "" {
		return errors.New(why)
	}
	r := newReader(mountForm, m)
	if why := r.say(word, meaning, Pos{}, value); why != "" {
		return errors.New(strings.TrimPrefix(why, word+" "))
	}
	return nil
}

// Fill takes over from d, which is what was said for all mounts, the options that m says
// nothing about and that are for its type, which is not [Auto]. That all are to be
// readonly is not for private space, which would then be of no use. It is an error if
// what d says does not go with what m does.
func (m *Mount) Fill(d *Mount) error {
	for i := range mountForm.options {
		o := &mountForm.options[i]
		fits := o.types&sets[m.Type] != 0 && (m.Type != Overlay || o.types&hosts == 0 || o.types&sets[m.Lower] != 0)
		if !fits || len(o.get(m)) != 0 || o.word == "readonly" && sets[m.Type]&spaces != 0 {
			continue
		}
		for _, v := range o.get(d) {
			if err := o.set(m, v); err != nil {
				return &Error{m.Pos, o.word + " " + quote(v) + ": " + err.Error()}
			}
		}
	}
	if word, why := m.fault(); why != "" {
		return &Error{m.Pos, word + ": " + why}
	}
	return nil
}

// What [Mount.Limit] is where no size was given, in bytes: archive.DefaultMaxBytes
// and scratch.DefaultSize.
const (
	DefaultArchiveSize = 4 << 30
	DefaultScratchSize = 1 << 30
)

// Bounds of the size of scratch space, in bytes: one page and scratch.MaxSize.
const (
	minScratchSize = 4 << 10
	maxScratchSize = 2 << 40
)

// Limit is how much the data of an archive, scratch space or an overlay may
// take, in bytes: Size, or what is usual.
func (m *Mount) Limit() uint64 {
	switch {
	case m.Size != 0:
		return m.Size
	case m.Type == Archive:
		return DefaultArchiveSize
	}
	return DefaultScratchSize
}

// As is a mount of type [Auto] whose source has turned out to be of type t, Dir
// or File. It is an error if an option was given that is not for this type.
// Unlink, which is there for a file, is left out for a directory.
func (m Mount) As(t Type) (Mount, error) {
	if m.Type != Auto || t != Dir && t != File {
		return m, &Error{m.Pos, fmt.Sprintf("type=%v cannot become type=%v: want auto, which becomes dir or file", m.Type, t)}
	}
	m.Type = t
	if t == Dir {
		m.Unlink = nil
	}
	if word, why := m.fault(); why != "" {
		return m, &Error{m.Pos, "the source is a " + kindOfSource[t] + ": " + word + ": " + why}
	}
	return m, nil
}

var kindOfSource = map[Type]string{Dir: "directory", File: "file"}

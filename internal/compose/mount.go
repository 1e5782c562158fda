package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/isthmus-fs/isthmus/archive"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/scratch"
)

// Mount is one mount with everything decided.
type Mount struct {
	Target string // clean and absolute
	// Type is one of spec.Dir, File, Archive, Scratch and Overlay; Lower is what an
	// overlay lies over: Dir, File or Archive.
	Type, Lower spec.Type

	// Host is for what is a directory or a file of the host's, also below an overlay.
	Host passthrough.Config
	// Archive is for what is an archive, also below an overlay.
	Archive archive.Options
	// Scratch is for private space, also above an overlay. OnDisk says that its data
	// are not in memory.
	Scratch scratch.Options
	OnDisk  bool

	ReadOnly   bool
	Restrict   rules.Restrictions
	Xattrs     *rules.XattrMap // nil: names are the same on both sides
	UIDs, GIDs *rules.IDMap    // nil: ids are the same on both sides
	Unlink     spec.Unlink     // of a file

	// Source and Spec are for people: the path and the whole mount, as the owner
	// wrote it or in the long form.
	Source, Spec string
}

// HostSource returns the path of the directory or file of the host that is served as it
// is, not read in once. ok is false for mounts without one.
func (m *Mount) HostSource() (path string, ok bool) {
	if m.base() != spec.Dir && m.base() != spec.File {
		return "", false
	}
	return m.Source, true
}

// InMemory tells whether the data of a mount, or some of them, are in memory.
func (m *Mount) InMemory() bool {
	private := m.Type == spec.Scratch || m.Type == spec.Overlay
	return m.base() == spec.Archive || private && !m.OnDisk
}

// IsFile tells a mount that is a single file.
func (m *Mount) IsFile() bool { return m.base() == spec.File }

// KeepsHost says that the host's files are not changed.
func (m *Mount) KeepsHost() bool { return m.ReadOnly || m.Type == spec.Overlay }

// base is what is below an overlay, or else what the mount is.
func (m *Mount) base() spec.Type {
	if m.Type == spec.Overlay {
		return m.Lower
	}
	return m.Type
}

// Decide says how a mount is opened that [Settle] has looked at: what is left open is as
// usual.
func Decide(m *spec.Mount, log *slog.Logger) Mount {
	r := Mount{
		Target:   m.Target,
		Type:     m.Type,
		Lower:    m.Lower,
		ReadOnly: m.ReadOnly,
		Restrict: rules.Restrictions{NoDev: m.NoDev, NoExec: m.NoExec, NoSUID: m.NoSUID},
		Xattrs:   m.Xattrs.Map,
		UIDs:     m.UIDs.Map,
		GIDs:     m.GIDs.Map,
		Unlink:   or(m.Unlink, spec.UnlinkRefuse),
		Source:   m.Source,
		Spec:     m.String(),
	}
	switch r.base() {
	case spec.Dir, spec.File:
		r.Host = hostConfig(m, log)
	case spec.Archive:
		r.Archive = archive.Options{Logger: log}
		if r.Type == spec.Archive {
			r.Archive.MaxBytes = m.Limit()
		}
	}
	if r.Type == spec.Scratch || r.Type == spec.Overlay {
		r.Scratch = scratch.Options{
			Size:   m.Limit(),
			UID:    or(m.RootUID, 0),
			GID:    or(m.RootGID, 0),
			Mode:   or(m.RootMode, 0),
			Logger: log,
		}
		r.OnDisk = or(m.Backing, spec.Memory) == spec.Disk
	}
	return r
}

// Settle looks at the source of a mount, opening nothing, and says whether it is a
// directory or a file where the owner did not.
func Settle(m spec.Mount) (spec.Mount, error) {
	if m.Type == spec.Scratch {
		return m, nil
	}
	info, err := os.Stat(m.Source)
	if err != nil {
		if e, ok := errors.AsType[*os.PathError](err); ok {
			err = e.Err
		}
		return m, fmt.Errorf("share %s: %w", m.Source, err)
	}
	if m, err = SettleAs(m, info.Mode()); err != nil {
		return m, err
	}
	if or(m.Unlink, spec.UnlinkRefuse) == spec.UnlinkDelete {
		// It is the file that goes, not a link that leads to it.
		path, err := filepath.EvalSymlinks(m.Source)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return m, fmt.Errorf("share %s: %w", m.Source, err)
		}
		m.Source = path
	}
	return m, nil
}

// SettleAs is [Settle] for a source of a known mode.
func SettleAs(m spec.Mount, mode fs.FileMode) (spec.Mount, error) {
	base := m.Type
	if m.Type == spec.Overlay {
		base = m.Lower
	}
	is := spec.Dir
	switch {
	case mode.IsRegular():
		is = spec.File
	case !mode.IsDir():
		return m, fmt.Errorf("share %s: it is neither a directory nor a regular file", m.Source)
	}
	switch {
	case base == spec.Archive && is == spec.Dir:
		return m, fmt.Errorf("share %s: it is a directory, not an archive", m.Source)
	case base == spec.Archive || base == is:
		return m, nil
	case base != spec.Auto:
		return m, fmt.Errorf("share %s: it is not of type %v: leave the type out, or say type=%v", m.Source, base, is)
	case m.Type == spec.Overlay:
		m.Lower = is
		return m, nil
	}
	return m.As(is)
}

// hostConfig says how the host's files are served.
func hostConfig(m *spec.Mount, log *slog.Logger) passthrough.Config {
	c := passthrough.Config{
		Path:              m.Source,
		Cache:             or(m.Cache, passthrough.CacheAuto),
		EntryTimeout:      m.EntryTimeout,
		AttrTimeout:       m.AttrTimeout,
		NegativeTimeout:   m.NegativeTime,
		Writeback:         or(m.Writeback, false),
		DirectIO:          or(m.DirectIO, false),
		DirectIOMmap:      or(m.AllowMmap, false),
		FileHandles:       or(m.FileHandles, passthrough.HandlesPrefer),
		AnnounceSubmounts: or(m.Submounts, true),
		NoReaddirplus:     !or(m.Readdirplus, true),
		Xattr:             or(m.Xattr, true),
		PosixACL:          or(m.PosixACL, passthrough.NegotiateNever),
		SecurityLabel:     or(m.Label, passthrough.NegotiateNever),
		KillPriv:          or(m.KillPriv, true),
		PreserveNoatime:   or(m.PreserveNoatime, true),
		Locks:             passthrough.Locks{POSIX: or(m.PosixLocks, false), Flock: or(m.Flock, false)},
		Logger:            log,
	}
	if m.IO.Direct {
		c.IO |= passthrough.IODirect
	}
	if m.IO.Sync {
		c.IO |= passthrough.IOSync
	}
	return c
}

// or is what was said, or what is usual.
func or[T any](said *T, usual T) T {
	if said != nil {
		return *said
	}
	return usual
}

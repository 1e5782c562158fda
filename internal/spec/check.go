package spec

import (
	"errors"
	"fmt"
	"iter"
	"path"

	"github.com/isthmus-fs/isthmus/passthrough"
)

// finish fills in what was not said and checks the whole. word is the option
// that an error is about, if it is about one, and at is where that was said,
// or otherwise whole.
func finish(r *reader[Mount], whole Pos) (at Pos, why string) {
	if r.to.Target == "" {
		r.to.Target = "/"
	}
	word, why := r.to.fault()
	if why == "" {
		return Pos{}, ""
	}
	if p, said := r.at[word]; said {
		whole = p
	}
	return whole, word + ": " + why
}

// fault is what is wrong with a mount by itself, and the option that it is
// about. why is empty if nothing is.
func (m *Mount) fault() (word, why string) {
	if int(m.Type) >= len(sets) {
		return "type", "it is unknown"
	}
	if m.Lower > Archive {
		return "lower", m.Lower.String() + " cannot be below an overlay"
	}
	for i := range mountForm.options {
		o := &mountForm.options[i]
		if o.types&sets[m.Type] == 0 && len(o.get(m)) != 0 {
			return o.word, fmt.Sprintf("it makes no sense for type=%v: it is for %v", m.Type, o.types)
		}
		// What says how the host's files are used must fit what is below.
		if m.Type == Overlay && o.types&hosts != 0 && o.types&sets[m.Lower] == 0 && len(o.get(m)) != 0 {
			return o.word, fmt.Sprintf("it makes no sense for an overlay with lower=%v: it is for %v", m.Lower, o.types&^overlays)
		}
	}
	for _, c := range clashes {
		if c.when(m) {
			return c.word, c.why
		}
	}
	if clean, err := cleanTarget(m.Target); err != nil || clean != m.Target {
		return "target", quote(m.Target) + " is no clean, absolute path"
	}
	return "", ""
}

// clashes are what cannot be said together.
var clashes = []struct {
	word string
	when func(*Mount) bool
	why  string
}{
	{"source", func(m *Mount) bool { return m.Source == "" && m.Type != Scratch },
		"it is missing: want source=PATH, or type=scratch for space that is empty at first"},
	{"target", func(m *Mount) bool { return m.Type == File && m.Target == "/" },
		"a file cannot be the root, which is a directory: want target=/NAME"},
	{"target", func(m *Mount) bool { return m.Type == Overlay && m.Lower == File && m.Target == "/" },
		"a file cannot be the root, which is a directory: want target=/NAME"},
	{"readonly", func(m *Mount) bool { return m.Writable && m.Type == Archive },
		"an archive cannot be written to; type=overlay,lower=archive gives the guest writable space over it"},
	{"readonly", func(m *Mount) bool { return m.ReadOnly && m.Type == Scratch },
		"scratch space is there to be written to: nothing would ever be in it"},
	{"readonly", func(m *Mount) bool { return m.ReadOnly && m.Type == Overlay },
		"an overlay is there to be written to: to show its source read-only, use type=dir, file or archive"},
	{"size", func(m *Mount) bool {
		return sets[m.Type]&spaces != 0 && m.Size != 0 && (m.Size < minScratchSize || m.Size > maxScratchSize)
	}, "want 4K to 2T for scratch space and overlays"},
	{"unlink", func(m *Mount) bool { return m.ReadOnly && m.Unlink != nil && *m.Unlink != UnlinkRefuse },
		"a guest can remove nothing that is readonly: want unlink=refuse"},
	{"xattr", func(m *Mount) bool {
		return m.Xattr != nil && !*m.Xattr && (m.Xattrs.Map != nil || negotiated(m.PosixACL) || negotiated(m.Label))
	}, "xattrmap, posix-acl and security-label need extended attributes: want xattr=true, or none of these"},
	{"posix-acl", func(m *Mount) bool {
		return m.PosixACL != nil && *m.PosixACL == passthrough.NegotiateAlways && (m.UIDs.Map != nil || m.GIDs.Map != nil)
	}, "the ids in access control lists are not translated: want posix-acl=never or auto beside translate-uid and translate-gid"},
	{"posix-acl", func(m *Mount) bool {
		return m.PosixACL != nil && *m.PosixACL == passthrough.NegotiateAlways && m.NoExec
	}, "an access control list may allow execution: want posix-acl=never or auto beside noexec"},
}

func negotiated(n *passthrough.Negotiate) bool { return n != nil && *n != passthrough.NegotiateNever }

// Check looks at mounts that are to be one tree and returns all that is wrong
// with them and can be seen without opening anything: two at one path, something
// below a file, a mount that is not consistent in itself. One mount inside of
// another is in order. The errors are [*Error], joined.
func Check(mounts []Mount) error {
	var errs problems
	byTarget := make(map[string]*Mount, len(mounts))
	sound := make([]*Mount, 0, len(mounts))
	for i := range mounts {
		m := &mounts[i]
		if word, why := m.fault(); why != "" {
			errs.add(m.Pos, word+": "+why)
			continue
		}
		if first, taken := byTarget[m.Target]; taken {
			errs.add(m.Pos, fmt.Sprintf("target %s has a mount already, from %s: want another path, or one of the two", quote(m.Target), first.origin()))
			continue
		}
		byTarget[m.Target] = m
		sound = append(sound, m)
	}
	for _, m := range sound {
		for dir := range parents(m.Target) {
			if above, ok := byTarget[dir]; ok && above.single() {
				errs.add(m.Pos, fmt.Sprintf("target %s is below %s, where a file stands, from %s: want a path that is not", quote(m.Target), quote(dir), above.origin()))
				break
			}
		}
	}
	return errs.err()
}

// single tells a mount that is known to be one file.
func (m *Mount) single() bool {
	return m.Type == File || m.Type == Overlay && m.Lower == File
}

func (m *Mount) origin() string {
	if m.Pos != (Pos{}) {
		return m.Pos.String()
	}
	return quote(m.String())
}

// parents yields the directories that a clean path is in, the nearest first.
func parents(target string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for target != "/" {
			if target = path.Dir(target); !yield(target) {
				return
			}
		}
	}
}

// maxErrors is how many mistakes are told at once.
const maxErrors = 20

// problems collects errors.
type problems []*Error

func (p *problems) add(pos Pos, text string) { *p = append(*p, &Error{pos, text}) }

// err is the first of them, joined, or nil.
func (p problems) err() error {
	errs := make([]error, min(len(p), maxErrors))
	for i := range errs {
		errs[i] = p[i]
	}
	return errors.Join(errs...)
}

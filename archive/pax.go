package archive

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	paxXattr  = "SCHILY.xattr."
	paxACL    = "SCHILY.acl."
	paxSparse = "GNU.sparse."

	maxXattrName  = 255      // XATTR_NAME_MAX
	maxXattrValue = 64 << 10 // XATTR_SIZE_MAX
	maxXattrList  = 64 << 10 // XATTR_LIST_MAX
)

// extended is what the extended headers before an entry say of it.
type extended struct {
	pax, longName, longLink bool // which of them were there

	name, link          []byte // nil where they say nothing
	size, uid, gid      *int64
	atime, mtime, ctime *vfs.Timespec
	xattrs              []xattr
	named               map[string]bool // the names of xattrs
	xattrList           int             // length of the list of them
	acl                 bool
	sparse              sparseRecords
}

// paxKeys are the records of PAX that matter here (POSIX.1-2024, pax, "pax
// Extended Header"). Of these, an empty value means that the header's own field
// counts. Unknown records are to be ignored.
var paxKeys = map[string]func(*extended, []byte) bool{
	"path":     func(x *extended, v []byte) bool { x.name = v; return true },
	"linkpath": func(x *extended, v []byte) bool { x.link = v; return true },
	"size":     func(x *extended, v []byte) bool { return paxNumber(v, &x.size) },
	"uid":      func(x *extended, v []byte) bool { return paxNumber(v, &x.uid) },
	"gid":      func(x *extended, v []byte) bool { return paxNumber(v, &x.gid) },
	"atime":    func(x *extended, v []byte) bool { return paxTime(v, &x.atime) },
	"mtime":    func(x *extended, v []byte) bool { return paxTime(v, &x.mtime) },
	"ctime":    func(x *extended, v []byte) bool { return paxTime(v, &x.ctime) },

	paxSparse + "major":     func(x *extended, v []byte) bool { return paxNumber(v, &x.sparse.major) },
	paxSparse + "minor":     func(x *extended, v []byte) bool { return paxNumber(v, &x.sparse.minor) },
	paxSparse + "name":      func(x *extended, v []byte) bool { x.sparse.name = v; return true },
	paxSparse + "realsize":  func(x *extended, v []byte) bool { return paxNumber(v, &x.sparse.size) },
	paxSparse + "size":      func(x *extended, v []byte) bool { return paxNumber(v, &x.sparse.size) },
	paxSparse + "numblocks": func(x *extended, v []byte) bool { return paxNumber(v, &x.sparse.count) },
	paxSparse + "map":       func(x *extended, v []byte) bool { return x.sparse.addMap(v) },
	paxSparse + "offset":    func(x *extended, v []byte) bool { return x.sparse.addNumber(v, 0) },
	paxSparse + "numbytes":  func(x *extended, v []byte) bool { return x.sparse.addNumber(v, 1) },
}

// parsePAX takes in the records of a header: "length key=value\n", where the
// length, in decimal, is that of the whole record. Values go on pointing into
// body.
func (x *extended) parsePAX(body []byte) error {
	return eachRecord(body, func(key string, value []byte) error {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			return x.addXattr(name, value)
		}
		if strings.HasPrefix(key, paxACL) {
			x.acl = true
		}
		set := paxKeys[key]
		if set == nil || len(value) == 0 {
			return nil
		}
		if !set(x, value) {
			return refuse(ErrCorrupt, "the record %s has the value %q", key, brief(value))
		}
		return nil
	})
}

// checkGlobal looks at records for all entries that follow. Those that would
// change them are refused; what git and others leave there as a comment is not.
func checkGlobal(body []byte) error {
	return eachRecord(body, func(key string, _ []byte) error {
		if paxKeys[key] != nil || strings.HasPrefix(key, paxXattr) {
			return refuse(ErrUnsupported, "a global header sets %q", brief([]byte(key)))
		}
		return nil
	})
}

func eachRecord(body []byte, do func(key string, value []byte) error) error {
	for len(body) > 0 {
		space := bytes.IndexByte(body[:min(len(body), 20)], ' ')
		if space < 0 {
			return refuse(ErrCorrupt, "an extended header has a record without a length")
		}
		n, err := strconv.ParseUint(string(body[:space]), 10, 31)
		if err != nil || n > uint64(len(body)) || n < uint64(space)+3 || body[n-1] != '\n' {
			return refuse(ErrCorrupt, "an extended header has a record of the wrong length")
		}
		key, value, ok := bytes.Cut(body[space+1:n-1], []byte{'='})
		if !ok || len(key) == 0 || bytes.IndexByte(key, 0) >= 0 {
			return refuse(ErrCorrupt, "an extended header has a record without a key")
		}
		if err := do(string(key), value); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

func (x *extended) addXattr(name string, value []byte) error {
	x.xattrList += len(name) + 1
	if name == "" || len(name) > maxXattrName || len(value) > maxXattrValue || x.xattrList > maxXattrList {
		return refuse(ErrCorrupt, "the attribute %q with %d bytes is more than Linux takes", brief([]byte(name)), len(value))
	}
	if x.named[name] {
		return refuse(ErrCorrupt, "the attribute %q is there twice", name)
	}
	if x.named == nil {
		x.named = map[string]bool{}
	}
	x.named[name] = true
	x.xattrs = append(x.xattrs, xattr{[]byte(name), value})
	return nil
}

// paxNumber reads a decimal number that is not negative.
func paxNumber(v []byte, to **int64) bool {
	n, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil {
		return false
	}
	*to = new(int64(n))
	return true
}

// paxTime reads decimal seconds, perhaps negative, perhaps with a fraction, of
// which nanoseconds count and the rest is cut off towards the past.
func paxTime(v []byte, to **vfs.Timespec) bool {
	whole, fraction, _ := strings.Cut(string(v), ".")
	neg := strings.HasPrefix(whole, "-")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || whole[0] == '+' {
		return false
	}
	var nsec int64
	rest := false
	for i, c := range []byte(fraction) {
		if c < '0' || c > '9' {
			return false
		}
		if i < 9 {
			nsec = nsec*10 + int64(c-'0')
		} else if c != '0' {
			rest = true
		}
	}
	for i := len(fraction); i < 9; i++ {
		nsec *= 10
	}
	if neg {
		if rest {
			nsec++
		}
		if nsec > 0 {
			if sec == math.MinInt64 {
				return false
			}
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	*to = &vfs.Timespec{Sec: sec, Nsec: uint32(nsec)}
	return true
}

// apply puts what the extended headers say into the entry.
func (x *extended) apply(e *entry) error {
	if x.pax && (x.longName || x.longLink) {
		return refuse(ErrCorrupt, "it has extended headers of both PAX and GNU")
	}
	if x.name != nil {
		e.name = x.name
	}
	if x.link != nil {
		e.link = x.link
	}
	if x.size != nil {
		e.size, e.packed = uint64(*x.size), uint64(*x.size)
	}
	uid, gid := int64(e.uid), int64(e.gid)
	if x.uid != nil {
		uid = *x.uid
	}
	if x.gid != nil {
		gid = *x.gid
	}
	if err := e.setOwner(uid, gid); err != nil {
		return err
	}
	if x.mtime != nil {
		e.mtime, e.atime, e.ctime = *x.mtime, *x.mtime, *x.mtime
	}
	if x.atime != nil {
		e.atime = *x.atime
	}
	if x.ctime != nil {
		e.ctime = *x.ctime
	}
	e.xattrs = x.xattrs
	if x.sparse.name != nil {
		e.name = x.sparse.name
	}
	return nil
}

// brief is the beginning of a value, for messages.
func brief(v []byte) []byte { return v[:min(len(v), 40)] }

package archive

import (
	"errors"
	"fmt"
	"strings"
)

// Why an archive is refused. An [Error] wraps one of these, for errors.Is.
var (
	// ErrFormat: it is no tar archive, plain or compressed.
	ErrFormat = errors.New("not a tar archive, nor one in gzip or zstd")
	// ErrCorrupt: a checksum is wrong, or fields contradict each other.
	ErrCorrupt = errors.New("the archive is corrupt")
	// ErrTruncated: it ends before its end mark.
	ErrTruncated = errors.New("the archive is cut off")
	// ErrTrailing: something follows the end mark.
	ErrTrailing = errors.New("something follows the end of the archive")
	// ErrName: a name is no clean relative path, or longer than Linux takes.
	ErrName = errors.New("the name is not a clean relative path")
	// ErrNotUTF8: a name is not UTF-8, where [Options.RequireUTF8] asks for it.
	ErrNotUTF8 = errors.New("the name is not UTF-8")
	// ErrDuplicate: the path has been there before.
	ErrDuplicate = errors.New("the path is there twice")
	// ErrParent: what the entry lies in is a file or a symbolic link.
	ErrParent = errors.New("the parent is not a directory")
	// ErrLink: a hard link to what has not been there before, or to a
	// directory.
	ErrLink = errors.New("the hard link leads to no file before it")
	// ErrUnsupported: an entry of a kind that a file system cannot show, or a
	// feature of tar that this package does not know.
	ErrUnsupported = errors.New("the archive uses a feature that is not supported")
	// ErrLimit: more than one of the limits in [Options] allows.
	ErrLimit = errors.New("the archive is larger than allowed")
)

// Error says why and where an archive is refused.
type Error struct {
	Archive string // the name that the archive was opened by
	Entry   string // the path of the entry, as it stands there; may be empty
	Offset  uint64 // where the entry begins, in bytes of the unpacked archive
	Kind    error  // one of the errors of this package
	Detail  string // what is wrong with it; may be empty
}

// maxShown is how much of a path a message shows.
const maxShown = 200

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "archive %s: ", e.Archive)
	switch n := len(e.Entry); {
	case n > maxShown:
		fmt.Fprintf(&b, "entry %q... ", e.Entry[:maxShown])
	case n > 0:
		fmt.Fprintf(&b, "entry %q ", e.Entry)
	}
	fmt.Fprintf(&b, "at byte %d: %v", e.Offset, e.Kind)
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	return b.String()
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// refuse makes an error that does not know yet where it happened.
func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

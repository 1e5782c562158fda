package audit

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/watch"
)

// timeLayout is RFC 3339 with all nine digits, so that times sort as text.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, `{"time":"`...)
	b = t.UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

// appendDropped appends the line that says that n records are missing.
func appendDropped(b []byte, t time.Time, n uint64) []byte {
	b = appendTime(b, t)
	b = appendUint(b, "dropped", n)
	return append(b, "}\n"...)
}

// appendRecord appends a line.
func appendRecord(b []byte, rec *watch.Record) []byte {
	has := rec.Fields()
	b = appendTime(b, rec.Start)
	b = appendUint(b, "duration_ns", uint64(max(rec.Duration, 0)))
	b = append(b, `,"op":"`...)
	b = append(b, rec.Op.String()...)
	b = append(b, '"')
	b = appendUint(b, "pid", uint64(rec.PID))
	b = appendUint(b, "uid", uint64(rec.UID))
	b = appendUint(b, "gid", uint64(rec.GID))
	if len(rec.Path) != 0 {
		b = appendText(append(b, `,"path":`...), rec.Path)
	}
	switch {
	case has&watch.HasTo != 0 && len(rec.Path2) != 0:
		b = appendText(append(b, `,"to":`...), rec.Path2)
	case has&watch.HasTarget != 0:
		b = appendText(append(b, `,"target":`...), rec.Path2)
	case has&watch.HasName != 0:
		b = appendText(append(b, `,"name":`...), rec.Path2)
	}
	if has&watch.HasOffset != 0 {
		b = appendUint(b, "offset", rec.Offset)
	}
	if has&watch.HasLength != 0 {
		b = appendUint(b, "length", rec.Length)
	}
	if has&watch.HasFlags != 0 {
		b = appendFlagField(b, rec.Op, rec.Flags)
	}
	if has&watch.HasMode != 0 {
		b = append(b, `,"mode":"0`...)
		b = strconv.AppendUint(b, uint64(rec.Mode), 8)
		b = append(b, '"')
	}
	if has&watch.HasOwner != 0 {
		b = appendUint(b, "owner", uint64(rec.Owner))
	}
	if has&watch.HasGroup != 0 {
		b = appendUint(b, "group", uint64(rec.Group))
	}
	if has&watch.HasCount != 0 {
		b = appendUint(b, "result", rec.Count)
	}
	if rec.Errno != 0 {
		b = append(b, `,"error":"`...)
		if s := unix.ErrnoName(rec.Errno); s != "" {
			b = append(b, s...)
		} else {
			b = strconv.AppendUint(b, uint64(rec.Errno), 10)
		}
		b = append(b, '"')
	}
	return append(b, "}\n"...)
}

func appendUint(b []byte, key string, v uint64) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendUint(b, v, 10)
}

// appendText appends bytes that a guest chose: as a string if they are UTF-8, and else
// as an object, {"base64":"…"}. In a string, all that a terminal may obey is escaped:
// control characters, and those that break lines or turn the direction of writing.
func appendText(b, text []byte) []byte {
	if !utf8.Valid(text) {
		b = append(b, `{"base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, text)
		return append(b, `"}`...)
	}
	b = append(b, '"')
	kept := 0
	for i := 0; i < len(text); {
		c, size := rune(text[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRune(text[i:])
		}
		if escaped(c) {
			b = append(b, text[kept:i]...)
			b = appendEscape(b, c)
			kept = i + size
		}
		i += size
	}
	b = append(b, text[kept:]...)
	return append(b, '"')
}

// escaped reports whether a character does not stand for itself.
func escaped(c rune) bool {
	switch {
	case c < ' ', c == '"', c == '\\':
		return true
	case c < 0x7f:
		return false
	}
	return c <= 0x9f || // DEL and C1
		c == 0x061c || c == 0x200e || c == 0x200f || // marks of direction
		c >= 0x2028 && c <= 0x202e || // line and paragraph separators, embeddings, overrides
		c >= 0x2066 && c <= 0x2069 // isolates
}

// appendEscape appends a character of 16 bits.
func appendEscape(b []byte, c rune) []byte {
	if c == '"' || c == '\\' {
		return append(b, '\\', byte(c))
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[c>>12], digits[c>>8&15], digits[c>>4&15], digits[c&15])
}

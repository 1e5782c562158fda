package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Text is a string of any bytes, such as a path. In JSON it is a string if it is UTF-8,
// and otherwise {"base64":"…"}, as JSON has no bytes.
type Text string

type encodedText struct {
	Base64 *[]byte `json:"base64"`
}

// MarshalJSON is for encoding/json.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return appendLine(nil, string(t))
	}
	b := []byte(t)
	return json.Marshal(encodedText{&b})
}

// UnmarshalJSON is for encoding/json.
func (t *Text) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return errors.New(`want a string or {"base64":"…"}`)
		}
		*t = Text(s)
		return nil
	}
	var e encodedText
	if err := decodeStrictly(b, &e); err != nil || e.Base64 == nil {
		return errors.New(`want a string or {"base64":"…"}`)
	}
	*t = Text(*e.Base64)
	return nil
}

// OpenFlags are the flags of open(2) that a file was opened with, as Linux numbers them
// on x86-64. In JSON they are a string of words: "read", "write" or "read-write", then
// those of "append", "sync" and so on that are set, with commas between.
type OpenFlags uint32

var accessModes = [...]string{unix.O_RDONLY: "read", unix.O_WRONLY: "write", unix.O_RDWR: "read-write", unix.O_ACCMODE: "none"}

// openWords are the other flags. What a word needs more bits for comes before the word
// for less.
var openWords = []struct {
	bits OpenFlags
	word string
}{
	{unix.O_APPEND, "append"},
	{unix.O_CREAT, "create"},
	{unix.O_EXCL, "exclusive"},
	{unix.O_TRUNC, "truncate"},
	{unix.O_TMPFILE, "tmpfile"},
	{unix.O_DIRECTORY, "directory"},
	{unix.O_DIRECT, "direct"},
	{unix.O_SYNC, "sync"},
	{unix.O_DSYNC, "dsync"},
	{unix.O_NOATIME, "noatime"},
	{unix.O_NOFOLLOW, "nofollow"},
	{unix.O_NONBLOCK, "nonblock"},
	{fmodeExec, "exec"},
}

const (
	// fmodeExec is __FMODE_EXEC of linux/fs.h: the file was opened to be executed.
	fmodeExec = 0x20
	// quiet are flags that say nothing about a file that is open: O_LARGEFILE, which
	// x/sys has as 0, O_NOCTTY, O_CLOEXEC.
	quiet = 0x8000 | unix.O_NOCTTY | unix.O_CLOEXEC
)

// String is the words. Bits without a word are one number.
func (f OpenFlags) String() string {
	words := []string{accessModes[f&unix.O_ACCMODE]}
	rest := f &^ (unix.O_ACCMODE | quiet)
	for _, w := range openWords {
		if rest&w.bits == w.bits {
			words = append(words, w.word)
			rest &^= w.bits
		}
	}
	if rest != 0 {
		words = append(words, "0x"+strconv.FormatUint(uint64(rest), 16))
	}
	return strings.Join(words, ",")
}

// MarshalText is for encoding/json.
func (f OpenFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText is for encoding/json.
func (f *OpenFlags) UnmarshalText(b []byte) error {
	*f = 0
	for i, word := range strings.Split(string(b), ",") {
		bits, ok := openBits(word, i == 0)
		if !ok {
			return fmt.Errorf("unknown flag %q of an open file", word)
		}
		*f |= bits
	}
	return nil
}

func openBits(word string, first bool) (OpenFlags, bool) {
	if first {
		for mode, w := range accessModes {
			if w == word {
				return OpenFlags(mode), true
			}
		}
		return 0, false
	}
	for _, w := range openWords {
		if w.word == word {
			return w.bits, true
		}
	}
	hex, ok := strings.CutPrefix(word, "0x")
	bits, err := strconv.ParseUint(hex, 16, 32)
	return OpenFlags(bits), ok && err == nil
}

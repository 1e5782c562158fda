package guesttest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// helpCalls reads lines from its input, makes the call that each one names and
// prints the line with what came of it behind an equals sign. The same lines can
// so be given to a guest and to the host, and the answers compared. A line is
//
//	UID CALL PATH [WORD...]
//
// separated by single spaces; the call is made by that user, who is the one
// member of the group of the same number, below ISTHMUS_TEST_DIR.
func helpCalls() int {
	unix.Umask(0)
	if err := transcribe(os.Stdin, os.Stdout, os.Getenv(dirVar)); err != nil {
		fmt.Fprintln(os.Stderr, "guesttest: calls:", err)
		return 1
	}
	return 0
}

func transcribe(in io.Reader, out io.Writer, dir string) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Split(lines.Text(), " ")
		if len(words) < 3 {
			return fmt.Errorf("line %q: want a user, a call and a path", lines.Text())
		}
		uid, err := strconv.ParseUint(words[0], 10, 32)
		call, known := calls[words[1]]
		if err != nil || !known || len(words)-3 != call.words {
			return fmt.Errorf("line %q: unknown user, call or number of words", lines.Text())
		}
		who := user{uid: uint32(uid), gid: uint32(uid)}
		var result string
		onThread(func() {
			if err = becomeThread(who); err == nil {
				var failed error
				if result, failed = call.do(dir+"/"+words[2], words[3:]); failed != nil {
					result = describe(failed)
				}
			}
		})
		if err != nil {
			return fmt.Errorf("line %q: become the user: %w", lines.Text(), err)
		}
		fmt.Fprintf(out, "%s = %s\n", lines.Text(), result)
	}
	return lines.Err()
}

// calls are what the lines of helpCalls can ask for.
var calls = map[string]struct {
	words int
	do    func(path string, words []string) (string, error)
}{
	"file": {0, func(path string, _ []string) (string, error) {
		return "made", tryOpen(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
	}},
	"dir":  {0, func(path string, _ []string) (string, error) { return "made", unix.Mkdir(path, 0o755) }},
	"link": {0, func(path string, _ []string) (string, error) { return "made", unix.Symlink("nowhere", path) }},
	"fifo": {0, func(path string, _ []string) (string, error) { return "made", unix.Mkfifo(path, 0o644) }},
	"char": {0, func(path string, _ []string) (string, error) {
		return "made", unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3)))
	}},
	"write": {1, func(path string, w []string) (string, error) {
		return "written", withFile(unix.O_WRONLY, func(n int) error {
			_, err := unix.Pwrite(n, []byte(w[0]), 0)
			return err
		})(path)
	}},
	"read": {0, func(path string, _ []string) (string, error) {
		b, err := os.ReadFile(path)
		return strconv.Quote(string(b)), err
	}},
	"truncate": {0, func(path string, _ []string) (string, error) { return "cut", unix.Truncate(path, 0) }},
	"fallocate": {0, func(path string, _ []string) (string, error) {
		return "reserved", withFile(unix.O_WRONLY, func(n int) error { return unix.Fallocate(n, 0, 0, page) })(path)
	}},
	"unlink": {0, func(path string, _ []string) (string, error) { return "gone", unix.Unlink(path) }},
	"chmod": {1, func(path string, w []string) (string, error) {
		mode, err := strconv.ParseUint(w[0], 8, 32)
		if err == nil {
			err = unix.Chmod(path, uint32(mode))
		}
		return "changed", err
	}},
	"chown": {2, func(path string, w []string) (string, error) {
		uid, err1 := strconv.Atoi(w[0])
		gid, err2 := strconv.Atoi(w[1])
		if err1 != nil || err2 != nil {
			return "", unix.EINVAL
		}
		return "changed", unix.Lchown(path, uid, gid)
	}},
	"owner": {0, func(path string, _ []string) (string, error) {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		return fmt.Sprint(st.Uid, ":", st.Gid), err
	}},
	"set": {2, func(path string, w []string) (string, error) {
		return "set", unix.Lsetxattr(path, w[0], xattrValue(w[1]), 0)
	}},
	"get": {1, func(path string, w []string) (string, error) {
		b, err := getXattr(path, w[0])
		return fmt.Sprintf("%x", b), err
	}},
	"remove": {1, func(path string, w []string) (string, error) { return "removed", unix.Lremovexattr(path, w[0]) }},
	"list": {0, func(path string, _ []string) (string, error) {
		buf := make([]byte, 65536)
		n, err := unix.Llistxattr(path, buf)
		names := strings.FieldsFunc(string(buf[:max(n, 0)]), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		return strings.Join(names, " "), err
	}},
}

// xattrValue is a word as the value of an attribute; the word "capability" stands
// for the value that the kernel demands of security.capability.
func xattrValue(word string) []byte {
	if word == "capability" {
		return privilege
	}
	return []byte(word)
}

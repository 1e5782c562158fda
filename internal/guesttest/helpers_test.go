package guesttest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dirVar      = "ISTHMUS_TEST_DIR"
	featuresVar = "ISTHMUS_TEST_FEATURES"
)

// feature is one word of ISTHMUS_TEST_FEATURES; see the package text.
type feature string

const (
	featLocks        feature = "locks"
	featNoXattr      feature = "noxattr"
	featNoTrusted    feature = "notrusted"
	featNoMmap       feature = "nommap"
	featDAX          feature = "dax"
	featNoBtime      feature = "nobtime"
	featNoTmpfile    feature = "notmpfile"
	featNoFlags      feature = "noflags"
	featNoAtime      feature = "noatime"
	featStripNoatime feature = "stripnoatime"
	featZeroRange    feature = "zerorange"
	featCollapse     feature = "collapse"
	featACL          feature = "acl"
	featAligned      feature = "aligned"
	featReadOnly     feature = "readonly"
	featSubmounts    feature = "submounts"
	featFlat         feature = "flatmounts"
)

var knownFeatures = []feature{
	featLocks, featNoXattr, featNoTrusted, featNoMmap, featDAX, featNoBtime,
	featNoTmpfile, featNoFlags, featNoAtime, featStripNoatime, featZeroRange, featCollapse,
	featACL, featAligned, featReadOnly, featSubmounts, featFlat,
}

// expected is the set of features of the directory under test. It is written
// by TestMain only.
var expected = map[feature]bool{}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVar); name != "" {
		os.Exit(runHelper(name))
	}
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "guesttest: these tests must run as root, as many of them change to other users")
		os.Exit(2)
	}
	if err := readFeatures(); err != nil {
		fmt.Fprintln(os.Stderr, "guesttest:", err)
		os.Exit(2)
	}
	if testing.Verbose() {
		fmt.Printf("guesttest: directory %q, expecting %v\n", os.Getenv(dirVar), featureList())
	}
	// Modes are compared bit by bit, so nothing may be masked.
	unix.Umask(0)
	os.Exit(m.Run())
}

func readFeatures() error {
	list, set := os.LookupEnv(featuresVar)
	if !set {
		dir := os.Getenv(dirVar)
		if dir == "" {
			dir = os.TempDir()
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return fmt.Errorf("statfs %s: %w", dir, err)
		}
		if fs.Type == unix.EXT4_SUPER_MAGIC {
			expected[featZeroRange] = true
			expected[featCollapse] = true
			expected[featAligned] = true
		}
		expected[featACL] = true
		return nil
	}
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		known := false
		for _, f := range knownFeatures {
			known = known || f == feature(word)
		}
		if !known {
			return fmt.Errorf("%s: unknown word %q", featuresVar, word)
		}
		expected[feature(word)] = true
	}
	return nil
}

func featureList() []string {
	list := []string{}
	for f := range expected {
		list = append(list, string(f))
	}
	sort.Strings(list)
	return list
}

// scratch makes the directory that a test works in and removes it, with
// whatever the test left in it, at its end. Other users may search it.
func scratch(t *testing.T) string {
	t.Helper()
	base := os.Getenv(dirVar)
	if base == "" {
		base = t.TempDir()
		// The directory above belongs to the testing package and is
		// closed to other users.
		check(t, os.Chmod(filepath.Dir(base), 0o755), "chmod above the temporary directory")
		check(t, os.Chmod(base, 0o755), "chmod of the temporary directory")
	}
	// The helper processes work elsewhere and need whole paths.
	base, err := filepath.Abs(base)
	check(t, err, "find the working directory")
	dir, err := os.MkdirTemp(base, "guesttest-")
	check(t, err, "make the test's directory")
	check(t, os.Chmod(dir, 0o755), "chmod of the test's directory")
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the test's directory: %v", err)
		}
	})
	return dir
}

// overFUSE reports whether a directory is that of a guest, whose kernel reaches it
// by FUSE.
func overFUSE(t *testing.T, dir string) bool {
	t.Helper()
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	return fs.Type == unix.FUSE_SUPER_MAGIC
}

// scaled returns n, or a tenth of it with -short.
func scaled(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// check ends the test if err is not nil.
func check(t *testing.T, err error, what string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

// want reports an error other than the one wanted; nil wants success.
func want(t *testing.T, got, wanted error, what string, args ...any) {
	t.Helper()
	if wanted == nil && got == nil || wanted != nil && errors.Is(got, wanted) {
		return
	}
	name := "success"
	if e, ok := wanted.(syscall.Errno); ok {
		name = unix.ErrnoName(e)
	}
	t.Errorf("%s: got %s, want %s", fmt.Sprintf(what, args...), describe(got), name)
}

func describe(err error) string {
	var e syscall.Errno
	switch {
	case err == nil:
		return "success"
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// open opens a file without any of the os package's additions and closes it at
// the end of the test if the test has not done so.
func open(t *testing.T, path string, flags int, mode uint32) *os.File {
	t.Helper()
	n, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	check(t, err, "open %s with %#o", path, flags)
	f := os.NewFile(uintptr(n), path)
	t.Cleanup(func() { f.Close() })
	return f
}

// fd returns the descriptor of f for the system calls that os lacks.
func fd(f *os.File) int { return int(f.Fd()) }

// tryOpen opens and at once closes a file and returns the error of the open.
func tryOpen(path string, flags int, mode uint32) error {
	n, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	if err == nil {
		unix.Close(n)
	}
	return err
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	check(t, os.WriteFile(path, data, 0o644), "write %s", path)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err, "read %s", path)
	return data
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	check(t, unix.Mkdir(path, 0o755), "mkdir %s", path)
	return path
}

func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st), "lstat %s", path)
	return st
}

func fstat(t *testing.T, f *os.File) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Fstat(fd(f), &st), "fstat %s", f.Name())
	return st
}

// absent reports a name that exists.
func absent(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	want(t, unix.Lstat(path, &st), unix.ENOENT, "lstat of %s, which must not exist", path)
}

// pattern returns n bytes of a pseudo-random stream, from position off on:
// every position has its value whatever the pieces it is made in.
func pattern(seed uint64, off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		p := uint64(off) + uint64(i)
		x := (p>>3 + seed<<40 + 1) * 0x9e3779b97f4a7c15
		x ^= x >> 29
		x *= 0xbf58476d1ce4e5b9
		b[i] = byte(x >> (p & 7 * 8))
	}
	return b
}

// same reports the first difference between two pieces of a file that begin
// at position off.
func same(t *testing.T, got, wanted []byte, off int64, what string) {
	t.Helper()
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Errorf("%s: byte %d is %#02x, want %#02x", what, off+int64(i), got[i], wanted[i])
			return
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("%s: %d bytes at %d, want %d", what, len(got), off, len(wanted))
	}
}

// readAt reads exactly n bytes.
func readAt(t *testing.T, f *os.File, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if m, err := f.ReadAt(b, off); m != n {
		t.Fatalf("read %d bytes at %d: got %d, %v", n, off, m, err)
	}
	return b
}

func writeAt(t *testing.T, f *os.File, off int64, b []byte) {
	t.Helper()
	_, err := f.WriteAt(b, off)
	check(t, err, "write %d bytes at %d", len(b), off)
}

// eventually waits for what the kernel does some time after a call returned,
// such as the release of a file behind its close. It gives up after 20 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

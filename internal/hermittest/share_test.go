package hermittest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// share is the files that the guest's programs for the calls expect.
type share struct{ dir string }

// bigSize is that of data/big, whose bytes the guest can compute.
const bigSize = 20000

func newShare(t testing.TB) share {
	t.Helper()
	s := share{t.TempDir()}
	for _, dir := range []string{"data", "data/dir", "ro", "single"} {
		check(t, os.Mkdir(s.path(dir), 0o755))
	}
	big := make([]byte, bigSize)
	for i := range big {
		big[i] = byte(i*7 + i/251)
	}
	for name, content := range map[string]string{
		"data/file":      "0123456789",
		"data/empty":     "",
		"data/dir/inner": "inner",
		"data/big":       string(big),
		"ro/file":        "read only",
		"single/one":     "single",
		"single/sibling": "not the guest's",
	} {
		check(t, os.WriteFile(s.path(name), []byte(content), 0o640))
	}
	for name, target := range map[string]string{
		"link":     "file",
		"dangling": "gone",
		"loop":     "loop",
		"abs":      "/data/file",
		"out":      "../../../../../../../../../etc/passwd",
		"outer":    "/etc/passwd",
	} {
		check(t, os.Symlink(target, s.path("data/"+name)))
	}
	check(t, os.Chown(s.path("data/file"), 1234, 5678))
	check(t, os.Link(s.path("data/file"), s.path("data/hardlink")))
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s share) path(name string) string { return filepath.Join(s.dir, name) }

// flags map it.
func (s share) flags() []string {
	return []string{
		"--file-mapping=" + s.path("data") + ":/data",
		"--file-mapping=" + s.path("ro") + ":ro:ro",
		"--file-mapping=" + s.path("single/one") + ":/single/one",
		"--file-mapping=" + s.path("single/missing") + ":/single/missing",
	}
}

// mounts are the directories that kernels are told of.
const mounts = "/data,/ro,/single,"

// attributes are words for the guest with what the host knows of the files. To read
// must not change times of access: they are in the future.
func (s share) attributes(t testing.TB) (words []string) {
	t.Helper()
	for _, f := range [][2]string{
		{"file", "data/file"}, {"link", "data/link"}, {"dir", "data/dir"}, {"big", "data/big"}, {"ro", "ro/file"}, {"one", "single/one"},
	} {
		path := s.path(f[1])
		later := unix.NsecToTimespec(time.Now().Add(time.Hour).UnixNano())
		before := unix.Timespec{Sec: 1e9, Nsec: 123456789}
		check(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{later, before}, unix.AT_SYMLINK_NOFOLLOW))
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		words = append(words, fmt.Sprintf("attr.%s=%d:%d:%d:%d:%d:%d:%d:%d:%d:%d:%d:%d:%d", f[0],
			st.Nlink, st.Mode, st.Uid, st.Gid, st.Size, st.Blksize, st.Blocks,
			st.Atim.Sec, st.Atim.Nsec, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec))
	}
	return words
}

// holds wants a file of the host to have this content.
func holds(t testing.TB, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %q, %v, want %q", path, got, err, want)
	}
}

// gone wants a file of the host not to be there.
func gone(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", path, err)
	}
}

// names lists a directory.
func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

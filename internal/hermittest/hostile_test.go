package hermittest

import (
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// testHostile: calls with random numbers, addresses, lengths and page tables, from several
// processors at once. The machine lives, and no file of the host is touched but those
// that the guest was given to write. Several processors trample each other's structures, so
// they are of a guest far from address 0, which would hurt itself with numbers that are
// taken for addresses. ISTHMUS_HOSTILE=CALLS:SEEDS makes more of them.
func testHostile(t *testing.T) {
	calls, seeds := 10_000, 2
	if s := os.Getenv(envHostile); s != "" {
		if _, err := fmt.Sscanf(s, "%d:%d", &calls, &seeds); err != nil {
			t.Fatalf("%s=%s: %v; want CALLS:SEEDS", envHostile, s, err)
		}
	}
	for seed := range seeds {
		for _, tt := range []struct {
			kernel string
			cpus   int
		}{{"legacy-exec", 1}, {"v1", 1}, {"v3", 4}} {
			t.Run(fmt.Sprintf("%s/%dCPU/seed%d", tt.kernel, tt.cpus, seed), func(t *testing.T) {
				hostile(t, tt.kernel, tt.cpus, seed, calls/tt.cpus)
			})
		}
	}
}

func hostile(t *testing.T, kernel string, cpus, seed, calls int) {
	s := newShare(t)
	temp := s.path("temp")
	check(t, os.Mkdir(temp, 0o700))
	roots := []string{s.dir}
	if os.Getenv(envKVM) == "lab" {
		roots = append(roots, "/") // which is small there
	}
	before := snapshot(t, s, roots)
	g := &guest{
		kernel: kernel,
		flags:  append(s.flags(), fmt.Sprint("-c", cpus), "-onone", "--tempdir="+temp, "-m32MiB"),
		args:   []string{"hostile", strconv.Itoa(seed), strconv.Itoa(calls)},
	}
	g.passes(t)
	after := snapshot(t, s, roots)
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if after[path] != before[path] {
			t.Errorf("%s was %q, is %q", path, before[path], after[path])
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("%s was made: %s", path, after[path])
		}
	}
}

// snapshot says of each file what would show that it was touched. What the guest may write
// to is left out, and so are the kernel's own file systems.
func snapshot(t *testing.T, s share, roots []string) map[string]string {
	t.Helper()
	writable := []string{s.path("data"), s.path("single/one"), s.path("single/missing")}
	all := map[string]string{}
	for _, root := range roots {
		var dev uint64
		check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if slices.Contains(writable, path) {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			if path == root {
				dev = st.Dev
			}
			if st.Dev != dev {
				return fs.SkipDir
			}
			if all[path], err = describe(path, &st); path == s.path("single") || path == s.path("temp") {
				all[path] = "a directory where entries come and go"
			}
			return err
		}))
	}
	return all
}

func describe(path string, st *unix.Stat_t) (string, error) {
	content := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := crc32.NewIEEE()
		if _, err := io.Copy(sum, f); err != nil {
			return "", err
		}
		content = fmt.Sprintf("%x", sum.Sum32())
	case unix.S_IFLNK:
		var err error
		if content, err = os.Readlink(path); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("inode %d, %d links, mode %o, %d:%d, %d bytes, changed %d.%09d, %s",
		st.Ino, st.Nlink, st.Mode, st.Uid, st.Gid, st.Size, st.Ctim.Sec, st.Ctim.Nsec, content), nil
}

package guesttest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// submountSize is the size of the file systems that lie below the directory under
// test.
const submountSize = 8 << 20

// submounts returns a directory with two file systems of their own in it, "one"
// and "two", both empty but for a file "f" that says which it is. Where whoever
// runs the tests has mounted them (word submounts or flatmounts), they are below
// ISTHMUS_TEST_DIR; otherwise the test mounts them.
func submounts(t *testing.T) string {
	t.Helper()
	if expected[featSubmounts] || expected[featFlat] {
		return os.Getenv(dirVar)
	}
	dir := scratch(t)
	for _, name := range []string{"one", "two"} {
		path := mkdir(t, dir+"/"+name)
		check(t, unix.Mount("none", path, "tmpfs", 0, fmt.Sprint("mode=777,size=", submountSize)), "mount")
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
		write(t, path+"/f", []byte(name))
	}
	return dir
}

// bindMount mounts one directory at another for the time of the test.
func bindMount(t *testing.T, dir, at string) {
	t.Helper()
	check(t, unix.Mount(dir, at, "", unix.MS_BIND, ""), "bind mount")
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
}

// openWay lets other users through the directory that the testing package made
// above a test's own.
func openWay(t *testing.T, path string) {
	t.Helper()
	check(t, os.Chmod(filepath.Dir(path), 0o755), "chmod above the temporary directory")
}

func TestFileSystemsBelowAreToldApart(t *testing.T) {
	dir := submounts(t)
	one, two := dir+"/one", dir+"/two"
	// A guest mounts them when somebody goes in, and not for a look from
	// outside.
	f1, f2 := lstat(t, one+"/f"), lstat(t, two+"/f")
	top, st1, st2 := lstat(t, dir), lstat(t, one), lstat(t, two)
	apart := st1.Dev != top.Dev && st2.Dev != top.Dev && st1.Dev != st2.Dev
	if apart == expected[featFlat] {
		t.Errorf("devices: above %#x, below %#x and %#x; apart: %v", top.Dev, st1.Dev, st2.Dev, apart)
	}
	if f1.Dev != st1.Dev || f2.Dev != st2.Dev {
		t.Errorf("devices of the files: %#x and %#x, of their directories: %#x and %#x", f1.Dev, f2.Dev, st1.Dev, st2.Dev)
	}
	// They were made alike, so this is the case that confuses.
	if f1.Ino != f2.Ino || st1.Ino != st2.Ino {
		t.Errorf("inode numbers: directories %d and %d, files %d and %d", st1.Ino, st2.Ino, f1.Ino, f2.Ino)
	}
	for _, who := range rootAndOwner {
		name := fmt.Sprint("/made-by-", who.uid)
		as(t, who, func() {
			for base, text := range map[string]string{one: "one", two: "two"} {
				got, err := os.ReadFile(base + "/f")
				if err != nil || string(got) != text {
					t.Errorf("%s/f holds %q, %v", base, got, err)
				}
				want(t, os.WriteFile(base+name, []byte(text+name), 0o644), nil, "write in %s", base)
			}
			for base, text := range map[string]string{one: "one", two: "two"} {
				got, err := os.ReadFile(base + name)
				if err != nil || string(got) != text+name {
					t.Errorf("%s%s holds %q, %v", base, name, got, err)
				}
			}
			want(t, unix.Rename(one+name, two+name), unix.EXDEV, "rename between two file systems")
			want(t, unix.Link(one+name, two+name+"-"), unix.EXDEV, "link between two file systems")
			want(t, unix.Unlink(one+name), nil, "unlink")
			want(t, unix.Access(two+name, unix.F_OK), nil, "access to the file of the same name in the other")
			want(t, unix.Unlink(two+name), nil, "unlink")
		})
	}
	want(t, unix.Rename(one+"/f", dir+"/f"), unix.EXDEV, "rename to above")
	want(t, unix.Rename(one, dir+"/three"), unix.EBUSY, "rename of the mount point")
	want(t, unix.Rmdir(one), unix.EBUSY, "rmdir of the mount point")
	for _, base := range []string{one, two} {
		var fs unix.Statfs_t
		check(t, unix.Statfs(base, &fs), "statfs")
		if size := fs.Blocks * uint64(fs.Bsize); size != submountSize {
			t.Errorf("%s has %d bytes, want %d", base, size, submountSize)
		}
		if up := lstat(t, base+"/.."); up.Ino != top.Ino || up.Dev != top.Dev {
			t.Errorf("%s/.. is inode %d on %#x, want %d on %#x", base, up.Ino, up.Dev, top.Ino, top.Dev)
		}
	}
	for _, name := range []string{"one", "two"} {
		if !hasEntry(t, dir, name) {
			t.Errorf("%s is not listed", name)
		}
	}
}

func hasEntry(t *testing.T, dir, name string) bool {
	t.Helper()
	for _, n := range list(t, dir) {
		if n == name {
			return true
		}
	}
	return false
}

func TestAFileSystemBelowIsNotUnmountedWhileInUse(t *testing.T) {
	dir := submounts(t)
	one := dir + "/one"
	f := open(t, one+"/f", unix.O_RDWR, 0)
	if expected[featFlat] {
		want(t, unix.Unmount(one, 0), unix.EINVAL, "umount of what is no mount here")
		t.Log("flatmounts: only the refusal APPLIES, and was checked")
		return
	}
	want(t, unix.Unmount(one, 0), unix.EBUSY, "umount while a file is open")
	if got := string(readAt(t, f, 0, 3)); got != "one" {
		t.Errorf("the open file holds %q", got)
	}
	if overFUSE(t, dir) {
		// Guests up to Linux 6.1 at least crash if the file is closed later
		// than this.
		t.Log("FUSE: what is unmounted while in use does not APPLY")
		return
	}
	want(t, unix.Unmount(one, unix.MNT_DETACH), nil, "umount, lazily")
	writeAt(t, f, 0, []byte("ONE"))
	if got := string(readAt(t, f, 0, 3)); got != "ONE" {
		t.Errorf("the open file holds %q after a write", got)
	}
	absent(t, one+"/f")
}

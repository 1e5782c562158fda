package lab

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// readEntry is an entry of an archive as readCpio finds it.
type readEntry struct {
	name, content       string
	mode                uint32
	ino, nlink          uint32
	major, minor, mtime uint32
}

// readCpio reads a newc archive as the kernel's init/initramfs.c does.
func readCpio(archive []byte) (entries []readEntry, err error) {
	offset := 0
	take := func(n int) (string, error) {
		if n < 0 || offset+n > len(archive) {
			return "", fmt.Errorf("%d bytes at %d go beyond the end", n, offset)
		}
		b := string(archive[offset : offset+n])
		offset += n
		return b, nil
	}
	align := func() { offset = min((offset+3)&^3, len(archive)) }
	for {
		head, err := take(110)
		if err != nil {
			return nil, err
		}
		if head[:6] != "070701" {
			return nil, fmt.Errorf("magic %q at %d", head[:6], offset-110)
		}
		var f [13]uint32
		for i := range f {
			v, err := strconv.ParseUint(head[6+8*i:14+8*i], 16, 32)
			if err != nil {
				return nil, err
			}
			f[i] = uint32(v)
		}
		name, err := take(int(f[11]))
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(name, "\x00") {
			return nil, fmt.Errorf("name %q does not end with NUL", name)
		}
		align()
		content, err := take(int(f[6]))
		if err != nil {
			return nil, err
		}
		align()
		name = strings.TrimSuffix(name, "\x00")
		if name == "TRAILER!!!" {
			if offset != len(archive) {
				return nil, fmt.Errorf("%d bytes after the trailer", len(archive)-offset)
			}
			return entries, nil
		}
		entries = append(entries, readEntry{name: name, content: content, ino: f[0], mode: f[1], nlink: f[4], mtime: f[5], major: f[9], minor: f[10]})
	}
}

func TestCpio(t *testing.T) {
	var b bytes.Buffer
	c := newCpioWriter(&b)
	steps := []error{
		c.dir("dev", 0o755),
		c.dir("/dev", 0o700), // there already
		c.device("dev/console", 0o600, 5, 1),
		c.file("/a/b/../c/file", 0o640, 5, strings.NewReader("12345, and what is not asked for")),
		c.file("empty", 0o755, 0, strings.NewReader("")),
		c.symlink("bin/link", "../target"),
		c.close(),
	}
	for i, err := range steps {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	got, err := readCpio(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []readEntry{
		{name: "dev", mode: unix.S_IFDIR | 0o755, nlink: 2},
		{name: "dev/console", mode: unix.S_IFCHR | 0o600, nlink: 1, major: 5, minor: 1},
		{name: "a", mode: unix.S_IFDIR | 0o755, nlink: 2},
		{name: "a/c", mode: unix.S_IFDIR | 0o755, nlink: 2},
		{name: "a/c/file", mode: unix.S_IFREG | 0o640, nlink: 1, content: "12345"},
		{name: "empty", mode: unix.S_IFREG | 0o755, nlink: 1},
		{name: "bin", mode: unix.S_IFDIR | 0o755, nlink: 2},
		{name: "bin/link", mode: unix.S_IFLNK | 0o777, nlink: 1, content: "../target"},
	}
	for i := range want {
		want[i].ino = uint32(i + 1) // each its own, or the kernel links them
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%+v, want\n%+v", got, want)
	}
}

func TestCpioShortContent(t *testing.T) {
	c := newCpioWriter(&bytes.Buffer{})
	if err := c.file("f", fs.ModePerm, 10, strings.NewReader("short")); err == nil {
		t.Error("a file shorter than announced is no error")
	}
	if err := c.close(); err == nil {
		t.Error("the archive ends well after an error")
	}
	if err := newCpioWriter(&bytes.Buffer{}).file("f", fs.ModePerm, 1<<32, strings.NewReader("")); err == nil {
		t.Error("a file of 4 GiB is no error")
	}
}

// FuzzCpioNames writes files under any names and reads them back.
func FuzzCpioNames(f *testing.F) {
	f.Add("a", "content", "../b")
	f.Add("/", "", "x/./y//z")
	f.Add("abc", "12345", "abcd/e")
	f.Fuzz(func(t *testing.T, name, content, link string) {
		if strings.Contains(name+link, "\x00") || cpioName(name) == "TRAILER!!!" || cpioName(link) == "TRAILER!!!" {
			return
		}
		var b bytes.Buffer
		c := newCpioWriter(&b)
		c.file(name, 0o644, int64(len(content)), strings.NewReader(content))
		c.symlink(link, content)
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		entries, err := readCpio(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{cpioName(name), cpioName(link)} {
			if !slices.ContainsFunc(entries, func(e readEntry) bool { return e.name == want && e.content == content }) {
				t.Errorf("no entry %q in %+v", want, entries)
			}
		}
	})
}

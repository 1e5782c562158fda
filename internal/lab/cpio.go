package lab

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// cpioWriter writes an archive in the cpio format the kernel unpacks as its
// initramfs: "newc", magic 070701. Everything in it belongs to root and dates
// from the epoch, so the same input gives the same bytes. Parent directories
// are made as needed.
type cpioWriter struct {
	w       io.Writer
	written int64
	ino     uint32
	dirs    map[string]bool
	err     error
}

func newCpioWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, dirs: map[string]bool{".": true}}
}

// cpioEntry is one header. Names are relative, without leading slash.
type cpioEntry struct {
	name  string
	mode  uint32 // type and permissions as in st_mode
	nlink uint32
	size  int64
	major uint32 // of the device a device node stands for
	minor uint32
}

// dir adds a directory and those above it. One that is there already stays as
// it is.
func (c *cpioWriter) dir(name string, perm fs.FileMode) error {
	name = cpioName(name)
	if c.dirs[name] {
		return c.err
	}
	c.parents(name)
	c.dirs[name] = true
	c.header(cpioEntry{name: name, mode: unix.S_IFDIR | uint32(perm.Perm()), nlink: 2})
	return c.err
}

// file adds a regular file of exactly size bytes read from r.
func (c *cpioWriter) file(name string, perm fs.FileMode, size int64, r io.Reader) error {
	name = cpioName(name)
	if size < 0 || size > 1<<32-1 {
		return fmt.Errorf("%s: %d bytes do not fit in a cpio archive", name, size)
	}
	c.parents(name)
	c.header(cpioEntry{name: name, mode: unix.S_IFREG | uint32(perm.Perm()), nlink: 1, size: size})
	if c.err != nil {
		return c.err
	}
	n, err := io.CopyN(c.w, r, size)
	c.written += n
	if err != nil {
		c.err = fmt.Errorf("%s: %w", name, err)
		return c.err
	}
	c.pad()
	return c.err
}

// symlink adds a symbolic link to target.
func (c *cpioWriter) symlink(name, target string) error {
	name = cpioName(name)
	c.parents(name)
	c.header(cpioEntry{name: name, mode: unix.S_IFLNK | 0o777, nlink: 1, size: int64(len(target))})
	c.write([]byte(target))
	c.pad()
	return c.err
}

// device adds a character device node.
func (c *cpioWriter) device(name string, perm fs.FileMode, major, minor uint32) error {
	name = cpioName(name)
	c.parents(name)
	c.header(cpioEntry{name: name, mode: unix.S_IFCHR | uint32(perm.Perm()), nlink: 1, major: major, minor: minor})
	return c.err
}

// close ends the archive. It does not close the writer below.
func (c *cpioWriter) close() error {
	c.ino = 0 // header makes it 1; the kernel looks at the name only
	c.header(cpioEntry{name: "TRAILER!!!", nlink: 1})
	return c.err
}

// parents adds the directories above name.
func (c *cpioWriter) parents(name string) {
	if dir := path.Dir(name); !c.dirs[dir] {
		c.dir(dir, 0o755)
	}
}

// header writes the 110 bytes of a newc header, eight hexadecimal digits for
// each field, and the name with its NUL, padded to four bytes.
func (c *cpioWriter) header(e cpioEntry) {
	c.ino++
	const magic = "070701"
	c.write(fmt.Appendf(nil, "%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		magic, c.ino, e.mode,
		0, 0, // uid, gid
		e.nlink,
		0, // modification time
		e.size,
		0, 0, // device the file lies on
		e.major, e.minor,
		len(e.name)+1,
		0, // checksum, of the 070702 variant only
		e.name))
	c.pad()
}

func (c *cpioWriter) write(b []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(b)
	c.written += int64(n)
}

// pad brings the archive to a multiple of four bytes.
func (c *cpioWriter) pad() {
	if over := c.written & 3; over != 0 {
		c.write(make([]byte, 4-over))
	}
}

// cpioName makes a path of the guest relative and clean.
func cpioName(name string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+name), "/"); rel != "" {
		return rel
	}
	return "."
}

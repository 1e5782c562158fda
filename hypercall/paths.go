package hypercall

import (
	"bytes"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// MaxLinks is how many symbolic links one path may lead through, as on Linux.
	MaxLinks = 40
	// maxPath is the longest path, with its NUL.
	maxPath = unix.PathMax
	// maxDepth is how deep a path may lead.
	maxDepth = maxPath / 2
)

// route is the state of one path that is followed. It takes references to nodes, which
// leave gives back.
type route struct {
	text  [maxPath]byte // as the guest gave it, made clean
	clean int           // how long it is

	// What is left to follow is rest, in one of the buffers; a link's target is put
	// before it in the other.
	buf  [2][2 * maxPath]byte
	cur  int
	rest []byte // a NUL is behind it

	// dirs are the directories that were walked through from the root, each with a
	// reference, but for the root itself.
	dirs []vfs.NodeID
	// name is the last name, in the last of dirs. Without one (named is false) the path
	// ends in a directory that was walked through, the last of dirs.
	name  vfs.Name
	named bool
	// found is what the name was last looked up as, with a reference while held is set;
	// its Node is 0 for nothing.
	found vfs.Entry
	held  bool
}

// end says where a path ends.
type end uint8

const (
	toParent end = iota // the last name is not looked up
	toLink              // the last name is not followed
	toTarget            // it is
)

// loadPath copies a path out of guest memory and makes it clean.
func (g *Guest) loadPath(c *call, gpa uint64) syscall.Errno {
	p := &c.path
	n, errno := g.mem.text(gpa, p.text[:])
	if errno != 0 {
		return errno
	}
	p.clean, errno = clean(p.text[:n])
	return errno
}

// clean makes a path, in its own place, into names with a slash between them and
// returns how long it is then; the root is 0. ".." takes the name before it away,
// whatever that is; above the root it is nothing. A relative path that leads out is ENOENT, as is
// an empty one.
func clean(b []byte) (int, syscall.Errno) {
	if len(b) == 0 {
		return 0, syscall.ENOENT
	}
	absolute := b[0] == '/'
	out := 0
	for in := 0; in < len(b); {
		end := bytes.IndexByte(b[in:], '/')
		if end < 0 {
			end = len(b) - in
		}
		part := b[in : in+end]
		in += end + 1
		switch {
		case len(part) == 0 || string(part) == ".":
		case string(part) == ".." && out != 0:
			out = max(0, bytes.LastIndexByte(b[:out], '/'))
		case string(part) == "..":
			if !absolute {
				return 0, syscall.ENOENT
			}
		default:
			if out != 0 {
				b[out] = '/'
				out++
			}
			out += copy(b[out:], part)
		}
	}
	return out, 0
}

// forget gives a reference back.
func (g *Guest) forget(node vfs.NodeID) {
	if node != vfs.Root {
		g.fs.Forget(node, 1)
	}
}

// leave gives back what following a path took.
func (g *Guest) leave(c *call) {
	p := &c.path
	for _, node := range p.dirs {
		g.forget(node)
	}
	p.dirs = p.dirs[:0]
	g.drop(p)
}

// drop gives back what was found.
func (g *Guest) drop(p *route) {
	if p.held {
		g.forget(p.found.Node)
		p.held = false
	}
}

// dir is the directory where a path has come to.
func (p *route) dir() vfs.NodeID {
	if len(p.dirs) == 0 {
		return vfs.Root
	}
	return p.dirs[len(p.dirs)-1]
}

// exists tells whether there is something at the end of the path.
func (p *route) exists() bool { return !p.named || p.found.Node != 0 }

// node is what is at the end of a path.
func (p *route) node() vfs.NodeID {
	if p.named {
		return p.found.Node
	}
	return p.dir()
}

// isDir tells whether that is a directory.
func (p *route) isDir() bool { return !p.named || p.found.Attr.Mode&unix.S_IFMT == unix.S_IFDIR }

// take hands the reference to what was found over to the caller.
func (p *route) take() vfs.NodeID {
	node := p.node()
	if p.named {
		p.held = false
	} else if len(p.dirs) != 0 {
		p.dirs = p.dirs[:len(p.dirs)-1]
	}
	return node
}

// follow follows the path that was loaded, from the root. It is not an error if the last
// name is that of nothing. parents says that directories may be made on the way (see
// [Config.MakeParents]). Whatever it returns, leave is to be called.
func (g *Guest) follow(c *call, e end, parents bool) syscall.Errno {
	p := &c.path
	p.cur = 0
	n := copy(p.buf[0][:], p.text[:p.clean])
	p.buf[0][n] = 0
	p.rest = p.buf[0][:n]
	p.named, p.found = false, vfs.Entry{}
	for links := 0; ; {
		name, last := p.next()
		if len(name) == 0 {
			return 0
		}
		if string(name) == "..\x00" {
			g.up(p)
			continue
		}
		var errno syscall.Errno
		if p.name, _, errno = vfs.ParseName(name); errno != 0 {
			return errno
		}
		if last && e == toParent {
			p.named, p.found = true, vfs.Entry{}
			return 0
		}
		if errno = g.step(c, last, parents); errno != 0 {
			return errno
		}
		switch typ := p.found.Attr.Mode & unix.S_IFMT; {
		case p.found.Node != 0 && typ == unix.S_IFLNK && (!last || e == toTarget):
			if links++; links > MaxLinks {
				return syscall.ELOOP
			}
			if errno = g.enterLink(c); errno != 0 {
				return errno
			}
		case last:
			p.named = true
			return 0
		case typ != unix.S_IFDIR:
			return syscall.ENOTDIR
		case len(p.dirs) == maxDepth:
			return syscall.ENAMETOOLONG
		default:
			p.dirs = append(p.dirs, p.found.Node)
			p.held = false
		}
	}
}

// next takes a name off what is left, with a NUL in place of the slash behind it. It is
// empty at the end. last says that no other follows.
func (p *route) next() (name []byte, last bool) {
	for {
		if p.rest = bytes.TrimLeft(p.rest, "/"); len(p.rest) == 0 {
			return nil, true
		}
		end := bytes.IndexByte(p.rest, '/')
		if end < 0 {
			end = len(p.rest)
		}
		name = p.rest[:end+1]
		name[end] = 0
		p.rest = bytes.TrimLeft(p.rest[min(end+1, len(p.rest)):], "/")
		if string(name) != ".\x00" {
			return name, len(p.rest) == 0
		}
	}
}

// up leaves a directory for the one above. The root is above itself.
func (g *Guest) up(p *route) {
	if n := len(p.dirs); n != 0 {
		g.forget(p.dirs[n-1])
		p.dirs = p.dirs[:n-1]
	}
}

// step looks p.name up. For a name that is not the last, nothing there is ENOENT, unless a
// directory can be made of it.
func (g *Guest) step(c *call, last, parents bool) syscall.Errno {
	p := &c.path
	dir := p.dir()
	errno := g.fs.Lookup(&c.req, dir, p.name, &p.found)
	if errno == 0 && p.found.Node == 0 {
		errno = syscall.ENOENT
	}
	if errno == syscall.ENOENT {
		p.found = vfs.Entry{}
		switch {
		case last:
			return 0
		case !parents || g.parents == nil || !g.parents(dir):
			return errno
		}
		if errno = g.mkdirAt(c, dir, p.name, &p.found); errno == syscall.EEXIST {
			// Another processor has just made it.
			if errno = g.fs.Lookup(&c.req, dir, p.name, &p.found); errno == 0 && p.found.Node == 0 {
				errno = syscall.ENOENT
			}
		}
	}
	p.held = errno == 0
	return errno
}

// enterLink puts the target of the link that was found before what is left of the path.
func (g *Guest) enterLink(c *call) syscall.Errno {
	p := &c.path
	next := &p.buf[1-p.cur]
	n, errno := g.fs.Readlink(&c.req, p.found.Node, next[:maxPath])
	g.drop(p)
	switch {
	case errno != 0:
		return errno
	case n == 0:
		return syscall.ENOENT
	case n+1+len(p.rest) >= len(next):
		return syscall.ENAMETOOLONG
	case bytes.IndexByte(next[:n], 0) >= 0:
		return syscall.EINVAL
	}
	if next[0] == '/' {
		for len(p.dirs) != 0 {
			g.up(p)
		}
	}
	next[n] = '/'
	n += 1 + copy(next[n+1:], p.rest)
	next[n] = 0
	p.cur = 1 - p.cur
	p.rest = next[:n]
	return 0
}

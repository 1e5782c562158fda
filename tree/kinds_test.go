package tree

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/vfs"
)

// kind is what a mount of the property test is made of, on both sides.
type kind struct {
	name     string
	file     bool
	readOnly bool
	make     func(p *propertyRun, content []string) vfs.FileSystem
	mount    func(p *propertyRun, m *refMount, at string) error
}

func (k kind) String() string { return k.name }

// kinds has the ones of files at its end.
var kinds = []kind{
	{"directory", false, false, hostDir, tmpfs},
	{"read-only directory", false, true, readOnly(hostDir), tmpfs},
	{"overlay", false, false, overlaid, overlayfs},
	{"file", true, false, hostFile, bindFile},
	{"read-only file", true, true, readOnly(hostFile), bindFile},
}

const dirKinds = 3

// shared makes a file system of a host path for one run.
func (p *propertyRun) shared(path string) *passthrough.FS {
	fs, err := passthrough.New(passthrough.Config{Path: path, Xattr: true, Logger: quiet})
	if err != nil {
		p.rt.Fatal(err)
	}
	p.closes = append(p.closes, func() { fs.Close() })
	return fs
}

// directory makes a directory for one run.
func (p *propertyRun) directory(what string, content []string) string {
	dir := p.ref.fresh(what)
	err := os.Mkdir(dir, 0o755)
	p.closes = append(p.closes, func() { os.RemoveAll(dir) })
	if err == nil {
		err = fill(dir, content)
	}
	if err != nil {
		p.rt.Fatal(err)
	}
	return dir
}

func hostDir(p *propertyRun, content []string) vfs.FileSystem {
	return p.shared(p.directory("dir", content))
}

func hostFile(p *propertyRun, _ []string) vfs.FileSystem {
	return p.shared(filepath.Join(p.directory("dir", []string{"one"}), "one"))
}

func overlaid(p *propertyRun, content []string) vfs.FileSystem {
	lower, upper := p.shared(p.directory("lower", content)), p.shared(p.directory("upper", nil))
	fs, err := overlay.New(lower, upper, overlay.Options{Logger: quiet})
	if err != nil {
		p.rt.Fatal(err)
	}
	return fs
}

func readOnly(of func(*propertyRun, []string) vfs.FileSystem) func(*propertyRun, []string) vfs.FileSystem {
	return func(p *propertyRun, content []string) vfs.FileSystem { return rules.ReadOnly(of(p, content)) }
}

func tmpfs(_ *propertyRun, m *refMount, at string) error {
	if err := unix.Mount("share", at, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	return fill(at, m.content)
}

// overlayfs is one that can rename all that a plain directory can.
func overlayfs(p *propertyRun, m *refMount, at string) error {
	layers := p.directory("layers", []string{"lower/", "upper/", "work/"})
	if err := fill(filepath.Join(layers, "lower"), m.content); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work,redirect_dir=on,index=on", layers)
	return unix.Mount("overlay", at, "overlay", 0, options)
}

func bindFile(p *propertyRun, _ *refMount, at string) error {
	return unix.Mount(filepath.Join(p.directory("file", []string{"one"}), "one"), at, "", unix.MS_BIND, "")
}

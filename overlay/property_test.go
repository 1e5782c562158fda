package overlay_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/passthrough"
)

// step is one operation, with what to call it.
type step struct {
	text string
	run  func(system) syscall.Errno
}

// paths are those that steps choose from: few, so that steps meet.
var paths = []string{
	"a", "b", "c", "d", "a/a", "a/b", "a/c", "b/a", "b/b", "b/c", "c/a", "d/a", "a/a/a", "a/a/b", "a/b/a", "b/a/a", "b/a/b", "d/a/b", "a/a/a/a", "b/a/c",
}

var (
	modes = []uint32{0o600, 0o644, 0o755, 0o4755, 0o2755, 0o1777}
	texts = []string{"", "x", "some text", string(make([]byte, 5000))}
	sizes = []uint64{0, 1, 7, 4096, 10000}
	opens = []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_RDWR | unix.O_CREAT, unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC}
	moves = []uint32{0, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}
	links = []string{"a", "nowhere", "../b"}
)

func drawStep(t *rapid.T) step {
	p := rapid.SampledFrom(paths).Draw(t, "path")
	q := rapid.SampledFrom(paths).Draw(t, "other path")
	mode := rapid.SampledFrom(modes).Draw(t, "mode")
	text := rapid.SampledFrom(texts).Draw(t, "text")
	size := rapid.SampledFrom(sizes).Draw(t, "size")
	open := rapid.SampledFrom(opens).Draw(t, "open")
	move := rapid.SampledFrom(moves).Draw(t, "move")
	target := rapid.SampledFrom(links).Draw(t, "target")
	id := rapid.SampledFrom([]uint32{0, 1, 1000}).Draw(t, "id")
	kinds := []step{
		{fmt.Sprintf("mkdir(%s, %#o)", p, mode), func(s system) syscall.Errno { return s.mkdir(p, mode) }},
		{fmt.Sprintf("write(%s, %#x, %.10q at %d)", p, open, text, size), func(s system) syscall.Errno { return s.write(p, open, text, int64(size)) }},
		{fmt.Sprintf("unlink(%s)", p), func(s system) syscall.Errno { return s.unlink(p) }},
		{fmt.Sprintf("rmdir(%s)", p), func(s system) syscall.Errno { return s.rmdir(p) }},
		{fmt.Sprintf("rename(%s, %s, %d)", p, q, move), func(s system) syscall.Errno { return s.rename(p, q, move) }},
		{fmt.Sprintf("rename(%s, %s)", p, q), func(s system) syscall.Errno { return s.rename(p, q, 0) }},
		{fmt.Sprintf("link(%s, %s)", p, q), func(s system) syscall.Errno { return s.link(p, q) }},
		{fmt.Sprintf("symlink(%s, %s)", target, p), func(s system) syscall.Errno { return s.symlink(target, p) }},
		{fmt.Sprintf("mkfifo(%s)", p), func(s system) syscall.Errno { return s.mkfifo(p) }},
		{fmt.Sprintf("chmod(%s, %#o)", p, mode), func(s system) syscall.Errno { return s.chmod(p, mode) }},
		{fmt.Sprintf("chown(%s, %d)", p, id), func(s system) syscall.Errno { return s.chown(p, id, id) }},
		{fmt.Sprintf("truncate(%s, %d)", p, size), func(s system) syscall.Errno { return s.truncate(p, size) }},
		{fmt.Sprintf("setMtime(%s)", p), func(s system) syscall.Errno { return s.setMtime(p, 1e9) }},
		{fmt.Sprintf("setxattr(%s, %.10q)", p, text), func(s system) syscall.Errno { return s.setxattr(p, "user.a", text[:min(len(text), 100)]) }},
		{fmt.Sprintf("removexattr(%s)", p), func(s system) syscall.Errno { return s.removexattr(p, "user.a") }},
		{fmt.Sprintf("list(%s)", p), func(s system) syscall.Errno { _, errno := s.list(p); return errno }},
	}
	return rapid.SampledFrom(kinds).Draw(t, "step")
}

// tree describes all that a system has.
func tree(t interface{ Fatalf(string, ...any) }, s system, without *regexp.Regexp) map[string]string {
	all := map[string]string{}
	seen := map[uint64]int{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, errno := s.list(dir)
		if errno != 0 {
			t.Fatalf("list %q: %v", dir, errno)
		}
		for _, n := range entries {
			if n == "." || n == ".." {
				continue
			}
			p := path.Join(dir, n)
			text, errno := s.describe(p, seen)
			if errno != 0 {
				t.Fatalf("describe %q: %v", p, errno)
			}
			all[p] = without.ReplaceAllString(text, "")
			if isDir.MatchString(text) {
				walk(p)
			}
		}
	}
	walk("")
	return all
}

var (
	isDir = regexp.MustCompile(`^file \d+: mode 04`)
	// numbers of links to directories, which overlayfs does not count, and of
	// inodes of directories
	dirLinks = regexp.MustCompile(`^file \d+: (?:mode 04\d+ nlink \d+)?`)
	nothing  = regexp.MustCompile(`$^`)
)

// reference makes what an overlay is compared with: a system with the tree of
// lower, which it may change.
type reference struct {
	name string
	// without is what of a description is not compared.
	without *regexp.Regexp
	make    func(t *rapid.T, lower, scratch string) (system, func())
}

var references = []reference{
	// A copy says what is right.
	{"plain directory", nothing, func(t *rapid.T, lower, scratch string) (system, func()) {
		twin := filepath.Join(scratch, "twin")
		if out, err := exec.Command("cp", "-a", lower, twin).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
		return &host{twin}, func() {}
	}},
	{"overlayfs", dirLinks, func(t *rapid.T, lower, scratch string) (system, func()) {
		at := map[string]string{}
		for _, d := range []string{"upper", "work", "mnt"} {
			at[d] = filepath.Join(scratch, d)
			if err := os.Mkdir(at[d], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,index=on,metacopy=off,xino=off", lower, at["upper"], at["work"])
		if err := unix.Mount("overlay", at["mnt"], "overlay", 0, opts); err != nil {
			t.Fatalf("mount overlayfs: %v", err)
		}
		return &host{at["mnt"]}, func() {
			if err := unix.Unmount(at["mnt"], 0); err != nil {
				t.Errorf("unmount: %v", err)
			}
		}
	}},
}

// TestProperty makes random changes to random trees, through an overlay and
// through a reference. Both must agree in each errno and in the whole tree, and the
// lower directory must be as before.
func TestProperty(t *testing.T) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range references {
		for _, parent := range []string{"/tmp", "/dev/shm"} {
			t.Run(ref.name+" in "+parent, func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) { checkSequence(t, rt, ref, parent) })
			})
		}
	}
}

func checkSequence(t *testing.T, rt *rapid.T, ref reference, parent string) {
	scratch, err := os.MkdirTemp(parent, "overlay-property-")
	if err != nil {
		rt.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	lower, upper := filepath.Join(scratch, "lower"), filepath.Join(scratch, "private")
	for _, d := range []string{lower, upper} {
		if err := os.Mkdir(d, 0o755); err != nil {
			rt.Fatal(err)
		}
	}
	for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), 5, 40).Draw(rt, "below") {
		s.run(&host{lower})
	}
	before := hostTree(t, lower)

	want, done := ref.make(rt, lower, scratch)
	defer done()
	handles := rapid.SampledFrom([]passthrough.HandleUse{passthrough.HandlesNever, passthrough.HandlesPrefer}).Draw(rt, "handles")
	var fs [2]*passthrough.FS
	for i, dir := range []string{lower, upper} {
		if fs[i], err = passthrough.New(layerConfig(dir, handles)); err != nil {
			rt.Fatal(err)
		}
		defer fs[i].Close()
	}
	over := newOverlay(t, fs[0], fs[1])
	if _, errno := over.Init(0); errno != 0 {
		rt.Fatal(errno)
	}
	got := newGuest(over)
	got.keep = rapid.Bool().Draw(rt, "keep references")
	got.plus = rapid.Bool().Draw(rt, "readdirplus")
	for i, s := range rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(rt, "steps") {
		g, w := s.run(got), s.run(want)
		if g != w {
			rt.Fatalf("step %d, %s: got %v, want %v", i, s.text, g, w)
		}
		if rapid.IntRange(0, 15).Draw(rt, "new session") == 0 {
			clear(got.held)
			if _, errno := over.Init(0); errno != 0 {
				rt.Fatal(errno)
			}
		}
	}
	diffTrees(rt, tree(rt, got, ref.without), tree(rt, want, ref.without))
	got.end()
	if s := over.Counts(); s.Nodes != 1 || s.Handles != 0 {
		rt.Errorf("at the end the overlay holds %+v", s)
	}
	// The root holds its upper part.
	if s := fs[0].Stats(); s.Nodes != 1 || s.Handles != 0 {
		rt.Errorf("at the end the lower layer holds %+v", s)
	}
	if s := fs[1].Stats(); s.Nodes > 2 || s.Handles != 0 {
		rt.Errorf("at the end the upper layer holds %+v", s)
	}
	diffTrees(rt, hostTree(t, lower), before)
}

func diffTrees(t *rapid.T, got, want map[string]string) {
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%q is missing", p)
		} else if g != w {
			t.Errorf("%q:\n got %s\nwant %s", p, g, w)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q should not be", p)
		}
	}
}

package vfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Lack is something that a file system need not have.
type Lack uint32

const (
	NoXattr       Lack = 1 << iota // extended attributes
	NoTmpfile                      // Tmpfile
	NoLocks                        // Getlk and Setlk
	NoIoctl                        // Ioctl
	NoHardLinks                    // Link
	NoSpecial                      // fifos, sockets and device nodes
	NoRenameFlags                  // RENAME_EXCHANGE and RENAME_WHITEOUT
	NoFallocate                    // Fallocate, and Lseek for data and holes
	NoCopyRange                    // CopyFileRange
	NoStatx                        // Statx
)

// Subject is a file system under test. What the maker of it opened it closes
// itself, in a t.Cleanup: that runs after the suite is done with it.
type Subject struct {
	// FS is ready for use. The suite calls Init and Destroy.
	FS vfs.FileSystem
	// Dir is the host directory that FS shows, or empty if there is none.
	Dir string
	// Twin is an empty directory on the same kind of host file system, best
	// on the same one. With ReadOnly it holds the same tree as FS.
	Twin string
	// ReadOnly says that FS answers EROFS to all that would change it. Its
	// tree is then the one that Populate makes.
	ReadOnly bool
	// Lacks is what FS does not have.
	Lacks Lack
	// Stats, if not nil, returns how many nodes (the root among them), open
	// handles and host descriptors FS holds. After each test they must be
	// back to where they were.
	Stats func() (nodes, handles, fds int)
}

// offered are the features whose rules the suite keeps, as a guest's kernel
// would. Writeback and opens that are left out change who does what, and are
// not among them.
const offered = vfs.FeatPOSIXLocks | vfs.FeatFlock | vfs.FeatAtomicTrunc | vfs.FeatDontMask |
	vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto | vfs.FeatParallelDirops | vfs.FeatAutoInval |
	vfs.FeatKillPriv | vfs.FeatPOSIXACL | vfs.FeatSetxattrExt | vfs.FeatCacheSymlinks | vfs.FeatSubmounts |
	vfs.FeatSecurityContext | vfs.FeatSuppGroups | vfs.FeatDirectIOMmap | vfs.FeatIoctlDir |
	vfs.FeatAsyncDIO

// area is one part of the suite; it gets a fresh subject.
type area struct {
	name  string
	needs Lack // not run on a subject that lacks one of these
	// readOnly areas run on read-only subjects, and only they do.
	readOnly bool
	// scenarios are played for each of the guests, or for one that has no
	// peculiarities.
	scenarios func(*suite) []scenario
	guests    []guest
	// tests are what cannot be compared with a host.
	tests []test
}

// guest is a way in which guests differ; see the fields of session.
type guest struct {
	keep, nowait bool
}

type test struct {
	name string
	run  func(*suite, *testing.T)
}

var areas = []area{
	{name: "names", scenarios: nameScenarios, tests: []test{
		{"removed parent", (*suite).testRemovedParent},
	}},
	{name: "files", scenarios: fileScenarios, tests: []test{
		{"not a directory", (*suite).testWrongKind},
		{"open of what is no file", (*suite).testOpenKinds},
	}},
	{name: "data", scenarios: dataScenarios, tests: []test{
		{"pieces", (*suite).testPieces},
		{"write-back", (*suite).testWriteBack},
		{"memory that is gone", (*suite).testFault},
	}},
	{name: "dirs", scenarios: dirScenarios, tests: []test{
		{"listings", (*suite).testListings},
	}},
	{name: "attrs", scenarios: attrScenarios, tests: []test{
		{"now", (*suite).testNow},
		{"all fields", (*suite).testAllFields},
	}},
	{name: "links", needs: NoHardLinks, scenarios: linkScenarios},
	{name: "rename", scenarios: renameScenarios, guests: []guest{{}, {keep: true}}},
	{name: "xattr", needs: NoXattr, scenarios: xattrScenarios, tests: []test{
		{"security context", (*suite).testSecurity},
		{"of a removed file", (*suite).testXattrRemoved},
	}},
	{name: "special", needs: NoSpecial, scenarios: specialScenarios},
	{name: "sparse", needs: NoFallocate, scenarios: sparseScenarios, tests: []test{
		{"blocks", (*suite).testBlocks},
	}},
	{name: "tmpfile", needs: NoTmpfile, scenarios: tmpfileScenarios},
	{name: "locks", needs: NoLocks, tests: []test{
		{"ranges", lockTestOf(vfs.FeatPOSIXLocks, (*lockTest).ranges)},
		{"flush", lockTestOf(vfs.FeatPOSIXLocks, (*lockTest).flush)},
		{"wait", lockTestOf(vfs.FeatPOSIXLocks, (*lockTest).wait)},
		{"wait for flock", lockTestOf(vfs.FeatFlock, (*lockTest).waitFlock)},
		{"flock", lockTestOf(vfs.FeatFlock, (*lockTest).flock)},
		{"seen by the host", lockTestOf(vfs.FeatPOSIXLocks, (*lockTest).onHost)},
		{"refused", lockTestOf(vfs.FeatPOSIXLocks, (*lockTest).refused)},
	}},
	{name: "ioctl", needs: NoIoctl, scenarios: ioctlScenarios, tests: []test{
		{"unknown", (*suite).testIoctlUnknown},
	}},
	{name: "identity", scenarios: identityScenarios, tests: []test{
		{"others", (*suite).testIdentityKept},
	}},
	{name: "forged", tests: []test{
		{"nodes", (*suite).testForgedNodes},
		{"handles", (*suite).testForgedHandles},
		{"sessions", (*suite).testSessions},
	}},
	{name: "references", tests: []test{
		{"same node", (*suite).testSameNode},
		{"counted", (*suite).testCounted},
		{"kept while open", (*suite).testKeptOpen},
		{"many", (*suite).testManyNodes},
	}},
	{name: "nowait", scenarios: nowaitScenarios, guests: []guest{{nowait: true}, {nowait: true, keep: true}}},
	{name: "concurrency", tests: []test{
		{"random", (*suite).testRandom},
		{"exclusive", (*suite).testExclusive},
		{"append", (*suite).testAppend},
		{"lookup and forget", (*suite).testLookupForget},
		{"handles", (*suite).testHandleRace},
	}},
	{name: "property", tests: []test{
		{"sequences", (*suite).testSequences},
	}},
	{name: "readonly", readOnly: true, tests: []test{
		{"reads", (*suite).testReads},
		{"changes", (*suite).testRefused},
		{"forged", (*suite).testForgedReadOnly},
	}},
}

// Run puts the file systems that maker returns, one for each area, through
// the whole suite. It takes less than 20 seconds, and less with -short.
func Run(t *testing.T, maker func(t *testing.T) Subject) {
	umask := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(umask) })
	for _, a := range areas {
		t.Run(a.name, func(t *testing.T) {
			sub := maker(t)
			if sub.ReadOnly != a.readOnly || sub.Lacks&a.needs != 0 {
				t.Logf("does not apply to this file system")
				return
			}
			s := begin(t, sub)
			s.play(t, a)
			for _, tt := range a.tests {
				t.Run(tt.name, func(t *testing.T) { tt.run(s, t) })
			}
		})
	}
}

// play runs the scenarios of an area, each as a subtest.
func (s *suite) play(t *testing.T, a area) {
	if a.scenarios == nil {
		return
	}
	guests := a.guests
	if guests == nil {
		guests = []guest{{}}
	}
	for _, g := range guests {
		for _, sc := range a.scenarios(s) {
			t.Run(sc.name, func(t *testing.T) { s.playOne(t, sc.ops, g) })
		}
	}
}

// suite is the state of one area: a subject in a session.
type suite struct {
	Subject
	t      *testing.T
	feat   vfs.Features
	fds    int // descriptors the file system held when it was idle
	serial int // names the directories of scenarios
}

// begin opens a session and arranges for its end.
func begin(t *testing.T, sub Subject) *suite {
	t.Helper()
	s := &suite{Subject: sub, t: t}
	feat, errno := s.FS.Init(offered)
	if errno != 0 {
		t.Fatalf("Init: %v", errno)
	}
	if feat&^offered != 0 {
		t.Fatalf("Init agreed to %#x, which was not offered", feat&^offered)
	}
	s.feat = feat
	if !s.ReadOnly {
		if err := os.Chmod(s.Twin, 0o777); err != nil {
			t.Fatal(err)
		}
		s.warmUp()
	}
	if s.Stats != nil {
		_, _, s.fds = s.Stats()
	}
	t.Cleanup(func() {
		s.checkLeaks(t)
		s.FS.Destroy()
	})
	return s
}

// warmUp uses the file system once, so that descriptors which it opens at
// first need and keeps are among those it holds when idle.
func (s *suite) warmUp() {
	s.t.Helper()
	c := s.session(vfs.Root)
	f, errno := c.open("warm-up", unix.O_CREAT|unix.O_RDWR, 0o600)
	if errno != 0 {
		s.t.Fatalf("creating a first file in the root directory: %v", errno)
	}
	f.close()
	if errno := c.unlink("warm-up"); errno != 0 {
		s.t.Fatalf("removing the first file: %v", errno)
	}
	c.end()
}

// checkLeaks asks the file system what it holds while no one uses it.
func (s *suite) checkLeaks(t reporter) {
	t.Helper()
	if s.Stats == nil {
		return
	}
	nodes, handles, fds := s.Stats()
	if nodes != 1 || handles != 0 || fds > s.fds {
		t.Errorf("at rest the file system holds %d nodes, %d handles and %d descriptors; want 1, 0 and at most %d",
			nodes, handles, fds, s.fds)
	}
}

// session starts a guest whose paths begin at node.
func (s *suite) session(node vfs.NodeID) *session {
	return &session{t: s.t, fs: s.FS, feat: s.feat, lacks: s.Lacks, base: node, held: map[vfs.NodeID]uint64{}}
}

// root starts a guest in the root directory and ends it with the test.
func (s *suite) root(t *testing.T) *session {
	c := s.session(vfs.Root)
	c.t = t
	t.Cleanup(c.end)
	return c
}

// stage is a directory of its own on both sides, for one scenario.
type stage struct {
	got  system
	want *host
	back *host // the directory behind got, seen directly; nil if there is none
	done func(reporter)
}

// newStage makes a directory for a scenario on both sides. Without a file system
// both sides are host directories: a test of the scenarios themselves.
func (s *suite) newStage(t reporter, g guest) *stage {
	t.Helper()
	s.serial++
	dir := fmt.Sprintf("stage-%d", s.serial)
	twin := filepath.Join(s.Twin, dir)
	if err := os.Mkdir(twin, 0o777); err != nil {
		t.Fatal(err)
	}
	st := &stage{want: newHost(t, twin)}
	if s.FS == nil {
		back := filepath.Join(s.Dir, dir)
		if err := os.Mkdir(back, 0o777); err != nil {
			t.Fatal(err)
		}
		st.back = newHost(t, back)
		st.got = st.back
		st.done = func(reporter) {
			st.want.end()
			st.back.end()
		}
		return st
	}
	var e vfs.Entry
	if errno := s.FS.Mkdir(&vfs.Request{}, vfs.Root, name(dir), 0o777, &e); errno != 0 {
		t.Fatalf("Mkdir %s: %s", dir, errnoName(errno))
	}
	c := s.session(e.Node)
	c.t, c.keep, c.nowait = t, g.keep, g.nowait
	st.got = c
	if s.Dir != "" {
		st.back = newHost(t, filepath.Join(s.Dir, dir))
	}
	st.done = func(t reporter) {
		c.end()
		s.FS.Forget(e.Node, 1)
		st.want.end()
		if st.back != nil {
			st.back.end()
		}
		s.checkLeaks(t)
	}
	return st
}

// reporter is the part of testing.TB that the suite needs; *rapid.T has it too.
type reporter interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// name makes a Name of a string that the suite knows to be one.
func name(s string) vfs.Name {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		panic(fmt.Sprintf("vfstest: name %q: %v", s, errno))
	}
	return n
}

// errnoName is an errno with its name, for messages.
func errnoName(e syscall.Errno) string {
	switch e {
	case 0:
		return "success"
	case vfs.WouldBlock:
		return "WouldBlock"
	}
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return e.Error()
}

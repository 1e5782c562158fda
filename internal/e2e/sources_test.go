package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/internal/fsx"
	"github.com/isthmus-fs/isthmus/internal/lab"
)

// source is what a mount can be made of, and what the tests are to expect of it.
type source struct {
	name string
	spec func(m *material) string // without its target
	// words are for the guest tests on this host's kernel, and inGuest those that
	// are added in a guest.
	words, inGuest string
	random         []string // environment of the random test; none: without it
	only           string   // the guest tests that make sense; "": all
	behind         func(m *material) string
}

// private are the words for what the daemon keeps by itself: it has no flags of
// inodes, and keeps access times as "relatime" has it.
const private = "zerorange,noflags,stripnoatime"

var sources = []source{
	{name: "dir", spec: func(m *material) string { return "type=dir,source=" + m.dir },
		// Here the kernel reads and writes the host's files by itself, O_DIRECT
		// and all.
		words: "zerorange,aligned", inGuest: "-aligned,notrusted",
		random: []string{"ISTHMUS_FSX_LACKS=collapse,sharing"}, behind: func(m *material) string { return m.dir }},
	{name: "memory", spec: func(m *material) string { return "type=dir,source=" + m.memory },
		inGuest: "notrusted",
		random:  []string{"ISTHMUS_FSX_LACKS=zerorange,collapse,sharing"}, behind: func(m *material) string { return m.memory }},
	{name: "scratch", spec: func(*material) string { return "type=scratch,mode=755" },
		words: private, random: []string{"ISTHMUS_FSX_LACKS=collapse,sharing"}},
	{name: "scratch on disk", spec: func(*material) string { return "type=scratch,mode=755,backing=disk" },
		words: private, random: []string{"ISTHMUS_FSX_LACKS=collapse,sharing"}},
	{name: "overlay", spec: func(m *material) string { return "type=overlay,source=" + m.lower },
		words: private, random: []string{"ISTHMUS_FSX_LACKS=collapse,sharing", "ISTHMUS_FSX_FOUND=1"}},
	{name: "overlay on an archive", spec: func(m *material) string { return "type=overlay,lower=archive,source=" + m.archive },
		words: private, random: []string{"ISTHMUS_FSX_LACKS=collapse,sharing", "ISTHMUS_FSX_FOUND=1"}},
	{name: "archive", spec: func(m *material) string { return "type=archive,source=" + m.archive },
		words: "readonly", only: "ReadOnlyShare"},
	{name: "file", spec: func(m *material) string { return "type=file,source=" + filepath.Join(m.single, "a") },
		random: []string{"ISTHMUS_FSX_LACKS=collapse,names,sharing"}, only: "^$", behind: func(m *material) string { return m.single }},
}

// target is where a source is mounted whose directory is at path. A file is in
// that directory.
func (s *source) target(path string) string {
	if s.name == "file" {
		return filepath.Join(path, "a")
	}
	return path
}

// material is what sources are made of.
type material struct {
	dir, memory     string // empty directories on ext4 and tmpfs
	lower           string // a directory with something in it
	archive         string // of the same
	single          string // a directory with the file a
	private         string // where private data are kept
	t               *testing.T
	lowerAsItWas    map[string]string
	hostsOwnArchive []byte
}

// foundFiles is how many directories there are for the random test in what an
// overlay lies over.
const foundFiles = 50

func newMaterial(t *testing.T) *material {
	t.Helper()
	m := &material{t: t, dir: openDir(t, false).path, memory: openDir(t, true).path, private: t.TempDir()}
	m.lower, m.single = openDir(t, false).path, openDir(t, false).path
	m.archive = filepath.Join(t.TempDir(), "archive.tar")
	onHost(t, nil, []string{"ISTHMUS_TEST_HELPER=prepare", "ISTHMUS_TEST_DIR=" + m.lower}, "", nil)
	if err := fsx.Prepare(m.lower, foundFiles); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "--format=pax", "--xattrs", "-C", m.lower, "-cf", m.archive, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(m.single, "a"), []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.lowerAsItWas = snapshot(t, m.lower, false)
	m.hostsOwnArchive = []byte(readFile(t, m.archive))
	return m
}

// unchanged checks that nothing has happened to what overlays and archives are
// made of, and that private data are gone.
func (m *material) unchanged() {
	m.t.Helper()
	if !maps.Equal(snapshot(m.t, m.lower, false), m.lowerAsItWas) {
		m.t.Errorf("%s has changed", m.lower)
	}
	if readFile(m.t, m.archive) != string(m.hostsOwnArchive) {
		m.t.Errorf("%s has changed", m.archive)
	}
	if left := namesIn(m.t, m.private); len(left) > 0 {
		m.t.Errorf("private data are left: %q", left)
	}
}

// ofTheSource are the guest tests of what a source decides, rather than the kernel
// in front of it. Those are run in guests, and all of them on this host.
const ofTheSource = "Random|Rename|Creator|Fallocate|Punched|Seek|ExtendedAttribute|Mapping|OpenFilesSurvive|Truncation|" +
	"HardLinks|Symbolic|SpecialFiles|TimesAre|TemporaryFiles|Listing|SetuidDoes|Append"

// script is what is run for a source that is at path: by the shell of this host
// or of a guest, where the two programs are.
func (s *source) script(path, words, tests, behind string, checks int, guestTest, randomTest string) string {
	script := "exec 2>&1; "
	if s.only != "" {
		tests = s.only
	}
	if tests != "^$" {
		script += fmt.Sprintf("ISTHMUS_TEST_DIR='%s' ISTHMUS_TEST_FEATURES='%s' '%s' -test.v -test.short -test.run '%s'\n", path, words, guestTest, tests)
	}
	if s.random != nil {
		script += fmt.Sprintf("%s ISTHMUS_FSX_DIR='%s' ISTHMUS_FSX_BEHIND='%s' '%s' -test.v -test.run '^TestFiles$' -rapid.checks=%d -rapid.steps=40 -rapid.shrinktime=1s\n",
			strings.Join(s.random, " "), path, behind, randomTest, checks)
	}
	return script
}

// onMount tests a source that is mounted on this host.
func (s *source) onMount(t *testing.T, m *material, path string) {
	t.Helper()
	behind := ""
	if s.behind != nil {
		behind = s.behind(m)
	}
	out, err := exec.Command("sh", "-euc", s.script(path, s.words, ".", behind, 30, guestTest, randomTest)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	passed(t, string(out))
}

// inGuests tests a source that is in a guest of the daemon.
func (s *source) inGuests(t *testing.T, d *daemon, path string) {
	t.Helper()
	const random = "/fsx.test"
	words := combine(s.words, s.inGuest+",nobtime")
	cfg := guest(lab.UML, d, sh(s.script(path, words, ofTheSource, "", 10, carried, random))...)
	cfg.Files = []lab.File{{Path: carried, Source: guestTest, Mode: 0o755}, {Path: random, Source: randomTest, Mode: 0o755}}
	passed(t, run(t, cfg))
}

// TestEachSource has each source as the whole of a share, at both doors.
func TestEachSource(t *testing.T) {
	t.Parallel()
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m := newMaterial(t)
			spec := s.spec(m) + ",target=" + s.target("/")
			at := mountPoint(t)
			d := launch{}.mountAt(t, at, spec, "--allow-other", "--tempdir", m.private)
			s.onMount(t, m, at)
			d.unmount(at)
			m.unchanged()

			d = serve(t, spec, "--tempdir", m.private)
			s.inGuests(t, d, mountedAt)
			d.stop(syscall.SIGTERM)
			m.unchanged()
		})
	}
}

// TestTreeOfAllSources has all of them in one tree, at a path of its own each.
func TestTreeOfAllSources(t *testing.T) {
	t.Parallel()
	place := func(s *source) string { return "/of/" + strings.ReplaceAll(s.name, " ", "-") }
	specs := func(m *material) []string {
		var all []string
		for _, s := range sources {
			all = append(all, s.spec(m)+",target="+s.target(place(&s)))
		}
		return all
	}
	t.Run("mount", func(t *testing.T) {
		t.Parallel()
		m, at := newMaterial(t), mountPoint(t)
		all := specs(m)
		d := launch{}.mountAt(t, at, all[0], append([]string{"--allow-other", "--tempdir", m.private}, all[1:]...)...)
		for _, s := range sources {
			t.Run(s.name, func(t *testing.T) { s.onMount(t, m, at+place(&s)) })
		}
		d.unmount(at)
		m.unchanged()
	})
	t.Run("guest", func(t *testing.T) {
		t.Parallel()
		m := newMaterial(t)
		args := []string{"--tempdir", m.private}
		all := specs(m)
		for _, spec := range all[1:] {
			args = append(args, "--share", spec)
		}
		d := serve(t, all[0], args...)
		for _, s := range sources {
			t.Run(s.name, func(t *testing.T) { s.inGuests(t, d, mountedAt+place(&s)) })
		}
		d.stop(syscall.SIGTERM)
		m.unchanged()
	})
}

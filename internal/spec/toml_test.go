package spec

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/archive"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

const wholeFile = `# All settings.
socket = "vm.sock"
fd = 0x3
socket-mode = "0660"
socket-group = "kvm"
tag = "data"
queues = 4
once = true
rlimit-nofile = 10_000
tempdir = "/var/tmp"
sandbox = "chroot"
seccomp = "log"
landlock = false
modcaps = "+sys_admin"
uid-map = [":0:1000:1:", ":1:100000:65536:"]
gid-map = ":0:1000:1:"
log-level = "debug"
log-format = "json"
control = "ctl.sock"
metrics = "localhost:9100"
audit = "log/audit"
allow-source = ["/srv", "later"]

[[share]]
source = "src"
target = "/src//"
ro = true
translate-uid = ["map:0:1000:1", "map:1:100000:10"]
cache = "never" # and so on
io = "sync"

[[share]]
type = 'scratch'
target = "/tmp"
size = 0x1000
mode = "1777"
uid = 1_000
nodev = true
noexec = false

  [[ share ]]
  type = """overlay"""
  lower = "archive"
  src = "/img\u002ctar"
  dst = "/img,a\\b"
  size = "64M"
  io = []
`

func TestParse(t *testing.T) {
	// What io is for an overlay is an error, if it says anything.
	doc := strings.Replace(wholeFile, "fd = 0x3\n", "\n", 1)
	doc = strings.Replace(doc, "  io = []\n", "", 1)
	got, err := Parse(strings.NewReader(doc), "x.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Socket: ptr("vm.sock"), SocketMode: ptr(uint32(0o660)), SocketGroup: ptr("kvm"), Tag: ptr("data"), Queues: ptr(4), Once: ptr(true),
		RlimitNofile: ptr(uint64(10000)), TempDir: ptr("/var/tmp"), Sandbox: ptr("chroot"), Seccomp: ptr("log"), Landlock: ptr(false),
		Modcaps: ptr("+sys_admin"), UIDMap: []string{":0:1000:1:", ":1:100000:65536:"}, GIDMap: []string{":0:1000:1:"},
		LogLevel: ptr("debug"), LogFormat: ptr("json"), Control: ptr("ctl.sock"), Metrics: ptr("localhost:9100"), Audit: ptr("log/audit"),
		AllowSource: []string{"/srv", "later"},
	}
	if d := cmp.Diff(got.Settings, want); d != "" {
		t.Errorf("settings (-got +want):\n%s", d)
	}
	mounts := []Mount{
		{Source: "src", Target: "/src", ReadOnly: true, UIDs: idMap(t, "map:0:1000:1", "map:1:100000:10"),
			Cache: ptr(passthrough.CacheNever), IO: IO{Sync: true}, Pos: Pos{"x.toml", 24, 3}},
		{Type: Scratch, Target: "/tmp", Size: 4096, NoDev: true, RootMode: ptr(uint32(0o1777)), RootUID: ptr(uint32(1000)), Pos: Pos{"x.toml", 32, 3}},
		{Type: Overlay, Lower: Archive, Source: "/img,tar", Target: `/img,a\b`, Size: 64 << 20, Pos: Pos{"x.toml", 41, 6}},
	}
	if len(got.Mounts) != len(mounts) {
		t.Fatalf("%d mounts, want %d", len(got.Mounts), len(mounts))
	}
	for i, m := range got.Mounts {
		if m.Pos != mounts[i].Pos {
			t.Errorf("mount %d is at %v, want %v", i, m.Pos, mounts[i].Pos)
		}
		sameMount(t, m, mounts[i])
		reparse(t, m)
	}
	if at, want := got.At["queues"], (Pos{"x.toml", 7, 1}); at != want {
		t.Errorf("queues were said at %v, want %v", at, want)
	}
	if _, ok := got.At["fd"]; ok || len(got.At) != len(SettingOptions())-1 {
		t.Errorf("said were %v", got.At)
	}
	if err := Check(got.Mounts); err != nil {
		t.Error(err)
	}
}

// TestEverySettingIsRead: the file above has them all, so no setting is without
// a test, and each can be written back.
func TestEverySettingIsRead(t *testing.T) {
	for _, o := range SettingOptions() {
		if !strings.Contains(wholeFile, "\n"+o.Word+" = ") {
			t.Errorf("%s is in no test", o.Word)
		}
	}
	var s Settings
	for i := range settingForm.options {
		o := &settingForm.options[i]
		if got := o.get(&s); len(got) != 0 {
			t.Errorf("%s: %q of nothing", o.word, got)
		}
		v := map[kind]string{flagKind: "true", numberKind: "7", textKind: "0640", pathKind: "/x", listKind: ":0:1:2:", pathsKind: "/x"}[o.kind]
		if len(o.values) != 0 {
			v = o.values[len(o.values)-1].Word
		}
		if err := o.set(&s, v); err != nil {
			t.Errorf("%s = %q: %v", o.word, v, err)
		}
		if got := o.get(&s); len(got) != 1 || got[0] != v {
			t.Errorf("%s = %q reads as %q", o.word, v, got)
		}
	}
}

func TestParseInlineShares(t *testing.T) {
	got, err := Parse(strings.NewReader(`share = [
  { source = "/a" }, # é
  { source = "/b", target = "/é", ro = true }, { type = "scratch", target = "/c" },
]`), "x.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"source=/a,target=/", "source=/b,target=/é,readonly", "type=scratch,target=/c"}
	places := []Pos{{"x.toml", 2, 3}, {"x.toml", 3, 3}, {"x.toml", 3, 48}}
	for i, m := range got.Mounts {
		if m.String() != want[i] || m.Pos != places[i] {
			t.Errorf("%v: %v, want %v: %v", m.Pos, &m, places[i], want[i])
		}
	}
	if len(got.Mounts) != len(want) {
		t.Errorf("%d mounts, want %d", len(got.Mounts), len(want))
	}
}

func TestParseErrors(t *testing.T) {
	settings := strings.Join(wordsOf(SettingOptions()), ", ") + ", share"
	const below = "[[share]]\nsource = \"/a\"\n"
	for _, c := range []struct{ doc, want string }{
		// TOML's own rules.
		{"queues = 1\nqueues = 2", "2:1: "},
		{"queues = ", "1:9: "},
		{"é = 1", "1:1: "},
		{"tag = \"é\" x", "1:11: "},
		{"tag = \"\xff\"", "1:8: "},
		{"[[share]]\n[share]", "2:2: "},
		{"[[share]]\nsource = \"/a\"\nsource = \"/b\"", "3:1: "},
		{"share = []\n[[share]]", "2:3: "},
		{"a.b = 1\na = 2", "2:1: "},
		// Unknown keys.
		{"quues = 1", `1:1: unknown setting "quues": did you mean queues?`},
		{"  zzz = 1", `1:3: unknown setting "zzz": want one of ` + settings},
		{"# é\n'zz z'.x = 1", `2:1: unknown setting "zz z": want one of ` + settings},
		{"[shares]", `1:2: unknown setting "shares": did you mean share?`},
		{"[[mount]]\nx = 1", `1:3: unknown setting "mount": want one of ` + settings},
		{below + "  cahe = 1", `3:3: unknown option "cahe": did you mean cache?`},
		{below + "zzz = 1", `3:1: unknown option "zzz": want one of ` + allOptions},
		{"share = [{source = '/a', é = 1}]", "1:26: "},
		{"share = [{source = '/a', e = 1}]", `1:26: unknown option "e": want one of ` + allOptions},
		{below + "socket = '/s'", "3:1: socket is a setting of the daemon: want it before the first [[share]]"},
		{"readonly = true", "1:1: readonly is an option of a mount: want it below a [[share]]"},
		// Tables where there are none.
		{"[share]\nsource = '/a'", "1:2: share is a single table: want [[share]], one for each mount"},
		{"[[share]]\nsource='/a'\n[share.x]", "3:2: a table inside of share: want the options of a mount as KEY = VALUE below [[share]]"},
		{"[socket]\nx = 1", "1:2: socket: found a table: want a string, as socket = VALUE before the first [[share]]"},
		{"[[queues]]", "1:3: queues: found a table: want a number, as queues = VALUE before the first [[share]]"},
		{"log-level.x = 1", "1:1: log-level: found a table: want a string"},
		{below + "cache.x = 1", "3:1: cache: found a table: want a string"},
		{"share = 5", "1:9: share: found 5: want an array of tables, as [[share]] makes them"},
		{"share = '/a:/b'", `1:9: share: found the string "/a:/b": want an array of tables, as [[share]] makes them`},
		{"share = ['/a:/b']", `1:10: share: found the string "/a:/b": want an array of tables, as [[share]] makes them`},
		{"share = [ [] ]", `1:9: share: found an array: want an array of tables, as [[share]] makes them`},
		{"share = {source = '/a'}", `1:9: share: found a table: want an array of tables, as [[share]] makes them`},
		{"share.source = '/a'", `1:1: share is a single table: want [[share]], one for each mount`},
		// Types of values.
		{"queues = '4'", `1:10: queues: found the string "4": want a number from 1 to 64`},
		{"queues =  4.5", `1:11: queues: found 4.5: want a number from 1 to 64`},
		{"queues = 2020-01-01", `1:10: queues: found a date or a time: want a number from 1 to 64`},
		{"once = 1", `1:8: once: found 1: want true or false`},
		{"once = 'true'", `1:8: once: found the string "true": want true or false`},
		{"socket = ['/a']", `1:10: socket: found an array: want a string: a path of the host`},
		{"socket = {}", `1:10: socket: found a table: want a string: a path of the host`},
		{"uid-map = [1]", `1:12: uid-map: found 1: want an array of strings: :INSIDE:OUTSIDE:COUNT:`},
		{below + "cache = true", `3:9: cache: found true: want a string: auto, never, metadata or always`},
		{below + "entry-timeout = 1", `3:17: entry-timeout: found 1: want a string: a time with its unit, such as 500ms, 1s, 2m or 24h, or 0`},
		{below + "io = [\n  'sync',\n  1]", `5:3: io: found 1: want an array of strings: direct or sync, or both one after the other`},
		{below + "io = ['sync', ['direct']]", `3:6: io: found an array: want an array of strings: direct or sync, or both one after the other`},
		{"[[share]]\ntype='scratch'\nsize = 1.5", `3:8: size: found 1.5: want a string or a number: a number of bytes, or one with K, M, G or T (or KiB, MiB, GiB, TiB) behind it, above 0 and below 8388608T`},
		// Values.
		{"socket = ''", `1:10: socket "": want a path of the host`},
		{"socket = '~/x'", `1:10: socket "~/x": ~ is not replaced here: write the home directory out, or ./~ for a file of that name`},
		{"queues = 0", `1:10: queues "0": want a number from 1 to 64`},
		{"queues = 65", `1:10: queues "65": want a number from 1 to 64`},
		{"queues = -1", `1:10: queues "-1": want a number from 1 to 64`},
		{"fd = 2147483648", `1:6: fd "2147483648": want a number from 0 to 2147483647`},
		{"rlimit-nofile = 0", `1:17: rlimit-nofile "0": want a number from 1 to 2147483648`},
		{"socket-mode = '0999'", `1:15: socket-mode "0999": want octal permissions such as 0660`},
		{"socket-mode = '1777'", `1:15: socket-mode "1777": want octal permissions such as 0660`},
		{"socket-group = ''", `1:16: socket-group "": want the name or the number of a group`},
		{"tag = ''", `1:7: tag "": want UTF-8 of 1 to 36 bytes without NUL`},
		{"tag = \"a\\u0000\"", `1:7: tag "a\x00": want UTF-8 of 1 to 36 bytes without NUL`},
		{"sandbox = 'namspace'", `1:11: sandbox "namspace": did you mean namespace? want auto, namespace, chroot or none`},
		{"seccomp = 'x'", `1:11: seccomp "x": want kill, log, trap or none`},
		{"modcaps = ''", `1:11: modcaps "": want capabilities, as in +sys_admin:-mknod`},
		{"gid-map = ''", `1:11: gid-map "": want :INSIDE:OUTSIDE:COUNT:`},
		{"log-level = 'trace'", `1:13: log-level "trace": want error, warn, info or debug`},
		{"log-format = 'x'", `1:14: log-format "x": want text or json`},
		{"metrics = ''", `1:11: metrics "": want HOST:PORT`},
		{"audit = ''", `1:9: audit "": want a path of the host`},
		{"control = ''", `1:11: control "": want a path of the host`},
		{"tempdir = ''", `1:11: tempdir "": want a path of the host`},
		{"[[share]]\ntype='scratch'\nmode = 0o1777", `3:8: mode: found 0o1777: want a string: octal permissions such as 0755 or 1777`},
		{below + "cache = 'x'", `3:9: cache "x": want auto, never, metadata or always`},
		{below + "translate-uid = [ 'map:0:1:1', 'x' ]", `3:32: translate-uid "x": unknown kind "x": want guest, host, map, squash-guest, squash-host or forbid-guest`},
		{below + "ro = true\nreadonly = true", "4:12: readonly: readonly was said before"},
		{"[[share]]\ntype='scratch'\nsize = -1", `3:8: size "-1": want a number of bytes, or one with K, M, G or T (or KiB, MiB, GiB, TiB) behind it, above 0 and below 8388608T`},
		// What makes no sense.
		{"fd = 3\nsocket = '/s'", "1:1: fd: there is a socket too: want one of them"},
		{"socket-mode = '0600'\nfd = 3", "2:1: fd: socket-mode and socket-group are for a socket that is made here: want none of them beside fd"},
		{"\n[[share]]\ntarget = '/x'", "2:3: source: it is missing: want source=PATH, or type=scratch for space that is empty at first"},
		{below + "size = 1", "3:1: size: it makes no sense for type=auto: it is for archive, scratch and overlay"},
		{"[[share]]\ntype = 'archive'\nrw = true\nsource = 'a'", "3:1: readonly: an archive cannot be written to; type=overlay,lower=archive gives the guest writable space over it"},
		// More than one, in their order.
		{"queues = 0\nzzz = 1\n[[share]]\nunlink = 1\n[[share]]\n",
			"1:10: queues \"0\": want a number from 1 to 64\nx.toml:2:1: unknown setting \"zzz\": want one of " + settings +
				"\nx.toml:4:10: unlink: found 1: want a string: refuse, hide or delete" +
				"\nx.toml:5:3: source: it is missing: want source=PATH, or type=scratch for space that is empty at first"},
	} {
		t.Run(c.doc, func(t *testing.T) {
			got, err := Parse(strings.NewReader(c.doc), "x.toml")
			if err == nil {
				t.Fatalf("it is %+v", got)
			}
			// What TOML forbids, the library says in its own words.
			if s := err.Error(); s != "x.toml:"+c.want && !(strings.HasSuffix(c.want, ": ") && strings.HasPrefix(s, "x.toml:"+c.want) && len(s) > len(c.want)+7) {
				t.Errorf("\n%s, want\nx.toml:%s", s, c.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.Pos.Line == 0 {
				t.Errorf("%T has no place", err)
			}
		})
	}
}

func wordsOf(options []OptionHelp) (w []string) {
	for _, o := range options {
		w = append(w, o.Word)
	}
	return w
}

func TestParseTellsNotTooMuch(t *testing.T) {
	_, err := Parse(strings.NewReader(strings.Repeat("[[share]]\n", 1000)), "x.toml")
	if n := strings.Count(err.Error(), "\n") + 1; n != maxErrors {
		t.Errorf("%d lines, want %d", n, maxErrors)
	}
}

// TestParseCountsOnce: what a long file takes grows with its length, not with
// the square of it.
func TestParseCountsOnce(t *testing.T) {
	const one = "{source = '/a', target = '/a', ro = true},"
	doc := "share = [" + strings.Repeat(one, (MaxConfig-10)/len(one)) + "]"
	got, err := Parse(strings.NewReader(doc), "x.toml")
	if err != nil {
		t.Fatal(err)
	}
	last := len(got.Mounts) - 1
	if want := (Pos{"x.toml", 1, len("share = [") + last*len(one) + 1}); got.Mounts[last].Pos != want {
		t.Errorf("the last is at %v, want %v", got.Mounts[last].Pos, want)
	}
}

func TestParseReads(t *testing.T) {
	fits := strings.Repeat("#", MaxConfig)
	if _, err := Parse(strings.NewReader(fits), "x.toml"); err != nil {
		t.Error(err)
	}
	if _, err := Parse(io.MultiReader(strings.NewReader(fits), strings.NewReader("#")), "x.toml"); err == nil || err.Error() != "x.toml: it is too long: want at most 1048576 bytes" {
		t.Error(err)
	}
	if _, err := Parse(iotest.ErrReader(io.ErrClosedPipe), "x.toml"); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if got, err := Parse(strings.NewReader(""), "x.toml"); err != nil || len(got.Mounts) != 0 || !reflect.DeepEqual(got.Settings, Settings{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.toml")
	const doc = "socket = 's'\naudit = '/a'\nuid-map = ['x']\n[[share]]\nsource = '../src'\n[[share]]\nsource = '/abs'\ntarget = '/t'\n[[share]]\ntype = 'scratch'\n"
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{*c.Socket, *c.Audit, c.UIDMap[0], c.Mounts[0].Source, c.Mounts[1].Source, c.Mounts[2].Source, c.Mounts[0].Pos.String()}
	want := []string{dir + "/s", "/a", "x", dir + "/../src", "/abs", "", path + ":4:3"}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
	if err := os.WriteFile(path, []byte("socket = ''"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(path); err == nil || err.Error() != path+`:1:10: socket "": want a path of the host` {
		t.Error(err)
	}
	if _, err := ParseFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestOthersAgree: what this package knows of others, which it does not import,
// is so.
func TestOthersAgree(t *testing.T) {
	if maxQueues != virtiofs.MaxRequestQueues || maxTag != virtiofs.MaxTag || DefaultArchiveSize != archive.DefaultMaxBytes ||
		DefaultScratchSize != scratch.DefaultSize || maxScratchSize != scratch.MaxSize {
		t.Error("a bound is not that of the package that has it")
	}
	for _, tag := range []string{"", "a", strings.Repeat("x", 36), strings.Repeat("x", 37), "a\x00", "\xff", "é"} {
		if got, want := checkTag(tag) == nil, virtiofs.CheckTag(tag) == nil; got != want {
			t.Errorf("tag %q: %v, want %v", tag, got, want)
		}
	}
}

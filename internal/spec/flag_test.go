package spec

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
)

func TestParseFlag(t *testing.T) {
	xattrs, err := rules.ParseXattrMap(":map::user.virtiofs.:")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		value string
		want  Mount
	}{
		{"/srv", Mount{Source: "/srv", Target: "/"}},
		{"relative", Mount{Source: "relative", Target: "/"}},
		{"/srv:/data", Mount{Source: "/srv", Target: "/data"}},
		{"/srv:/data:ro", Mount{Source: "/srv", Target: "/data", ReadOnly: true}},
		{"/srv:/data:rw", Mount{Source: "/srv", Target: "/data", Writable: true}},
		{"/srv:/data:rw=false", Mount{Source: "/srv", Target: "/data", ReadOnly: true}},
		{"/srv:/data:readonly=false", Mount{Source: "/srv", Target: "/data", Writable: true}},
		{"/srv://data/./x//", Mount{Source: "/srv", Target: "/data/x"}},
		{"/srv//../x/:/", Mount{Source: "/srv//../x/", Target: "/"}},
		{`/a\:b\,c\\d:/e\:f\,g\\h`, Mount{Source: `/a:b,c\d`, Target: `/e:f,g\h`}},
		{"/srv/a=b:/x=y", Mount{Source: "/srv/a=b", Target: "/x=y"}},
		{"./a=b", Mount{Source: "./a=b", Target: "/"}},
		{"A=b", Mount{Source: "A=b", Target: "/"}},
		{"=b", Mount{Source: "=b", Target: "/"}},
		{"1=b", Mount{Source: "1=b", Target: "/"}},
		{"\xff\xfe:/\xfd", Mount{Source: "\xff\xfe", Target: "/\xfd"}},
		{"./~/x", Mount{Source: "./~/x", Target: "/"}},
		{"/usr:/usr:type=overlay,size=1G", Mount{Type: Overlay, Source: "/usr", Target: "/usr", Size: 1 << 30}},
		{"/srv:/d:translate-uid=map:0:1000:1,translate-uid=guest\\:1:1001\\:5",
			Mount{Source: "/srv", Target: "/d", UIDs: idMap(t, "map:0:1000:1", "guest:1:1001:5")}},
		{"source=/srv", Mount{Source: "/srv", Target: "/"}},
		{"src=/srv,dst=/x", Mount{Source: "/srv", Target: "/x"}},
		{"target=/x,source=a:b", Mount{Source: "a:b", Target: "/x"}},
		{"source=a\\:b=c,destination=/x", Mount{Source: "a:b=c", Target: "/x"}},
		{"type=dir,source=/srv,readonly", Mount{Type: Dir, Source: "/srv", Target: "/", ReadOnly: true}},
		{"type=file,source=/f,target=/x/f,unlink=hide,nosuid,noexec",
			Mount{Type: File, Source: "/f", Target: "/x/f", Unlink: ptr(UnlinkHide), NoSUID: true, NoExec: true}},
		{"type=archive,source=a.tar,target=/,size=100MiB", Mount{Type: Archive, Source: "a.tar", Target: "/", Size: 100 << 20}},
		{"type=scratch,target=/tmp,backing=disk,nodev=true,noexec=false",
			Mount{Type: Scratch, Target: "/tmp", Backing: ptr(Disk), NoDev: true}},
		{"type=overlay,lower=archive,source=a.tar,size=4096B", Mount{Type: Overlay, Lower: Archive, Source: "a.tar", Target: "/", Size: 4096}},
		{"type=scratch,target=/tmp,mode=1777,uid=1000,gid=4294967294",
			Mount{Type: Scratch, Target: "/tmp", RootMode: ptr(uint32(0o1777)), RootUID: ptr(uint32(1000)), RootGID: ptr(uint32(4294967294))}},
		{"type=overlay,source=/a,cache=never,file-handles=never,size=4K",
			Mount{Type: Overlay, Source: "/a", Target: "/", Cache: ptr(passthrough.CacheNever), FileHandles: ptr(passthrough.HandlesNever), Size: 4096}},
		{"source=/srv,io=sync,io=direct,direct-io", Mount{Source: "/srv", Target: "/", IO: IO{true, true}, DirectIO: ptr(true)}},
		{"source=/srv,cache=always,entry-timeout=500ms,attr-timeout=0,negative-timeout=24h",
			Mount{Source: "/srv", Target: "/", Cache: ptr(passthrough.CacheAlways), EntryTimeout: ptr(500 * time.Millisecond),
				AttrTimeout: ptr(time.Duration(0)), NegativeTime: ptr(24 * time.Hour)}},
		{"source=/srv,writeback,allow-mmap,readdirplus=false,preserve-noatime=false,killpriv=false,announce-submounts=false,posix-locks,flock=false",
			Mount{Source: "/srv", Target: "/", Writeback: ptr(true), AllowMmap: ptr(true), Readdirplus: ptr(false), PreserveNoatime: ptr(false),
				KillPriv: ptr(false), Submounts: ptr(false), PosixLocks: ptr(true), Flock: ptr(false)}},
		{"source=/srv,file-handles=mandatory,posix-acl=auto,security-label=always,translate-gid=map\\,0\\,1\\,2",
			Mount{Source: "/srv", Target: "/", FileHandles: ptr(passthrough.HandlesMandatory), PosixACL: ptr(passthrough.NegotiateAuto),
				Label: ptr(passthrough.NegotiateAlways), GIDs: idMap(t, "map,0,1,2")}},
		{"source=/srv,xattr=true,xattrmap=:map::user.virtiofs.:",
			Mount{Source: "/srv", Target: "/", Xattr: ptr(true), Xattrs: XattrMap{":map::user.virtiofs.:", xattrs}}},
	} {
		t.Run(c.value, func(t *testing.T) {
			got, err := ParseFlag(c.value)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Pos{Name: "share " + quote(c.value)}); got.Pos != want {
				t.Errorf("position %v, want %v", got.Pos, want)
			}
			sameMount(t, got, c.want)
			reparse(t, got)
		})
	}
}

// allOptions is the list of words in an error.
var allOptions = func() string {
	var w []string
	for _, o := range Options() {
		w = append(w, o.Word)
	}
	return strings.Join(w, ", ")
}()

func TestParseFlagErrors(t *testing.T) {
	const form = "HOST[:GUEST[:OPTION,…]]"
	long := strings.Repeat("x", 5000)
	for _, c := range []struct{ value, want string }{
		// The forms.
		{"", "the host's path is empty: want " + form + "; scratch space, which has none, is type=scratch,target=GUEST"},
		{":/x", "the host's path is empty: want " + form + "; scratch space, which has none, is type=scratch,target=GUEST"},
		{"/a:", "the guest's path is empty: want " + form + ", with / for the root"},
		{"/a::ro", "the guest's path is empty: want " + form + ", with / for the root"},
		{"/a:ro", `the guest's path is "ro", which is an option: want HOST:GUEST:ro`},
		{"/a:size=1G", `the guest's path is "size=1G", which is an option: want HOST:GUEST:size=1G`},
		{"/a:b", `target "b": want an absolute path of the guest, / for the root`},
		{"/a,ro", "a comma in the host's path: write \\, if the path has one, " + form + " for options, or begin with KEY=VALUE for the long form"},
		{"readonly,source=/a", "a comma in the host's path: write \\, if the path has one, " + form + " for options, or begin with KEY=VALUE for the long form"},
		{"/a:/b,ro", "a comma in the guest's path: write \\, if the path has one, or " + form + " for options"},
		{"/a:/b:", "an option is empty: there is a comma too many, or none is given after it"},
		{"/a:/b:ro,", "an option is empty: there is a comma too many, or none is given after it"},
		{"source=/a,,ro", "an option is empty: there is a comma too many, or none is given after it"},
		{`C:\x:/b`, `a \ before "x": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`a\b`, `a \ before "b": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`a\é`, `a \ before "é": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`a\`, `a \ before the end: it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`/a:/b\x`, `a \ before "x": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`/a:/b:ro\=`, `a \ before "=": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		{`source=\x`, `a \ before "x": it takes the meaning from :, from , and from another \; write \\ for one that is meant`},
		// The words.
		{"typ=dir", `unknown option "typ": did you mean type? A path of the host that begins like that is written ./typ=…`},
		{"zzz=1", `unknown option "zzz": want one of ` + allOptions + `. A path of the host that begins like that is written ./zzz=…`},
		{"source=/a,cahce=never", `unknown option "cahce": did you mean cache?`},
		{"/a:/b:read-only", `unknown option "read-only": did you mean readonly?`},
		{"/a:/b:=x", `unknown option "": want one of ` + allOptions},
		{"/a:/b:RO", `unknown option "RO": want one of ` + allOptions},
		{"/a:/b:ro,readonly", "readonly: readonly was said before"},
		{"/a:/b:ro,rw", "rw: readonly was said before"},
		{"/a:/b:source=/c", "source: source was said before"},
		{"/a:/b:dst=/c", "dst: target was said before"},
		{"source=/a,cache", "cache: its value is missing: want cache=POLICY, auto, never, metadata or always"},
		{"source=/a,translate-uid", "translate-uid: its value is missing: want translate-uid=RULE, rules such as map:0:1000:1"},
		{"source=/a,target", "target: its value is missing: want target=PATH, an absolute path of the guest, / for the root"},
		// The values.
		{"type=zip,source=/a", `type "zip": want auto, dir, file, archive, scratch or overlay`},
		{"type=directory,source=/a", `type "directory": want auto, dir, file, archive, scratch or overlay`},
		{"type=achive,source=/a", `type "achive": did you mean archive? want auto, dir, file, archive, scratch or overlay`},
		{"type=overlay,source=/a,lower=scratch", `lower "scratch": want auto, dir, file or archive`},
		{"source=", `source "": want a path of the host`},
		{"source=~/x", `source "~/x": ~ is not replaced here: write the home directory out, or ./~ for a file of that name`},
		{"~", `source "~": ~ is not replaced here: write the home directory out, or ./~ for a file of that name`},
		{"/a\x00", `source "/a\x00": a path cannot hold a NUL`},
		{"/a:/b/../c", `target "/b/../c": a path of the guest cannot hold ..: write where it leads`},
		{"/a:/\x00", `target "/\x00": a path cannot hold a NUL`},
		{"/a:/" + long, `target "/` + long[:159] + `"…: it has 5001 bytes: at most 4095 fit`},
		{"/a:/" + long[:256], `target "/` + long[:159] + `"…: the name "` + long[:160] + `"… has 256 bytes: at most 255 fit`},
		{"/a:/b:ro=yes", `ro "yes": want true or false`},
		{"/a:/b:rw=maybe", `rw "maybe": want true or false`},
		{"/a:/b:nodev=", `nodev "": want true or false`},
		{"/a:/b:flock=1", `flock "1": want true or false`},
		{"/a:/b:cache=alway", `cache "alway": did you mean always? want auto, never, metadata or always`},
		{"/a:/b:unlink=x", `unlink "x": want refuse, hide or delete`},
		{"/a:/b:backing=x", `backing "x": want memory or disk`},
		{"/a:/b:file-handles=x", `file-handles "x": want prefer, mandatory or never`},
		{"/a:/b:posix-acl=true", `posix-acl "true": want never, auto or always`},
		{"/a:/b:security-label=on", `security-label "on": want never, auto or always`},
		{"/a:/b:entry-timeout=1", `entry-timeout "1": want a time with its unit, such as 500ms, 1s, 2m or 24h, or 0`},
		{"/a:/b:attr-timeout=-1s", `attr-timeout "-1s": want a time with its unit, such as 500ms, 1s, 2m or 24h, or 0`},
		{"/a:/b:io=fast", `io "fast": want direct or sync, or both one after the other`},
		{"/a:/b:io=driect", `io "driect": did you mean direct? want direct or sync, or both one after the other`},
		{"/a:/b:translate-uid=x:1", `translate-uid "x:1": unknown kind "x": want guest, host, map, squash-guest, squash-host or forbid-guest`},
		{"/a:/b:translate-gid=map:0:1:2,translate-gid=map:1:7:1", `translate-gid "map:1:7:1": the rule cannot hold: the guest ids 1 to 1 have a rule already`},
		{"/a:/b:xattrmap=", `xattrmap "": xattr map: no rules: want :TYPE:SCOPE:KEY:PREPEND: or :map:KEY:PREPEND:`},
		{"/a:/b:xattrmap=:map:", `xattrmap ":map:": xattr map: rule 1: incomplete: no ":" after the key in ":map:"`},
		// What makes no sense.
		{"type=dir", "source: it is missing: want source=PATH, or type=scratch for space that is empty at first"},
		{"target=/x", "source: it is missing: want source=PATH, or type=scratch for space that is empty at first"},
		{"type=scratch,source=/a", "source: it makes no sense for type=scratch: it is for dir, file, archive and overlay"},
		{"type=scratch,readonly", "readonly: scratch space is there to be written to: nothing would ever be in it"},
		{"type=scratch,flock=false", "flock: it makes no sense for type=scratch: it is for dir and file"},
		{"type=overlay,source=/a,ro", "readonly: an overlay is there to be written to: to show its source read-only, use type=dir, file or archive"},
		{"type=overlay,source=/a,lower=file", "target: a file cannot be the root, which is a directory: want target=/NAME"},
		{"type=archive,source=/a,rw", "readonly: an archive cannot be written to; type=overlay,lower=archive gives the guest writable space over it"},
		{"type=archive,source=/a,cache=never", "cache: it makes no sense for type=archive: it is for dir, file and overlay"},
		{"type=file,source=/a", "target: a file cannot be the root, which is a directory: want target=/NAME"},
		{"type=file,source=/a,target=/b,announce-submounts", "announce-submounts: it makes no sense for type=file: it is for dir"},
		{"type=dir,source=/a,unlink=hide", "unlink: it makes no sense for type=dir: it is for file"},
		{"type=dir,source=/a,lower=dir", "lower: it makes no sense for type=dir: it is for overlay"},
		{"/a:/b:mode=0700", "mode: it makes no sense for type=auto: it is for scratch"},
		{"type=scratch,mode=10000", `mode "10000": want octal permissions such as 0755 or 1777`},
		{"type=scratch,mode=9", `mode "9": want octal permissions such as 0755 or 1777`},
		{"type=scratch,uid=4294967295", `uid "4294967295": want a number from 0 to 4294967294`},
		{"type=scratch,gid=root", `gid "root": want a number from 0 to 4294967294`},
		{"type=scratch,size=4095", "size: want 4K to 2T for scratch space and overlays"},
		{"type=overlay,source=/a,size=3T", "size: want 4K to 2T for scratch space and overlays"},
		{"type=scratch,cache=never", "cache: it makes no sense for type=scratch: it is for dir, file and overlay"},
		{"type=overlay,source=/a,lower=archive,cache=never", "cache: it makes no sense for an overlay with lower=archive: it is for dir and file"},
		{"type=overlay,source=/a,target=/b,lower=file,nodev", "nodev: it makes no sense for an overlay with lower=file: it is for dir, archive and scratch"},
		{"/a:/b:size=1G", "size: it makes no sense for type=auto: it is for archive, scratch and overlay"},
		{"/a:/b:ro,unlink=delete", "unlink: a guest can remove nothing that is readonly: want unlink=refuse"},
		{"/a:/b:xattr=false,posix-acl=auto", "xattr: xattrmap, posix-acl and security-label need extended attributes: want xattr=true, or none of these"},
		{"/a:/b:xattr=false,xattrmap=:map::user.v.:", "xattr: xattrmap, posix-acl and security-label need extended attributes: want xattr=true, or none of these"},
		{"/a:/b:xattr=false,security-label=auto", "xattr: xattrmap, posix-acl and security-label need extended attributes: want xattr=true, or none of these"},
		{"/a:/b:posix-acl=always,translate-uid=map:0:1:1", "posix-acl: the ids in access control lists are not translated: want posix-acl=never or auto beside translate-uid and translate-gid"},
		{"/a:/b:posix-acl=always,translate-gid=map:0:1:1", "posix-acl: the ids in access control lists are not translated: want posix-acl=never or auto beside translate-uid and translate-gid"},
	} {
		t.Run(c.value[:min(len(c.value), 60)], func(t *testing.T) {
			m, err := ParseFlag(c.value)
			if err == nil {
				t.Fatalf("it is %v", &m)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T, want *Error", err)
			}
			if e.Text != c.want {
				t.Errorf("\n%s, want\n%s", e.Text, c.want)
			}
			if want := "share " + quote(c.value) + ": " + c.want; err.Error() != want {
				t.Errorf("\n%v, want\n%s", err, want)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		value string
		want  uint64 // 0: refused
	}{
		{"1", 1}, {"1B", 1}, {"1K", 1 << 10}, {"1KiB", 1 << 10}, {"64M", 64 << 20}, {"64MiB", 64 << 20}, {"3G", 3 << 30}, {"3GiB", 3 << 30},
		{"2T", 2 << 40}, {"2TiB", 2 << 40}, {"8388607T", 8388607 << 40}, {"9223372036854775807", 1<<63 - 1}, {"007", 7},
		{"8388608T", 0}, {"9223372036854775808", 0}, {"99999999999999999999", 0}, {"0", 0}, {"0G", 0}, {"", 0}, {"M", 0}, {"-1", 0}, {"+1", 0},
		{"1.5G", 0}, {"1KB", 0}, {"1MB", 0}, {"1m", 0}, {"1 M", 0}, {"1MM", 0}, {"0x10", 0}, {"1_000", 0}, {"1P", 0},
	} {
		m, err := ParseFlag("type=archive,source=a,size=" + c.value)
		if c.want == 0 {
			want := `size ` + quote(c.value) + `: want a number of bytes, or one with K, M, G or T (or KiB, MiB, GiB, TiB) behind it, above 0 and below 8388608T`
			var e *Error
			if !errors.As(err, &e) || e.Text != want {
				t.Errorf("size %q: %v, want %s", c.value, err, want)
			}
			continue
		}
		if err != nil || m.Size != c.want || m.Limit() != c.want {
			t.Errorf("size %q: %d, %v, want %d", c.value, m.Size, err, c.want)
			continue
		}
		reparse(t, m)
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		m    Mount
		want uint64
	}{
		{Mount{Type: Archive}, DefaultArchiveSize},
		{Mount{Type: Scratch}, DefaultScratchSize},
		{Mount{Type: Overlay}, DefaultScratchSize},
		{Mount{Type: Archive, Size: 5}, 5},
	} {
		if got := c.m.Limit(); got != c.want {
			t.Errorf("%v, size %d: %d, want %d", c.m.Type, c.m.Size, got, c.want)
		}
	}
}

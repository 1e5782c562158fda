package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

var someTime = time.Date(2026, 3, 1, 10, 30, 0, 120, time.FixedZone("", 3600))

func TestLines(t *testing.T) {
	who := func(rec watch.Record) watch.Record {
		rec.Start, rec.Duration, rec.PID, rec.UID, rec.GID = someTime, 1500, 1, 2, 3
		return rec
	}
	const begin = `{"time":"2026-03-01T09:30:00.000000120Z","duration_ns":1500,"op":"`
	for _, tt := range []struct {
		rec  watch.Record
		want string
	}{
		{watch.Record{Op: watch.OpLookup, Path: []byte("/a"), Errno: syscall.ENOENT},
			`lookup","pid":1,"uid":2,"gid":3,"path":"/a","error":"ENOENT"`},
		{watch.Record{Op: watch.OpGetattr, Errno: syscall.ESTALE}, `getattr","pid":1,"uid":2,"gid":3,"error":"ESTALE"`},
		{watch.Record{Op: watch.OpFlush, Path: []byte("/"), Errno: 4000}, `flush","pid":1,"uid":2,"gid":3,"path":"/","error":"4000"`},
		{watch.Record{Op: watch.OpRead, Path: []byte("/a"), Offset: 1<<64 - 1, Length: 4096, Count: 0},
			`read","pid":1,"uid":2,"gid":3,"path":"/a","offset":18446744073709551615,"length":4096,"result":0`},
		{watch.Record{Op: watch.OpRead, Path: []byte("/a"), Errno: syscall.EIO}, `read","pid":1,"uid":2,"gid":3,"path":"/a","offset":0,"length":0,"error":"EIO"`},
		{watch.Record{Op: watch.OpCreate, Path: []byte("/a"), Flags: unix.O_RDWR | unix.O_SYNC, Mode: unix.S_IFREG | 0o640},
			`create","pid":1,"uid":2,"gid":3,"path":"/a","flags":"O_RDWR|O_SYNC","mode":"0100640"`},
		{watch.Record{Op: watch.OpRename, Path: []byte("/a"), Path2: []byte("/b")}, `rename","pid":1,"uid":2,"gid":3,"path":"/a","to":"/b"`},
		{watch.Record{Op: watch.OpSymlink, Path: []byte("/a"), Path2: []byte("/b\xff")},
			`symlink","pid":1,"uid":2,"gid":3,"path":"/a","target":{"base64":"L2L/"}`},
		{watch.Record{Op: watch.OpRemovexattr, Path: []byte("/a"), Path2: []byte("user.x")}, `removexattr","pid":1,"uid":2,"gid":3,"path":"/a","name":"user.x"`},
		{watch.Record{Op: watch.OpSetattr, Path: []byte("/a"), Flags: uint32(vfs.SetSize), Length: 5, Mode: 0o777},
			`setattr","pid":1,"uid":2,"gid":3,"path":"/a","length":5,"flags":"size"`},
		{watch.Record{Op: watch.OpSetattr, Path: []byte("/a"), Flags: uint32(vfs.SetMode | vfs.SetUID), Mode: 0o4755},
			`setattr","pid":1,"uid":2,"gid":3,"path":"/a","flags":"mode|uid","mode":"04755","owner":0`},
		{watch.Record{Op: watch.OpSetattr, Path: []byte("/a"), Flags: uint32(vfs.SetUID | vfs.SetGID), Owner: 1000, Group: 100},
			`setattr","pid":1,"uid":2,"gid":3,"path":"/a","flags":"uid|gid","owner":1000,"group":100`},
	} {
		rec := who(tt.rec)
		if got, want := string(appendRecord(nil, &rec)), begin+tt.want+"}\n"; got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	if got, want := string(appendDropped(nil, someTime, 17)), `{"time":"2026-03-01T09:30:00.000000120Z","dropped":17}`+"\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		op    watch.Op
		flags uint32
		want  string
	}{
		{watch.OpOpen, 0, "O_RDONLY"},
		{watch.OpOpen, unix.O_WRONLY | unix.O_APPEND | unix.O_DSYNC, "O_WRONLY|O_APPEND|O_DSYNC"},
		{watch.OpOpen, 0x8020, "O_RDONLY|O_LARGEFILE|FMODE_EXEC"},
		{watch.OpOpen, 3 | 1<<31, "O_ACCMODE|0x80000000"},
		{watch.OpTmpfile, unix.O_TMPFILE | unix.O_RDWR, "O_RDWR|O_TMPFILE"},
		{watch.OpOpendir, unix.O_DIRECTORY, "O_RDONLY|O_DIRECTORY"},
		{watch.OpRename, 0, ""},
		{watch.OpRename, 7, "RENAME_NOREPLACE|RENAME_EXCHANGE|RENAME_WHITEOUT"},
		{watch.OpAccess, 0, ""},
		{watch.OpAccess, 5, "R_OK|X_OK"},
		{watch.OpLseek, unix.SEEK_SET, "SEEK_SET"},
		{watch.OpLseek, unix.SEEK_HOLE, "SEEK_HOLE"},
		{watch.OpLseek, 1 << 20, "0x100000"},
		{watch.OpSetlk, unix.F_UNLCK, "F_UNLCK"},
		{watch.OpGetlk, ^uint32(0), "0xffffffff"},
		{watch.OpFsync, 1, "datasync"},
		{watch.OpFallocate, 3, "FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE"},
		{watch.OpIoctl, 0x5401, "0x5401"},
		{watch.OpStatx, 0x7ff, "0x7ff"},
		{watch.OpSetxattr, 3, "XATTR_CREATE|XATTR_REPLACE"},
	} {
		if got := string(flags[tt.op].append(nil, tt.flags)); got != tt.want {
			t.Errorf("%v %#x is %q, want %q", tt.op, tt.flags, got, tt.want)
		}
	}
}

// decodeText gives back the bytes of a path.
func decodeText(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var s string
	if err := json.Unmarshal(raw, &s); err == nil {
		return []byte(s)
	}
	var o map[string]string
	if err := json.Unmarshal(raw, &o); err != nil || len(o) != 1 {
		t.Fatalf("%s: %v", raw, err)
	}
	b, err := base64.StdEncoding.DecodeString(o["base64"])
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return b
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "/a b", "/\"\\", "\x00\x1f\x7f", "/\u0085\u009f\u2028\u202e\u2066\u200f\u061c", "/caf\u00e9/\U0001f600", "\xff", "a\xc3", "\ufffd", "\u00a0\u202f\u2065\u206a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := appendText(nil, text)
		if got := decodeText(t, line); !bytes.Equal(got, text) {
			t.Errorf("%q comes back as %q from %s", text, got, line)
		}
		if !utf8.Valid(line) {
			t.Errorf("%q is not UTF-8", line)
		}
		for _, c := range string(line) {
			if unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
				t.Errorf("%q has %q", line, c)
			}
		}
		if utf8.Valid(text) != (line[0] == '"') {
			t.Errorf("%q is %s", text, line)
		}
	})
}

// FuzzRecord makes lines of records of any kind.
func FuzzRecord(f *testing.F) {
	f.Add(uint8(watch.OpRename), []byte("/a"), []byte("/b"), uint32(1), uint32(0), uint64(0), int64(0), int64(0))
	f.Add(uint8(watch.OpSetattr), []byte("/\xff"), []byte{}, ^uint32(0), ^uint32(0), ^uint64(0), int64(-1), int64(1)<<62)
	f.Add(uint8(200), []byte("\n"), []byte("\n"), uint32(0), uint32(5), uint64(1), int64(1), int64(-1))
	f.Fuzz(func(t *testing.T, op uint8, path, path2 []byte, flags, errno uint32, n uint64, ns, sec int64) {
		if sec < 0 || sec > 1<<37 {
			sec &= 1<<37 - 1 // years of four digits
		}
		rec := watch.Record{
			Start: time.Unix(sec, 0), Duration: time.Duration(ns), Op: watch.Op(op), Path: path, Path2: path2,
			Flags: flags, Mode: flags, Errno: syscall.Errno(errno), Offset: n, Length: n, Count: n,
		}
		line := appendRecord(nil, &rec)
		if bytes.Count(line, []byte{'\n'}) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("not one line: %q", line)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if len(path) != 0 && !bytes.Equal(decodeText(t, fields["path"]), path) {
			t.Errorf("%q is %s", path, fields["path"])
		}
		for _, key := range []string{"time", "duration_ns", "op", "pid", "uid", "gid"} {
			if fields[key] == nil {
				t.Errorf("no %s: %q", key, line)
			}
		}
		if (errno != 0) != (fields["error"] != nil) {
			t.Errorf("error %d is %s", errno, fields["error"])
		}
	})
}

// TestPage looks whether docs/audit.md knows all fields, ops and words.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		quoted[m[1]] = true
	}
	used := map[string]bool{"dropped": true}
	for op := range watch.NumOps {
		used[op.String()] = true
		for _, errno := range []syscall.Errno{0, syscall.EIO} {
			rec := watch.Record{Op: op, Path: []byte("/"), Path2: []byte("/"), Flags: ^uint32(0), Errno: errno}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(appendRecord(nil, &rec), &fields); err != nil {
				t.Fatal(err)
			}
			for key := range fields {
				used[key] = true
			}
		}
		for _, b := range flags[op].bits {
			if b.name == strings.ToLower(b.name) {
				used[b.name] = true
			}
		}
		if hasFlags := op.Fields()&watch.HasFlags != 0; !hasFlags && (flags[op].mask != 0 || flags[op].bits != nil) {
			t.Errorf("%v has names for flags and no flags", op)
		}
	}
	for word := range used {
		if !quoted[word] {
			t.Errorf("%s is not on the page", word)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^    (\{.*\})$`).FindAllSubmatch(page, -1) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line[1], &fields); err != nil {
			t.Errorf("%s: %v", line[1], err)
		}
		for key := range fields {
			if !used[key] {
				t.Errorf("an example has %s: %s", key, line[1])
			}
		}
	}
}

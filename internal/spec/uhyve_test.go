package spec

import (
	"testing"
)

func TestParseUhyveMapping(t *testing.T) {
	for _, c := range []struct{ value, want string }{ // the canonical form, or the error
		{"/srv:/data", "source=/srv,target=/data,unlink=delete"},
		{"/srv:data", "source=/srv,target=/data,unlink=delete"},
		{"/srv:/data:ro", "source=/srv,target=/data,readonly"},
		{"/srv", "source=/srv,target=/srv,unlink=delete"},
		{"f.txt", "source=f.txt,target=/f.txt,unlink=delete"},
		{"./a/../f.txt", "source=./a/../f.txt,target=/f.txt,unlink=delete"},
		{"/srv:/a/.././/b/", "source=/srv,target=/b,unlink=delete"},
		{"/srv:/", "source=/srv,target=/,unlink=delete"},
		{"/srv:.", "source=/srv,target=/,unlink=delete"},
		{"a,b=c:/x,y", `source=a\,b=c,target=/x\,y,unlink=delete`},
		{`a\:b:/c\:d:ro`, `source=a:b,target=/c:d,readonly`},
		{`a\b\\c\:/d\`, `source=a\\b\\c:/d\\,target=/a\\b\\c:/d\\,unlink=delete`},
		{`type=dir`, `source=type=dir,target=/type=dir,unlink=delete`},
		{"a:b:ro:x", `file-mapping "a:b:ro:x": it has more than three parts: want HOST[:GUEST[:ro]], and \: for a : in a path`},
		{"a:b:rw", `file-mapping "a:b:rw": the third part is "rw": want ro, or HOST[:GUEST[:ro]]`},
		{"a:b:", `file-mapping "a:b:": the third part is "": want ro, or HOST[:GUEST[:ro]]`},
		{"", `file-mapping "": the host's path is empty: want HOST[:GUEST[:ro]]`},
		{":/b", `file-mapping ":/b": the host's path is empty: want HOST[:GUEST[:ro]]`},
		{"a:", `file-mapping "a:": the guest's path is empty: want HOST[:GUEST[:ro]]`},
		{"../a", `file-mapping "../a": the guest's path "../a" leads out of the root: want HOST[:GUEST[:ro]] with one that does not`},
		{"a:../b", `file-mapping "a:../b": the guest's path "../b" leads out of the root: want HOST[:GUEST[:ro]] with one that does not`},
		{"a:/b/../../b", `file-mapping "a:/b/../../b": the guest's path "/b/../../b" leads out of the root: want HOST[:GUEST[:ro]] with one that does not`},
		{"~/a:/b", `file-mapping "~/a:/b": source "~/a": ~ is not replaced here: write the home directory out, or ./~ for a file of that name`},
		{"a:b\x00", `file-mapping "a:b\x00": target "/b\x00": a path cannot hold a NUL`},
	} {
		m, err := ParseUhyveMapping(c.value)
		got := m.String()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.value, got, c.want)
		}
		if err == nil {
			reparse(t, m)
		}
	}
}

// TestUhyveMappingsInEachOther: uhyve refuses these.
func TestUhyveMappingsInEachOther(t *testing.T) {
	var mounts []Mount
	for _, v := range []string{"/srv:/a", "/f:/a/b", "/x:/"} {
		m, err := ParseUhyveMapping(v)
		if err != nil {
			t.Fatal(err)
		}
		mounts = append(mounts, m)
	}
	if err := Check(mounts); err != nil {
		t.Error(err)
	}
}

// TestUhyveDirectoryKeepsItsMapping: what is to happen to a file that is removed
// is no mistake where the mapping is a directory.
func TestUhyveDirectoryKeepsItsMapping(t *testing.T) {
	m, err := ParseUhyveMapping("/srv:/a")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := m.As(Dir)
	if err != nil || dir.Unlink != nil {
		t.Errorf("%v, %v", &dir, err)
	}
	file, err := m.As(File)
	if err != nil || file.Unlink == nil || *file.Unlink != UnlinkDelete {
		t.Errorf("%v, %v", &file, err)
	}
}

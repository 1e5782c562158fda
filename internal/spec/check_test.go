package spec

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   []string // errors
	}{
		{nil, nil},
		{[]string{"/a"}, nil},
		// In each other, in any order, is allowed.
		{[]string{"/a:/x/y", "/b:/x", "/c", "type=scratch,target=/x/y/z", "type=archive,source=a,target=/x/y/z/t"}, nil},
		{[]string{"/a:/x", "/b:/xy", "type=file,source=/f,target=/xyz"}, nil},
		{[]string{"/a", "/b"},
			[]string{`share "/b": target "/" has a mount already, from share "/a": want another path, or one of the two`}},
		{[]string{"/a:/x", "/b:/y", "/c://x/.", "/d:/x"}, []string{
			`share "/c://x/.": target "/x" has a mount already, from share "/a:/x": want another path, or one of the two`,
			`share "/d:/x": target "/x" has a mount already, from share "/a:/x": want another path, or one of the two`}},
		{[]string{"/a:/x/y/z", "type=file,source=/f,target=/x"},
			[]string{`share "/a:/x/y/z": target "/x/y/z" is below "/x", where a file stands, from share "type=file,source=/f,target=/x": want a path that is not`}},
		{[]string{"type=overlay,lower=file,source=/f,target=/x", "/a:/x/y"},
			[]string{`share "/a:/x/y": target "/x/y" is below "/x", where a file stands, from share "type=overlay,lower=file,source=/f,target=/x": want a path that is not`}},
	} {
		var mounts []Mount
		for _, v := range c.values {
			m, err := ParseFlag(v)
			if err != nil {
				t.Fatal(err)
			}
			mounts = append(mounts, m)
		}
		err := Check(mounts)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if want := strings.Join(c.want, "\n"); got != want {
			t.Errorf("%q:\n%s, want\n%s", c.values, got, want)
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%T holds no *Error", err)
		}
	}
}

// TestCheckLooksAtMadeMounts: those that no parser has made are checked too.
func TestCheckLooksAtMadeMounts(t *testing.T) {
	for _, c := range []struct {
		m    Mount
		want string
	}{
		{Mount{Source: "/a", Target: "x"}, `target: "x" is no clean, absolute path`},
		{Mount{Source: "/a", Target: "/x/"}, `target: "/x/" is no clean, absolute path`},
		{Mount{Source: "/a"}, `target: "" is no clean, absolute path`},
		{Mount{Source: "/a", Target: "/../x"}, `target: "/../x" is no clean, absolute path`},
		{Mount{Target: "/"}, `source: it is missing: want source=PATH, or type=scratch for space that is empty at first`},
		{Mount{Type: 77, Source: "/a", Target: "/"}, `type: it is unknown`},
		{Mount{Type: Overlay, Lower: Scratch, Source: "/a", Target: "/"}, `lower: scratch cannot be below an overlay`},
		{Mount{Type: Dir, Source: "/a", Target: "/", Size: 1}, `size: it makes no sense for type=dir: it is for archive, scratch and overlay`},
	} {
		if err := Check([]Mount{c.m}); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.m, err, c.want)
		}
	}
	a := Mount{Source: "/a", Target: "/x"}
	const want = `target "/x" has a mount already, from "source=/a,target=/x": want another path, or one of the two`
	if err := Check([]Mount{a, a}); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

package spec

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// checkRead is what holds for whatever was read: it means the same in its
// canonical form, and as one tree it can be looked at.
func checkRead(t *testing.T, mounts ...Mount) {
	t.Helper()
	for _, m := range mounts {
		reparse(t, m)
		for _, typ := range []Type{Dir, File} {
			if as, err := m.As(typ); err == nil {
				reparse(t, as)
			}
		}
	}
	if err := Check(mounts); err != nil && len(mounts) == 1 {
		t.Errorf("%v was read and then refused: %v", &mounts[0], err)
	}
}

func checkError(t *testing.T, err error, place string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Text == "" || !strings.HasPrefix(err.Error(), place) {
		t.Errorf("error %q, want one with the place %q", err, place)
	}
}

func FuzzParseFlag(f *testing.F) {
	for _, s := range []string{
		"", "/a", "/a:/b", "/a:/b:ro,cache=never", `/a\:\,\\:/b\:`, "a=b", "./a=b", "type=dir,source=/a,target=/b/../c",
		"type=overlay,lower=archive,src=a,dst=//b,size=64M,backing=disk", "type=scratch,target=/x,readonly=false",
		"source=/a,translate-uid=map:0:1:2,translate-uid=squash-guest\\,5\\,6\\,7,io=direct,io=sync,entry-timeout=1h",
		"source=/a,xattrmap=:map::user.v.:,posix-acl=auto", "readonly,source=/a", "/a:/b:=", "/a:/b:,", `\`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseFlag(s)
		if err != nil {
			checkError(t, err, "share "+quote(s)+": ")
			return
		}
		checkRead(t, m)
	})
}

func FuzzParseUhyveMapping(f *testing.F) {
	for _, s := range []string{"", "/a", "/a:b", "/a:b:ro", `a\:b:c\\`, "a:..", "a:b/../..", "a:b:c:d", "~:x", "a=b,c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseUhyveMapping(s)
		if err != nil {
			checkError(t, err, "file-mapping "+quote(s)+": ")
			return
		}
		checkRead(t, m)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", wholeFile, "share = [{source='/a', ro=true}, {type='scratch', target='/b'}]", "[share]", "[[share.x]]", "[[share]]\nsource.x=1",
		"socket = '''\n/x'''", "queues = 0x_1", "uid-map = [[], {}, 1, 'x']", "\"so\\u0063ket\"='x'", "é=1\r\n", "fd=1\nsocket='x'",
		"[[share]]\nsource='/a'\nio=[\n'sync',#x\n]\nsize=[]", "share = [ # x\n[[{a=1}]]]", "queues = 1979-05-27", "\xef\xbb\xbfqueues=1",
		"share = [{\nsource='/a'\n,}]", "share=[{}]\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := Parse(bytes.NewReader(doc), "x.toml")
		if err != nil {
			checkError(t, err, "x.toml:")
			var e *Error
			if errors.As(err, &e) && (e.Pos.Line < 1 || e.Pos.Line > bytes.Count(doc, []byte{'\n'})+1 || e.Pos.Column < 1 || e.Pos.Column > len(doc)+1) {
				t.Errorf("%v is no place in a file of %d bytes", e.Pos, len(doc))
			}
			return
		}
		checkRead(t, c.Mounts...)
		for word, pos := range c.At {
			m, ok := settingForm.words[word]
			if !ok || pos.Line < 1 {
				t.Errorf("%q at %v was read", word, pos)
			} else if len(m.option.get(&c.Settings)) == 0 && !m.option.kind.repeats() {
				t.Errorf("%q was read as nothing", word)
			}
		}
	})
}

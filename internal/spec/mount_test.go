package spec

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAs(t *testing.T) {
	for _, c := range []struct {
		value string
		as    Type
		want  string // the canonical form, or the error
	}{
		{"/a:/b:ro", Dir, "type=dir,source=/a,target=/b,readonly"},
		{"/a:/b:unlink=hide", Dir, "type=dir,source=/a,target=/b"},
		{"/a:/b:unlink=hide", File, "type=file,source=/a,target=/b,unlink=hide"},
		{"/a:/b:readdirplus=false", Dir, "type=dir,source=/a,target=/b,readdirplus=false"},
		{"/a:/b:readdirplus=false", File, `share "/a:/b:readdirplus=false": the source is a file: readdirplus: it makes no sense for type=file: it is for dir`},
		{"/a", File, `share "/a": the source is a file: target: a file cannot be the root, which is a directory: want target=/NAME`},
		{"/a", Archive, `share "/a": type=auto cannot become type=archive: want auto, which becomes dir or file`},
		{"type=dir,source=/a", File, `share "type=dir,source=/a": type=dir cannot become type=file: want auto, which becomes dir or file`},
	} {
		m, err := ParseFlag(c.value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.As(c.as)
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%s as %v:\n%s, want\n%s", c.value, c.as, text, c.want)
		}
	}
}

func TestWordsOfTypes(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Overlay.String(), "overlay"}, {Type(99).String(), "unknown"}, {Disk.String(), "disk"}, {UnlinkDelete.String(), "delete"},
		{quote(strings.Repeat("a", 161)), `"` + strings.Repeat("a", 160) + `"…`},
		{Pos{"x.toml", 3, 7}.String(), "x.toml:3:7"}, {Pos{Name: "x"}.String(), "x"},
		{(&Error{Text: "alone"}).Error(), "alone"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

// values draws what an option can be given. It knows no option by name but
// those whose values are free.
func drawValue(t *rapid.T, o OptionHelp) string {
	name := rapid.StringMatching(`[a-z:,\\= é~.-]{1,6}`)
	switch o.Word {
	case "source":
		return rapid.SampledFrom([]string{"/", "./", "x/"}).Draw(t, "root") + name.Draw(t, "source")
	case "target":
		return "/" + strings.ReplaceAll(name.Draw(t, "target"), "..", "_") + "/x"
	case "translate-uid", "translate-gid":
		return rapid.SampledFrom([]string{"map:0:1:2", "guest,10,11,5", "forbid-guest=100=1", "map:0:0:0"}).Draw(t, "rule")
	case "xattrmap":
		return rapid.SampledFrom([]string{":map::user.v.:", ",prefix,all,a,b, :bad:all:::", `\ok\client\x\y\`}).Draw(t, "xattrs")
	case "size":
		return rapid.SampledFrom([]string{"1", "1024", "1000", "9M", "3TiB", "1048577"}).Draw(t, "size")
	case "mode":
		return rapid.SampledFrom([]string{"0", "755", "01777"}).Draw(t, "mode")
	case "uid", "gid":
		return rapid.SampledFrom([]string{"0", "00", "1000", "4294967294"}).Draw(t, "id")
	case "entry-timeout", "attr-timeout", "negative-timeout":
		return rapid.SampledFrom([]string{"0", "0s", "1ns", "1.5s", "24h", "1h2m3s4ms"}).Draw(t, "time")
	}
	if o.Arg == "" {
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "flag")
	}
	return rapid.SampledFrom(o.Values).Draw(t, "word").Word
}

// TestRoundTrip: whatever options are given, in whatever order, the canonical
// form means the same.
func TestRoundTrip(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]Type{Auto, Dir, File, Archive, Scratch, Overlay}).Draw(t, "type")
		items := []string{"type=" + typ.String()}
		add := func(o OptionHelp) {
			var b strings.Builder
			escape(&b, drawValue(t, o))
			items = append(items, o.Word+"="+b.String())
		}
		for _, o := range Options() {
			fits := false
			for _, x := range o.Types {
				fits = fits || x == typ || typ == Auto && (x == Dir || x == File)
			}
			switch {
			case o.Word == "type" || !fits:
			case o.Word == "source" || o.Word == "target" || rapid.IntRange(0, 3).Draw(t, "give") == 0:
				add(o)
			}
		}
		rest := rapid.Permutation(items[1:]).Draw(t, "order")
		s := items[0] + "," + strings.Join(rest, ",")
		m, err := ParseFlag(s)
		if err != nil {
			for _, clash := range clashes {
				if strings.HasSuffix(err.Error(), clash.word+": "+clash.why) {
					return
				}
			}
			if strings.Contains(err.Error(), "it makes no sense for an overlay with lower=") {
				return
			}
			t.Fatal(err)
		}
		accepted++
		again, err := ParseFlag(m.String())
		if err != nil {
			t.Fatalf("%s became %s: %v", s, &m, err)
		}
		again.Pos = m.Pos
		if again.String() != m.String() {
			t.Fatalf("%s became %s and then %s", s, &m, &again)
		}
		requireSame(t, again, m)
	})
	if accepted < 20 {
		t.Errorf("only %d mounts were in order: the generator does not do its work", accepted)
	}
}

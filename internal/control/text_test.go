package control

import (
	"encoding/json"
	"testing"

	"golang.org/x/sys/unix"
)

func TestText(t *testing.T) {
	for _, tc := range []struct {
		text Text
		json string
	}{
		{"", `""`},
		{"/a b", `"/a b"`},
		{"<&>\n\"", `"\u003c\u0026\u003e\n\""`}, // as json.Marshal has it; the server writes < itself
		{"ä", `"ä"`},
		{"\xff/x", `{"base64":"/y94"}`},
	} {
		b, err := json.Marshal(tc.text)
		if err != nil || string(b) != tc.json {
			t.Errorf("%q is %s, %v, want %s", tc.text, b, err, tc.json)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || back != tc.text {
			t.Errorf("%s is %q, %v", b, back, err)
		}
	}
	for _, bad := range []string{`1`, `[]`, `{}`, `{"base64":null}`, `{"base64":"?"}`, `{"base64":"","x":1}`, `true`} {
		var x Text
		if err := json.Unmarshal([]byte(bad), &x); err == nil {
			t.Errorf("%s is %q", bad, x)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a")
	f.Add("\xff\x00")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Text(s))
		if err != nil {
			t.Fatal(err)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || string(back) != s {
			t.Errorf("%q became %s and then %q, %v", s, b, back, err)
		}
	})
}

func TestOpenFlags(t *testing.T) {
	for flags, want := range map[OpenFlags]string{
		unix.O_RDONLY:                                      "read",
		unix.O_WRONLY | unix.O_APPEND | 0x8000:             "write,append",
		unix.O_RDWR | unix.O_SYNC | unix.O_DIRECT:          "read-write,direct,sync",
		unix.O_RDWR | unix.O_DSYNC:                         "read-write,dsync",
		unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK: "read,directory,nonblock",
		unix.O_RDWR | unix.O_TMPFILE:                       "read-write,tmpfile",
		unix.O_RDONLY | 0x20:                               "read,exec",
		3:                                                  "none",
		0x80000000 | unix.O_TRUNC:                          "read,truncate,0x80000000",
	} {
		if got := flags.String(); got != want {
			t.Errorf("%#x is %q, want %q", uint32(flags), got, want)
		}
		var back OpenFlags
		if err := back.UnmarshalText([]byte(want)); err != nil || back != flags&^0x8000 {
			t.Errorf("%q is %#x, %v, want %#x", want, uint32(back), err, uint32(flags))
		}
	}
	for _, bad := range []string{"", "append", "read,", "read,read", "read,0x", "read,0x100000000", "read,80"} {
		var x OpenFlags
		if err := x.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is %#x", bad, uint32(x))
		}
	}
}

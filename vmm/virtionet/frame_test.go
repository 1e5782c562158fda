package virtionet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestChecksum(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want uint16
	}{
		{nil, 0},
		{[]byte{0x12}, 0x1200},
		{[]byte{0x12, 0x34}, 0x1234},
		{[]byte{0xff, 0xff, 0x00, 0x01}, 1},
		// The example of RFC 1071 §3.
		{[]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0xddf2},
		{[]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x01}, 0xdef2},
		{bytes.Repeat([]byte{0xff}, 65536), 0xffff},
	} {
		if got := checksum(c.in); got != c.want {
			t.Errorf("checksum of %d bytes is %#x, want %#x", len(c.in), got, c.want)
		}
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     header
		frame []byte
		want  []byte // nil: refused
	}{
		{"not asked for", header{csumStart: 100}, []byte{1, 2, 3}, []byte{1, 2, 3}},
		{"at the end", header{flags: 1, csumStart: 2, csumOffset: 2}, []byte{9, 9, 0x12, 0x34, 0, 0}, []byte{9, 9, 0x12, 0x34, 0xed, 0xcb}},
		{"with a partial sum", header{flags: 1}, []byte{0x00, 0x10, 0x12, 0x34}, []byte{0xed, 0xbb, 0x12, 0x34}},
		{"zero becomes all-ones", header{flags: 1}, []byte{0xff, 0xff}, []byte{0xff, 0xff}},
		{"beyond the end", header{flags: 1, csumStart: 2, csumOffset: 1}, []byte{0, 0, 0, 0}, nil},
		{"far beyond the end", header{flags: 1, csumStart: 0xffff, csumOffset: 0xffff}, []byte{0, 0, 0, 0}, nil},
		{"empty", header{flags: 1}, nil, nil},
	} {
		frame := bytes.Clone(c.frame)
		if ok := c.h.complete(frame); ok != (c.want != nil) {
			t.Errorf("%s: %v", c.name, ok)
		} else if ok && !bytes.Equal(frame, c.want) {
			t.Errorf("%s: % x, want % x", c.name, frame, c.want)
		}
	}
}

func FuzzComplete(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		h := parseHeader((*[headerSize]byte)(b))
		frame := b[headerSize:]
		before := bytes.Clone(frame)
		done := h.complete(frame)
		if !done || h.flags&needsCsum == 0 {
			if !bytes.Equal(frame, before) {
				t.Error("the frame changed")
			}
			return
		}
		at := int(h.csumStart) + int(h.csumOffset)
		if !bytes.Equal(frame[:at], before[:at]) || !bytes.Equal(frame[at+2:], before[at+2:]) {
			t.Error("more than the checksum changed")
		}
		// With the sum of what was in its place, all adds up to nothing.
		sum := uint32(checksum(frame[h.csumStart:]))
		if h.csumOffset%2 == 0 {
			sum += uint32(binary.BigEndian.Uint16(before[at:]))
			for sum > 0xffff {
				sum = sum>>16 + sum&0xffff
			}
			if sum != 0xffff && sum != 0 {
				t.Errorf("the frame sums up to %#x", sum)
			}
		}
	})
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"tap0": true, "a": true, "fifteen-letters": true, "sixteen-letters.": false, "": false,
		".": false, "..": false, "a/b": false, "a b": false, "tap%d": false, "a:1": false, "a\x00b": false, "ä": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

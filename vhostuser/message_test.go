package vhostuser

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/guestmem"
)

func words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

func quads(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		words []byte
		want  header
		err   string
	}{
		{"plain", words(5, 1, 72), header{ReqSetMemTable, 1, 72}, ""},
		{"need reply", words(1, 9, 0), header{ReqGetFeatures, 9, 0}, ""},
		{"unknown flags", words(1, 0xfffffff1, 0), header{ReqGetFeatures, 0xfffffff1, 0}, ""},
		{"unknown message", words(9999, 1, 4096), header{9999, 1, 4096}, ""},
		{"version 0", words(1, 0, 0), header{}, "version 0"},
		{"version 2", words(1, 2, 0), header{}, "version 2"},
		{"reply", words(1, 5, 0), header{}, "marked as a reply"},
		{"too long", words(1, 1, 4097), header{}, "payload of 4097 bytes"},
		{"much too long", words(1, 1, 0xffffffff), header{}, "payload of 4294967295 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHeader((*[HeaderSize]byte)(tt.words))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil || h != tt.want {
				t.Fatalf("got %+v, %v, want %+v", h, err, tt.want)
			}
		})
	}
}

func TestParsePayloads(t *testing.T) {
	region := []uint64{1, 2, 3, 4}
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"u64", parseU64(quads(1<<63 | 7)), uint64(1<<63 | 7)},
		{"ring state", parseVringState(words(3, 4)), vringState{3, 4}},
		{
			"ring addresses", parseVringAddr(append(words(1, 2), quads(0x10, 0x20, 0x30, 0x40)...)),
			vringAddr{1, 2, vringAreas{desc: 0x10, used: 0x20, avail: 0x30}},
		},
		{"descriptor", parseVringFD(quads(0xff)), vringFD{255, false}},
		{"no descriptor", parseVringFD(quads(0x101)), vringFD{1, true}},
		{"reserved bits beside the index", parseVringFD(quads(1<<63 | 0x201)), vringFD{1, false}},
		{"memory region", parseMemReg(append(quads(9), quads(region...)...)), guestmem.Region{GPA: 1, Size: 2, UVA: 3, Offset: 4, FD: -1}},
	} {
		if d := cmp.Diff(tt.want, tt.got, cmp.AllowUnexported(vringState{}, vringAddr{}, vringAreas{}, vringFD{})); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestParseMemTable(t *testing.T) {
	two := append(words(2, 0), quads(1, 2, 3, 4, 5, 6, 7, 8)...)
	for _, tt := range []struct {
		name    string
		payload []byte
		want    int
		err     string
	}{
		{"exact", two, 2, ""},
		{"trailing bytes", append(append([]byte{}, two...), make([]byte, 32)...), 2, ""},
		{"none", words(0, 0), 0, ""},
		{"short", two[:len(two)-1], 0, "room for 1"},
		{"8", append(words(8, 0), make([]byte, 256)...), 8, ""},
		{"9", append(words(9, 0), make([]byte, 288)...), 0, "at most 8"},
		{"a number that wraps when multiplied", append(words(1<<27, 0), make([]byte, 64)...), 0, "at most 8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseMemTable(tt.payload)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil || len(r) != tt.want {
				t.Fatalf("%d regions, %v; want %d", len(r), err, tt.want)
			}
			if tt.want == 2 && r[1] != (guestmem.Region{GPA: 5, Size: 6, UVA: 7, Offset: 8, FD: -1}) {
				t.Fatalf("the second region is %+v", r[1])
			}
		})
	}
}

func TestConfigRange(t *testing.T) {
	space := []byte("0123456789")
	for _, tt := range []struct {
		offset, size uint32
		want         string
		fails        bool
	}{
		{0, 4, "0123", false},
		{8, 4, "89\x00\x00", false},
		{0, 12, "0123456789\x00\x00", false},
		{10, 2, "\x00\x00", false},
		{0xffffffff, 2, "\x00\x00", false},
		{0, MaxPayload - configHeadSize, string(space) + strings.Repeat("\x00", MaxPayload-configHeadSize-10), false},
		{0, 0, "", true},
		{0, MaxPayload - configHeadSize + 1, "", true},
		{0, 0xffffffff, "", true},
	} {
		r, err := parseConfigRange(words(tt.offset, tt.size, 7))
		if (err != nil) != tt.fails {
			t.Errorf("offset %d, size %d: %v", tt.offset, tt.size, err)
		}
		if err != nil {
			continue
		}
		if got, want := r.payload(space), append(words(tt.offset, tt.size, 7), tt.want...); !bytes.Equal(got, want) {
			t.Errorf("offset %d, size %d: got %x, want %x", tt.offset, tt.size, got, want)
		}
	}
}

// Every message has a name, and every rule belongs to one.
func TestRequestNames(t *testing.T) {
	for i := range rules {
		if rules[i].handle != nil && strings.HasPrefix(Request(i).String(), "message") {
			t.Errorf("message %d has a rule and no name", i)
		}
	}
	for r, want := range map[Request]string{0: "message 0", 1: "GET_FEATURES", 44: "GET_SHMEM_CONFIG", 45: "message 45", 1<<32 - 1: "message 4294967295"} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzMessage decodes arbitrary bytes as each kind of payload, as the dispatch
// table lets them through.
func FuzzMessage(f *testing.F) {
	f.Add(words(5, 1, 72), append(words(1, 0), quads(0, 4096, 1<<40, 0)...))
	f.Add(words(24, 9, 24), words(0, 12, 0, 0, 0, 0))
	f.Add(words(9, 9, 40), append(words(1, 0), quads(16, 32, 48, 0)...))
	f.Add(words(12, 1, 8), quads(0x101))
	f.Add(words(0xffffffff, 0xffffffff, 0xffffffff), []byte{})
	f.Fuzz(func(t *testing.T, head, p []byte) {
		if len(head) < HeaderSize {
			return
		}
		h, err := parseHeader((*[HeaderSize]byte)(head))
		if err != nil {
			return
		}
		if h.size > MaxPayload || h.flags&FlagReply != 0 {
			t.Fatalf("%+v was let through", h)
		}
		if uint64(h.request) >= uint64(len(rules)) || len(p) < rules[h.request].size {
			return
		}
		switch h.request {
		case ReqSetMemTable:
			regions, err := parseMemTable(p)
			if err == nil && (len(regions) > MaxTableRegions || len(regions)*memRegionSize > len(p)) {
				t.Fatalf("%d regions from %d bytes", len(regions), len(p))
			}
		case ReqAddMemReg, ReqRemMemReg:
			if parseMemReg(p).FD != -1 {
				t.Fatal("a region out of nowhere has a file")
			}
		case ReqGetConfig:
			r, err := parseConfigRange(p)
			if err != nil {
				return
			}
			space := []byte("configuration space of the device")
			reply := r.payload(space)
			if len(reply) > MaxPayload || !bytes.Equal(reply[:configHeadSize], p[:configHeadSize]) {
				t.Fatalf("reply %x to %x", reply, p)
			}
			if rest := reply[configHeadSize:]; uint64(r.offset) < uint64(len(space)) && !bytes.HasPrefix(space[r.offset:], rest[:min(len(rest), len(space)-int(r.offset))]) {
				t.Fatalf("reply %x to %x", reply, p)
			}
		case ReqSetVringAddr:
			a := parseVringAddr(p)
			if got := append(words(a.index, a.flags), quads(a.areas.desc, a.areas.used, a.areas.avail)...); !bytes.Equal(got, p[:32]) {
				t.Fatalf("%x became %x", p[:32], got)
			}
		case ReqSetVringNum, ReqSetVringBase, ReqGetVringBase, ReqSetVringEnable:
			if got := parseVringState(p).payload(); !bytes.Equal(got, p[:8]) {
				t.Fatalf("%x became %x", p[:8], got)
			}
		case ReqSetVringKick, ReqSetVringCall, ReqSetVringErr:
			if parseVringFD(p).index > 0xff {
				t.Fatal("an index of more than 8 bits")
			}
		}
	})
}

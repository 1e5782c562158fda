package fuse_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
)

// TestBytes compares whole messages with bytes written by hand from
// linux/fuse.h, so that one mistake in both encoders does not hide itself.
func TestBytes(t *testing.T) {
	for _, tc := range []struct {
		name, request, reply, call string
		room                       int
	}{
		{
			name: "LOOKUP",
			request: `2d000000 01000000 0800000000000000 0100000000000000 e8030000 e9030000 ea030000 0000 0000
				6e616d6500`,
			call: `Lookup 1 "name\x00"`,
			reply: `90000000 00000000 0800000000000000
				0200000000000000 0100000000000000 0100000000000000 0300000000000000 0065cd1d 00000000
				4d00000000000000 0010000000000000 0800000000000000
				0100000000000000 fdffffffffffffff 0500000000000000 02000000 04000000 06000000
				a4810000 01000000 08000000 09000000 2c0a1000 00100000 00000000`,
			room: 144,
		},
		{
			name: "SETATTR",
			request: `80000000 04000000 0a00000000000000 0500000000000000 00000000 00000000 00000000 0000 0000
				79000000 ffffffff 0600000000000000 0000000000010000 0900000000000000
				ffffffffffffffff 0200000000000000 0300000000000000 04000000 05000000 06000000
				ed090000 ffffffff 07000000 08000000 ffffffff`,
			call: `Setattr 5 6 {Valid:57 Mode:2541 UID:7 GID:8 Size:1099511627776 Atime:{Sec:-1 Nsec:4} Mtime:{Sec:2 Nsec:5} Ctime:{Sec:3 Nsec:6}}`,
			reply: `78000000 00000000 0a00000000000000
				0100000000000000 0065cd1d 00000000
				4d00000000000000 0010000000000000 0800000000000000
				0100000000000000 fdffffffffffffff 0500000000000000 02000000 04000000 06000000
				a4810000 01000000 08000000 09000000 2c0a1000 00100000 00000000`,
			room: 120,
		},
		{
			name: "WRITE",
			request: `53000000 10000000 0c00000000000000 0500000000000000 00000000 00000000 00000000 0000 0000
				0600000000000000 0010000000000000 03000000 05000000 0900000000000000 02040000 00000000 616263`,
			call:  `Write 5 6 "abc"@4096 0x402 3`,
			reply: `18000000 00000000 0c00000000000000 03000000 00000000`,
			room:  24,
		},
		{
			name: "RENAME2",
			request: `3c000000 2d000000 0e00000000000000 0100000000000000 00000000 00000000 00000000 0000 0000
				0200000000000000 01000000 00000000 6100 6200`,
			call:  `Rename 1 "a\x00" 2 "b\x00" 1`,
			reply: `10000000 00000000 0e00000000000000`,
			room:  16,
		},
		{
			name: "READDIR",
			request: `50000000 1c000000 1000000000000000 0100000000000000 00000000 00000000 00000000 0000 0000
				0300000000000000 2100000000000000 25000000 00000000 0000000000000000 00000000 00000000`,
			call:  `Readdir 1 3 33 false`,
			reply: `30000000 00000000 1000000000000000 8500000000000000 2200000000000000 06000000 08000000 66696c6533310000`,
			room:  53,
		},
		{
			name: "SETLKW with FUSE_LK_FLOCK",
			request: `58000000 21000000 1200000000000000 0500000000000000 00000000 00000000 00000000 0000 0000
				0600000000000000 0900000000000000 0000000000000000 ffffffffffffff7f 01000000 0b000000 01000000 00000000`,
			call:  `Setlk 5 6 {Owner:9 Start:0 End:9223372036854775807 Type:1 PID:11 Flock:true Wait:true}`,
			reply: `10000000 00000000 1200000000000000`,
			room:  16,
		},
		{
			name:    "unknown",
			request: `28000000 36000000 1400000000000000 0100000000000000 00000000 00000000 00000000 0000 0000`,
			reply:   `10000000 daffffff 1400000000000000`,
			room:    4096,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw, fs := rawRecord(t)
			request, want := unhex(t, tc.request), unhex(t, tc.reply)
			if reply := raw.serve(request, tc.room); string(reply) != string(want) {
				t.Errorf("reply\n got %x\nwant %x", reply, want)
			}
			if got := strings.Join(fs.take(), "\n"); got != tc.call {
				t.Errorf("call\n got %s\nwant %s", got, tc.call)
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpcodeString(t *testing.T) {
	for op, want := range map[fuse.Opcode]string{
		fuse.LOOKUP: "LOOKUP", fuse.COPY_FILE_RANGE_64: "COPY_FILE_RANGE_64", 0: "opcode 0", 7: "opcode 7", 1 << 31: "opcode 2147483648",
	} {
		if got := op.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, s := range fusetest.Samples() {
		if got := s.Op.String(); !strings.HasPrefix(s.Name, got) {
			t.Errorf("sample %s has opcode %s", s.Name, got)
		}
	}
}

package hypercall

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// filled is a structure whose fields have been set, and the bytes that it should be.
type filled struct {
	name  string
	bytes []byte
	want  string
}

func fill[T Struct](name string, set func(*T), want string) filled {
	var p T
	set(&p)
	return filled{name, bytes.Clone(Bytes(&p)), strings.ReplaceAll(want, " ", "")}
}

// TestBytes compares structures with bytes written by hand.
func TestBytes(t *testing.T) {
	const addr = 0x1122334455667788
	for _, tt := range []filled{
		fill("write v1", func(p *WriteParamsV1) { p.FD.Set(-2); p.Buf.Set(addr); p.Len.Set(3) },
			"feffffff 8877665544332211 0300000000000000"),
		fill("read v1", func(p *ReadParamsV1) { p.FD.Set(5); p.Buf.Set(addr); p.Len.Set(3); p.Ret.Set(-14) },
			"05000000 8877665544332211 0300000000000000 f2ffffffffffffff"),
		fill("lseek v1", func(p *LseekParamsV1) { p.FD.Set(5); p.Offset.Set(-1); p.Whence.Set(2) },
			"05000000 ffffffffffffffff 02000000"),
		fill("exit v1", func(p *ExitParams) { p.Code.Set(-1) }, "ffffffff"),
		fill("cmdval", func(p *CmdvalParams) { p.Argv.Set(addr); p.Envp.Set(1) },
			"8877665544332211 0100000000000000"),
		fill("serial write v1", func(p *SerialWriteBufferParamsV1) { p.Buf.Set(addr); p.Len.Set(4) },
			"8877665544332211 0400000000000000"),
		fill("open", func(p *OpenParams) { p.Name.Set(addr); p.Flags.Set(0o102); p.Mode.Set(0o644); p.Ret.Set(3) },
			"8877665544332211 42000000 a4010000 03000000"),
		fill("close", func(p *CloseParams) { p.FD.Set(3); p.Ret.Set(-9) }, "03000000 f7ffffff"),
		fill("unlink", func(p *UnlinkParams) { p.Name.Set(addr); p.Ret.Set(-2) }, "8877665544332211 feffffff"),
		fill("write", func(p *WriteParams) { p.Len.Set(6); p.Ret.Set(-5); p.Buf.Set(addr); p.FD.Set(3) },
			"0600000000000000 fbffffffffffffff 8877665544332211 03000000 00000000"),
		fill("lseek", func(p *LseekParams) { p.Offset.Set(256); p.Whence.Set(1); p.FD.Set(3) },
			"0001000000000000 01000000 03000000"),
		fill("serial write", func(p *SerialWriteBufferParams) { p.Len.Set(4); p.Buf.Set(addr) },
			"0400000000000000 8877665544332211"),
		fill("serial read", func(p *SerialReadBufferParams) { p.MaxLen.Set(9); p.Len.Set(4); p.Buf.Set(addr) },
			"0900000000000000 0400000000000000 8877665544332211"),
		fill("getdents", func(p *GetdentsParams) {
			p.FD.Set(3)
			p.Buf.Set(addr)
			p.Len.Set(512)
			p.Tag.Set(GetdentsError)
			p.Payload.Set(22)
		}, "03000000 00000000 8877665544332211 0002000000000000 03000000 00000000 1600000000000000"),
		fill("mkdir", func(p *MkdirParams) { p.Path.Set(addr); p.Len.Set(2); p.Tag.Set(Error); p.Errno.Set(17) },
			"8877665544332211 0200000000000000 02000000 11000000"),
		fill("stat", func(p *StatParams) {
			p.Name.Set(addr)
			p.Kind.Set(KindLstat)
			p.Attr.Set(addr + 1)
			p.Tag.Set(Error)
			p.Errno.Set(2)
		}, "8877665544332211 01000000 00000000 8977665544332211 02000000 02000000"),
		fill("fstat", func(p *FstatParams) { p.FD.Set(7); p.Attr.Set(addr); p.Tag.Set(Success) },
			"07000000 00000000 8877665544332211 01000000 00000000"),
		fill("attr", func(p *FileAttr) {
			p.Dev.Set(1)
			p.Ino.Set(2)
			p.Nlink.Set(3)
			p.Mode.Set(0o100644)
			p.UID.Set(4)
			p.GID.Set(5)
			p.Rdev.Set(6)
			p.Size.Set(7)
			p.Blksize.Set(8)
			p.Blocks.Set(9)
			p.Atime.Sec.Set(-1)
			p.Atime.Nsec.Set(10)
			p.Mtime.Sec.Set(11)
			p.Mtime.Nsec.Set(12)
			p.Ctime.Sec.Set(13)
			p.Ctime.Nsec.Set(14)
		}, "0100000000000000 0200000000000000 0300000000000000 a4810000 04000000 05000000 00000000"+
			"0600000000000000 0700000000000000 0800000000000000 0900000000000000"+
			"ffffffffffffffff 0a000000 00000000 0b00000000000000 0c000000 00000000 0d00000000000000 0e000000 00000000"),
		fill("dirent", func(p *Dirent64) { p.Ino.Set(1); p.Off.Set(2); p.Reclen.Set(24); p.Type = 4 },
			"0100000000000000 0200000000000000 1800 04"),
	} {
		if got := hex.EncodeToString(tt.bytes); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	var p CmdsizeParams
	p.Argc.Set(1)
	p.ArgSz[0].Set(2)
	p.ArgSz[127].Set(3)
	p.Envc.Set(4)
	p.EnvSz[127].Set(5)
	b := make([]byte, 1032)
	for at, v := range map[int]byte{0: 1, 4: 2, 512: 3, 516: 4, 1028: 5} {
		b[at] = v
	}
	if !bytes.Equal(Bytes(&p), b) {
		t.Errorf("cmdsize: % x", Bytes(&p))
	}
}

// TestDecode: what a structure's bytes say is what its fields say.
func TestDecode(t *testing.T) {
	var p OpenParams
	copy(Bytes(&p), "\x01\x00\x00\x00\x00\x00\x00\x80\xff\xff\xff\xff\x00\x00\x00\x80\x01\x00\x00\x00")
	if p.Name.Get() != 1<<63|1 || p.Flags.Get() != -1 || p.Mode.Get() != -1<<31 || p.Ret.Get() != 1 {
		t.Errorf("%#x %d %d %d", p.Name.Get(), p.Flags.Get(), p.Mode.Get(), p.Ret.Get())
	}
	var d Dirent64
	copy(Bytes(&d), "\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\x18\x01\x08")
	if d.Ino.Get() != 1<<64-1 || d.Off.Get() != -2 || d.Reclen.Get() != 280 || d.Type != 8 {
		t.Errorf("%#x %d %d %d", d.Ino.Get(), d.Off.Get(), d.Reclen.Get(), d.Type)
	}
}

// TestNumbers compares the table of calls with the ports as documented.
func TestNumbers(t *testing.T) {
	want := map[Number]string{
		0x400: "FileWriteV1", 0x440: "FileOpenV1", 0x480: "FileCloseV1", 0x500: "FileReadV1", 0x540: "ExitV1",
		0x580: "FileLseekV1", 0x640: "NetwriteV1", 0x680: "NetreadV1", 0x700: "NetstatV1", 0x740: "CmdsizeV1",
		0x780: "CmdvalV1", 0x800: "UartV1", 0x840: "FileUnlinkV1", 0x880: "SerialWriteBufferV1",
		0x1010: "Exit", 0x1020: "SerialWriteByte", 0x1030: "SerialWriteBuffer", 0x1040: "SerialReadByte",
		0x1050: "SerialReadBuffer", 0x1100: "FileWrite", 0x1110: "FileOpen", 0x1120: "FileClose", 0x1130: "FileRead",
		0x1140: "FileLseek", 0x1150: "FileUnlink", 0x1160: "Getdents", 0x1170: "FileStat", 0x1180: "FileFstat",
		0x1190: "Mkdir", 0x1200: "SharedMemOpen", 0x1210: "SharedMemClose",
	}
	for n := range 1 << 16 {
		n := Number(n)
		name, known := want[n]
		version := n.Version()
		switch {
		case !known && version == 0:
		case !known || n.String() != name:
			t.Errorf("%#x is %v, want %q", uint16(n), n, name)
		case n < 0x1000 && version != 1, n >= 0x1160 && n <= 0x1190 && version != 3,
			n >= 0x1000 && n < 0x1160 && version != 2:
			t.Errorf("%v is of version %d", n, version)
		}
		if n.Virtual() != (n == 0x400 || n == 0x500) {
			t.Errorf("%v: virtual %t", n, n.Virtual())
		}
	}
	if n := Numbers(); len(n) != len(want) || n[0] != 0x400 || n[len(n)-1] != 0x1210 {
		t.Errorf("%v", n)
	}
	if s := Number(0xcf8).String(); s != "Number(0xcf8)" {
		t.Error(s)
	}
}

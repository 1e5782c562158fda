package hypercall

import "strconv"

// Number says which call a guest makes: the I/O port that it writes to.
type Number uint16

// The calls of version 1. Their argument is the 32-bit value written.
const (
	V1FileWrite         Number = 0x400 // WriteParamsV1
	V1FileOpen          Number = 0x440 // OpenParams
	V1FileClose         Number = 0x480 // CloseParams
	V1FileRead          Number = 0x500 // ReadParamsV1
	V1Exit              Number = 0x540 // ExitParams
	V1FileLseek         Number = 0x580 // LseekParamsV1
	V1Netwrite          Number = 0x640 // of old; without effect
	V1Netread           Number = 0x680 // of old; without effect
	V1Netstat           Number = 0x700 // of old; without effect
	V1Cmdsize           Number = 0x740 // CmdsizeParams
	V1Cmdval            Number = 0x780 // CmdvalParams
	V1Uart              Number = 0x800 // the argument is a byte for the console
	V1FileUnlink        Number = 0x840 // UnlinkParams
	V1SerialWriteBuffer Number = 0x880 // SerialWriteBufferParamsV1
)

// The calls of version 2 and, from Getdents on, version 3. Their argument is in RDI.
const (
	Exit              Number = 0x1010 // the argument is the exit code, an int32
	SerialWriteByte   Number = 0x1020 // the argument is a byte for the console
	SerialWriteBuffer Number = 0x1030 // SerialWriteBufferParams
	SerialReadByte    Number = 0x1040 // has no place for an answer; without effect
	SerialReadBuffer  Number = 0x1050 // SerialReadBufferParams
	FileWrite         Number = 0x1100 // WriteParams
	FileOpen          Number = 0x1110 // OpenParams
	FileClose         Number = 0x1120 // CloseParams
	FileRead          Number = 0x1130 // ReadParams
	FileLseek         Number = 0x1140 // LseekParams
	FileUnlink        Number = 0x1150 // UnlinkParams
	Getdents          Number = 0x1160 // GetdentsParams
	FileStat          Number = 0x1170 // StatParams
	FileFstat         Number = 0x1180 // FstatParams
	Mkdir             Number = 0x1190 // MkdirParams
	SharedMemOpen     Number = 0x1200 // reserved; without effect
	SharedMemClose    Number = 0x1210 // reserved; without effect
)

// LastVersion is the latest version of the interface that is served, as a kernel's
// UHYVEIF note states it; all from 1 on are.
const LastVersion = 3

// operation is an entry of the table of calls.
type operation struct {
	number Number
	name   string
	since  int // version of the interface
	serve  handler
}

var operations = [...]operation{
	{V1FileWrite, "FileWrite", 1, (*Guest).callWriteV1},
	{V1FileOpen, "FileOpen", 1, (*Guest).callOpen},
	{V1FileClose, "FileClose", 1, (*Guest).callClose},
	{V1FileRead, "FileRead", 1, (*Guest).callReadV1},
	{V1Exit, "Exit", 1, (*Guest).callExitV1},
	{V1FileLseek, "FileLseek", 1, (*Guest).callLseekV1},
	{V1Netwrite, "Netwrite", 1, (*Guest).callNothing},
	{V1Netread, "Netread", 1, (*Guest).callNothing},
	{V1Netstat, "Netstat", 1, (*Guest).callNothing},
	{V1Cmdsize, "Cmdsize", 1, (*Guest).callCmdsize},
	{V1Cmdval, "Cmdval", 1, (*Guest).callCmdval},
	{V1Uart, "Uart", 1, (*Guest).callWriteByte},
	{V1FileUnlink, "FileUnlink", 1, (*Guest).callUnlink},
	{V1SerialWriteBuffer, "SerialWriteBuffer", 1, (*Guest).callWriteBufferV1},

	{Exit, "Exit", 2, (*Guest).callExit},
	{SerialWriteByte, "SerialWriteByte", 2, (*Guest).callWriteByte},
	{SerialWriteBuffer, "SerialWriteBuffer", 2, (*Guest).callWriteBuffer},
	{SerialReadByte, "SerialReadByte", 2, (*Guest).callNothing},
	{SerialReadBuffer, "SerialReadBuffer", 2, (*Guest).callReadBuffer},
	{FileWrite, "FileWrite", 2, (*Guest).callWrite},
	{FileOpen, "FileOpen", 2, (*Guest).callOpen},
	{FileClose, "FileClose", 2, (*Guest).callClose},
	{FileRead, "FileRead", 2, (*Guest).callRead},
	{FileLseek, "FileLseek", 2, (*Guest).callLseek},
	{FileUnlink, "FileUnlink", 2, (*Guest).callUnlink},
	{Getdents, "Getdents", 3, (*Guest).callGetdents},
	{FileStat, "FileStat", 3, (*Guest).callStat},
	{FileFstat, "FileFstat", 3, (*Guest).callFstat},
	{Mkdir, "Mkdir", 3, (*Guest).callMkdir},
	{SharedMemOpen, "SharedMemOpen", 2, (*Guest).callNothing},
	{SharedMemClose, "SharedMemClose", 2, (*Guest).callNothing},
}

// All numbers are multiples of 16 and below this.
const numberEnd = 0x1300

// index is the place of a Number/16 in operations plus one, or 0.
var index = indexOf(operations[:])

func indexOf(ops []operation) (t [numberEnd >> 4]uint8) {
	for i := range ops {
		t[ops[i].number>>4] = uint8(i + 1)
	}
	return t
}

// place returns where n is in the table of calls.
func (n Number) place() (int, bool) {
	if n&0xf != 0 || n >= numberEnd || index[n>>4] == 0 {
		return 0, false
	}
	return int(index[n>>4]) - 1, true
}

// Numbers returns all calls, in ascending order.
func Numbers() []Number {
	list := make([]Number, len(operations))
	for i := range operations {
		list[i] = operations[i].number
	}
	return list
}

// Version is the version of the interface that the call came with, or 0 if n is none.
// The argument of a call of version 1 is the value that is written to the port, of
// the others the whole of RDI.
func (n Number) Version() int {
	i, ok := n.place()
	if !ok {
		return 0
	}
	return operations[i].since
}

// Virtual tells whether the call needs [CPU.CR3].
func (n Number) Virtual() bool { return n == V1FileRead || n == V1FileWrite }

// String returns the name of the call; in version 1 it ends in "V1".
func (n Number) String() string {
	i, ok := n.place()
	switch {
	case !ok:
		return "Number(0x" + strconv.FormatUint(uint64(n), 16) + ")"
	case operations[i].since == 1:
		return operations[i].name + "V1"
	}
	return operations[i].name
}

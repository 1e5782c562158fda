package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/isthmus-fs/isthmus/guestmem"
)

// Request is the id of a message from the front end.
type Request uint32

// The messages of a front end, as numbered by the protocol.
const (
	ReqGetFeatures         Request = 1
	ReqSetFeatures         Request = 2
	ReqSetOwner            Request = 3
	ReqResetOwner          Request = 4
	ReqSetMemTable         Request = 5
	ReqSetLogBase          Request = 6
	ReqSetLogFD            Request = 7
	ReqSetVringNum         Request = 8
	ReqSetVringAddr        Request = 9
	ReqSetVringBase        Request = 10
	ReqGetVringBase        Request = 11
	ReqSetVringKick        Request = 12
	ReqSetVringCall        Request = 13
	ReqSetVringErr         Request = 14
	ReqGetProtocolFeatures Request = 15
	ReqSetProtocolFeatures Request = 16
	ReqGetQueueNum         Request = 17
	ReqSetVringEnable      Request = 18
	ReqSendRARP            Request = 19
	ReqNetSetMTU           Request = 20
	ReqSetBackendReqFD     Request = 21
	ReqIotlbMsg            Request = 22
	ReqSetVringEndian      Request = 23
	ReqGetConfig           Request = 24
	ReqSetConfig           Request = 25
	ReqCreateCryptoSession Request = 26
	ReqCloseCryptoSession  Request = 27
	ReqPostcopyAdvise      Request = 28
	ReqPostcopyListen      Request = 29
	ReqPostcopyEnd         Request = 30
	ReqGetInflightFD       Request = 31
	ReqSetInflightFD       Request = 32
	ReqGPUSetSocket        Request = 33
	ReqResetDevice         Request = 34
	ReqVringKick           Request = 35
	ReqGetMaxMemSlots      Request = 36
	ReqAddMemReg           Request = 37
	ReqRemMemReg           Request = 38
	ReqSetStatus           Request = 39
	ReqGetStatus           Request = 40
	ReqGetSharedObject     Request = 41
	ReqSetDeviceStateFD    Request = 42
	ReqCheckDeviceState    Request = 43
	ReqGetShmemConfig      Request = 44
)

var requestNames = [...]string{
	ReqGetFeatures:         "GET_FEATURES",
	ReqSetFeatures:         "SET_FEATURES",
	ReqSetOwner:            "SET_OWNER",
	ReqResetOwner:          "RESET_OWNER",
	ReqSetMemTable:         "SET_MEM_TABLE",
	ReqSetLogBase:          "SET_LOG_BASE",
	ReqSetLogFD:            "SET_LOG_FD",
	ReqSetVringNum:         "SET_VRING_NUM",
	ReqSetVringAddr:        "SET_VRING_ADDR",
	ReqSetVringBase:        "SET_VRING_BASE",
	ReqGetVringBase:        "GET_VRING_BASE",
	ReqSetVringKick:        "SET_VRING_KICK",
	ReqSetVringCall:        "SET_VRING_CALL",
	ReqSetVringErr:         "SET_VRING_ERR",
	ReqGetProtocolFeatures: "GET_PROTOCOL_FEATURES",
	ReqSetProtocolFeatures: "SET_PROTOCOL_FEATURES",
	ReqGetQueueNum:         "GET_QUEUE_NUM",
	ReqSetVringEnable:      "SET_VRING_ENABLE",
	ReqSendRARP:            "SEND_RARP",
	ReqNetSetMTU:           "NET_SET_MTU",
	ReqSetBackendReqFD:     "SET_BACKEND_REQ_FD",
	ReqIotlbMsg:            "IOTLB_MSG",
	ReqSetVringEndian:      "SET_VRING_ENDIAN",
	ReqGetConfig:           "GET_CONFIG",
	ReqSetConfig:           "SET_CONFIG",
	ReqCreateCryptoSession: "CREATE_CRYPTO_SESSION",
	ReqCloseCryptoSession:  "CLOSE_CRYPTO_SESSION",
	ReqPostcopyAdvise:      "POSTCOPY_ADVISE",
	ReqPostcopyListen:      "POSTCOPY_LISTEN",
	ReqPostcopyEnd:         "POSTCOPY_END",
	ReqGetInflightFD:       "GET_INFLIGHT_FD",
	ReqSetInflightFD:       "SET_INFLIGHT_FD",
	ReqGPUSetSocket:        "GPU_SET_SOCKET",
	ReqResetDevice:         "RESET_DEVICE",
	ReqVringKick:           "VRING_KICK",
	ReqGetMaxMemSlots:      "GET_MAX_MEM_SLOTS",
	ReqAddMemReg:           "ADD_MEM_REG",
	ReqRemMemReg:           "REM_MEM_REG",
	ReqSetStatus:           "SET_STATUS",
	ReqGetStatus:           "GET_STATUS",
	ReqGetSharedObject:     "GET_SHARED_OBJECT",
	ReqSetDeviceStateFD:    "SET_DEVICE_STATE_FD",
	ReqCheckDeviceState:    "CHECK_DEVICE_STATE",
	ReqGetShmemConfig:      "GET_SHMEM_CONFIG",
}

// String returns the name that the protocol gives the message.
func (r Request) String() string {
	if uint64(r) < uint64(len(requestNames)) && requestNames[r] != "" {
		return requestNames[r]
	}
	return fmt.Sprintf("message %d", uint32(r))
}

// Header flags. The two lowest bits are the version.
const (
	FlagVersion     uint32 = 1
	FlagVersionMask uint32 = 3
	FlagReply       uint32 = 1 << 2
	FlagNeedReply   uint32 = 1 << 3
)

// Sizes of a message.
const (
	// HeaderSize is the length of the header: u32 request, flags and payload
	// size, in the byte order of the host like everything that follows.
	HeaderSize = 12
	// MaxPayload is the longest payload that a back end takes. The longest
	// that the protocol needs is far below.
	MaxPayload = 4096
	// MaxFDs is the most file descriptors that a back end takes with one
	// message.
	MaxFDs = 32
	// MaxTableRegions is the most regions in a SET_MEM_TABLE
	// (VHOST_MEMORY_BASELINE_NREGIONS).
	MaxTableRegions = 8
)

// Payload sizes.
const (
	u64Size          = 8
	vringStateSize   = 8
	vringAddrSize    = 40
	memRegionSize    = 32
	memTableHeadSize = 8
	memRegMsgSize    = 8 + memRegionSize
	configHeadSize   = 12
)

// header is the fixed part of a message.
type header struct {
	request Request
	flags   uint32
	size    uint32
}

// parseHeader decodes a header from the front end. The errors leave no way to
// go on: where the next message begins is unknown, or the peer is not what it
// should be. Flags that the protocol does not define are left to its future.
func parseHeader(b *[HeaderSize]byte) (header, error) {
	h := header{
		request: Request(binary.NativeEndian.Uint32(b[0:])),
		flags:   binary.NativeEndian.Uint32(b[4:]),
		size:    binary.NativeEndian.Uint32(b[8:]),
	}
	switch {
	case h.flags&FlagVersionMask != FlagVersion:
		return h, fmt.Errorf("%s: version %d of the protocol: want %d", h.request, h.flags&FlagVersionMask, FlagVersion)
	case h.flags&FlagReply != 0:
		return h, fmt.Errorf("%s: it is marked as a reply to nothing", h.request)
	case h.size > MaxPayload:
		return h, fmt.Errorf("%s: payload of %d bytes: at most %d are taken", h.request, h.size, MaxPayload)
	}
	return h, nil
}

// appendReply appends the header of the reply to a message.
func appendReply(b []byte, r Request, size int) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(r))
	b = binary.NativeEndian.AppendUint32(b, FlagVersion|FlagReply)
	return binary.NativeEndian.AppendUint32(b, uint32(size))
}

// The decoders below take a payload that is at least as long as their
// structure, which the dispatch table guarantees. Bytes behind it are ignored:
// User-Mode Linux sends a whole union for each message.

func parseU64(p []byte) uint64 { return binary.NativeEndian.Uint64(p) }

func u64Payload(v uint64) []byte {
	return binary.NativeEndian.AppendUint64(make([]byte, 0, u64Size), v)
}

// vringState is the payload of SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE
// and of GET_VRING_BASE and its reply.
type vringState struct {
	index uint32
	num   uint32
}

func parseVringState(p []byte) vringState {
	return vringState{
		index: binary.NativeEndian.Uint32(p[0:]),
		num:   binary.NativeEndian.Uint32(p[4:]),
	}
}

func (s vringState) payload() []byte {
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, vringStateSize), s.index)
	return binary.NativeEndian.AppendUint32(b, s.num)
}

// vringAddrLog is the flag of SET_VRING_ADDR for "log writes to the used ring".
const vringAddrLog = 1 << 0

// vringAreas are the front-end virtual addresses of the three areas of a ring.
type vringAreas struct {
	desc, used, avail uint64
}

// vringAddr is the payload of SET_VRING_ADDR. The address of the log that ends
// it has no use without logging.
type vringAddr struct {
	index uint32
	flags uint32
	areas vringAreas
}

func parseVringAddr(p []byte) vringAddr {
	return vringAddr{
		index: binary.NativeEndian.Uint32(p[0:]),
		flags: binary.NativeEndian.Uint32(p[4:]),
		areas: vringAreas{
			desc:  binary.NativeEndian.Uint64(p[8:]),
			used:  binary.NativeEndian.Uint64(p[16:]),
			avail: binary.NativeEndian.Uint64(p[24:]),
		},
	}
}

// vringFD is the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR.
type vringFD struct {
	index uint32
	noFD  bool // no descriptor comes: poll, do not interrupt, do not report
}

func parseVringFD(p []byte) vringFD {
	v := binary.NativeEndian.Uint64(p)
	return vringFD{index: uint32(v & 0xff), noFD: v&(1<<8) != 0}
}

// parseMemRegion decodes one region. It has no file yet.
func parseMemRegion(p []byte) guestmem.Region {
	return guestmem.Region{
		GPA:    binary.NativeEndian.Uint64(p[0:]),
		Size:   binary.NativeEndian.Uint64(p[8:]),
		UVA:    binary.NativeEndian.Uint64(p[16:]),
		Offset: binary.NativeEndian.Uint64(p[24:]),
		FD:     -1,
	}
}

// parseMemTable decodes the payload of SET_MEM_TABLE, whose length depends on
// what is in it.
func parseMemTable(p []byte) ([]guestmem.Region, error) {
	n := binary.NativeEndian.Uint32(p)
	if n > MaxTableRegions {
		return nil, fmt.Errorf("a table of %d memory regions: at most %d are allowed", n, MaxTableRegions)
	}
	p = p[memTableHeadSize:]
	if len(p) < int(n)*memRegionSize {
		return nil, fmt.Errorf("a table of %d memory regions in a payload with room for %d", n, len(p)/memRegionSize)
	}
	regions := make([]guestmem.Region, n)
	for i := range regions {
		regions[i] = parseMemRegion(p[i*memRegionSize:])
	}
	return regions, nil
}

// parseMemReg decodes the payload of ADD_MEM_REG and REM_MEM_REG: a u64 of
// padding and one region.
func parseMemReg(p []byte) guestmem.Region { return parseMemRegion(p[8:]) }

// configRange is the head of GET_CONFIG and SET_CONFIG and their replies.
type configRange struct {
	offset, size, flags uint32
}

var errConfigRange = errors.New("the range of the configuration space is empty or too large")

// parseConfigRange decodes the head of GET_CONFIG. The bytes that follow it,
// which the reply replaces, may be missing.
func parseConfigRange(p []byte) (configRange, error) {
	c := configRange{
		offset: binary.NativeEndian.Uint32(p[0:]),
		size:   binary.NativeEndian.Uint32(p[4:]),
		flags:  binary.NativeEndian.Uint32(p[8:]),
	}
	if c.size == 0 || c.size > MaxPayload-configHeadSize {
		return c, errConfigRange
	}
	return c, nil
}

// payload returns the reply to GET_CONFIG: the range of space, which is taken to
// go on with zeros for ever.
func (c configRange) payload(space []byte) []byte {
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, configHeadSize+int(c.size)), c.offset)
	b = binary.NativeEndian.AppendUint32(b, c.size)
	b = binary.NativeEndian.AppendUint32(b, c.flags)
	b = b[:cap(b)]
	if uint64(c.offset) < uint64(len(space)) {
		copy(b[configHeadSize:], space[c.offset:])
	}
	return b
}

package virtionet

import "encoding/binary"

// Sizes in bytes.
const (
	headerSize   = 12                       // struct virtio_net_hdr of VERSION_1, and TUNSETVNETHDRSZ
	ethernetSize = 14                       // Ethernet header
	maxFrame     = ethernetSize + 4 + 65535 // with a VLAN tag
)

// Flags of a header (virtio 1.3 §5.1.6), and gso_type of one without segmentation.
const (
	needsCsum = 1
	gsoNone   = 0
)

// header is struct virtio_net_hdr: our copy of one. hdr_len and gso_size belong to
// segmentation, which is not offered.
type header struct {
	flags, gsoType        uint8
	csumStart, csumOffset uint16
}

func parseHeader(b *[headerSize]byte) header {
	return header{
		flags: b[0], gsoType: b[1],
		csumStart:  binary.LittleEndian.Uint16(b[6:]),
		csumOffset: binary.LittleEndian.Uint16(b[8:]),
	}
}

// put writes the header. buffers is num_buffers, 1 for a frame to the driver.
func (h header) put(b *[headerSize]byte, buffers uint16) {
	*b = [headerSize]byte{0: h.flags, 1: h.gsoType}
	binary.LittleEndian.PutUint16(b[6:], h.csumStart)
	binary.LittleEndian.PutUint16(b[8:], h.csumOffset)
	binary.LittleEndian.PutUint16(b[10:], buffers)
}

// fits says whether the checksum that the header asks for lies within a frame of n
// bytes.
func (h header) fits(n uint64) bool {
	return uint64(h.csumStart)+uint64(h.csumOffset)+2 <= n
}

// complete puts the Internet checksum (RFC 1071) of what is behind csum_start where
// the header says, if it asks for that. The sum of the pseudo header is there
// already. It returns false if the place is not in the frame.
func (h header) complete(frame []byte) bool {
	if h.flags&needsCsum == 0 {
		return true
	}
	if !h.fits(uint64(len(frame))) {
		return false
	}
	part := frame[h.csumStart:]
	sum := ^checksum(part)
	if sum == 0 {
		// In UDP 0 says that there is none; in one's complement, this is
		// the same number.
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(part[h.csumOffset:], sum)
	return true
}

// checksum returns the one's complement sum of b's 16-bit words.
func checksum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

package virtiopci

import "encoding/binary"

const (
	configSize  = 256
	firstCap    = 0x40
	barRegister = 0x10
)

// Registers of a type-0 header (PCI 3.0 §6.1).
const (
	regVendor       = 0x00
	regDevice       = 0x02
	regCommand      = 0x04
	regStatus       = 0x06
	regRevision     = 0x08
	regClass        = 0x09 // 3 bytes
	regSubVendor    = 0x2c
	regSubDevice    = 0x2e
	regCapabilities = 0x34
	regLine         = 0x3c
	regPin          = 0x3d
)

// Bits of the Command and Status registers (PCI 3.0 §6.2.2, §6.2.3).
const (
	commandIO          = 1 << 0
	commandMemory      = 1 << 1
	commandMaster      = 1 << 2
	commandParity      = 1 << 6
	commandSERR        = 1 << 8
	commandINTxDisable = 1 << 10

	statusInterrupt    = 1 << 3
	statusCapabilities = 1 << 4
)

// Low bits of a memory BAR (PCI 3.0 §6.2.5.1).
const (
	bar64Bit        = 2 << 1
	barPrefetchable = 1 << 3
)

// config is the configuration space of a function: what it holds, and which of it
// the guest may change.
type config struct {
	data     [configSize]byte
	writable [configSize]byte // by bit
	nextCap  int
	lastLink int // where the offset of the next capability goes
}

func (c *config) put16(off int, v uint16) { binary.LittleEndian.PutUint16(c.data[off:], v) }
func (c *config) put32(off int, v uint32) { binary.LittleEndian.PutUint32(c.data[off:], v) }
func (c *config) get16(off int) uint16    { return binary.LittleEndian.Uint16(c.data[off:]) }
func (c *config) get32(off int) uint32    { return binary.LittleEndian.Uint32(c.data[off:]) }

func (c *config) allow16(off int, mask uint16) {
	binary.LittleEndian.PutUint16(c.writable[off:], mask)
}

func (c *config) allow32(off int, mask uint32) {
	binary.LittleEndian.PutUint32(c.writable[off:], mask)
}

// header sets what every function has. class is the class code of 24 bits.
func (c *config) header(vendor, device uint16, class uint32, revision byte) {
	c.put16(regVendor, vendor)
	c.put16(regDevice, device)
	c.data[regRevision] = revision
	c.data[regClass] = byte(class)
	c.put16(regClass+1, uint16(class>>8))
	c.allow16(regCommand, commandIO|commandMemory|commandMaster|commandParity|commandSERR|commandINTxDisable)
	c.writable[regLine] = 0xff
	c.nextCap, c.lastLink = firstCap, regCapabilities
}

// bar0 makes the first two registers a 64-bit BAR of a size that is a power of two.
func (c *config) bar0(addr, size uint64) {
	c.put32(barRegister, uint32(addr)|bar64Bit|barPrefetchable)
	c.put32(barRegister+4, uint32(addr>>32))
	c.allow32(barRegister, uint32(-size))
	c.allow32(barRegister+4, uint32(-size>>32))
}

func (c *config) bar0Address() uint64 {
	const flags = 0xf
	return uint64(c.get32(barRegister)&^flags) | uint64(c.get32(barRegister+4))<<32
}

// addCap appends a capability and returns where it begins: body follows its id and
// the link to the next.
func (c *config) addCap(id byte, body []byte) int {
	off := c.nextCap
	c.data[c.lastLink] = byte(off)
	c.put16(regStatus, c.get16(regStatus)|statusCapabilities)
	c.data[off] = id
	copy(c.data[off+2:], body)
	c.lastLink = off + 1
	c.nextCap = off + (2+len(body)+3)&^3
	return off
}

// read fills data, which does not reach beyond the end.
func (c *config) read(off int, data []byte) { copy(data, c.data[off:]) }

// write changes the bits that the guest may change.
func (c *config) write(off int, data []byte) {
	for i, b := range data {
		w := c.writable[off+i]
		c.data[off+i] = c.data[off+i]&^w | b&w
	}
}

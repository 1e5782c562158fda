package hermit

import "time"

// bootInfoSize is the size of the boot information on x86-64.
const bootInfoSize = 128

// platformUhyve is the platform tag of machines of this kind.
const platformUhyve = 1

// serialPorts are what kernels before 0.10 write text to, by interface version: the
// number of the call for one byte.
var serialPorts = [...]uint16{1: 0x800, 2: 0x1030, 3: 0x1030}

// bootInfo is RawBootInfo of entry version 4.
type bootInfo struct {
	memStart, memEnd       uint64
	serialPort             uint16 // 0 is none
	fdt                    uint64
	kernelStart, kernelEnd uint64
	tls                    TLS
	pci                    bool
	cpus                   uint64
	tscKHz                 uint32 // 0 is unknown
	bootTime               time.Time
}

// encode lays it out as the kernel reads it. The time is 128 bits of nanoseconds since
// 1970.
func (b *bootInfo) encode(to *[bootInfoSize]byte) {
	clear(to[:])
	le.PutUint64(to[0:], b.memStart)
	le.PutUint64(to[8:], b.memEnd)
	le.PutUint16(to[16:], b.serialPort)
	le.PutUint64(to[24:], b.fdt)
	le.PutUint64(to[32:], b.kernelStart)
	le.PutUint64(to[40:], b.kernelEnd)
	le.PutUint64(to[48:], b.tls.Start)
	le.PutUint64(to[56:], b.tls.FileSize)
	le.PutUint64(to[64:], b.tls.MemSize)
	le.PutUint64(to[72:], b.tls.Align)
	le.PutUint32(to[80:], platformUhyve)
	if b.pci {
		to[88] = 1
	}
	le.PutUint64(to[96:], b.cpus)
	le.PutUint32(to[104:], b.tscKHz)
	ns := b.bootTime.UnixNano()
	le.PutUint64(to[112:], uint64(ns))
	le.PutUint64(to[120:], uint64(ns>>63))
}

package hermit

import (
	"math/bits"

	"github.com/isthmus-fs/isthmus/kvm"
)

// brand is what the guest reads as the name of its processor: 47 bytes and a NUL at
// most.
const brand = "isthmus - unikernel machine"

// cpuids is a list of CPUID leaves under change.
type cpuids []kvm.CPUIDEntry2

// leaf returns a leaf, which is added if it is not there.
func (c *cpuids) leaf(function uint32) *kvm.CPUIDEntry2 {
	for i := range *c {
		if (*c)[i].Function == function && (*c)[i].Index == 0 {
			return &(*c)[i]
		}
	}
	*c = append(*c, kvm.CPUIDEntry2{Function: function})
	return &(*c)[len(*c)-1]
}

// has says whether a leaf is there.
func (c cpuids) has(function uint32) bool {
	for i := range c {
		if c[i].Function == function {
			return true
		}
	}
	return false
}

// PatchCPUID returns what CPUID answers on processor cpu of cpus: what KVM supports, with
// the bits that Hermit relies on, no performance counters, our name, and a topology of
// one socket with cpus cores, whose APIC ids are 0, 1, 2 and so on. supported is not
// changed.
func PatchCPUID(supported []kvm.CPUIDEntry2, cpu, cpus int) []kvm.CPUIDEntry2 {
	c := append(cpuids(nil), supported...)
	id, n := uint32(cpu), uint32(cpus)

	raise(c.leaf(0), 1)
	one := c.leaf(1)
	one.EBX = one.EBX&0xffff | min(n, 255)<<16 | id<<24
	one.ECX |= 1<<31 | 1<<24 // hypervisor, TSC deadline timer
	one.EDX |= 1 << 5        // MSRs
	one.EDX &^= 1 << 28
	if n > 1 {
		one.EDX |= 1 << 28 // EBX has the number of processors
	}
	c.leaf(0xa).EAX = 0

	raise(c.leaf(0x80000000), 0x80000004)
	var name [48]byte
	copy(name[:], brand)
	for i := range uint32(3) {
		l, s := c.leaf(0x80000002+i), name[16*i:]
		l.EAX, l.EBX, l.ECX, l.EDX = le.Uint32(s), le.Uint32(s[4:]), le.Uint32(s[8:]), le.Uint32(s[12:])
	}

	for i := range c {
		topology(&c[i], id, n)
	}
	for _, function := range [...]uint32{0xb, 0x1f} {
		if c.has(function) {
			c.levels(function, id, n)
		}
	}
	return c
}

// raise makes sure that a leaf with the number of the last one admits a leaf.
func raise(l *kvm.CPUIDEntry2, last uint32) { l.EAX = max(l.EAX, last) }

// topology changes the leaves that say something of cores and what they share: each core
// has one thread and its own caches, but for the third level.
func topology(l *kvm.CPUIDEntry2, id, n uint32) {
	switch l.Function {
	case 4, 0x8000001d: // caches, Intel's and AMD's
		if l.EAX&0x1f == 0 {
			return // the end of the list
		}
		l.EAX &^= 0xfff << 14 // processors that share it, less one
		if level := l.EAX >> 5 & 7; level >= 3 {
			l.EAX |= (n - 1) << 14
		}
		if l.Function == 4 {
			l.EAX = l.EAX&^(0x3f<<26) | min(n-1, 0x3f)<<26 // cores, less one
		}
	case 0x80000008: // AMD: cores less one, and bits of their ids
		l.ECX = l.ECX&^0xf0ff | (n - 1) | idBits(n)<<12
	case 0x8000001e: // AMD: APIC id, core id, node
		l.EAX, l.EBX, l.ECX = id, id, 0
	}
}

// levels replaces the extended topology: a level of threads, one per core, and one of
// cores.
func (c *cpuids) levels(function, id, n uint32) {
	kept := (*c)[:0]
	for _, l := range *c {
		if l.Function != function {
			kept = append(kept, l)
		}
	}
	for i, l := range [...]kvm.CPUIDEntry2{
		{EAX: 0, EBX: 1, ECX: 1 << 8},
		{EAX: idBits(n), EBX: n, ECX: 2 << 8},
		{},
	} {
		l.Function, l.Index, l.Flags = function, uint32(i), kvm.CPUID_FLAG_SIGNIFCANT_INDEX
		l.ECX |= uint32(i)
		l.EDX = id
		kept = append(kept, l)
	}
	*c = kept
}

// idBits returns how many bits the APIC ids of n processors take.
func idBits(n uint32) uint32 { return uint32(bits.Len32(n - 1)) }

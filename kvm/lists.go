package kvm

import (
	"errors"
	"syscall"
)

// The structures here end in an array whose length stands in front of it. They
// are built as words, in the order of the kernel's fields.

// cpuidWords is the size of struct kvm_cpuid_entry2 in 32-bit words.
const cpuidWords = 10

// getCPUID makes a call that fills in a struct kvm_cpuid2 as long as needed.
func getCPUID(fd int, r request) ([]CPUIDEntry2, error) {
	const header = cpuid2Header / 4
	for n := 128; ; {
		buf := make([]uint32, header+cpuidWords*n)
		buf[0] = uint32(n)
		_, err := callPtr(fd, r, &buf[0])
		if err != nil {
			if !errors.Is(err, syscall.E2BIG) || n >= 1<<16 {
				return nil, err
			}
			n *= 4
			continue
		}
		entries := make([]CPUIDEntry2, min(int(buf[0]), n))
		for i := range entries {
			w := buf[header+cpuidWords*i:]
			entries[i] = CPUIDEntry2{Function: w[0], Index: w[1], Flags: w[2], EAX: w[3], EBX: w[4], ECX: w[5], EDX: w[6]}
		}
		return entries, nil
	}
}

// SetCPUID2 says what CPUID answers the guest (KVM_SET_CPUID2, §4.20). It goes
// before the first Run; KVM keeps some answers to itself, such as the APIC id.
func (c *VCPU) SetCPUID2(entries []CPUIDEntry2) error {
	const header = cpuid2Header / 4
	buf := make([]uint32, header+cpuidWords*len(entries))
	buf[0] = uint32(len(entries))
	for i, e := range entries {
		copy(buf[header+cpuidWords*i:], []uint32{e.Function, e.Index, e.Flags, e.EAX, e.EBX, e.ECX, e.EDX})
	}
	_, err := callPtr(c.fd, setCPUID2, &buf[0])
	return err
}

// GetMSRs fills in the Data of model-specific registers (KVM_GET_MSRS, §4.18). It
// stops at the first that KVM refuses, which is an [*MSRError]; n is the number
// of those before.
func (c *VCPU) GetMSRs(msrs []MSREntry) (n int, err error) {
	buf := msrWords(msrs)
	n, err = c.msrCall(getMSRs, buf, msrs)
	for i := range msrs[:n] {
		msrs[i].Data = buf[2+2*i]
	}
	return n, err
}

// SetMSRs sets them (KVM_SET_MSRS, §4.19) and stops like GetMSRs.
func (c *VCPU) SetMSRs(msrs []MSREntry) (n int, err error) {
	return c.msrCall(setMSRs, msrWords(msrs), msrs)
}

// msrWords is a struct kvm_msrs in 64-bit words.
func msrWords(msrs []MSREntry) []uint64 {
	buf := make([]uint64, 1+2*len(msrs))
	buf[0] = uint64(len(msrs))
	for i, m := range msrs {
		buf[1+2*i], buf[2+2*i] = uint64(m.Index), m.Data
	}
	return buf
}

func (c *VCPU) msrCall(r request, buf []uint64, msrs []MSREntry) (int, error) {
	n, err := callPtr(c.fd, r, &buf[0])
	if err != nil {
		return 0, err
	}
	if n < len(msrs) {
		return n, &MSRError{r.name, msrs[n].Index}
	}
	return n, nil
}

package gdb

import (
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vmm"
)

// machine is a *vmm.Machine as a Target.
type machine struct {
	*vmm.Machine
	offset uint64
}

// Machine makes a Target of a machine whose Config has Debug. offset is how far the guest's
// program is from where its ELF file says it is, for the debugger's symbols.
//
// The machine's Run must be under way or begin soon, for its processors pause on threads
// of their own. The machine and its memory stay until the session is over.
func Machine(m *vmm.Machine, offset uint64) Target { return machine{m, offset} }

func (m machine) Do(cpu int, f func(CPU) error) error {
	return m.Machine.Do(cpu, func(c *kvm.VCPU) error { return f(c) })
}

func (m machine) ReadMemory(gpa uint64, p []byte) bool {
	return m.access(gpa, len(p), func(mem []byte) { copy(p, mem) })
}

func (m machine) WriteMemory(gpa uint64, p []byte) bool {
	return m.access(gpa, len(p), func(mem []byte) { copy(mem, p) })
}

func (m machine) access(gpa uint64, n int, f func(mem []byte)) bool {
	v := m.Memory().Acquire()
	defer v.Release()
	mem, ok := v.HostGPA(gpa, uint64(n))
	return ok && oslib.CatchFault(func() { f(mem) }) == nil
}

func (m machine) Offset() uint64 { return m.offset }

package hermit

import (
	"github.com/isthmus-fs/isthmus/hypercall"
	"github.com/isthmus-fs/isthmus/vmm"
)

// Door lets a guest in a machine make hypercalls. Its Hook and Kinds are for vmm.Config;
// Open says, before the machine runs, who serves the calls.
type Door struct {
	guest *hypercall.Guest
	end   func(vmm.Outcome)
}

// Open has the calls served by g, and end, which is the machine's, called when the guest
// exits.
func (d *Door) Open(g *hypercall.Guest, end func(vmm.Outcome)) { d.guest, d.end = g, end }

// Kinds returns the names of the hypercalls, as statistics have them.
func Kinds() []string {
	numbers := hypercall.Numbers()
	names := make([]string, len(numbers))
	for i, n := range numbers {
		names[i] = n.String()
	}
	return names
}

// Failures is how many calls of a kind have failed, by its name; 0 for what is none.
func (d *Door) Failures(kind string) uint64 {
	for _, n := range hypercall.Numbers() {
		if n.String() == kind {
			return d.guest.Failures(n)
		}
	}
	return 0
}

// callStep is what all hypercall numbers are multiples of.
const callStep = 0x10

// kindOf has, at a hypercall's number in steps, one more than its place in Kinds.
var kindOf = func() (table [hypercall.SharedMemClose/callStep + 1]uint8) {
	for i, n := range hypercall.Numbers() {
		table[n/callStep] = uint8(i + 1)
	}
	return table
}()

// Hook serves the hypercall that a write to a port is, if it is one. It is a vmm.Hook.
func (d *Door) Hook(c *vmm.CPU, port uint16, data []byte) (kind int, ok bool) {
	if port%callStep != 0 || int(port/callStep) >= len(kindOf) {
		return 0, false
	}
	if kind = int(kindOf[port/callStep]) - 1; kind < 0 {
		return 0, false
	}
	n := hypercall.Number(port)
	arg, cpu, err := arguments(c, n, data)
	if err != nil {
		d.end(vmm.Outcome{Reason: vmm.Failed, CPU: c.Index(), Err: err})
		return kind, true
	}
	if r := d.guest.Call(n, arg, cpu); r.Exit {
		d.end(vmm.Outcome{Reason: vmm.Exited, Code: r.Code, CPU: c.Index()})
	}
	return kind, true
}

// arguments are what the processor gives a call: version 1 has what was written to the
// port, the later ones have RDI.
func arguments(c *vmm.CPU, n hypercall.Number, data []byte) (arg uint64, cpu hypercall.CPU, err error) {
	if n.Version() == 1 {
		for i, b := range data {
			arg |= uint64(b) << (8 * i)
		}
	} else {
		r, err := c.Regs()
		if err != nil {
			return 0, cpu, err
		}
		arg = r.RDI
	}
	if n.Virtual() {
		cpu.CR3, err = c.CR3()
	}
	return arg, cpu, err
}

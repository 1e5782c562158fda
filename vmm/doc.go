// Package vmm is a small virtual machine for x86-64 on KVM: memory, processors that
// each run on a thread of their own, and buses on which devices answer. What kind of
// guest runs in it is the business of the packages below it, such as vmm/hermit: they
// put the guest into memory and set the registers.
//
// # A machine's life
//
//	ram, _ := vmm.NewRAM(vmm.RAMConfig{Size: 64 << 20})
//	m, err := vmm.New(&vmm.Config{CPUs: 2, Memory: []*vmm.RAM{ram}})
//	m.HandlePorts(0x3f8, 8, uart)
//	m.CPU(0).VCPU().SetRegs(…)
//	outcome := m.Run(ctx)
//	m.Close()
//
// A machine runs once. It ends when ctx does, when a device or the [Hook] calls
// [Machine.End], or when KVM cannot go on; the first of these is its [Outcome].
//
// # Exits
//
// An exit is what the guest cannot do without us: access to a port or to an address
// without memory. It is served on the thread of the processor that made it, which
// waits meanwhile. The Hook is asked first about each OUT; then the devices. What no
// device answers is read as all-ones, as on a PC's bus, and written to no effect.
//
// # Debugging
//
// [Machine.Pause] stops all processors between two instructions; [Machine.Do] then
// looks at one, on its own thread; [Machine.Resume] lets them go on. A processor that
// meets a breakpoint stops the others, too, and reports a [Stop].
//
// # Concurrency
//
// Everything up to Run is for one goroutine. From then on End, Pause, Do, Resume and
// Stats may be called by any; Pause, Do and Resume are one debugger's, one call at a
// time. Devices are called by several processors at once and lock what they have.
//
// # Trust
//
// The guest chooses ports, addresses, lengths and data of all accesses, and when its
// processors make them. A Device never sees a range that leaves its own. Nothing that a
// guest does ends this process; a guest that KVM cannot run ends with an Outcome.
//
// # Ownership
//
// A RAM is its maker's, who closes it after the machine. Devices are their makers' too.
//
// # Sources
//
// Documentation/virt/kvm/api.rst of Linux, and the processors' manuals for what
// registers mean.
package vmm

// Package gdb serves the remote protocol of GDB for a machine of x86-64 processors: the
// debugger on the other end of a connection looks at the guest, changes it, and has it
// stop and go.
//
//	l, err := gdb.Listen(1234)
//	go l.Serve(ctx, gdb.Machine(m, offset))
//	outcome := m.Run(ctx)
//
// and then, in GDB, "target remote :1234". A machine made with vmm's Config.Debug stays
// paused until the debugger lets it go.
//
// # What there is
//
// Each processor is a thread; processor 0 is thread 1. Stops are all-stop: when one
// stops, the others are stopped too. Which of them go on is chosen thread by thread
// (vCont), so GDB's "set scheduler-locking" works. There are steps and steps within a
// range, software breakpoints (an INT3 in memory, never seen by those who read that
// memory), four hardware breakpoints or watchpoints in the processors' debug registers,
// registers of the general, x87 and SSE kind, segments, control registers, and memory by
// virtual address, as the page tables of the chosen processor say. A watchpoint for reads
// only is not among them: x86 has none.
//
// Breakpoints need a KVM whose processor stops for them. On one that QEMU emulates the
// guest itself gets the exception of a software breakpoint, and hardware breakpoints do
// nothing; all else works.
//
// An INT3 or a debug exception of the guest's own, where no breakpoint of ours is, goes to
// the guest. While there are hardware breakpoints the guest's own debug registers have no
// effect, and it does not see DR6 as it would without us.
//
// A software breakpoint is patched into the physical page that its address is mapped to
// when it is set. If the guest maps another page there, the breakpoint stays with
// the old one. If it overwrites the INT3, the breakpoint is lost, and what it wrote stays.
//
// # How a session ends
//
// The debugger may kill the machine (k, vKill), which ends it as vmm.Stopped, or detach
// (D). A connection that is lost, or that breaks the protocol, is a detach. After that,
// breakpoints are gone and the guest goes on, and a debugger may connect anew. If the
// guest ends while it runs, the debugger is told so: W with the low 8 bits of its
// exit code, all that the protocol has room for, or X with a signal's number for a
// machine that failed. The whole code is in the machine's Outcome.
//
// # Trust
//
// The debugger owns the guest wholly, and nothing else: it cannot reach memory of this
// process or any file. It may set registers to values with which the processor refuses to
// run; that ends the machine. [Listen] listens on the loopback address only, but there any
// user of this host may connect. A connection whose first byte is not of the protocol, such
// as an HTTP request that a browser was talked into, is closed before anything is done.
//
// What the peer sends is hostile all the same: packets are bounded, numbers are checked,
// breakpoints are counted. So is what the guest has in its registers, page tables and
// memory.
//
// # Concurrency
//
// To pause the machine takes until its processors have no call under way that is served
// outside of the guest, such as a read from a terminal. The debugger waits that long, too.
//
// A machine has one session at a time. [Serve] and [Listener.Serve] may run beside
// whatever else the machine does; nothing else may pause or resume it.
//
// # Source
//
// Debugging with GDB, appendix "GDB Remote Serial Protocol" and "Target Descriptions";
// Intel SDM volume 3, "Debug Registers".
package gdb

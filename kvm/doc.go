// Package kvm is the ioctl interface of /dev/kvm for x86-64: virtual machines,
// their processors, and the page through which a processor tells why it stopped.
// It holds no policy: which memory, which devices and which registers a machine
// has is its caller's business.
//
// # Names
//
// Constants are spelled as in linux/kvm.h and asm/kvm.h, without their KVM_:
// [EXIT_IO] is KVM_EXIT_IO. Structures have their fields in the same order, with
// Go's spelling: [UserspaceMemoryRegion] is struct kvm_userspace_memory_region.
// Methods are named after their ioctl, which an [Error] names in full.
//
// # Ownership
//
// A [System], a [VM] and a [VCPU] own one descriptor each, and a VCPU the mapping
// of its struct kvm_run besides; Close gives them up. The kernel keeps a machine
// as long as one of its descriptors is open, so they may be closed in any order.
// Guest memory, and the eventfds of [VM.IRQFD] and [VM.IOEventFD], stay the
// caller's: memory must be mapped outside Go's heap and stay mapped as long as its
// slot; the kernel takes references of its own to eventfds.
//
// # Threads
//
// KVM wants the calls on one vCPU to come from one thread, and is slow when that
// thread changes. So each vCPU has a goroutine of its own:
//
//	runtime.LockOSThread()
//	vcpu.Bind()
//	defer vcpu.Unbind()
//	for {
//		switch errno := vcpu.Run(); errno {
//		case 0: // look at vcpu.ExitReason()
//		case syscall.EINTR:
//			vcpu.SetImmediateExit(false)
//			// look at what the kick was for
//		case syscall.EAGAIN: // INIT or SIPI: just run again
//		default: // the machine is broken
//		}
//	}
//
// [VCPU.Run] blocks the thread, not the other goroutines, and returns for every
// exit, which costs no allocation.
//
// # Kicking a vCPU
//
// [VCPU.Kick] makes a Run end that is under way, or the next one if none is. It
// sets immediate_exit and then sends SIGURG to the thread. A signal that arrives
// just before KVM_RUN would be lost, but the flag is not, since the kernel reads it
// on the way in; that is why KVM_SET_SIGNAL_MASK, the older way, is not needed
// (Linux 4.12). SIGURG is what Go's runtime uses for preemption: it always has a
// handler, which does nothing here. For the same reason Run may return EINTR
// without any kick. The owner of the vCPU clears the flag first and looks for its
// orders second, so that none is lost in between.
//
// # Concurrency
//
// System and VM may be used by several goroutines at once, but for Close, which
// must come last. A VCPU belongs to one goroutine at a time, but for [VCPU.Kick],
// which any may call at any time, even after Close.
//
// # Trust
//
// The kernel is trusted; what it passes on is not: ports, addresses, lengths,
// data and registers in an exit are chosen by the guest. The guest cannot change
// them while they are looked at, for struct kvm_run is not in its memory. Slices
// of exit data are checked against the mapping all the same.
//
// # Errors
//
// [Open] fails with an [*OpenError], which says what to do. The other calls fail
// with an [*Error] that wraps the syscall.Errno; [VCPU.Run] returns the bare one,
// because some are part of its normal life. A call that a signal broke off is made
// again, except KVM_RUN.
//
// # Sources
//
// Documentation/virt/kvm/api.rst of Linux (the section is given with each call),
// linux/kvm.h and asm/kvm.h of Linux 6.1, and what of 6.8 is named as such.
package kvm

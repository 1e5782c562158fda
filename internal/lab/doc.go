// Package lab starts real Linux guests on an ordinary machine and runs one
// command in each: User-Mode Linux, which boots in about a second, and QEMU
// with an emulated processor, which has PCI, MSI-X and several processors.
// Neither needs hardware virtualisation.
//
// # A run
//
// [Run] builds an initramfs in memory, starts the guest kernel with it and
// waits for the guest's first process, the agent, which is the running program
// itself (see [MaybeInit]). Host and agent talk over one link, a second serial
// line of User-Mode Linux or a virtio-serial port of QEMU:
//
//	host                                   agent (process 1 of the guest)
//	                                       mounts /proc, /sys, /dev, /tmp
//	                                       loads the modules listed for it
//	                 <-- hello ----------
//	                 --- start --------->  mounts the shares, starts the command
//	                 --- stdin, resize ->
//	                 <-- stdout, stderr -
//	                                       command ends, shares are unmounted
//	                 <-- exit -----------
//	                 --- bye ----------->  powers off, or reboots
//
// Every message is a frame (see frame.go), so the command's two outputs stay
// apart and arrive byte for byte; what the kernel prints goes elsewhere, to
// [Config.Console].
//
// # What is left behind
//
// Nothing. The initramfs and the kernel's memory are anonymous files. The
// guest's processes form a process group that is killed when Run returns, for
// whatever reason it does, and by a keeper if the program itself is killed
// before (see keeper.go).
//
// # Trust
//
// The guest runs what the caller chose, but the host side still treats what
// comes over the link as input: frames are bounded and checked, and a guest
// that breaks the protocol ends the run with an error.
//
// # Concurrency
//
// Any number of runs may be under way at once.
//
// # Sources
//
// initramfs: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
// modules.dep: modules.dep(5). User-Mode Linux: arch/um/drivers in the kernel.
package lab

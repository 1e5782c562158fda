// Package virtiopci puts virtio devices on a PCI bus: PCI's configuration
// mechanism #1, and the modern virtio transport of virtio 1.3 §4.1.
//
// A [Bus] is 32 slots with one function each. It has two ranges in a machine:
// [Bus.Ports] at the ports 0xCF8 to 0xCFF, and [Bus.Memory], within which all BARs
// lie. The first device is at 00:00.0, where Hermit's unikernels look first, unless
// a host bridge is asked for, without which Linux does not believe in the bus. What
// is not there reads as all-ones.
//
// Nobody runs firmware, so the bus does what firmware does: each device begins with
// an address in its BAR, and decodes it. The guest may move it anywhere within
// Memory; elsewhere, the device is out of reach.
//
// # Devices
//
// A [Backend] is what makes a virtio device. It has the shape of vhostuser.Device,
// so that a device that serves a front end of vhost-user serves a machine too. Its
// workers are its own: the transport gives it rings at DRIVER_OK, and takes them
// back when the driver resets the device, for which that waits.
//
// # Interrupts
//
// With [Options.MSIX] a driver can have a vector for each queue. A vector is an
// eventfd that KVM turns into the interrupt (irqfd). While it is masked KVM lets go
// of it, and its count is the pending bit: it makes the interrupt when KVM takes it
// back.
//
// Else there is INTA, a level: up from the moment that a bit in the ISR status is
// set until the driver reads that. It is set by KVM_IRQ_LINE and not by an irqfd,
// because an irqfd comes down at the end of interrupt and not when the driver reads
// the register. A driver that takes the input to be edge-triggered, as Hermit's
// does, needs a level that comes down at the right moment. Devices may share it.
//
// Kicks are ioeventfds, where KVM has them, and accesses to the notification area
// otherwise.
//
// # Trust
//
// All that arrives here is written by the guest: any width, offset and order of
// accesses is harmless. What a driver does wrong is ignored where the specification
// lets it be, and else sets DEVICE_NEEDS_RESET.
//
// # Concurrency
//
// Accesses may come from several processors at once. Each device has a lock, which
// is not held by its workers; kicks and the ISR status do without it.
//
// # Sources
//
// virtio 1.3 §2.1, §2.4 and §4.1; PCI Local Bus 3.0 §3.2.2.3.2 (mechanism #1), §6.1
// to §6.2.5 (configuration space), §6.8 (MSI-X).
package virtiopci

// Package hermit is the boot protocol of Hermit unikernels as the uhyve machine
// has it: what a kernel's ELF file says, where guest memory lies, what stands in it
// when the first instruction runs, and the registers and CPUID of each processor.
// It also reads Hermit images, which are a kernel with files and settings.
//
// Everything here works on bytes. A machine is started in three steps:
//
//	kernel, err := hermit.ParseKernel(file)
//	c := hermit.Config{Kernel: kernel, Memory: size, …}
//	layout, err := c.Place()              // which address guest memory begins at
//	boot, err := c.Prepare(layout, mem)   // mem becomes memory of a guest about to run
//
// and then boot.Regs, boot.Sregs, [MSRs] and [PatchCPUID] for each processor.
//
// # Layout
//
// Offsets are from the beginning of guest memory:
//
//	0x01000  GDT
//	0x02000  boot information (RawBootInfo, entry version 4)
//	0x03000  device tree, if it takes no more than 52 KiB
//	0x10000  page tables, PML4 first, to 0x38000
//	0x38000  device tree, if it is larger
//	         boot stack, the 32 KiB below the kernel
//	0x40000  kernel; higher if the device tree is large, or its alignment asks for it
//	         files of an image in internal mode, as initial RAM disk
//
// Kernels find all of it by the boot information, whose address they have in RDI.
// No kernel of any version claims memory below itself as free, while memory above
// belongs to its allocators at once: before 0.12 they do not look at the memory
// reservations of the device tree. That is why the device tree is always below, and
// why the kernel makes room for a large one.
//
// Kernels of interface 1 live below 3 GiB, later ones between 4 GiB and 64 GiB. A
// position-independent kernel is put anywhere in its range, at random. Of the places
// for a kernel without an ABI tag (before 0.10) those are left out where it would end
// in another GiB than it begins: such kernels unmap the rest of their GiB, and panic
// where that is not mapped.
//
// # Trust
//
// Kernels and images are the owner's choice, but may be hostile. Each offset and size
// in them is checked; no function panics on their account, nothing is written outside
// of the memory passed in, and no number in them makes anything larger than the file,
// the memory, or a limit that the caller gave. Errors are one line that says what is
// wrong and, where there is something, what to do about it.
//
// # Concurrency
//
// A [Kernel], a [Layout], a [Boot] and an [Image] do not change once made, and may be
// used by any number of goroutines.
//
// # Sources
//
// The ELF format (System V ABI, AMD64 supplement), the Devicetree Specification 0.4
// (chapter 5), the hermit-entry crate's interface version 4, and Hermit kernels 0.6.9
// to 0.13.
package hermit

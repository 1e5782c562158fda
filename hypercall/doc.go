// Package hypercall is the door for Hermit unikernels: the uhyve hypercall
// interface, versions 1 to 3, on a vfs.FileSystem.
//
// A guest makes a call by writing to an I/O port. The port is the number of the
// call. In version 1 the value written is its argument, 32 bits; later calls have it
// in RDI. The argument is the guest-physical address of a structure, which also
// takes the answer, or a value (exit, one byte for the console). All versions can be
// called at any time by any guest. [Guest.Call] serves one call; a machine makes one
// whenever a virtual processor stops at a port that is a [Number].
//
// The structures of the interface are types here, laid out to the byte, for both
// ends: the guests of our tests use them too. See [Bytes].
//
// # Files
//
// A path is taken as text first: "//", "." and ".." disappear, and a relative path
// is one from the root, as kernels before 0.10 send those. Then it is followed
// from the root of the file system, component by component. Symbolic links are
// resolved here, an absolute one from the root again: no path leads out, whatever is
// in a link. [MaxLinks] links are followed at most. Names are any bytes.
//
// Descriptors 0 to 2 are the console and always open; to close one does nothing.
// Others get the lowest free number, as on Linux, up to [Config.MaxFiles]. Positions
// of files are kept here. O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_TRUNC and the
// access mode are what open knows; other flags are ignored. Where Linux and the
// interface leave a choice, the answer is that of Linux.
//
// A guest of this kind has one user, who is [Config.UID]. Permissions are not
// checked here, as the guest is as trusted as its user; what the file system refuses
// is refused. New files cannot be setuid, setgid or sticky.
//
// # Answers
//
// Answers are the error numbers of Linux: negative in the calls that versions 1 and 2
// have, positive behind a tag in those of version 3. The lseek of version 1 can say
// -1 only. Its write, its console, cmdsize and cmdval can say nothing, and so can no
// call if its structure is not in guest memory. These errors are counted, and the
// first of each call is logged; the guest goes on. A call that moves data ends as on
// Linux: what was moved before an error counts, and the error is for when nothing was.
//
// # Trust
//
// All that comes from the guest is copied once and then checked: numbers, addresses,
// paths, the entries of page tables. A buffer of which a byte is not guest memory is
// EFAULT, and nothing is moved. File data are moved by the file system, by
// iovecs of guest memory. Memory that is gone (see oslib.CatchFault) is EFAULT too.
//
// The buffers of reads and writes in version 1 are virtual. They are translated page
// by page, by the tables that CR3 of the calling processor points to, read anew for
// each call. 4 levels and pages of 4 KiB, 2 MiB and 1 GiB are known. Of an entry only
// the present bit counts: the guest runs in one mode, and begins with CR0.WP clear, so
// that its own writes pass over the writable bit too. Accessed and dirty bits are not
// set.
//
// # Concurrency
//
// Any number of processors may call at once. No lock is held over anything that
// blocks but those of the very thing: the position of an open file or directory, the
// console's output, its input. A file that is closed while another processor reads it
// is given back when that read ends.
package hypercall

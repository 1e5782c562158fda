// Package fusedev is the /dev/fuse door: it mounts what a fuse.Server serves on
// a directory of this host, so that processes here see exactly what a guest
// would. It follows linux/fuse.h and Documentation/filesystems/fuse.rst.
//
// # Mounting
//
// With CAP_SYS_ADMIN [Mount] makes the mount itself, with the mount API of
// Linux 5.2. Otherwise it asks fusermount3, the setuid helper of libfuse, as any
// FUSE program of an ordinary user does. Either way the kernel checks permissions
// (default_permissions), set-user-ID bits and device files have no effect unless
// that was asked for, and no other user gets in unless AllowOther is set.
//
// # Serving
//
// Each worker is a goroutine on its own OS thread with its own descriptor of
// /dev/fuse (FUSE_DEV_IOC_CLONE), its own buffer outside the Go heap, and no lock
// in common with the others. It reads a request, serves it inline and writes the
// reply. What would block goes on on a goroutine of the server, which writes the
// reply to the descriptor that the request came from. File data are copied by
// the kernel only: between the file and the buffer, and between the buffer and
// the process that reads or writes. Within the buffer they begin at a page, so
// that they may go to and from a disk directly.
//
// With [Options.Backing] the kernel reads and writes plain files itself
// (FUSE_PASSTHROUGH, Linux 6.9), and no data come here at all.
//
// # The end of a mount
//
// A mount ends by [Mounted.Unmount], by the end of Mount's context, or by
// umount(8) or fusermount3 -u from elsewhere. When the serving process dies, the
// kernel aborts the connection: calls under way fail with ECONNABORTED and later
// ones with ENOTCONN; nobody hangs. What remains is the entry in the mount table,
// a directory that answers ENOTCONN, until it is removed by "umount -l DIR", or
// "fusermount3 -u -z DIR" by the user who made it. Mount says so when it finds one.
//
// # Trust
//
// Requests come from this host's kernel, which checked what its processes asked
// for; the server checks them again. Processes choose only when requests come
// and how many.
//
// A process must not use files below a mount that it serves. Some calls hold on
// to what the server needs to answer them: when Go opens a file it registers it
// with epoll, which asks the server, while the garbage collector waits for the
// one and stops the other. A process in such a knot survives even SIGKILL, until
// somebody aborts the connection (/sys/fs/fuse/connections/N/abort).
//
// # Concurrency
//
// The methods of a Mounted may be called from any number of goroutines.
package fusedev

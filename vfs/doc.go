// Package vfs is the contract between the doors of isthmus and its file
// systems.
//
// A door (vhost-user, /dev/fuse, the hypercalls) turns what a guest asks into
// calls of a [FileSystem]; a file system (a host directory, an archive,
// scratch space, or a tree of those) answers them. Neither knows the other.
//
// # The model
//
// The contract is node based, like FUSE. A node is a file system object that
// the guest knows: [FileSystem.Lookup] and every call that fills an [Entry]
// take one reference to it, [FileSystem.Forget] gives references back, and a
// node that has none left is gone. The root, [Root], always exists. A
// [Handle] is an open file or directory; it is separate from its node and
// lives from Open, Create, Tmpfile or Opendir to Release or Releasedir.
//
// # Trust
//
// Node ids and handles come from the guest and may be forged, stale or of
// another kind than the call needs: a file system answers those with ESTALE
// (node) or EBADF (handle) and never by failing. Names are checked before
// they get here: a [Name] is a single path component. Data buffers may be
// guest memory, which other processors change at any time and which may
// vanish; they are only ever passed to the kernel, which answers EFAULT where
// a load or store of ours would be killed.
//
// # Errors
//
// Methods return a [syscall.Errno], zero for success, that is fit for the
// guest's eyes. What went wrong in our own code is logged where it happened.
//
// # Concurrency
//
// All methods of a FileSystem may be called from any number of goroutines at
// once, also for the same node and handle. A method that changes the
// credentials of its thread locks the goroutine to it and restores them before
// it returns.
//
// # Waiting
//
// A call with [Request.Nowait] set comes from a queue worker that others wait
// behind. If the file system would have to wait for something that may take
// long (a lock, a disk, a network), it does nothing and returns [WouldBlock];
// the door then makes the same call again without Nowait on a goroutine of
// its own.
package vfs

// Package oslib holds the Linux calls that golang.org/x/sys/unix lacks or
// makes expensive: openat2 with RESOLVE flags, file handles, preadv2 and
// pwritev2 with per-call flags on iovecs, names passed as NUL-terminated bytes
// without a copy, credentials, capabilities and umask of the calling thread
// alone, and helpers for iovecs.
//
// Paths, names of attributes and the like are byte slices that end in a NUL;
// anything else is EINVAL and never reaches the kernel. A call that a signal
// broke off is made again where that does no harm. The calls may block, and let
// other goroutines run while they do, but for those on credentials, which cannot.
//
// Functions return a syscall.Errno, zero for success, and do not allocate.
// Those that act on the calling thread say so; their caller holds the
// goroutine on its thread with runtime.LockOSThread. No function here decides
// policy: flags are passed on as given, plus O_CLOEXEC.
package oslib

// Package fuse is the FUSE protocol of linux/fuse.h, versions 7.27 to 7.45, on
// the server's side: it decodes a request, calls a vfs.FileSystem and encodes
// the reply. It knows nothing of how messages travel: the virtio-fs device and
// the /dev/fuse door both hand it a [Call] with the bytes of a request and room
// for the reply, as iovecs.
//
// # The way of a request
//
// [Server.Serve] copies the header and the fixed part of the arguments out of
// the request once and checks the copy. Names and small values are copied into
// the Call's own buffer; file data never is: READ and WRITE pass iovecs over
// the door's memory through to the file system. The first try runs on the
// caller's goroutine with vfs.Request.Nowait set; a request that would block is
// run again on a goroutine of its own and completed later.
//
// # Counters
//
// A [Stats] given to the server counts requests, errors and bytes and keeps a
// histogram of how long each kind of request takes. A server without one pays
// nothing for it.
//
// # Trust
//
// Every byte of a request is hostile. A request that is too short, whose
// header length disagrees with what arrived, whose names are not single path
// components, or whose reply would not fit is answered with an error, or, where
// there is no room even for that, with nothing; see the table in opcodes.go.
// The server never panics on input and never allocates in proportion to a
// length that was not checked.
//
// # Concurrency
//
// A Server is used by any number of goroutines at once, one Call each.
package fuse

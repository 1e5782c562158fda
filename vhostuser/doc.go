// Package vhostuser speaks the vhost-user protocol (QEMU's
// docs/interop/vhost-user) over a UNIX socket. It is split by role: listener.go
// makes the socket, conn.go has messages and file descriptors travel, message.go
// has the wire structures and their checks, features.go what is offered.
// backend.go is the table of messages and what becomes of each, memory.go and
// rings.go those about guest memory and about rings, and vring.go the life of a
// ring.
//
// The back end drives any [Device]. It owns guest memory and the rings'
// file descriptors; the device owns what happens on a started ring.
//
// # Trust
//
// The front end is the VMM: it gives us its memory, so it can read what we read
// for it, but it must not be able to crash or wedge the daemon. Every length,
// index, address and number of file descriptors is checked; a message that is
// wrong is answered with a failure where the protocol has an answer, and ends
// the connection where it does not. Descriptors that are not kept are closed.
//
// # Concurrency
//
// One goroutine reads the connection and handles a message at a time. Workers
// of the device never touch the connection.
package vhostuser

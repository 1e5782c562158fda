// Package fusetest is the client's side of the FUSE protocol, for tests and
// benchmarks of servers and of the doors that carry messages to them.
//
// It encodes and decodes by hand, byte by byte, and so checks the layouts of
// package fuse against a second reading of linux/fuse.h. A [Client] has a method
// per opcode on top of any [Transport]: [NewDirect] calls a fuse.Server, a test
// of a door puts messages on its virtqueue.
//
// For the other end there are [NullFS], which answers everything at once, and
// [Ledger], which counts what a guest holds.
package fusetest

// Package vhosttest is a vhost-user front end for tests, benchmarks and load
// generators: the part that a VMM plays. [FrontEnd.Negotiate],
// [FrontEnd.ShareMemory] and [FrontEnd.StartRing] do what a sane one does, in an
// order that every back end knows; the messages can also be sent one by one in
// any order, or raw, with any header, payload and file descriptors, as a hostile
// one may.
//
//	fe, _ := vhosttest.Dial("/run/share.sock")
//	features, _ := fe.Negotiate(^uint64(0))
//	_ = fe.ShareMemory(mem)
//	_ = fe.StartRing(1, mem, drv, 0)
//
// Guest memory and rings are those of package virtqtest. Payloads are built
// here, by hand, and not with the code of package vhostuser that they test.
//
// # Concurrency
//
// A FrontEnd belongs to one goroutine at a time.
package vhosttest

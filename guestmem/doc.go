// Package guestmem maps the memory of a guest and translates its addresses.
//
// A [Space] is the current table of regions, which a transport changes as the
// front end says (SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG; or once, in a
// machine of our own). A [View] is the table at one moment: requests hold the
// View they were translated with, and a region stays mapped until the last
// View that contains it is released, so that a change never pulls memory from
// under a request in flight.
//
// Two kinds of addresses exist. Guest-physical addresses (GPA) stand in
// descriptors. Front-end virtual addresses (UVA) are what a vhost-user front
// end gives for the rings.
//
// # Trust
//
// Addresses and lengths come from the guest or the front end and are checked
// against the table, overflow included. The bytes behind them change at any
// time, and the file behind them may be truncated: they are copied once before
// they are checked, under oslib.CatchFault, or passed to the kernel as iovecs.
//
// # Concurrency
//
// A Space may be changed by one goroutine while others acquire Views. A View is
// immutable and may be used by any number of goroutines.
package guestmem

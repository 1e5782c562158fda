// Package virtq is the device side of virtqueues over guest memory (virtio 1.3
// §2.7, split ring, with VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX).
//
// A transport builds a [Queue] from the three areas of a ring and gives it to a
// device as part of a [Ring]. The device pops a [Chain] at a time, pushes each
// back with the number of bytes written, and flushes once per batch: one index
// store, at most one interrupt.
//
// # Trust
//
// The guest writes the rings while we read them. Every index and every
// descriptor is copied once and the copy is checked. What cannot come from a
// sane driver (an index that jumped further than the ring is long, a
// descriptor out of range, a loop, a nested or unaligned indirect table, a
// writable descriptor before a readable one) breaks the queue: Pop returns an
// error from then on and touches the ring no more. A buffer outside guest
// memory does not, as honest guests send such: it becomes an iovec with a nil
// Base, for which the kernel answers EFAULT.
//
// # Concurrency
//
// A Queue belongs to one goroutine at a time.
package virtq

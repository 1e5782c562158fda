// Package virtiofs is the virtio-fs device (virtio 1.3 §5.11): it takes FUSE
// requests out of virtqueues and gives them to a fuse.Server. It serves any
// transport that can start and stop a virtq.Ring: vhost-user, or virtio-pci in a
// machine of our own.
//
// Queue 0 is the high-priority queue (FORGET, INTERRUPT), the others are request
// queues. Each started queue has one worker: a goroutine on its own OS thread,
// blocked in a system call until the driver kicks, that serves requests inline
// and in batches. Requests that would block are completed by other goroutines,
// which hand the finished request back to the queue's worker; so a used ring has
// one writer and no lock.
//
// # Trust
//
// A broken ring (see package virtq), or guest memory that vanished, stops its
// queue and signals the ring's error eventfd. The other queues go on.
package virtiofs

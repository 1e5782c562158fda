// Package virtiofstest is a guest driver for virtio-fs queues, without a guest:
// it puts FUSE messages into a ring and takes the replies out. Tests and
// benchmarks of the device use it directly, those of a transport behind that
// transport.
//
// A [Queue] belongs to one goroutine at a time.
package virtiofstest

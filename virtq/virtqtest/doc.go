// Package virtqtest is the driver side of a split virtqueue, for tests,
// benchmarks and load generators: the part that a guest's kernel plays. It does
// not allocate once set up.
//
// A [Memory] is guest memory in a memfd, to be handed to a guestmem.Space or, as
// file descriptors, to a vhost-user back end. A [Driver] is one ring in it. It
// makes chains available, kicks when the device wants that, and takes used
// chains back. Its Set methods write the ring without any sense, as a hostile
// guest may.
//
//	mem, _ := virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 1 << 20})
//	drv, _ := virtqtest.New(mem, virtqtest.Config{Size: 128, EventIdx: true})
//	head, ok := drv.AddChain(in, out)
//	if drv.Publish() {
//		drv.Kick()
//	}
//	// … the device works …
//	head, written, ok := drv.Poll()
//
// # Trust
//
// What the device writes is checked: a head that is not outstanding is an error
// of the device that [Driver.Err] reports. Mistakes of the caller, such as an
// address outside of the memory, panic.
//
// # Concurrency
//
// A Driver belongs to one goroutine at a time. Drivers share a Memory freely,
// but one goroutine at a time allocates from it.
package virtqtest
